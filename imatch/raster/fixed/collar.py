"""Finds ground that single bands miss beyond the edge of their swath, and that nothing declares."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from imatch.core.types import BoolArray

# Least share of the image, and side of the square that fits into a collar everywhere, pixels.
_SHARE, _SOLID = 0.01, 5
# The values beside a collar are those of the ground at large: their median lies above this
# percentile. Water and shadow that are clipped to zero lie among dark ground.
_BESIDE = 15.0
# They do not fade away towards the collar either: beside it is so much of what lies further off, in
# pixels from it.
_JUMP, _AWAY = 0.6, 10
# What lies between a collar and the values beside it, pixels: resampling mixes them.
_MIXED = 3


def band_collars(pixels: NDArray[np.float32], valid: BoolArray) -> BoolArray:
    """Finds zeros from the edge inwards, band by band, and returns where a band has them.

    Args:
        pixels: (C, H, W) of unsigned integers, as they were read.
        valid: (H, W) pixels that count.

    Returns:
        (H, W), True in a collar and on the pixels beside it, which resampling mixes with it.
    """
    found = np.zeros_like(valid)
    for band in pixels:
        zero = (band == 0) & valid
        if zero.mean() > _SHARE:
            found |= _collar(band, zero, valid)
    return found & valid


def _collar(band: NDArray[np.float32], zero: BoolArray, valid: BoolArray) -> BoolArray:
    square = np.ones((_SOLID, _SOLID), np.uint8)
    # Ground that is missing already is edge as well.
    empty = np.pad((zero | ~valid).astype(np.uint8), _SOLID, constant_values=1)
    _, label = cv2.connectedComponents(cv2.morphologyEx(empty, cv2.MORPH_OPEN, square))
    edge = (label == label[0, 0])[_SOLID:-_SOLID, _SOLID:-_SOLID]
    # The opening rounds corners off, which are zero all the same.
    collar = zero & (cv2.dilate(edge.astype(np.uint8), square) > 0)
    if collar.mean() <= _SHARE:
        return np.zeros_like(zero)
    near, beside, off, away = (
        cv2.dilate(collar.astype(np.uint8), np.ones((2 * r + 1, 2 * r + 1), np.uint8)) > 0
        for r in (_MIXED - 1, _MIXED + 1, _AWAY - 2, _AWAY)
    )
    rims = [band[outer & ~inner & valid] for outer, inner in ((beside, near), (away, off))]
    ground = band[valid & ~collar]
    if min(map(len, rims)) == 0:
        return np.zeros_like(zero)
    close, further = (float(np.median(rim)) for rim in rims)
    if close <= np.percentile(ground, _BESIDE) or close < _JUMP * further:
        return np.zeros_like(zero)
    return np.asarray(near)
