"""Pictures of matches, for the trackers."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from imatch.core.types import Features
from imatch.datasets.sample import PairSample
from imatch.geometry.transform import apply_matrix

_RIGHT, _WRONG = (60, 200, 60), (220, 60, 60)


def match_picture(
    pair: PairSample,
    a: Features,
    b: Features,
    matches: tuple[NDArray[np.int64], NDArray[np.int64]],
) -> NDArray[np.uint8]:
    """Both images with lines between matches, green within 3 px of the truth, (H, 2 W, 3)."""
    canvas = np.ascontiguousarray(np.concatenate([as_rgb(pair.a), as_rgb(pair.b)], axis=1))
    i, j = matches
    gap = np.linalg.norm(b.xy[j] - apply_matrix(pair.homography, a.xy[i]), axis=1)
    width = pair.a.shape[2]
    # Wrong ones first, so that they hide no right one.
    for k in np.argsort(-gap):
        start = (round(float(a.xy[i[k], 0])), round(float(a.xy[i[k], 1])))
        end = (round(float(b.xy[j[k], 0])) + width, round(float(b.xy[j[k], 1])))
        cv2.line(canvas, start, end, _RIGHT if gap[k] <= 3 else _WRONG, 1, cv2.LINE_AA)
    return canvas


def as_rgb(pixels: NDArray[np.float32]) -> NDArray[np.uint8]:
    """(C, H, W) in [0, 1] as something to look at, (H, W, 3)."""
    bands = pixels[:3] if len(pixels) >= 3 else np.repeat(pixels[:1], 3, axis=0)
    return np.asarray((255 * np.clip(bands, 0, 1)).transpose(1, 2, 0), dtype=np.uint8)
