"""Metrics of a benchmark, as functions of errors.

An error is the mean distance of the reference's four corners; a refusal is an infinite error.
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import NormalDist

import numpy as np
from numpy.typing import ArrayLike, NDArray

from imatch.geometry.transform import apply_matrix

WITHIN_PX = (1.0, 3.0, 5.0, 10.0)
AUC_PX = (1.0, 3.0, 5.0, 10.0)
#: An accepted answer this far off is worse than none.
FALSE_ACCEPT_PX = 10.0
STATED = 0.95
LEVELS = (0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99)


def corners(size: tuple[int, int]) -> NDArray[np.float64]:
    """Returns the (4, 2) centres of the corner pixels of an image of (width, height)."""
    right, bottom = size[0] - 1, size[1] - 1
    return np.array([(0, 0), (right, 0), (right, bottom), (0, bottom)], dtype=np.float64)


def corner_error(
    estimate: NDArray[np.float64], truth: NDArray[np.float64], size: tuple[int, int]
) -> float:
    """Returns the mean distance of the reference's corners mapped by estimate and truth.

    Args:
        estimate: (3, 3) reference pixel to target pixel.
        truth: (3, 3) the same, true.
        size: (width, height) of the reference.

    Returns:
        Target pixels; infinite where the estimate sends a corner to infinity.

    Examples:
        >>> shift = np.array([[1.0, 0, 3], [0, 1, 4], [0, 0, 1]])
        >>> corner_error(shift, np.eye(3), (100, 80))
        5.0
    """
    points = corners(size)
    with np.errstate(divide="ignore", invalid="ignore"):
        gap = apply_matrix(estimate, points) - apply_matrix(truth, points)
    error = float(np.hypot(gap[:, 0], gap[:, 1]).mean())
    return error if np.isfinite(error) else float("inf")


def recall(errors: ArrayLike, threshold: ArrayLike) -> float:
    """Returns the share of errors of at most `threshold`, one for all or one each; NaN of none.

    Examples:
        >>> recall([0.5, 1.0, 2.0, float("inf")], 1.0)
        0.5
    """
    values = np.asarray(errors, dtype=np.float64)
    return float((values <= np.asarray(threshold)).mean()) if values.size else float("nan")


def auc(errors: ArrayLike, threshold: float) -> float:
    """Returns the area under the recall curve from 0 to `threshold`, as a share of it; NaN of none.

    The curve is a staircase, so the area is exact: each error e adds (threshold − e) of it. (Pose
    estimation's customary AUC joins the steps by slopes, which differs by less than a step.)

    Examples:
        >>> auc([0.0, 1.0, float("inf"), 0.5], 1.0)
        0.375
    """
    values = np.asarray(errors, dtype=np.float64)
    if not values.size:
        return float("nan")
    return float(np.clip(1 - values / threshold, 0, 1).mean())


def recall_curve(errors: ArrayLike, thresholds: NDArray[np.float64]) -> NDArray[np.float64]:
    """Returns the (N,) share of errors within each of (N,) thresholds."""
    values = np.sort(np.asarray(errors, dtype=np.float64))
    count = np.searchsorted(values, thresholds, side="right")
    return np.asarray(count / max(len(values), 1), dtype=np.float64)


def observed_coverage(
    errors: ArrayLike, half_widths: ArrayLike, levels: Sequence[float] = LEVELS
) -> list[float]:
    """Returns how often intervals of several levels, rescaled from 95 %, contain the truth.

    The others follow from the stated one as those of a normal distribution would.

    Args:
        errors: (N,) estimate less truth.
        half_widths: (N,) half-width of the stated 95 % interval.
        levels: Confidence levels in (0, 1).

    Returns:
        The observed share at each level; NaN where nothing was stated.
    """
    gap = np.abs(np.asarray(errors, dtype=np.float64))
    half = np.asarray(half_widths, dtype=np.float64)
    if not gap.size:
        return [float("nan")] * len(levels)
    unit = _quantile(STATED)
    # Products rather than ratios: an interval of no width contains an exact answer.
    return [float((gap * unit <= half * _quantile(level)).mean()) for level in levels]


def _quantile(level: float) -> float:
    """Returns the half-width of a standard normal's central interval."""
    return NormalDist().inv_cdf((1 + level) / 2)
