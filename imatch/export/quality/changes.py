"""Ground that changed, or is hidden, in one of two registered images."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from imatch.core.types import BoolArray
from imatch.export.quality.views import ChipView
from imatch.geometry.alignment.orientation import orientation_field

# Reach of the neighbourhood that is compared, and of the finer one that draws the outline, pixels
# of the view.
_SIGMA, _FINE = 10.0, 6.0
# Usual is what the upper quarter of the ground reaches: where half of it changed, the median is
# that of changed ground.
_USUAL = 75
# Ground below this share of the usual structure in both images says nothing.
_PLAIN = 0.4
# Neighbourhoods below so many standard deviations of chance are alike no more than by chance; where
# the usual one does not exceed so many, nothing is told.
_BY_CHANCE, _TOLD = 1.5, 3.0
# Nor does more than this share of the usual likeness count as changed, whatever chance gives; up to
# a reach away from what changed that alone decides, as neighbourhoods there hold some of both.
_OF_USUAL = 0.5
# Least extent of a change, in reaches.
_EXTENT = 1.5


@dataclass(frozen=True, eq=False)
class Changes:
    """What changed in a view.

    Attributes:
        changed: (H, W) bool, ground whose edges are alike no more than by chance.
        told: (H, W) bool, ground with enough structure to tell.
    """

    changed: BoolArray
    told: BoolArray

    @property
    def share(self) -> float:
        """Share of the ground that can be told which changed."""
        return float(self.changed.sum() / max(self.told.sum(), 1))

    @property
    def regions(self) -> int:
        """Connected regions that changed."""
        return int(cv2.connectedComponents(self.changed.astype(np.uint8))[0]) - 1

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready form."""
        return {"share": self.share, "regions": self.regions}

    def to_text(self) -> str:
        """One sentence."""
        if not self.changed.any():
            return "Nowhere did the ground change by more than season or sensor changed all of it."
        where = "1 region" if self.regions == 1 else f"{self.regions} regions"
        return (
            f"{max(self.share, 0.01):.0%} of the ground changed by more than season or sensor"
            f" changed all of it, or is hidden, in {where}."
        )


def changed_ground(view: ChipView) -> Changes | None:
    """Finds where two registered images are alike no more than by chance, though most are.

    The likeness is the correlation of the directions of edges in the neighbourhood of each pixel.
    What chance gives is measured on the same images laid elsewhere upon one another.

    Args:
        view: Both images in one frame.

    Returns:
        The changes; None without a transform, or where the images agree too little to tell.
    """
    if view.after is None or min(view.ref.size) < 6 * _SIGMA:
        return None
    common = view.ref.valid & view.after.valid
    first, second = orientation_field(view.ref), orientation_field(view.after)
    first[~common], second[~common] = 0, 0
    likeness, told = _compared(first, second, common, _SIGMA)
    if told.sum() < (6 * _SIGMA) ** 2:
        return None
    height, width = common.shape
    chance = float(
        np.median(
            [
                _likeness(first, np.roll(second, by, axis=(0, 1)), _SIGMA)[0][told].std()
                for by in ((height // 2, 0), (0, width // 2), (height // 3, width // 3))
            ]
        )
    )
    typical = float(np.percentile(likeness[told], _USUAL))
    if typical < _TOLD * chance:
        return None
    changed = told & (likeness < min(_BY_CHANCE * chance, _OF_USUAL * typical))
    core = cv2.morphologyEx(changed.astype(np.uint8), cv2.MORPH_OPEN, _disc(_EXTENT * _SIGMA))
    finer, fine_told = _compared(first, second, common, _FINE)
    unlike = fine_told & (finer < _OF_USUAL * float(np.percentile(finer[fine_told], _USUAL)))
    beside = cv2.dilate(core, _disc(2 * _SIGMA)) > 0
    return Changes(np.asarray((core > 0) | (beside & unlike)), told | fine_told)


def _compared(
    first: NDArray[np.complex64], second: NDArray[np.complex64], common: BoolArray, sigma: float
) -> tuple[NDArray[np.float32], BoolArray]:
    """(H, W) likeness of two fields, and (H, W) bool where there is enough structure to tell."""
    likeness, stronger = _likeness(first, second, sigma)
    usual = float(np.median(stronger[common])) if common.any() else 0.0
    return likeness, common & (stronger > max(_PLAIN * usual, 1e-6))


def _likeness(
    first: NDArray[np.complex64], second: NDArray[np.complex64], sigma: float
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Correlates two fields of directions in the neighbourhood of each pixel.

    Returns:
        (H, W) correlation, and (H, W) the energy of the stronger field.
    """

    def around(values: NDArray[np.floating]) -> NDArray[np.float32]:
        return np.asarray(cv2.GaussianBlur(values.astype(np.float32), (0, 0), sigma))

    one, other = (around(np.abs(field) ** 2) for field in (first, second))
    both = around((first * np.conj(second)).real)
    likeness = both / np.sqrt(np.maximum(one * other, 1e-12))
    return np.asarray(likeness, dtype=np.float32), np.maximum(one, other)


def _disc(across: float) -> NDArray[np.uint8]:
    """A disc of about so many pixels across, of an odd side."""
    side = 2 * round(across / 2) + 1
    return np.asarray(cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side)), dtype=np.uint8)
