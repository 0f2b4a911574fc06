"""Least squares for every transform kind, through one Jacobian.

All kinds are written as ``H = H0 + dH(theta)``; translation, similarity and affine are linear in
theta, so one Gauss-Newton step solves them, and a homography takes a few. One formulation gives the
fit, its robust reweighting (Holland & Welsch, 1977) and its bootstrap.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from imatch.geometry.transform import ModelKind, apply_matrix

# Reweighting ends when no point moves further, pixels: a hundredth of what windows are off by.
_SETTLED = 1e-3

PARAMETERS: dict[ModelKind, int] = {
    "translation": 2,
    "similarity": 4,
    "affine": 6,
    "homography": 8,
}


def minimum_points(kind: ModelKind) -> int:
    """How many point pairs determine a transform of this kind."""
    return PARAMETERS[kind] // 2 if kind != "translation" else 1


def normalisation(xy: NDArray[np.float64]) -> NDArray[np.float64]:
    """(3, 3) shift and scale that brings points to zero mean and unit spread (Hartley, 1997)."""
    centre = xy.mean(axis=0)
    spread = float(np.sqrt(((xy - centre) ** 2).sum(axis=1).mean())) or 1.0
    return np.array(
        [[1 / spread, 0, -centre[0] / spread], [0, 1 / spread, -centre[1] / spread], [0, 0, 1]]
    )


def jacobian(
    kind: ModelKind, matrix: NDArray[np.float64], xy: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Derivative of the mapped point by the parameters of `kind` at `matrix`.

    Args:
        kind: Transform kind; p is its number of parameters.
        matrix: (3, 3) current transform.
        xy: (N, 2) points to be mapped.

    Returns:
        (N, 2, p) float64.
    """
    x, y = xy[:, 0], xy[:, 1]
    one, zero = np.ones_like(x), np.zeros_like(x)
    if kind == "translation":
        rows = [[one, zero], [zero, one]]
    elif kind == "similarity":
        rows = [[x, -y, one, zero], [y, x, zero, one]]
    elif kind == "affine":
        rows = [[x, y, one, zero, zero, zero], [zero, zero, zero, x, y, one]]
    else:
        u, v = apply_matrix(matrix, xy).T
        w = matrix[2, 0] * x + matrix[2, 1] * y + matrix[2, 2]
        x, y, one = x / w, y / w, one / w
        rows = [
            [x, y, one, zero, zero, zero, -u * x, -u * y],
            [zero, zero, zero, x, y, one, -v * x, -v * y],
        ]
    return np.ascontiguousarray(np.moveaxis(np.array(rows), 2, 0))


def step(kind: ModelKind, theta: NDArray[np.float64]) -> NDArray[np.float64]:
    """(3, 3) change of the matrix for a change theta (p,) of the parameters."""
    change = np.zeros((3, 3))
    if kind == "translation":
        change[:2, 2] = theta
    elif kind == "similarity":
        a, b, tx, ty = theta
        change[:2] = [[a, -b, tx], [b, a, ty]]
    else:
        change.flat[: len(theta)] = theta
    return change


def least_squares(
    kind: ModelKind,
    ref_xy: NDArray[np.float64],
    tgt_xy: NDArray[np.float64],
    weights: NDArray[np.float64] | None = None,
    start: NDArray[np.float64] | None = None,
) -> NDArray[np.float64]:
    """Weighted least-squares transform from reference to target points.

    Args:
        kind: Transform kind.
        ref_xy: (N, 2) reference points.
        tgt_xy: (N, 2) target points.
        weights: (N,) non-negative, or None for equal ones.
        start: (3, 3) transform to begin from; needed only for a homography far from affine.

    Returns:
        (3, 3) float64.

    Raises:
        numpy.linalg.LinAlgError: The points do not determine the transform.
    """
    weights = np.ones(len(ref_xy)) if weights is None else weights
    if kind == "homography":
        return _homography(ref_xy, tgt_xy, weights, start)
    return _Linear(kind, ref_xy, tgt_xy).fitted(weights)


class _Linear:
    """Tie points of a transform kind that is linear in its parameters, to be fitted by weights."""

    def __init__(
        self, kind: ModelKind, ref_xy: NDArray[np.float64], tgt_xy: NDArray[np.float64]
    ) -> None:
        self._kind: ModelKind = kind
        # A pure shift is not a shift any more once the points are scaled.
        self._scale = np.eye(3) if kind == "translation" else normalisation(ref_xy)
        self._begin = np.eye(3) if kind == "translation" else np.diag([0.0, 0.0, 1.0])
        points = apply_matrix(self._scale, ref_xy)
        self._jacobian = jacobian(kind, self._begin, points)
        self._left = tgt_xy - apply_matrix(self._begin, points)

    def fitted(self, weights: NDArray[np.float64]) -> NDArray[np.float64]:
        """(3, 3) the transform that fits best by (N,) weights."""
        theta = _solve(self._jacobian, self._left, weights)
        return _unscaled(self._begin + step(self._kind, theta), self._scale)


