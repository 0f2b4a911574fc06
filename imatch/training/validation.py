"""What matters of keypoints on pairs with truth: found again, matched, enough to register."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from imatch.bench.detectors import CORRECT_PX, repeatability, shared_keypoints
from imatch.bench.metrics import auc, corner_error
from imatch.core.types import Features, Matches
from imatch.datasets.sample import PairSample
from imatch.geometry.estimate import EstimateOptions, estimate
from imatch.geometry.transform import apply_matrix
from imatch.matchers.sparse.base import Pairing


def keypoint_figures(pair: PairSample, a: Features, b: Features) -> dict[str, float]:
    """How many keypoints there are, and how many of them are found again.

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


def match_figures(pair: PairSample, a: Features, b: Features, pairing: Pairing) -> dict[str, float]:
    """How true the matches are, and how true the transform that follows from them.

    Args:
        pair: The pair, of views that differ by a similarity.
        a: Keypoints of `a`.
        b: Keypoints of `b`.
        pairing: Pairs them.

    Returns:
        ``matches``, ``mma_1``, ``mma_3`` (share of matches within so many pixels; 0 of none),
        ``auc_1``, ``auc_3`` (of the corner error) and ``within_3``.
    """
    i, j, scores = pairing.pair(a, b)
    matches = Matches(a.xy[i].astype(np.float64), b.xy[j].astype(np.float64), scores)
    distance = _errors(matches, pair.homography)
    error = registration_error(pair, matches)
    return {
        "matches": float(len(matches)),
        "mma_1": float((distance <= 1).mean()) if len(distance) else 0.0,
        "mma_3": float((distance <= 3).mean()) if len(distance) else 0.0,
        "auc_1": auc([error], 1.0),
        "auc_3": auc([error], 3.0),
        "within_3": float(error <= 3),
    }


def registration_error(pair: PairSample, matches: Matches) -> float:
    """Mean error of the corners by the similarity that matches agree on; infinite without one.

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
