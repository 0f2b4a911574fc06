"""What is measured on validation pairs: repeatability, accuracy of matches, registration error."""

from __future__ import annotations

import math
from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from imatch.benchmark.detectors import CORRECT_PX, repeatability, shared_keypoints
from imatch.benchmark.metrics import auc, corner_error
from imatch.core.types import Features, Matches
from imatch.datasets.sample import PairSample
from imatch.geometry.estimate import EstimateOptions, estimate
from imatch.geometry.transform import apply_matrix
from imatch.matchers.sparse.base import Pairing

_RIGHT, _WRONG = (60, 200, 60), (220, 60, 60)


def match_keypoints(a: Features, b: Features, pairing: Pairing) -> Matches:
    """Matches the keypoints of two images by their descriptors."""
    i, j, scores = pairing.pair(a, b)
    return Matches(a.xy[i].astype(np.float64), b.xy[j].astype(np.float64), scores)


def keypoint_figures(pair: PairSample, a: Features, b: Features) -> dict[str, float]:
    """Counts keypoints, and measures how many of them are found again.

    Args:
        pair: The pair.
        a: Keypoints of `a`.
        b: Keypoints of `b`.
    """
    back = np.asarray(np.linalg.inv(pair.homography), dtype=np.float64)
    ref = shared_keypoints(a.xy, pair.homography, pair.valid_b)
    tgt = shared_keypoints(b.xy, back, pair.valid_a)
    return {
        "keypoints": (len(a) + len(b)) / 2,
        "repeatability": repeatability(ref, tgt, CORRECT_PX),
    }


def match_figures(
    pair: PairSample,
    matches: Matches,
    *,
    mma_px: Sequence[int] = (1, 3),
    auc_px: Sequence[int] = (1, 3),
) -> dict[str, float]:
    """Measures how true matches are, and the transform that follows from them.

    Args:
        pair: The pair, of views that differ by a similarity.
        matches: Its matches.
        mma_px: Distances within which matches count as right, pixels.
        auc_px: Limits of the area under the curve of the corner error, pixels.

    Returns:
        ``matches``, ``mma_1`` and so on (share of matches within so many pixels; 0 of none),
        ``auc_1`` and so on, and ``within_3``.
    """
    distance = _errors(matches, pair.homography)
    error = registration_error(pair, matches)
    shares = {
        f"mma_{px}": float((distance <= px).mean()) if len(distance) else 0.0 for px in mma_px
    }
    areas = {f"auc_{px}": auc([error], float(px)) for px in auc_px}
    return {"matches": float(len(matches)), **shares, **areas, "within_3": float(error <= 3)}


def registration_error(pair: PairSample, matches: Matches) -> float:
    """Returns the mean error of the corners by the similarity that matches agree on.

    It is infinite without one.

    Args:
        pair: The pair.
        matches: Its matches.
    """
    found = estimate(
        matches, pair.valid_a, pair.valid_b, EstimateOptions(model="similarity")
    ).transform
    if found is None:
        return math.inf
    height, width = pair.valid_a.shape
    return corner_error(found.matrix, pair.homography, (width, height))


def _errors(matches: Matches, homography: NDArray[np.float64]) -> NDArray[np.float64]:
    gap = matches.tgt_xy - apply_matrix(homography, matches.ref_xy)
    return np.asarray(np.hypot(gap[:, 0], gap[:, 1]))


def draw_matches_on(pair: PairSample, matches: Matches) -> NDArray[np.uint8]:
    """Draws both images with lines between matches, green within 3 px of the truth, (H, 2 W, 3)."""
    canvas = np.ascontiguousarray(np.concatenate([as_rgb(pair.a), as_rgb(pair.b)], axis=1))
    gap = _errors(matches, pair.homography)
    width = pair.a.shape[2]
    # Wrong ones first, so that they hide no right one.
    for k in np.argsort(-gap):
        start = (round(float(matches.ref_xy[k, 0])), round(float(matches.ref_xy[k, 1])))
        end = (round(float(matches.tgt_xy[k, 0])) + width, round(float(matches.tgt_xy[k, 1])))
        cv2.line(canvas, start, end, _RIGHT if gap[k] <= 3 else _WRONG, 1, cv2.LINE_AA)
    return canvas


def as_rgb(pixels: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Converts (C, H, W) in [0, 1] to a picture, (H, W, 3)."""
    bands = pixels[:3] if len(pixels) >= 3 else np.repeat(pixels[:1], 3, axis=0)
    return np.asarray((255 * np.clip(bands, 0, 1)).transpose(1, 2, 0), dtype=np.uint8)