def _homography(
    ref_xy: NDArray[np.float64],
    tgt_xy: NDArray[np.float64],
    weights: NDArray[np.float64],
    start: NDArray[np.float64] | None,
) -> NDArray[np.float64]:
    scale = normalisation(ref_xy)
    points = apply_matrix(scale, ref_xy)
    begin = least_squares("affine", ref_xy, tgt_xy, weights) if start is None else start
    current = begin @ np.linalg.inv(scale)
    current = current / current[2, 2]
    for _ in range(6):
        left = tgt_xy - apply_matrix(current, points)
        theta = _solve(jacobian("homography", current, points), left, weights)
        current = current + step("homography", theta)
        if np.abs(theta).max() < 1e-10 * max(1.0, float(np.abs(current).max())):
            break
    return _unscaled(current, scale)


def _unscaled(matrix: NDArray[np.float64], scale: NDArray[np.float64]) -> NDArray[np.float64]:
    fitted = matrix @ scale
    if not np.isfinite(fitted).all() or abs(fitted[2, 2]) < 1e-12:
        raise np.linalg.LinAlgError("degenerate points")
    return np.asarray(fitted / fitted[2, 2])


def reweighted(
    kind: ModelKind,
    ref_xy: NDArray[np.float64],
    tgt_xy: NDArray[np.float64],
    start: NDArray[np.float64],
    threshold: float,
    iterations: int = 10,
) -> NDArray[np.float64]:
    """Robust refit by iteratively reweighted least squares with Tukey's biweight.

    The biweight falls to zero at a multiple of the residuals' own spread (between a quarter of
    `threshold` and `threshold`), so points just under a fixed threshold neither count fully nor
    flip in and out.

    Args:
        kind: Transform kind.
        ref_xy: (N, 2) reference points, outliers included.
        tgt_xy: (N, 2) target points.
        start: (3, 3) transform from the robust search.
        threshold: Largest residual of an inlier, pixels.
        iterations: At most this many reweightings.

    Returns:
        (3, 3) float64; `start` when too few points support it.
    """
    current = start
    linear = None if kind == "homography" else _Linear(kind, ref_xy, tgt_xy)
    for _ in range(iterations):
        residual = residuals(current, ref_xy, tgt_xy)
        near = residual < threshold
        if near.sum() < minimum_points(kind) + 1:
            return current
        # The Rayleigh-distributed length of a 2-D error has median 1.1774 sigma.
        sigma = _median(residual[near]) / 1.1774
        cut = float(np.clip(4.685 * sigma, threshold / 4, threshold))
        weights = np.where(residual < cut, (1 - (residual / cut) ** 2) ** 2, 0.0)
        try:
            if linear is None:
                refined = _homography(ref_xy, tgt_xy, weights, current)
            else:
                refined = linear.fitted(weights)
        except np.linalg.LinAlgError:
            return current
        moved = np.abs(apply_matrix(refined, ref_xy[near]) - apply_matrix(current, ref_xy[near]))
        current = refined
        if moved.max() < _SETTLED:
            break
    return current


def _median(values: NDArray[np.float64]) -> float:
    """As `numpy.median`, which takes five times as long for so few values."""
    middle = len(values) // 2
    lower, upper = middle - 1 + len(values) % 2, middle
    part = np.partition(values, (lower, upper))
    return float(part[lower] + part[upper]) / 2


def residuals(
    matrix: NDArray[np.float64], ref_xy: NDArray[np.float64], tgt_xy: NDArray[np.float64]
) -> NDArray[np.float64]:
    """(N,) distance from target point to mapped reference point; inf beyond the horizon."""
    with np.errstate(divide="ignore", invalid="ignore"):
        difference = apply_matrix(matrix, ref_xy) - tgt_xy
        length = np.hypot(difference[:, 0], difference[:, 1])
    return np.where(np.isfinite(length), length, np.inf)


def _solve(
    jac: NDArray[np.float64], residual: NDArray[np.float64], weights: NDArray[np.float64]
) -> NDArray[np.float64]:
    # Rows of x and of y one below the other: one product of matrices, not one of three tensors.
    rows = jac.reshape(-1, jac.shape[2])
    weighted = rows * np.repeat(weights, 2)[:, None]
    normal, right = weighted.T @ rows, weighted.T @ residual.reshape(-1)
    # Not by `numpy.linalg.cond`, which takes as long again for matrices as small as these.
    values = np.linalg.svd(normal, compute_uv=False)
    if not 0 < values[0] <= 1e13 * values[-1]:
        raise np.linalg.LinAlgError("degenerate points")
    return np.asarray(np.linalg.solve(normal, right))
