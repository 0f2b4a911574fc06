"""Backbones of our LoFTRs: kornia's with cells in their places, and SuperPoint's encoder.

A LoFTR whose backbone is a SuperPoint that knows the seasons need not learn what ground looks like
again. Its coarse map is that network's descriptors, as sharp as their matching was trained to be,
so that before its first step it already matches as they do; attention then starts from adding
nothing to them (`zero_attention`). The fine map is new: it sums up what the encoder saw at 1/2, 1/4
and 1/8 of the size, and is put where the coarse cells have their middle.
"""

from __future__ import annotations

import torch
from kornia.feature.loftr.backbone.resnet_fpn import ResNetFPN_8_2
from kornia.feature.loftr.loftr_module.transformer import (
    LocalFeatureTransformer,
    LoFTREncoderLayer,
)
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from imatch.models.loftr.shape import Shape
from imatch.models.superpoint.network import Describer

_SHARPNESS = 20.0
"""By what the cosine of two descriptors is multiplied: the inverse of the temperature that
superpoint-s2's were trained with."""


class EvenBackbone(ResNetFPN_8_2):
    """Kornia's backbone, with maps doubled in place and the fine one made on demand."""

    def maps(self, images: Tensor, *, fine: bool) -> tuple[Tensor, Tensor | None]:
        """See `imatch.models.loftr.network.LoFTR.features`."""
        half = self.layer1(self.relu(self.bn1(self.conv1(images))))
        quarter = self.layer2(half)
        coarse = self.layer3_outconv(self.layer3(quarter))
        if not fine:
            return coarse, None
        quarter = self.layer2_outconv2(self.layer2_outconv(quarter) + double(coarse))
        return coarse, self.layer1_outconv2(self.layer1_outconv(half) + double(quarter))

    def forward(self, images: Tensor) -> list[Tensor]:
        """As kornia's, for kornia's own forward."""
        coarse, fine = self.maps(images, fine=True)
        assert fine is not None
        return [coarse, fine]


class KeypointBackbone(nn.Module):
    """A SuperPoint's encoder and descriptors as the coarse map, and a fine map upon them.

    Args:
        shape: Of the network.
    """

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.superpoint = Describer(shape.channels, shape.width, batch_norm=True)
        self.sharpness = _Gain((shape.width * shape.temperature * _SHARPNESS) ** 0.5)
        fine, half, quarter = shape.fine_width, shape.dims[1], shape.dims[2]
        self.from_half = nn.Conv2d(half, fine, 1)
        self.from_quarter = nn.Conv2d(quarter, fine, 1)
        self.from_coarse = nn.Conv2d(shape.width, fine, 1)
        self.mixed = nn.Conv2d(fine, fine, 3, padding=1)
        # Even, so that its cells come to lie between those of its input: where coarse cells do.
        self.centred = nn.Conv2d(fine, fine, 2)

    def maps(self, images: Tensor, *, fine: bool) -> tuple[Tensor, Tensor | None]:
        """See `imatch.models.loftr.network.LoFTR.features`."""
        half, quarter, eighth = self.superpoint.pyramid(images)
        coarse = self.sharpness(self.superpoint.describe(eighth))
        if not fine:
            return coarse, None
        # Cells lie in the middle of their pixels, so this doubling keeps them in place.
        summed = self.from_quarter(quarter) + _doubled(self.from_coarse(coarse))
        summed = self.mixed(F.relu(self.from_half(half) + _doubled(summed)))
        # Now cell m lies on pixel 2 m + 1.5; from the second on, every fourth is a coarse one's.
        centred = self.centred(F.pad(F.relu(summed), (0, 2, 0, 2), mode="replicate"))
        return coarse, centred[..., 1:, 1:]


class _Gain(nn.Module):
    """A factor that is learnt."""

    def __init__(self, value: float) -> None:
        super().__init__()
        self.factor = nn.Parameter(torch.tensor(value))

    def forward(self, maps: Tensor) -> Tensor:
        return self.factor * maps


def _doubled(maps: Tensor) -> Tensor:
    return F.interpolate(maps, scale_factor=2, mode="bilinear", align_corners=False)


def zero_attention(transformer: LocalFeatureTransformer) -> None:
    """Initialises a transformer to the identity: its input is good already.

    The last normalisation of every layer starts at 0, as in ReZero (Bachlechner et al. 2021) and
    the residual blocks of Goyal et al. 2017.
    """
    for layer in transformer.layers:
        assert isinstance(layer, LoFTREncoderLayer)
        nn.init.zeros_(layer.norm2.weight)
        nn.init.zeros_(layer.norm2.bias)


def double(maps: Tensor) -> Tensor:
    """Double (B, C, h, w) so that cell i comes to lie at 2i, as strides of two have them.

    Examples:
        >>> double(torch.arange(3.0).view(1, 1, 1, 3))[0, 0, 0].tolist()
        [0.0, 0.5, 1.0, 1.5, 2.0, 2.0]
    """
    height, width = maps.shape[2:]
    continued = F.pad(maps, (0, 1, 0, 1), mode="replicate")
    size = (2 * height + 1, 2 * width + 1)
    larger = F.interpolate(continued, size, mode="bilinear", align_corners=True)
    return larger[..., :-1, :-1]
