"""A network whose maps of one ground correlate across sensors.

Doubled gradient directions of two sensors agree where both see an outline, and elsewhere each has
its own: speckle, labels, texture, shadows. The network weighs the directions of every place by what
is around it, and adds maps of its own. It learns both through the correlation of whole images that
it serves, as in Siamese networks for radar and optical images (Hughes et al. 2018; Fang et al.
2021, arXiv:2108.01016), and starts as the directions themselves. Images may have any size.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

#: Pixels of the image along a pixel of the maps.
STRIDE = 2
#: Bands of the input: three of the image, and its locally normalised logarithm.
BANDS = 4
_GROUPS = 4
# Softplus of these is 1 and 0.05: at first the directions of the finest scale count.
_FIRST, _OTHERS = 0.5413, -3.0


@dataclass(frozen=True)
class FieldShape:
    """Architecture of the network.

    Attributes:
        scales: Scales of the doubled directions that are weighed.
        maps: Maps of its own.
        stem: Channels at full size.
        width: Channels at half size; a multiple of 4.
        dilations: Of the convolutions at half size, one residual block each.
    """

    scales: int = 2
    maps: int = 6
    stem: int = 12
    width: int = 24
    dilations: tuple[int, ...] = (1, 2, 4, 1)

    def __post_init__(self) -> None:
        if self.width % _GROUPS or min(self.width, self.stem, self.scales) < 1 or self.maps < 0:
            raise ValueError(f"no such shape of a field network: {self}")

    def to_dict(self) -> dict[str, Any]:
        """Returns it JSON-ready."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> FieldShape:
        """Reads what `to_dict` gave."""
        return cls(**(values | {"dilations": tuple(values["dilations"])}))


class FieldNetwork(nn.Module):
    """Maps of an image that correlate with those of another sensor's.

    Args:
        shape: What it is made of.
    """

    def __init__(self, shape: FieldShape | None = None) -> None:
        super().__init__()
        self.shape = shape = shape or FieldShape()
        width = shape.width
        self.stem = nn.Conv2d(BANDS, shape.stem, 3, padding=1)
        self.reduce = nn.Conv2d(shape.stem, width, 3, stride=STRIDE, padding=1)
        self.norm = nn.GroupNorm(_GROUPS, width)
        self.blocks = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(width, width, 3, padding=step, dilation=step),
                nn.GroupNorm(_GROUPS, width),
            )
            for step in shape.dilations
        )
        self.weights = nn.Conv2d(width, shape.scales, 1)
        self.maps = nn.Conv2d(width, max(shape.maps, 1), 1)
        self.share = nn.Parameter(torch.tensor(-1.5))
        nn.init.zeros_(self.weights.weight)
        assert self.weights.bias is not None
        with torch.no_grad():
            self.weights.bias.fill_(_OTHERS)[0] = _FIRST

    def forward(self, bands: Tensor, directions: Tensor, seen: Tensor) -> Tensor:
        """Describes images.

        Args:
            bands: (B, 4, H, W) of `imatch.geometry.sensor_field.field_input`.
            directions: (B, 2 K, h, w) real and imaginary parts of K scales, ``h = ceil(H / 2)``.
            seen: (B, 1, h, w), 1 on valid ground and 0 elsewhere.

        Returns:
            (B, 2 + M, h, w): weighed directions, real and imaginary, and maps; 0 where not seen.
        """
        ground = F.relu(self.norm(self.reduce(F.relu(self.stem(bands)))))
        for block in self.blocks:
            ground = ground + F.relu(block(ground))
        weight = F.softplus(self.weights(ground))
        pairs = directions.reshape(len(directions), -1, 2, *directions.shape[2:])
        weighed = (weight[:, :, None] * pairs).sum(dim=1)
        weighed = 1.5 * weighed / (1 + _length(weighed))
        if not self.shape.maps:
            return weighed * seen
        maps = _centred(self.maps(ground), seen)
        maps = _centred(
            maps / (1 + maps.square().mean(dim=1, keepdim=True).add(1e-12).sqrt()), seen
        )
        return torch.cat([weighed, F.softplus(self.share) * maps], dim=1) * seen


def _length(vectors: Tensor) -> Tensor:
    # The root has no gradient at 0.
    return (vectors.square().sum(dim=1, keepdim=True) + 1e-12).sqrt()


def _centred(maps: Tensor, seen: Tensor) -> Tensor:
    """Takes off each map's mean over the ground seen: a constant would correlate everywhere."""
    ground = seen.sum(dim=(2, 3), keepdim=True).clamp(min=1)
    return maps - (maps * seen).sum(dim=(2, 3), keepdim=True) / ground
