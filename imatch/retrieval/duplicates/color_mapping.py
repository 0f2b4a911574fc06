"""Maps the colours of one image to those of another, robust to overlays.

One map for the whole picture, a polynomial of third degree in three bands, follows white balance,
saturation, gamma and exchanged bands; what a mark covers, or what changed, does not count.
"""

from __future__ import annotations

from itertools import combinations_with_replacement

import cv2
import numpy as np
from numpy.typing import NDArray

from imatch.core.types import BoolArray

# Every second pixel along each axis is plenty for twenty weights.
_STEP = 2
_ROUNDS = 5
# Residuals of so many robust deviations count half (Cauchy's weights).
_HALF = 2.0
# Luminance is cut at 0 and 1: what reaches them may be anything beyond, unless it is most.
_CUT, _ENOUGH = 0.01, 0.2
_RIDGE = 1e-7
_LEAST = 1e-4


def fit_colours(
    bands: NDArray[np.float32], grey: NDArray[np.float32], valid: BoolArray
) -> tuple[NDArray[np.float64], float]:
    """The map from three bands to a luminance.

    Args:
        bands: (3, H, W).
        grey: (H, W), cut to [0, 1].
        valid: (H, W) where both are known; somewhere.

    Returns:
        Twenty weights for `recolour`, and the robust deviation of what they do not explain.
    """
    part = np.s_[::_STEP, ::_STEP]
    known = valid[part]
    inside = known & (np.abs(grey[part] - 0.5) < 0.5 - _CUT)
    if inside.sum() > _ENOUGH * known.sum():
        known = inside
    columns = _terms(np.stack([band[part][known] for band in bands])).astype(np.float64)
    wanted = grey[part][known].astype(np.float64)
    counts = np.ones(len(wanted))
    ridge = _RIDGE * len(wanted) * np.eye(len(columns))
    weights = np.zeros(len(columns))
    for _ in range(_ROUNDS):
        weighed = columns * counts
        weights[:] = np.linalg.solve(weighed @ columns.T + ridge, weighed @ wanted)
        rest = np.abs(wanted - weights @ columns)
        error = 1.4826 * float(np.median(rest)) + _LEAST
        counts = 1 / (1 + (rest / (_HALF * error)) ** 2)
    return weights, error


def recolour(bands: NDArray[np.float32], weights: NDArray[np.float64]) -> NDArray[np.float32]:
    """(H, W) luminance in [0, 1] that a map makes of (3, H, W) bands."""
    made = np.tensordot(weights.astype(np.float32), _terms(bands), axes=1)
    return np.asarray(np.clip(made, 0, 1), dtype=np.float32)


def _terms(bands: NDArray[np.float32]) -> NDArray[np.float32]:
    """All products of up to three bands."""
    one = np.ones_like(bands[0])
    chosen = combinations_with_replacement((one, *bands), 3)
    return np.stack([x * y * z for x, y, z in chosen])


def overlay_mask(
    first: NDArray[np.float32], second: NDArray[np.float32], error: float, valid: BoolArray
) -> BoolArray:
    """(H, W) where two pictures differ by far more than they do elsewhere, and right beside it."""
    far = ((np.abs(first - second) > 4 * error) & valid).astype(np.uint8)
    return np.asarray(cv2.dilate(far, np.ones((3, 3), np.uint8)) > 0)
