"""Selects the transform kind by cross-validation over blocks."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from imatch.geometry.fit import least_squares, minimum_points, residuals, reweighted
from imatch.geometry.transform import MODEL_KINDS, ModelKind

_FOLDS = 5


def folds(xy: NDArray[np.float64], count: int, seed: int, block: float = 0.0) -> NDArray[np.int64]:
    """Assign points to folds so that each fold is spread over the image.

    Points are sorted along rows of a coarse grid and dealt out like cards, from a seeded start.
    Where the errors of neighbours go together whole blocks are dealt instead, since a point whose
    neighbour is in the fit is not held out.

    Args:
        xy: (N, 2) points.
        count: Number of folds.
        seed: Seed of the deal within each cell.
        block: How far the errors of points reach, pixels; 0 for independent ones.

    Returns:
        (N,) int64 in [0, count).
    """
    rng = np.random.default_rng(seed)
    if block > 0:
        names, member = blocks(xy, block)
        return np.asarray((rng.permutation(len(names)) % count)[member])
    low, span = xy.min(axis=0), np.maximum(np.ptp(xy, axis=0), 1e-9)
    cell = np.minimum((4 * (xy - low) / span).astype(np.int64), 3)
    order = np.lexsort((rng.permutation(len(xy)), cell[:, 0], cell[:, 1]))
    fold = np.empty(len(xy), dtype=np.int64)
    fold[order] = np.arange(len(xy)) % count
    return fold


def blocks(xy: NDArray[np.float64], side: float) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Cut the plane into squares.

    Args:
        xy: (N, 2) points.
        side: Side of a square, pixels.

    Returns:
        (K, 2) indices of the squares that hold a point, and (N,) which of them each point is in.
    """
    names, member = np.unique(
        np.floor((xy - xy.min(axis=0)) / side).astype(np.int64), axis=0, return_inverse=True
    )
    return names, np.asarray(member).reshape(-1)


def held_out_residuals(
    kind: ModelKind,
    ref_xy: NDArray[np.float64],
    tgt_xy: NDArray[np.float64],
    start: NDArray[np.float64],
    threshold: float,
    seed: int,
    count: int = _FOLDS,
    block: float = 0.0,
) -> NDArray[np.float64]:
    """Residual of every point under the transform fitted without its fold.

    Args:
        kind: Transform kind.
        ref_xy: (N, 2) reference points.
        tgt_xy: (N, 2) target points.
        start: (3, 3) transform fitted to all of them.
        threshold: Largest residual of an inlier, pixels.
        seed: Seed of the folds.
        count: Number of folds.
        block: See `folds`.

    Returns:
        (N, 2) ``target - predicted`` in pixels, NaN where the other folds cannot determine the
        transform.
    """
    held = np.full((len(ref_xy), 2), np.nan)
    fold = folds(ref_xy, count, seed, block)
    for index in range(count):
        out = fold == index
        if (~out).sum() < minimum_points(kind) or not out.any():
            continue
        try:
            first = least_squares(kind, ref_xy[~out], tgt_xy[~out], start=start)
        except np.linalg.LinAlgError:
            continue
        fitted = reweighted(kind, ref_xy[~out], tgt_xy[~out], first, threshold)
        homogeneous = ref_xy[out] @ fitted[:, :2].T + fitted[:, 2]
        held[out] = tgt_xy[out] - homogeneous[:, :2] / homogeneous[:, 2:]
    return held


def select_kind(
    candidates: Mapping[ModelKind, NDArray[np.float64]],
    ref_xy: NDArray[np.float64],
    tgt_xy: NDArray[np.float64],
    threshold: float,
    seed: int,
    block: float = 0.0,
    gain: float = 0.05,
) -> ModelKind:
    """The simplest kind whose held-out error is not worse than the best by more than chance.

    All candidates are compared on the same points: those any of them explains. The loss is the
    squared held-out residual, cut off at the threshold as in MSAC; the margin is one standard error
    of the paired difference (the one-standard-error rule, Breiman et al., 1984), or the
    least gain asked for.

    Args:
        candidates: Transforms by kind, each from its own robust search.
        ref_xy: (N, 2) reference points of all matches.
        tgt_xy: (N, 2) target points.
        threshold: Largest residual of an inlier, pixels.
        seed: Seed of the folds.
        block: See `folds`.
        gain: Share of the squared error that a richer kind must save. Systematic errors of the
            tie points would else be explained by bending the image.

    Returns:
        The chosen kind.
    """
    kinds = [kind for kind in MODEL_KINDS if kind in candidates]
    explained = np.zeros(len(ref_xy), dtype=bool)
    for kind in kinds:
        explained |= residuals(candidates[kind], ref_xy, tgt_xy) < threshold
    ref, tgt = ref_xy[explained], tgt_xy[explained]
    spread = len(blocks(ref, block)[0]) if block > 0 and len(ref) else len(ref)
    if len(ref) < 4 * minimum_points(kinds[-1]) or spread < _FOLDS:
        # Too few points to tell families apart: the search that found most of them decides. Windows
        # are precise, so that a turn or a zoom shows long before they are outliers.
        near = threshold / 3 if block > 0 else threshold
        counts = {k: (residuals(candidates[k], ref, tgt) < near).sum() for k in kinds}
        return next(k for k in kinds if counts[k] >= 0.8 * max(counts.values()))
    losses: dict[ModelKind, NDArray[np.float64]] = {}
    for kind in kinds:
        held = held_out_residuals(kind, ref, tgt, candidates[kind], threshold, seed, block=block)
        squared = np.nan_to_num((held**2).sum(axis=1), nan=np.inf)
        losses[kind] = np.minimum(squared, threshold**2)
    if block > 0:
        # The spread between blocks, not between points, says what chance would do.
        _, member = blocks(ref, block)
        size = np.bincount(member)
        losses = {k: np.bincount(member, loss) / size for k, loss in losses.items()}
    best = min(kinds, key=lambda k: float(losses[k].mean()))
    for kind in kinds:
        excess = losses[kind] - losses[best]
        by_chance = excess.std(ddof=1) / np.sqrt(len(excess))
        if excess.mean() <= max(by_chance, gain * losses[best].mean()):
            return kind
    return best
