"""EfficientNet-Lite0: EfficientNet-B0 (Tan and Le, ICML 2019, arXiv:1905.11946) for small machines.

Without squeeze-and-excitation, with ReLU6 for swish and a stem and head of fixed width, as in
https://github.com/tensorflow/tpu/tree/master/models/official/efficientnet/lite. Parameters have the
names of the published PyTorch checkpoint.
"""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from imatch.models.checkpoint import load_parameters, load_state
from imatch.models.superpoint.network import share_bands
from imatch.models.weights import WeightsFile

#: Its name, and that of the published checkpoint.
LITE0: Final = "efficientnet-lite0"

# (repeats, kernel, stride, expansion, channels out) of each stage.
_STAGES = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
_STEM, _HEAD = 32, 1280


class EfficientNetLite0(nn.Module):
    """The convolutional part; the classifier is left out.

    Args:
        bands: Bands of the input.

    Attributes:
        channels: Of the feature map.
        stride: Pixels along one side of a cell of the feature map.
    """

    channels = _HEAD
    stride = 32

    def __init__(self, bands: int = 3) -> None:
        super().__init__()
        self._conv_stem = _Same(bands, _STEM, 3, stride=2, bias=False)
        self._bn0 = _norm(_STEM)
        blocks, wide = list[nn.Module](), _STEM
        for repeats, kernel, stride, expansion, out in _STAGES:
            for i in range(repeats):
                blocks.append(_Block(wide, out, kernel, stride if i == 0 else 1, expansion))
                wide = out
        self._blocks = nn.ModuleList(blocks)
        self._conv_head = nn.Conv2d(wide, _HEAD, 1, bias=False)
        self._bn1 = _norm(_HEAD)

    def forward(self, image: Tensor) -> Tensor:
        """The feature map.

        Args:
            image: (B, bands, H, W), normalised as ImageNet is.

        Returns:
            (B, 1280, ceil(H / 32), ceil(W / 32)), from 0 to 6.
        """
        x = F.relu6(self._bn0(self._conv_stem(image)))
        for block in self._blocks:
            x = block(x)
        return F.relu6(self._bn1(self._conv_head(x)))


def load_lite0(found: WeightsFile, bands: int = 3) -> EfficientNetLite0:
    """The network filled from the published checkpoint, in evaluation mode.

    Args:
        found: The checkpoint, whose first kernel sees three bands.
        bands: Bands of the input; the first kernel is summed and shared out among them, so that
            equal bands give what equal bands gave.

    Raises:
        WeightsError: The file is of another architecture.
    """
    state = load_state(found)
    if "_conv_stem.weight" in state:
        state["_conv_stem.weight"] = share_bands(state["_conv_stem.weight"], bands)
    network = EfficientNetLite0(bands)
    load_parameters(network, state, found, ignore=("_fc.",))
    return network


class _Same(nn.Conv2d):
    """A convolution padded as TensorFlow does: so that ceil(size / stride) comes out."""

    def forward(self, x: Tensor) -> Tensor:
        pads: list[int] = []
        for size, kernel, step in zip(
            x.shape[:1:-1], self.kernel_size[::-1], self.stride[::-1], strict=True
        ):
            pad = max((-(-size // step) - 1) * step + kernel - size, 0)
            pads += [pad // 2, pad - pad // 2]
        return F.conv2d(F.pad(x, pads), self.weight, None, self.stride, groups=self.groups)


class _Block(nn.Module):
    """An inverted residual: widened, filtered band by band, narrowed."""

    def __init__(self, n_in: int, n_out: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        wide = n_in * expansion
        if expansion != 1:
            self._expand_conv = nn.Conv2d(n_in, wide, 1, bias=False)
            self._bn0 = _norm(wide)
        self._depthwise_conv = _Same(wide, wide, kernel, stride=stride, groups=wide, bias=False)
        self._bn1 = _norm(wide)
        self._project_conv = nn.Conv2d(wide, n_out, 1, bias=False)
        self._bn2 = _norm(n_out)
        self._widens = expansion != 1
        self._skips = stride == 1 and n_in == n_out

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu6(self._bn0(self._expand_conv(x))) if self._widens else x
        y = F.relu6(self._bn1(self._depthwise_conv(y)))
        y = self._bn2(self._project_conv(y))
        return torch.add(y, x) if self._skips else y


def _norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=1e-3, momentum=0.01)
