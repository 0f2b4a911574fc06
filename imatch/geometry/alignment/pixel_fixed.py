"""Whether an answer that lies pixel upon pixel is borne out by the ground.

Stamps, spots on a sensor, uneven detectors and whatever else is fixed to the pixels of two images
agrees best where equal pixels lie on one another. It is made of few strong edges; ground that lies
there as well agrees everywhere. So an answer at equal pixels is held against the images without
the edges that are strong in both: weaker ones cannot have been chosen for agreeing.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import cv2
import numpy as np
import scipy.fft
from numpy.typing import NDArray

from imatch.core.types import BoolArray, Rendered
from imatch.geometry.acceptance import judge_bound
from imatch.geometry.alignment.orientation import orientation_field
from imatch.geometry.estimate import Estimate
from imatch.geometry.transform import apply_matrix

# An answer lies pixel upon pixel when it does so to within so many pixels.
_UPON = 2.0
# Share of the pixels whose edges are the strongest in both, and how far their traces reach. What
# bears an answer out does so without twice as many, too: large stamps and soft spots have more.
_STRONGEST, _REACH = 0.08, 2
_LEFT_OUT = (_STRONGEST, 2 * _STRONGEST)
# Shifts looked at, those that belong to the peak at none, and how many standard deviations of the
# others it has to exceed them by. Of training pairs that truly lie there all reach 4, of those with
# stamps, spots and uneven detectors hardly one 2 once the larger share is left out.
_SHIFTS, _PEAK, _BORNE_OUT = 16, 3, 3.0
# Pixels that are needed to tell.
_FEWEST = 1024

DOUBT = "but only in what lies at the same pixels of both images, as stamps and sensor marks do"


def pixel_upon_pixel(found: Estimate, offset: NDArray[np.float64]) -> bool:
    """Tells whether an estimate puts equal pixels upon one another.

    Args:
        found: The estimate.
        offset: (2,) from a reference pixel to the target pixel of the same number in its file.
    """
    if found.transform is None:
        return False
    ref_xy = found.matches.ref_xy[found.inlier]
    if not len(ref_xy):
        return False
    gap = apply_matrix(found.transform.matrix, ref_xy) - ref_xy - offset
    return bool(np.median(np.hypot(*gap.T)) < _UPON)


def block_bound(found: Estimate, grids: Sequence[tuple[float, float] | None]) -> Estimate:
    """An estimate no finer along an axis than blocks that lie on one another in it.

    Strong compression leaves edges between blocks and steady grey within. Where blocks of both
    images come to lie on one another they correlate, whatever the ground does.

    Args:
        found: As the images show it.
        grids: Along x and y: the period of blocks of both images and the shift at which they lie
            on one another, working pixels; None where there are none.
    """
    if found.transform is None or not found.inlier.any():
        return found
    xy = found.matches.ref_xy[found.inlier]
    moved = apply_matrix(found.transform.matrix, xy) - xy
    half = np.zeros(2)
    for axis, grid in enumerate(grids):
        if grid is not None:
            period, offset = grid
            off = (moved[:, axis] - offset + period / 2) % period - period / 2
            if np.median(np.abs(off)) < _UPON:
                half[axis] = 0.475 * period
    if not half.any():
        return found
    x, y = np.hypot(found.ci95, half)
    corner = math.hypot(found.corner_ci95, *half)
    found = replace(found, ci95=(float(x), float(y)), corner_ci95=corner)
    side = max(grid[0] for grid in grids if grid is not None)
    status, reason = judge_bound(
        found, f"blocks of {side:.0f} px that compression left in both images lie on one another"
    )
    return replace(found, status=status, reason=reason)


class SamePixels:
    """The edges of two images at the same pixels.

    Args:
        ref: Reference.
        tgt: Target.
        offset: (2,) from a reference pixel to the target pixel of the same number in its file.
    """

    def __init__(self, ref: Rendered, tgt: Rendered, offset: NDArray[np.float64]) -> None:
        self._images = ref, tgt
        x, y = np.rint(offset).astype(int)
        parts = [(max(0, -x), max(0, -y)), (max(0, x), max(0, y))]
        width = min(ref.size[0] - parts[0][0], tgt.size[0] - parts[1][0])
        height = min(ref.size[1] - parts[0][1], tgt.size[1] - parts[1][1])
        self._parts = [
            np.s_[top : top + max(height, 0), left : left + max(width, 0)] for left, top in parts
        ]
        self._seen = ref.valid[self._parts[0]] & tgt.valid[self._parts[1]]
        self._fields = [
            orientation_field(image)[part]
            for image, part in zip(self._images, self._parts, strict=True)
        ]
        self.strongest = self._strongest(_STRONGEST)

    def _strongest(self, share: float) -> BoolArray:
        """(H, W) pixels whose edges are the strongest in both, and those that they reach."""
        if self._seen.sum() < _FEWEST:
            return np.zeros_like(self._seen)
        both = np.minimum(*(np.abs(field) for field in self._fields))
        strong = (both > np.quantile(both[self._seen], 1 - share)) & self._seen
        kernel = np.ones((2 * _REACH + 1, 2 * _REACH + 1), np.uint8)
        return np.asarray(cv2.dilate(strong.astype(np.uint8), kernel) > 0)

    def borne_out(self) -> bool:
        """Whether the ground beside the strongest edges agrees there, too."""
        return all(self._agrees_without(self._strongest(share)) for share in _LEFT_OUT)

    def _agrees_without(self, strongest: BoolArray) -> bool:
        rest = self._seen & ~strongest
        if rest.sum() < _FEWEST:
            return True
        surface = _correlation(self._fields[0], self._fields[1], rest)
        y, x = np.mgrid[-_SHIFTS : _SHIFTS + 1, -_SHIFTS : _SHIFTS + 1]
        far = np.maximum(np.abs(x), np.abs(y)) > _PEAK
        peak = float(surface[~far].max())
        usual = float(surface[far].mean()), float(surface[far].std())
        return peak > usual[0] + _BORNE_OUT * usual[1]

    def without(self) -> tuple[Rendered, Rendered]:
        """Both images without the edges that are the strongest in both."""
        images = []
        for image, part in zip(self._images, self._parts, strict=True):
            valid = image.valid.copy()
            valid[part] &= ~self.strongest
            images.append(replace(image, valid=valid))
        return images[0], images[1]


def _correlation(
    first: NDArray[np.complex64], second: NDArray[np.complex64], seen: BoolArray
) -> NDArray[np.float64]:
    """Mean product of two fields at the shifts that are looked at, none at the middle."""
    shape = tuple(scipy.fft.next_fast_len(side + 2 * _SHIFTS) for side in seen.shape)
    one, other = (scipy.fft.fft2(field * seen, shape) for field in (first, second))
    product = scipy.fft.ifft2(np.conj(one) * other).real
    mask = scipy.fft.rfft2(seen.astype(np.float32), shape)
    common = scipy.fft.irfft2(np.conj(mask) * mask, shape)
    y, x = np.mgrid[-_SHIFTS : _SHIFTS + 1, -_SHIFTS : _SHIFTS + 1]
    return np.asarray(product[y, x] / np.maximum(common[y, x], 1.0))
