"""Robust search: a transform and its inliers among many wrong matches."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaln

from imatch.geometry.fit import minimum_points, residuals, reweighted
from imatch.geometry.transform import ModelKind

_MAX_ITERATIONS = 10_000
_CONFIDENCE = 0.9999


def search(
    kind: ModelKind,
    ref_xy: NDArray[np.float64],
    tgt_xy: NDArray[np.float64],
    threshold: float,
) -> NDArray[np.float64] | None:
    """The transform most matches agree on, refitted to those that do.

    OpenCV's USAC with MAGSAC++ (Barath et al., 2020) searches affine transforms and homographies.
    For the two smaller families OpenCV offers its classic RANSAC; the biweight refit afterwards
    takes the place of MAGSAC's marginalisation. All of them are deterministic.

    Args:
        kind: Transform kind.
        ref_xy: (N, 2) reference points.
        tgt_xy: (N, 2) target points.
        threshold: Largest residual of an inlier, pixels.

    Returns:
        (3, 3) float64, or None where no transform is supported by more points than define it.
    """
    if len(ref_xy) < minimum_points(kind) + 1:
        return None
    # OpenCV reads 32-bit floats: centred points keep their fractions at any image size.
    ref_mean, tgt_mean = ref_xy.mean(axis=0), tgt_xy.mean(axis=0)
    start = _opencv(kind, ref_xy - ref_mean, tgt_xy - tgt_mean, threshold)
    if start is None or not np.isfinite(start).all():
        return None
    to_centre, from_centre = np.eye(3), np.eye(3)
    to_centre[:2, 2], from_centre[:2, 2] = -ref_mean, tgt_mean
    matrix = from_centre @ start @ to_centre
    if abs(matrix[2, 2]) < 1e-9:
        return None
    return reweighted(kind, ref_xy, tgt_xy, matrix / matrix[2, 2], threshold)


def _opencv(
    kind: ModelKind, ref: NDArray[np.float64], tgt: NDArray[np.float64], threshold: float
) -> NDArray[np.float64] | None:
    ref, tgt = np.ascontiguousarray(ref), np.ascontiguousarray(tgt)
    found: Any
    limits: Any = {
        "ransacReprojThreshold": threshold,
        "maxIters": _MAX_ITERATIONS,
        "confidence": _CONFIDENCE,
    }
    try:
        if kind == "translation":
            shift, _ = cv2.estimateTranslation2D(ref, tgt, method=cv2.RANSAC, **limits)
            found = None if shift is None else np.column_stack([np.eye(2), np.ravel(shift)])
        elif kind == "similarity":
            found, _ = cv2.estimateAffinePartial2D(ref, tgt, method=cv2.RANSAC, **limits)
        elif kind == "affine":
            found, _ = cv2.estimateAffine2D(ref, tgt, method=cv2.USAC_MAGSAC, **limits)
        else:
            found, _ = cv2.findHomography(ref, tgt, method=cv2.USAC_MAGSAC, **limits)
    except cv2.error:
        # Collinear or coincident points: OpenCV asserts where it means "none".
        return None
    if found is None:
        return None
    matrix = np.eye(3)
    matrix[: found.shape[0]] = found
    return matrix


def log10_false_alarms(
    kind: ModelKind,
    matrix: NDArray[np.float64],
    ref_xy: NDArray[np.float64],
    tgt_xy: NDArray[np.float64],
    threshold: float,
    area: float,
) -> float:
    """Returns log10 of the expected number of false alarms with as good an agreement.

    The a-contrario test of Moisan & Stival (2004): with n matches thrown at random over the target,
    ``NFA(k) = (n - s) C(n, k) C(k, s) (pi r_k^2 / area)^(k - s)``, r_k the k-th smallest residual
    and s the points that define the transform; the smallest over all k within `threshold` is
    returned. Random matches give about 0 or more; a true registration is far below.

    Args:
        kind: Transform kind, which sets s.
        matrix: (3, 3) transform.
        ref_xy: (N, 2) reference points of all distinct matches.
        tgt_xy: (N, 2) target points.
        threshold: Largest residual considered, pixels.
        area: Valid target area, square pixels.

    Returns:
        log10 of the number of false alarms; 0 when nothing is within the threshold.
    """
    n, sample = len(ref_xy), minimum_points(kind)
    residual = np.sort(residuals(matrix, ref_xy, tgt_xy))
    residual = np.maximum(residual[residual < threshold], 0.5)
    k = np.arange(1, len(residual) + 1)
    usable = k > sample
    if not usable.any():
        return 0.0
    k, residual = k[usable], residual[usable]

    def log_choose(
        top: NDArray[np.float64] | float, bottom: NDArray[np.float64] | float
    ) -> NDArray[np.float64]:
        return np.asarray(gammaln(top + 1.0) - gammaln(bottom + 1.0) - gammaln(top - bottom + 1.0))

    chance = np.minimum(np.log(np.pi * residual**2 / max(area, 1.0)), 0.0)
    log_nfa = (
        np.log(max(n - sample, 1))
        + log_choose(float(n), k.astype(np.float64))
        + log_choose(k.astype(np.float64), float(sample))
        + (k - sample) * chance
    )
    return min(0.0, float(log_nfa.min() / np.log(10)))
