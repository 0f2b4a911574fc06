"""Pixel similarity of two images once framing, size, colour and marks are normalised.

Two forms (`imatch.retrieval.duplicates.normalisation`) are aligned by an affine transform that
maximises their correlation (ECC; Evangelidis & Psarakis, PAMI 2008), the colours of one are mapped
to those of the other, and what a mark covers is left out. What then remains of a copy is noise,
that of another date of the same ground whole fields, which smoothing does not take away.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from imatch.core.types import BoolArray
from imatch.retrieval.duplicates.color_mapping import fit_colours, overlay_mask, recolour
from imatch.retrieval.duplicates.normalisation import SIDE, NormalisedImage

#: Names of the figures of a pair, and what they are clipped to.
FIGURES = ("typical", "most")
LIMITS = ((-0.5, 6.0), (-0.5, 6.0))
# Pixels of the form over which noise is averaged for `most`.
_SMOOTH = 1.5
# Two pictures that correlate less than this at best are two pictures; what is explained less than
# this is not aligned any further.
_HOPELESS, _UNEXPLAINED = 0.25, 0.9
# Fewest pixels that are compared, and least share of them that is no mark.
_FEWEST, _CLEAN = 500, 0.3
_ROUNDS = 2
_COUNT_EPS = cv2.TERM_CRITERIA_COUNT | cv2.TERM_CRITERIA_EPS
_ROUGH, _FINE = (_COUNT_EPS, 40, 1e-4), (_COUNT_EPS, 30, 1e-6)

Matrix = NDArray[np.float32]


@dataclass(frozen=True)
class Similarity:
    """How alike two pictures are; fields as `FIGURES`, natural logarithms, 0 for not at all.

    Attributes:
        typical: Of the picture's contrast over the median difference.
        most: Of the contrast over the difference that nine tenths of the pixels keep below, both
            smoothed a little.
    """

    typical: float
    most: float


@dataclass(frozen=True, eq=False)
class _AlignedPair:
    """Two pictures on the same pixels in the same colours.

    Attributes:
        matrix: (2, 3) from the first's pixels to the second's.
        backwards: Whether the first's bands explain the second.
        weights: The map of colours.
        wanted: Luminance of the picture that is explained.
        made: What the other makes of it.
        both: Where both are known.
        error: Robust deviation of their difference.
    """

    matrix: Matrix
    backwards: bool
    weights: NDArray[np.float64]
    wanted: NDArray[np.float32]
    made: NDArray[np.float32]
    both: BoolArray
    error: float

    @property
    def unexplained(self) -> float:
        """The difference as a share of the contrast."""
        return self.error / (float(self.wanted[self.both].std()) + 1e-6)

    @property
    def clean(self) -> BoolArray:
        """The pixels that both show, without overlays."""
        return self.both & ~overlay_mask(self.wanted, self.made, self.error, self.both)


def compare(a: NormalisedImage, b: NormalisedImage) -> Similarity:
    """Compares two normalised images and returns the figures of their similarity."""
    tried = [_align_pair(a, b, matrix) for matrix in _alignments(a, b)]
    seen = [view for view in tried if view is not None]
    if not seen:
        return Similarity(0.0, 0.0)
    seen += _refined(a, b, seen[-1])
    return _figures(min(seen, key=lambda view: view.unexplained))


def _align_pair(a: NormalisedImage, b: NormalisedImage, matrix: Matrix) -> _AlignedPair | None:
    """Warps the second onto the first, and maps the richer colours to the poorer."""
    bands, grey, valid = _warped(b, matrix)
    both = a.valid & valid
    if both[::2, ::2].sum() < _FEWEST:
        return None
    found = []
    for backwards, source, wanted in ((False, bands, a.grey), (True, a.bands, grey)):
        weights, error = fit_colours(source, wanted, both)
        made = recolour(source, weights)
        found.append(_AlignedPair(matrix, backwards, weights, wanted, made, both, error))
    return min(found, key=lambda view: view.unexplained)


def _alignments(a: NormalisedImage, b: NormalisedImage) -> list[Matrix]:
    """(2, 3) maps from the first's pixels to the second's: none at all, and by correlation."""
    none = np.eye(2, 3, dtype=np.float32)
    # What is far off is found on half the pixels, and two other pictures are soon known as such.
    half = [
        cv2.resize(form.grey, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA) for form in (a, b)
    ]
    mask = b.valid.astype(np.uint8)
    try:
        alike, found = cv2.findTransformECC(
            half[0], half[1], none.copy(), cv2.MOTION_AFFINE, _ROUGH, mask[::2, ::2].copy(), 5
        )
        if alike < _HOPELESS:
            return [none]
        # The centre of the first pixel is (0, 0) in either size.
        found[:, 2] = 2 * found[:, 2] + 0.5 - 0.5 * found[:, :2].sum(axis=1)
        _, found = cv2.findTransformECC(a.grey, b.grey, found, cv2.MOTION_AFFINE, _ROUGH, mask, 5)
    except cv2.error:
        return [none]  # It does not converge: nothing correlates.
    return [none, np.asarray(found, dtype=np.float32)] if _plausible(found) else [none]


def _refined(a: NormalisedImage, b: NormalisedImage, seen: _AlignedPair) -> list[_AlignedPair]:
    """Aligned once more, with colours mapped and without what is marked: a mark pulls."""
    for _ in range(_ROUNDS):
        clean = seen.clean
        if seen.unexplained > _UNEXPLAINED or clean.sum() < _CLEAN * seen.both.sum():
            return []
        template = recolour(a.bands, seen.weights) if seen.backwards else a.grey
        moving = b.grey if seen.backwards else recolour(b.bands, seen.weights)
        mask = cv2.warpAffine(
            clean.astype(np.uint8), seen.matrix, (SIDE, SIDE), flags=cv2.INTER_NEAREST
        )
        try:
            _, found = cv2.findTransformECC(
                template, moving, seen.matrix.copy(), cv2.MOTION_AFFINE, _FINE, mask, 3
            )
        except cv2.error:
            return []
        view = _align_pair(a, b, np.asarray(found, dtype=np.float32)) if _plausible(found) else None
        if view is None:
            return []
        seen = view
    return [seen]


def _plausible(matrix: ArrayLike) -> bool:
    scale = np.linalg.svd(np.asarray(matrix)[:, :2], compute_uv=False)
    return bool(scale.min() > 0.6 and scale.max() < 1.7)


def _warped(
    form: NormalisedImage, matrix: Matrix
) -> tuple[NDArray[np.float32], NDArray[np.float32], BoolArray]:
    """Bands, luminance and ground of a form on another's pixels."""
    linear, nearest = (how | cv2.WARP_INVERSE_MAP for how in (cv2.INTER_LINEAR, cv2.INTER_NEAREST))
    planes = [
        cv2.warpAffine(plane, matrix, (SIDE, SIDE), flags=linear)
        for plane in (*form.bands, form.grey)
    ]
    inside = cv2.warpAffine(form.valid.astype(np.uint8), matrix, (SIDE, SIDE), flags=nearest)
    stack = np.stack(planes).astype(np.float32)
    return stack[:3], stack[3], np.asarray(inside > 0)


def _figures(seen: _AlignedPair) -> Similarity:
    """Returns the similarity figures of an aligned pair."""
    clean = seen.clean
    if clean.sum() < _FEWEST:
        clean = seen.both
    rough = seen.wanted[clean], seen.made[clean]
    fine = [_smooth(plane, clean)[clean] for plane in (seen.wanted, seen.made)]
    return Similarity(
        _log(rough[0].std(), np.median(np.abs(rough[0] - rough[1]))),
        _log(fine[0].std(), np.quantile(np.abs(fine[0] - fine[1]), 0.9)),
    )


def _log(contrast: np.floating[Any], difference: np.floating[Any]) -> float:
    # What a thousandth of the whole range moves cannot be told from rounding.
    return float(np.log((contrast + 1e-3) / (difference + 1e-3)))


def _smooth(plane: NDArray[np.float32], valid: BoolArray) -> NDArray[np.float32]:
    """Returns Gaussian means over valid pixels."""
    known = valid.astype(np.float32)
    share = np.maximum(cv2.GaussianBlur(known, (0, 0), _SMOOTH), 1e-3)
    return np.asarray(cv2.GaussianBlur(plane * known, (0, 0), _SMOOTH) / share, dtype=np.float32)
