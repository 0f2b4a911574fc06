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

# Reach of the neighbourhood that is compared, pixels of the view.
_SIGMA = 10.0
# Ground below this share of the usual structure in both images says nothing.
_PLAIN = 0.4
# Neighbourhoods below so many standard deviations of chance are alike no more than by chance; where
# the usual one does not exceed so many, nothing is told.
_BY_CHANCE, _TOLD = 1.5, 3.0
# Nor does more than this share of the usual likeness count as changed, whatever chance gives.
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
    energies = [_around(np.abs(field) ** 2) for field in (first, second)]
    stronger = np.maximum(*energies)
    usual = float(np.median(stronger[common])) if common.any() else 0.0
    told = common & (stronger > max(_PLAIN * usual, 1e-6))
    if told.sum() < (6 * _SIGMA) ** 2:
        return None
    likeness = _likeness(first, second, energies)
    height, width = common.shape
    elsewhere = [
        np.roll(second, (dy, dx), axis=(0, 1))
        for dy, dx in ((height // 2, 0), (0, width // 2), (height // 3, width // 3))
    ]
    chance = float(np.median([_likeness(first, other, None)[told].std() for other in elsewhere]))
    typical = float(np.median(likeness[told]))
    if typical < _TOLD * chance:
        return None
    changed = told & (likeness < min(_BY_CHANCE * chance, _OF_USUAL * typical))
    side = 2 * round(_EXTENT * _SIGMA / 2) + 1
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side))
    kept = cv2.morphologyEx(changed.astype(np.uint8), cv2.MORPH_OPEN, kernel) > 0
    return Changes(np.asarray(kept), told)


def _likeness(
    first: NDArray[np.complex64],
    second: NDArray[np.complex64],
    energies: list[NDArray[np.float32]] | None,
) -> NDArray[np.float32]:
    """(H, W) correlation of two fields of directions in the neighbourhood of each pixel."""
    one, other = energies or [_around(np.abs(field) ** 2) for field in (first, second)]
    both = _around((first * np.conj(second)).real)
    return np.asarray(both / np.sqrt(np.maximum(one * other, 1e-12)), dtype=np.float32)


def _around(values: NDArray[np.floating]) -> NDArray[np.float32]:
    return np.asarray(cv2.GaussianBlur(values.astype(np.float32), (0, 0), _SIGMA))
