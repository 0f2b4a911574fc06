"""The embedding network: a backbone, pooling over valid ground, a projection."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from imatch.core.errors import WeightsError
from imatch.core.io.files import atomic_path
from imatch.core.io.jsontext import parse_json
from imatch.models.embedding.lite0 import LITE0, EfficientNetLite0, load_lite0
from imatch.models.embedding.pooling import PoolName, make_pool, share_of_ground
from imatch.models.weights import WeightsFile, require_weights

KIND = "imatch.embedder/1"
_META = "imatch"
# Of ImageNet, as the published weights expect them; other numbers of bands take the means.
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class Architecture:
    """Architecture of an embedding network.

    Attributes:
        backbone: What makes a feature map of an image.
        bands: Bands of the image.
        classes: Planes of a semantic raster (one a class, 0 or 1) that follow the bands; 0 without.
        pool: ``gem``, ``attention`` or ``delf``.
        dim: Length of the embedding; None for what the pooling gives, without a projection.
        normalise: Whether embeddings have unit length.
        chip_px: Side of the chips it is for.
    """

    backbone: Literal["efficientnet-lite0"] = LITE0
    bands: int = 3
    classes: int = 0
    pool: PoolName = "gem"
    dim: int | None = None
    normalise: bool = True
    chip_px: int = 224


class EmbeddingNetwork(nn.Module):
    """Embeds images with valid masks to one vector each.

    Args:
        shape: What it is made of.
        backbone: The backbone with the weights it starts from; None makes one from scratch.

    Attributes:
        dim: Length of the vector.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, shape: Architecture, backbone: EfficientNetLite0 | None = None) -> None:
        super().__init__()
        self.shape = shape
        self.fusion = EarlyFusion(shape.bands, shape.classes) if shape.classes else None
        self.backbone = backbone or EfficientNetLite0(shape.bands)
        channels = self.backbone.channels
        self.pool = make_pool(shape.pool, channels)
        self.project = None if shape.dim is None else nn.Linear(channels, shape.dim)
        self.dim = shape.dim or channels
        mean, std = _statistics(shape.bands)
        self.register_buffer("mean", mean, persistent=False)
        self.register_buffer("std", std, persistent=False)

    def forward(self, image: Tensor, valid: Tensor | None = None) -> Tensor:
        """Embeds images and returns their vectors.

        Args:
            image: (B, bands + classes, H, W), bands in [0, 1], classes 0 or 1.
            valid: (B, H, W) bool; None means everywhere. Invalid pixels take their chip's mean and
                weigh nothing in the pooling.

        Returns:
            (B, dim) float32, of unit length where the shape says so; zeros without valid ground
            where there is no projection.
        """
        if valid is None:
            valid = torch.ones_like(image[:, 0], dtype=torch.bool)
        bands = (image[:, : self.shape.bands] - self.mean) / self.std
        bands = filled(bands, valid)
        if self.fusion is not None:
            classes = image[:, self.shape.bands :] * valid[:, None]
            bands = self.fusion(bands, classes)
        features = self.backbone(bands)
        pooled = self.pool(features, share_of_ground(valid, features.shape[2:]))
        if self.project is not None:
            pooled = self.project(pooled)
        return F.normalize(pooled.float(), dim=1) if self.shape.normalise else pooled.float()


class EarlyFusion(nn.Module):
    """Two shallow streams, of the image and of its semantic raster, joined before the backbone.

    What they find is added to the image; it starts as nothing, so that a pretrained backbone sees
    at first what it knows.

    Args:
        bands: Of the image.
        classes: Of the semantic raster.
        width: Channels of each stream.
    """

    def __init__(self, bands: int, classes: int, width: int = 16) -> None:
        super().__init__()
        self.image = nn.Conv2d(bands, width, 3, padding=1)
        self.labels = nn.Conv2d(classes, width, 3, padding=1)
        self.join = nn.Conv2d(2 * width, bands, 1)
        nn.init.zeros_(self.join.weight)
        nn.init.zeros_(self.join.bias)  # type: ignore[arg-type]

    def forward(self, image: Tensor, classes: Tensor) -> Tensor:
        """(B, bands, H, W) and (B, classes, H, W) to (B, bands, H, W)."""
        streams = torch.cat([self.image(image), self.labels(classes)], dim=1)
        joined: Tensor = image + self.join(F.relu(streams))
        return joined


