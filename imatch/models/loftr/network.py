"""LoFTR (Sun et al., CVPR 2021, arXiv:2104.00680) on kornia's modules, stage by stage.

Kornia's forward matches two photographs. Training needs what lies between its stages, and kornia
trains only on the depth maps of two data sets; so the stages are methods here, and the same ones
serve training and matching. Parameters keep kornia's names.

Networks of ours (`COMPACT`, `SEASONS`) differ from the published one in four things. Both images
are treated alike: neither is updated before the other, so that exchanging them exchanges the answer
and nothing else. Coarse maps are doubled so that cells keep their places; the published code
stretches them by up to half a cell, by an amount that depends on the size. Cells lie where their
kernels are centred (`Shape.offset`), not half a pixel further. And the temperature of the
positional encoding is that of the paper.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from kornia.feature import LoFTR as KorniaLoFTR
from kornia.feature.loftr.loftr_module.transformer import LocalFeatureTransformer
from kornia.feature.loftr.utils.position_encoding import PositionEncodingSine
from torch import Tensor, nn

from imatch.models.loftr.backbone import EvenBackbone, KeypointBackbone, zero_attention
from imatch.models.loftr.shape import COMPACT, Shape

_UNSEEN = -1e9
"""Similarity of what is not on valid ground; finite, or a row without any would be no number."""


class LoFTR(KorniaLoFTR):
    """Kornia's network, its stages one by one.

    Kornia's own forward is for the published shape alone: it does not treat both images alike.
    `imatch.models.loftr.match.tie_points` matches with any.

    Args:
        shape: What it is made of.
    """

    def __init__(self, shape: Shape = COMPACT) -> None:
        super().__init__(pretrained=None, config=shape.config())
        self.shape = shape
        if shape.backbone == "superpoint":
            self.backbone = KeypointBackbone(shape)  # type: ignore[assignment]
            zero_attention(self.loftr_coarse)
        elif shape.even:
            self.backbone = EvenBackbone(self.config["resnetfpn"])
        if shape.even:
            # Kornia's reaches over 2048 pixels at 67 MB; it grows where that is needed.
            self.pos_encoding = PositionEncodingSine(shape.width, (128, 128), temp_bug_fix=True)

    def features(self, images: Tensor, *, fine: bool = True) -> tuple[Tensor, Tensor | None]:
        """Computes the backbone's feature maps.

        Args:
            images: (B, `Shape.channels`, H, W) in [0, 1], sides multiples of `Shape.cell`.
            fine: Whether the fine map is wanted; the coarse one alone takes half the time.

        Returns:
            (B, C, h, w) coarse and (B, D, 4 h, 4 w) fine features, the latter None if not wanted.
        """
        if isinstance(self.backbone, EvenBackbone | KeypointBackbone):
            return self.backbone.maps(images, fine=fine)
        coarse, detailed = self.backbone(images)
        return coarse, detailed if fine else None

    def attend(
        self,
        a: Tensor,
        b: Tensor,
        seen_a: Tensor | None = None,
        seen_b: Tensor | None = None,
        shift: tuple[int, int] = (0, 0),
    ) -> tuple[Tensor, Tensor]:
        """The coarse transformer, over places and both images.

        Args:
            a: (B, C, h, w) coarse features.
            b: (B, C, h', w') those of the other images.
            seen_a: (B, h, w) bool, cells on valid ground; None for all.
            seen_b: (B, h', w') bool, likewise.
            shift: (rows, columns) where the first cell is said to lie. Training varies it, so that
                larger images than it shows hold nothing new.

        Returns:
            (B, h w, C) and (B, h' w', C).
        """
        rows = max(a.shape[2], b.shape[2]) + shift[0]
        columns = max(a.shape[3], b.shape[3]) + shift[1]
        known = self.pos_encoding.pe.shape[2:]
        if rows > known[0] or columns > known[1]:
            larger = max(rows, known[0]), max(columns, known[1])
            self.pos_encoding.update_position_encoding_size(larger)
        place = self.pos_encoding.pe[:, :, shift[0] : rows, shift[1] : columns]
        place_a, place_b = (place[:, :, : x.shape[2], : x.shape[3]] for x in (a, b))
        return self.attend_at((a, b), (place_a, place_b), (seen_a, seen_b))

    def attend_at(
        self,
        maps: tuple[Tensor, Tensor],
        places: tuple[Tensor, Tensor],
        seen: tuple[Tensor | None, Tensor | None],
    ) -> tuple[Tensor, Tensor]:
        """`attend` with encodings of the places, (1, C, h, w) and (1, C, h', w')."""
        tokens, positions = (
            [x.flatten(2).transpose(1, 2).contiguous() for x in pair] for pair in (maps, places)
        )
        masks = [None if one is None else one.flatten(1) for one in seen]
        if self.shape.backbone == "superpoint":
            return self._attend_with_positions(tokens, positions, masks)
        a, b = (own + there for own, there in zip(tokens, positions, strict=True))
        return self._transformed(self.loftr_coarse, (a, b), (masks[0], masks[1]))

    def _attend_with_positions(
        self, tokens: list[Tensor], positions: list[Tensor], masks: list[Tensor | None]
    ) -> tuple[Tensor, Tensor]:
        """Applies attention with positions added in every layer and removed after it.

        Descriptors that are alike already would be told apart by their places; so these are not
        part of what is compared.
        """
        for layer, name in zip(
            self.loftr_coarse.layers, self.loftr_coarse.layer_names, strict=True
        ):
            seen = [own + there for own, there in zip(tokens, positions, strict=True)]
            other = (0, 1) if name == "self" else (1, 0)
            tokens = [
                layer(seen[k], seen[other[k]], masks[k], masks[other[k]]) - positions[k]
                for k in (0, 1)
            ]
        return tokens[0], tokens[1]

    def _transformed(
        self,
        transformer: LocalFeatureTransformer,
        tokens: tuple[Tensor, Tensor],
        masks: tuple[Tensor | None, Tensor | None] = (None, None),
    ) -> tuple[Tensor, Tensor]:
        a, b = tokens
        if not self.shape.even:
            first, second = transformer(a, b, *masks)
            return first, second
        for layer, name in zip(transformer.layers, transformer.layer_names, strict=True):
            if name == "self":
                a, b = layer(a, a, masks[0], masks[0]), layer(b, b, masks[1], masks[1])
            else:
                a, b = layer(a, b, masks[0], masks[1]), layer(b, a, masks[1], masks[0])
        return a, b

    def similarity(
        self, a: Tensor, b: Tensor, seen_a: Tensor | None = None, seen_b: Tensor | None = None
    ) -> Tensor:
        """Returns the similarity of cells over the temperature, in full precision.

        Args:
            a: (B, L, C) transformed features.
            b: (B, S, C).
            seen_a: (B, h, w) bool, cells on valid ground; None for all.
            seen_b: Likewise.

        Returns:
            (B, L, S) float32.
        """
        scale = self.shape.width**-1 / self.shape.temperature
        alike = (a.float() * scale) @ b.float().mT
        for seen, axis in ((seen_a, 2), (seen_b, 1)):
            if seen is not None:
                alike.masked_fill_(~seen.flatten(1).unsqueeze(axis), _UNSEEN)
        return alike

    def refine(
        self, fine: tuple[Tensor, Tensor], tokens: tuple[Tensor, Tensor], cells: CoarseCells
    ) -> tuple[Tensor, Tensor]:
        """Where, in the window around the other's cell, the centre of each cell is seen.

        Args:
            fine: (B, D, 4 h, 4 w) fine features of both images.
            tokens: (B, L, C) and (B, S, C) transformed coarse features.
            cells: M pairs of cells.

        Returns:
            (M, 3) x and y in units of `Shape.reach`, and their standard deviation (of x and y
            together, in the same unit), of the cell of `a` in `b`; and (M, 3) of that of `b` in
            `a`.
        """
        data: dict[str, Any] = {
            "b_ids": cells.pair,
            "i_ids": cells.a,
            "j_ids": cells.b,
            "stride_c": self.shape.cell,
            "stride_f": self.shape.fine_cell,
        }
        a, b = self.fine_preprocess(*fine, *tokens, data)
        if len(cells):
            a, b = self._transformed(self.loftr_fine, (a, b))
        return expected_offset(a.float(), b.float()), expected_offset(b.float(), a.float())


@dataclass(frozen=True, eq=False)
class CoarseCells:
    """M pairs of coarse cells.

    Attributes:
        pair: (M,) which pair of images.
        a: (M,) cell of `a`, row by row.
        b: (M,) cell of `b`.
    """

    pair: Tensor
    a: Tensor
    b: Tensor

    def __len__(self) -> int:
        return len(self.pair)

    def select(self, index: Tensor) -> CoarseCells:
        """Pairs picked by a mask or by indices."""
        return CoarseCells(self.pair[index], self.a[index], self.b[index])


def expected_offset(own: Tensor, other: Tensor) -> Tensor:
    """Expectation and spread of where a window's centre lies in another window (equation 6).

    Args:
        own: (M, W W, D) features; the middle one is sought.
        other: (M, W W, D).

    Returns:
        (M, 3) x and y in [-1, 1], and the sum of their standard deviations.
    """
    count, cells, channels = own.shape
    side = round(cells**0.5)
    alike = torch.einsum("md,mrd->mr", own[:, cells // 2], other) / channels**0.5
    heat = alike.softmax(dim=1)
    steps = torch.linspace(-1, 1, side, device=own.device, dtype=own.dtype)
    positions = torch.stack(torch.meshgrid(steps, steps, indexing="xy"), dim=-1).view(cells, 2)
    mean = heat @ positions
    # The root has no slope at 0.
    variance = (heat @ positions.square() - mean.square()).clamp_min(1e-6)
    return torch.cat([mean, variance.sqrt().sum(dim=1, keepdim=True)], dim=1).view(count, 3)


def coarse_parts(network: LoFTR) -> list[nn.Module]:
    """Returns the modules of the coarse stage, on which the fine stage builds."""
    backbone = network.backbone
    if isinstance(backbone, KeypointBackbone):
        return [backbone.superpoint, backbone.sharpness, network.loftr_coarse]
    parts = [getattr(backbone, name) for name in ("conv1", "bn1", "layer1", "layer2", "layer3")]
    if len(network.shape.dims) == 5:
        parts += [backbone.layer4, backbone.layer4_outconv]
    else:
        parts.append(backbone.layer3_outconv)
    return [*parts, network.loftr_coarse]
