"""Accuracy of a transform: check points, bootstrap confidence intervals, coverage."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

from imatch.core.types import BoolArray
from imatch.geometry.fit import jacobian, minimum_points, normalisation
from imatch.geometry.model_selection import folds, held_out_residuals
from imatch.geometry.transform import ModelKind, apply_matrix

_CELLS = 8
_RESAMPLES = 400
# Below this many inliers a single hold-out would starve either the fit or the check.
_HOLD_OUT_FROM = 40


@dataclass(frozen=True, eq=False)
class CheckPoints:
    """Residuals at points held out from the fit.

    Attributes:
        index: (M,) rows of the inliers that served as check points.
        residual_xy: (M, 2) target minus prediction, pixels.
    """

    index: NDArray[np.int64]
    residual_xy: NDArray[np.float64]

    @property
    def rmse(self) -> float:
        """Root mean square length of the residuals, pixels; NaN without check points."""
        if len(self.index) == 0:
            return float("nan")
        return float(np.sqrt((self.residual_xy**2).sum(axis=1).mean()))

    @property
    def ce90(self) -> float:
        """Circular error: the length 90 % of the residuals stay below, pixels."""
        if len(self.index) == 0:
            return float("nan")
        return float(np.percentile(np.hypot(*self.residual_xy.T), 90))


def check_points(
    kind: ModelKind,
    matrix: NDArray[np.float64],
    ref_xy: NDArray[np.float64],
    tgt_xy: NDArray[np.float64],
    threshold: float,
    seed: int,
    block: float = 0.0,
) -> CheckPoints:
    """Residuals at inliers the fit has not seen.

    With 40 inliers or more a quarter of them, spread over the image, is held out of one fit. With
    fewer, every inlier is held out in turn (leave-one-out).

    Args:
        kind: Transform kind.
        matrix: (3, 3) transform fitted to all inliers.
        ref_xy: (N, 2) reference inliers.
        tgt_xy: (N, 2) target inliers.
        threshold: Largest residual of an inlier, pixels.
        seed: Seed of the hold-out.
        block: How far the errors of tie points reach, pixels; see `folds`.

    Returns:
        The check points; none where the inliers only just determine the transform.
    """
    n = len(ref_xy)
    if n <= minimum_points(kind):
        return CheckPoints(np.zeros(0, dtype=np.int64), np.zeros((0, 2)))
    count = 4 if n >= _HOLD_OUT_FROM else n
    held = held_out_residuals(kind, ref_xy, tgt_xy, matrix, threshold, seed, count, block)
    usable = np.isfinite(held).all(axis=1)
    if n >= _HOLD_OUT_FROM:
        usable &= folds(ref_xy, count, seed, block) == 0
    index = np.flatnonzero(usable)
    return CheckPoints(index, held[index])


def displacement_samples(
    kind: ModelKind,
    matrix: NDArray[np.float64],
    ref_xy: NDArray[np.float64],
    tgt_xy: NDArray[np.float64],
    at: NDArray[np.float64],
    seed: int,
    block: float = 0.0,
) -> NDArray[np.float64]:
    """Returns bootstrap samples of the displacement of mapped points.

    A block bootstrap (Kuensch, 1989): cells of the image, not single points, are drawn with
    replacement, because the errors of neighbouring tie points go together. Each draw is refitted by
    one linearised step, exact for all kinds but the homography.

    Args:
        kind: Transform kind.
        matrix: (3, 3) transform fitted to all inliers.
        ref_xy: (N, 2) reference inliers.
        tgt_xy: (N, 2) target inliers.
        at: (M, 2) reference points to watch.
        seed: Seed of the draws.
        block: Least side of a block, pixels: how far the errors of tie points reach.

    Returns:
        (R, M, 2) displacement in target pixels against `matrix`; infinite when the inliers do not
        determine the transform.
    """
    scale = np.eye(3) if kind == "translation" else normalisation(ref_xy)
    centred = matrix @ np.linalg.inv(scale)
    centred = centred / centred[2, 2]
    jac = jacobian(kind, centred, apply_matrix(scale, ref_xy))
    watch = jacobian(kind, centred, apply_matrix(scale, at))
    residual = tgt_xy - apply_matrix(matrix, ref_xy)

    cell = _cells(ref_xy, block)
    names, member = np.unique(cell, return_inverse=True)
    p = jac.shape[2]
    if len(names) <= minimum_points(kind):
        return np.full((1, len(at), 2), np.inf)
    normal = np.zeros((len(names), p, p))
    right = np.zeros((len(names), p))
    np.add.at(normal, member, np.einsum("nip,niq->npq", jac, jac))
    np.add.at(right, member, np.einsum("nip,ni->np", jac, residual))

    rng = np.random.default_rng(seed)
    draws = rng.multinomial(len(names), np.full(len(names), 1 / len(names)), size=_RESAMPLES)
    normals = np.einsum("rc,cpq->rpq", draws, normal)
    rights = np.einsum("rc,cp->rp", draws, right)
    # A draw of a few cells may not determine the transform: a faint prior keeps it finite and wide.
    ridge = 1e-6 * np.trace(normal.sum(axis=0)) / p
    theta = np.linalg.solve(normals + ridge * np.eye(p), rights[..., None])[..., 0]
    return np.asarray(np.einsum("mip,rp->rmi", watch, theta))


def half_width_95(samples: NDArray[np.float64], blocks: int) -> NDArray[np.float64]:
    """Half-width of the 95 % interval of bootstrap samples.

    Args:
        samples: (R, ..., 2) displacements.
        blocks: Number of independent blocks drawn from; few blocks understate the spread, so it is
            widened by Student's t over the normal quantile.

    Returns:
        (..., 2) half-widths.
    """
    if not np.isfinite(samples).all():
        return np.full(samples.shape[1:], np.inf)
    widen = np.sqrt(blocks / max(blocks - 1, 1))
    return np.asarray(float(stdtrit(max(blocks - 1, 1), 0.975)) * widen * samples.std(axis=0))


def block_count(ref_xy: NDArray[np.float64], block: float = 0.0) -> int:
    """Counts the blocks of the bootstrap that hold a point."""
    return len(np.unique(_cells(ref_xy, block)))


def _cells(xy: NDArray[np.float64], block: float = 0.0) -> NDArray[np.int64]:
    low, span = xy.min(axis=0), np.maximum(np.ptp(xy, axis=0), 1e-9)
    wanted = span // block if block > 0 else np.full(2, _CELLS)
    count = np.clip(wanted, 3, _CELLS).astype(np.int64)
    # A point on the far edge belongs to the last cell, not to one beyond it.
    cell = np.minimum((count * (xy - low) / span).astype(np.int64), count - 1)
    return np.asarray(cell[:, 1] * _CELLS + cell[:, 0])


def overlap_mask(
    matrix: NDArray[np.float64], ref_valid: BoolArray, tgt_valid: BoolArray
) -> BoolArray:
    """(H, W) bool on the reference: valid ground that the transform puts on valid target ground."""
    height, width = ref_valid.shape
    warped = cv2.warpPerspective(
        tgt_valid.astype(np.uint8),
        matrix,
        (width, height),
        flags=cv2.INTER_NEAREST | cv2.WARP_INVERSE_MAP,
    )
    return np.asarray(ref_valid & (warped > 0))


def coverage(ref_xy: NDArray[np.float64], overlap: BoolArray, reach: float = 0.0) -> float:
    """Share of the overlap's cells that hold a point.

    The overlap's bounding box is cut into 8 x 8 cells; those with less than a tenth of overlap do
    not count.

    Args:
        ref_xy: (N, 2) reference points.
        overlap: (H, W) bool overlap on the reference.
        reach: Half the side of what a point stands for, pixels: a window's, 0 for a keypoint.

    Returns:
        0 to 1.
    """
    rows, columns = np.flatnonzero(overlap.any(axis=1)), np.flatnonzero(overlap.any(axis=0))
    if len(rows) == 0:
        return 0.0
    top, left = rows[0], columns[0]
    box = overlap[top : rows[-1] + 1, left : columns[-1] + 1]
    share = cv2.resize(box.astype(np.float32), (_CELLS, _CELLS), interpolation=cv2.INTER_AREA)
    counted = share > 0.1
    offsets = np.array([(x, y) for x in (-reach, 0, reach) for y in (-reach, 0, reach)])
    ref_xy = (ref_xy[:, None] + offsets).reshape(-1, 2)
    column = np.floor(_CELLS * (ref_xy[:, 0] - left + 0.5) / box.shape[1]).astype(np.int64)
    row = np.floor(_CELLS * (ref_xy[:, 1] - top + 0.5) / box.shape[0]).astype(np.int64)
    inside = (column >= 0) & (column < _CELLS) & (row >= 0) & (row < _CELLS)
    held = np.zeros((_CELLS, _CELLS), dtype=bool)
    held[row[inside], column[inside]] = True
    return float((held & counted).sum() / max(counted.sum(), 1))