def filled(image: Tensor, valid: Tensor) -> Tensor:
    """Invalid pixels take the mean of their chip's valid ones, band by band; 0 without any."""
    weights = valid[:, None].to(image.dtype)
    count = weights.sum(dim=(2, 3), keepdim=True).clamp_min(1)
    mean = (image * weights).sum(dim=(2, 3), keepdim=True) / count
    return torch.where(valid[:, None], image, mean)


def pretrained(shape: Architecture, *, fetch: bool = False) -> tuple[EmbeddingNetwork, WeightsFile]:
    """A network that starts from ImageNet's weights, in evaluation mode, and their file.

    Args:
        shape: What it is made of.
        fetch: Download weights that are missing.

    Raises:
        WeightsError: The weights are missing or corrupt.
    """
    found = require_weights(shape.backbone, fetch=fetch)
    return EmbeddingNetwork(shape, load_lite0(found, shape.bands)).eval(), found


def save_network(
    network: EmbeddingNetwork,
    path: Path,
    about: Mapping[str, Any] | None = None,
    *,
    overwrite: bool = False,
) -> None:
    """Write a network as one ``.safetensors`` file that says what it is.

    Args:
        network: It.
        path: The file.
        about: What else to keep: data, licence, figures; JSON-ready.
        overwrite: Whether an existing file may be replaced.

    Raises:
        OutputError: The file exists, or cannot be written.
    """
    from safetensors.torch import save_file

    header = {**(about or {}), "kind": KIND, "architecture": asdict(network.shape)}
    state = {
        name: value.detach().cpu().contiguous() for name, value in network.state_dict().items()
    }
    with atomic_path(path, overwrite=overwrite) as temporary:
        save_file(state, temporary, {_META: json.dumps(header)})


def load_network(path: Path) -> tuple[EmbeddingNetwork, dict[str, Any]]:
    """A network from a file of `save_network`, in evaluation mode, and what the file says of it.

    Raises:
        WeightsError: The file is none, damaged, or of another version.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    about = read_about(path)
    if about.get("kind") != KIND:
        raise WeightsError("is no embedding network", subject=path, hint=_HINT)
    stored = about.get("architecture", {})
    known = {field.name for field in fields(Architecture)}
    if set(stored) - known or stored.get("backbone") != LITE0:
        raise WeightsError("is of another version", subject=path, hint="update imatch")
    network = EmbeddingNetwork(Architecture(**stored))
    try:
        state = {
            name: value.float() if value.is_floating_point() else value
            for name, value in load_file(path).items()
        }
        network.load_state_dict(state)
    except (RuntimeError, SafetensorError) as error:
        first = str(error).strip().splitlines()[-1].strip()
        raise WeightsError(f"is damaged: {first}", subject=path, hint=_HINT) from error
    return network.eval(), about


_HINT = "name a file that imatch train embedder --export wrote"


def read_about(path: Path) -> dict[str, Any]:
    """Reads the metadata of a ``.safetensors`` file of ours.

    Raises:
        WeightsError: It cannot be read, or says nothing.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "pt") as file:
            header = parse_json((file.metadata() or {}).get(_META, "{}"))
    except (OSError, ValueError, SafetensorError) as error:
        first = str(error).strip().partition("\n")[0]
        raise WeightsError(f"cannot be read: {first}", subject=path, hint=_HINT) from error
    if not isinstance(header, dict) or "kind" not in header:
        raise WeightsError("does not say what it is", subject=path, hint=_HINT)
    return header


def _statistics(bands: int) -> tuple[Tensor, Tensor]:
    """(1, bands, 1, 1) mean and standard deviation to normalise by."""
    mean, std = torch.tensor(_MEAN), torch.tensor(_STD)
    if bands != len(_MEAN):
        mean, std = mean.mean().repeat(bands), std.mean().repeat(bands)
    return mean[None, :, None, None], std[None, :, None, None]
