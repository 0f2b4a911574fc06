"""Whether an answer is borne out by the ground, and not only by what lies over it.

Lettering, drawings and legends agree best where they lie on one another; stamps, spots on a sensor,
uneven detectors and whatever else is fixed to the pixels of two images where equal pixels do. All
of it is made of few strong edges; ground that lies there as well agrees everywhere. So an answer is
held against the images without the edges that are strong in both: weaker ones cannot have been
chosen for agreeing.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import TypeAlias

import cv2
import numpy as np
import scipy.fft
from numpy.typing import NDArray

from imatch.core.types import BoolArray, Rendered
from imatch.geometry.acceptance import judge_bound
from imatch.geometry.alignment.fine_alignment import AGREES, AlignedImages, Alignment
from imatch.geometry.alignment.orientation import orientation_field
from imatch.geometry.alignment.refine import fft_in_place
from imatch.geometry.estimate import Estimate
from imatch.geometry.transform import apply_matrix

Fields: TypeAlias = tuple[NDArray[np.complex64], NDArray[np.complex64]]
"""Directions of both images at the same places."""

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
# What bears out any other answer: all that both see without this share, or the middle parts of the
# windows that agree, as wide as this share of a window, without that: clouds leave little else. Of
# 139 right answers to training pairs (26 of them below drawn clouds) it loses one; of 76 wrong ones
# to which lettering, legends and drawings over different ground had led it lets five pass.
_ANYWHERE, _WHERE_AGREED, _MIDDLE = 0.12, 0.24, 0.6

DOUBT = "but only in what lies at the same pixels of both images, as stamps and sensor marks do"
DOUBT_OF_EDGES = "but only in the strongest edges of both images, as lettering and drawings do"


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


def borne_out(images: AlignedImages, alignment: Alignment) -> bool:
    """Tells whether the ground beside the strongest edges of both images agrees, too.

    Args:
        images: The aligned pair.
        alignment: Its windows.
    """
    fields, common = images.fields, images.common
    if _leads(fields, common & ~_strongest(fields, common, _ANYWHERE)):
        return True
    agrees = np.hypot(*alignment.residual.T) < AGREES
    to_these = np.linalg.inv(images.to_ref)
    centres = apply_matrix(to_these, alignment.matches.ref_xy[agrees])
    reach = _MIDDLE * alignment.side * to_these[0, 0] / 2
    seen = np.zeros_like(common)
    for (left, top), (right, bottom) in zip(
        np.rint(np.maximum(centres - reach, 0)).astype(int),
        np.rint(centres + reach).astype(int) + 1,
        strict=True,
    ):
        seen[top:bottom, left:right] = True
    seen &= common
    return _leads(fields, seen & ~_strongest(fields, seen, _WHERE_AGREED))


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
        self._fields: Fields = (
            orientation_field(ref)[self._parts[0]],
            orientation_field(tgt)[self._parts[1]],
        )
        self.strongest = self._strongest(_STRONGEST)

    def borne_out(self) -> bool:
        """Whether the ground beside the strongest edges agrees there, too."""
        rests = (self._seen & ~self._strongest(share) for share in _LEFT_OUT)
        return all(rest.sum() < _FEWEST or _leads(self._fields, rest) for rest in rests)

    def _strongest(self, share: float) -> BoolArray:
        return _strongest(self._fields, self._seen, share)

    def without(self) -> tuple[Rendered, Rendered]:
        """Both images without the edges that are the strongest in both."""
        images = []
        for image, part in zip(self._images, self._parts, strict=True):
            valid = image.valid.copy()
            valid[part] &= ~self.strongest
            images.append(replace(image, valid=valid))
        return images[0], images[1]


def _strongest(fields: Fields, seen: BoolArray, share: float) -> BoolArray:
    """(H, W) pixels whose edges are the strongest in both, and those that they reach."""
    if seen.sum() < _FEWEST:
        return np.zeros_like(seen)
    both = np.minimum(*(np.abs(field) for field in fields))
    strong = (both > np.quantile(both[seen], 1 - share)) & seen
    kernel = np.ones((2 * _REACH + 1, 2 * _REACH + 1), np.uint8)
    return np.asarray(cv2.dilate(strong.astype(np.uint8), kernel) > 0)


def _leads(fields: Fields, seen: BoolArray) -> bool:
    """Whether two fields agree better where they lie than at other shifts."""
    surface = _correlation(fields, seen)
    y, x = np.mgrid[-_SHIFTS : _SHIFTS + 1, -_SHIFTS : _SHIFTS + 1]
    far = np.maximum(np.abs(x), np.abs(y)) > _PEAK
    others = surface[far]
    return bool(surface[~far].max() > others.mean() + _BORNE_OUT * others.std())


def _correlation(fields: Fields, seen: BoolArray) -> NDArray[np.float64]:
    """Mean product of two fields at the shifts that are looked at, none at the middle."""
    down, across = (scipy.fft.next_fast_len(side + 2 * _SHIFTS) for side in seen.shape)
    spectra = np.zeros((2, down, across), np.complex64)
    for spectrum, field in zip(spectra, fields, strict=True):
        spectrum[: seen.shape[0], : seen.shape[1]] = field * seen
    fft_in_place(spectra)
    product = np.conj(spectra[:1]) * spectra[1:]
    fft_in_place(product, inverse=True)
    shape = down, across
    mask = scipy.fft.rfft2(seen.astype(np.float32), shape)
    common = scipy.fft.irfft2(np.conj(mask) * mask, shape)
    y, x = np.mgrid[-_SHIFTS : _SHIFTS + 1, -_SHIFTS : _SHIFTS + 1]
    return np.asarray(product[0].real[y, x] / np.maximum(common[y, x], 1.0))
