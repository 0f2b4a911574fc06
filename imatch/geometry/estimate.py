"""Estimates a transform from putative matches, with its accuracy and status."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from imatch.core.types import BoolArray, Matches
from imatch.geometry.acceptance import PointRules, Status, judge_points
from imatch.geometry.accuracy import (
    block_count,
    check_points,
    coverage,
    displacement_samples,
    half_width_95,
    overlap_mask,
)
from imatch.geometry.fit import minimum_points, residuals
from imatch.geometry.model_selection import select_kind
from imatch.geometry.robust import log10_false_alarms, search
from imatch.geometry.transform import MODEL_KINDS, ModelKind, Transform
from imatch.geometry.transform_limits import Limits, implausibility

# Side of the blocks held out together, as a share of the image.
_BLOCK = 0.12
# What resampling may shift all windows by alike, pixels: no bootstrap sees an error they share.
_INTERPOLATION = 0.04


@dataclass(frozen=True)
class BandShift:
    """Displacement measured in one band alone.

    Attributes:
        offset: (x, y) from the transform of all bands, working target pixels.
        strength: Mean correlation of the windows that agree.
        name: Of the band, where it is known.
    """

    offset: tuple[float, float]
    strength: float
    name: str = ""


@dataclass(frozen=True, eq=False)
class Estimate:
    """A transform between two working images and how far to trust it; all in working pixels.

    Attributes:
        status: ``ok``, ``uncertain`` or ``failed``.
        reason: One sentence.
        matches: All matches it is about, N of them.
        transform: Reference to target, None when failed.
        inlier: (N,) bool over the matches.
        check: (N,) bool, held out of the fit behind `check_xy`.
        check_xy: (N, 2) held-out residual, NaN elsewhere.
        rmse: At check points.
        ce90: At check points.
        ci95: (x, y) half-width of the 95 % interval at the overlap's centre.
        corner_ci95: Largest half-width over the reference's corners.
        statistical: The part of `ci95` that is chance.
        corner_statistical: The part of `corner_ci95` that is chance.
        misfit: (x, y) standard deviation of the ground from the transform, as far as neighbouring
            windows share it.
        appearance: (x, y) standard deviation of what season and sun may have moved.
        bands: What each band says by itself, where there are several.
        coverage: Share of the overlap's cells with an inlier.
        centre: (x, y) centre of the overlap on the reference.
        log10_nfa: log10 of the number of false alarms; 0 where another test was used.
        evidence: How far the aligned images correlate beyond chance (`Alignment.evidence`), NaN
            where it was not measured.
        found_by: The matcher or stage that proposed it.
    """

    status: Status
    reason: str
    matches: Matches
    inlier: BoolArray
    check: BoolArray
    check_xy: NDArray[np.float64]
    transform: Transform | None = None
    rmse: float = float("nan")
    ce90: float = float("nan")
    ci95: tuple[float, float] = (float("nan"), float("nan"))
    corner_ci95: float = float("nan")
    statistical: tuple[float, float] = (float("nan"), float("nan"))
    corner_statistical: float = float("nan")
    misfit: tuple[float, float] = (0.0, 0.0)
    appearance: tuple[float, float] = (0.0, 0.0)
    bands: tuple[BandShift, ...] = ()
    coverage: float = 0.0
    centre: tuple[float, float] = (float("nan"), float("nan"))
    log10_nfa: float = 0.0
    evidence: float = float("nan")
    found_by: str = ""


@dataclass(frozen=True)
class EstimateOptions:
    """Settings of the estimation.

    Attributes:
        model: A transform kind, or ``auto`` for the simplest that explains the matches.
        threshold: Largest residual of an inlier, working pixels.
        seed: Seed of folds and bootstrap.
        limits: What a plausible transform may do.
        acceptance: What is needed for ``ok``.
    """

    model: ModelKind | Literal["auto"] = "auto"
    threshold: float = 3.0
    seed: int = 0
    limits: Limits = field(default_factory=Limits)
    acceptance: PointRules = field(default_factory=PointRules)


def estimate(
    matches: Matches,
    ref_valid: BoolArray,
    tgt_valid: BoolArray,
    options: EstimateOptions | None = None,
) -> Estimate:
    """Find the transform the matches agree on and say how far to trust it.

    Args:
        matches: Putative matches in working pixels.
        ref_valid: (H, W) valid ground of the reference.
        tgt_valid: (H', W') valid ground of the target.
        options: How to seek it.

    Returns:
        The estimate; a failure is a status with a reason, never an exception.
    """
    options = options or EstimateOptions()
    distinct = distinct_matches(matches)
    ref, tgt = matches.ref_xy[distinct], matches.tgt_xy[distinct]
    kinds = MODEL_KINDS if options.model == "auto" else (options.model,)
    need = minimum_points(kinds[0]) + 2
    if len(ref) < need:
        return failed(matches, f"only {len(ref)} distinct matches, {need} are needed")
    found = {k: m for k in kinds if (m := search(k, ref, tgt, options.threshold)) is not None}
    found = {
        k: m for k, m in found.items() if not implausibility(m, ref_valid.shape, options.limits)
    }
    if not found:
        return failed(matches, "no plausible transform agrees with the matches")
    # Neighbouring keypoints err together (relief, haze, one building): hold out whole blocks.
    block = _BLOCK * max(ref_valid.shape)
    kind = select_kind(found, ref, tgt, options.threshold, options.seed, block)
    return _judge(matches, distinct, kind, found[kind], ref_valid, tgt_valid, options)


def distinct_matches(matches: Matches, radius: float = 1.0) -> NDArray[np.int64]:
    """Returns the rows of matches that repeat no point on either side.

    Many matches to one point fake an agreement; of those that share a pixel of `radius` on either
    side only the best-scored stays.
    """
    order = np.argsort(-matches.scores, kind="stable")
    keep = np.ones(len(order), dtype=bool)
    for xy in (matches.ref_xy, matches.tgt_xy):
        cells = np.round(xy[order] / radius).astype(np.int64)
        _, first = np.unique(cells, axis=0, return_index=True)
        alone = np.zeros(len(order), dtype=bool)
        alone[first] = True
        keep &= alone
    return np.sort(order[keep])


def _judge(
    matches: Matches,
    distinct: NDArray[np.int64],
    kind: ModelKind,
    matrix: NDArray[np.float64],
    ref_valid: BoolArray,
    tgt_valid: BoolArray,
    options: EstimateOptions,
) -> Estimate:
    accept, threshold = options.acceptance, options.threshold
    inlier = np.zeros(len(matches), dtype=bool)
    pairs = matches.ref_xy[distinct], matches.tgt_xy[distinct]
    inlier[distinct] = residuals(matrix, *pairs) < threshold
    count = int(inlier.sum())
    if count < minimum_points(kind) + 1:
        return failed(matches, f"only {count} matches agree on a {kind}")
    log10_nfa = log10_false_alarms(kind, matrix, *pairs, threshold, float(tgt_valid.sum()))
    if log10_nfa > accept.found:
        return failed(
            matches,
            f"the {count} matches that agree on a {kind} are no more than chance would give",
        )
    found = assess(matches, inlier, Transform(kind, matrix), ref_valid, tgt_valid, options)
    status, reason = judge_points(found, count, log10_nfa, threshold, accept)
    return replace(found, status=status, reason=reason, log10_nfa=log10_nfa)


def assess(
    matches: Matches,
    inlier: BoolArray,
    transform: Transform,
    ref_valid: BoolArray,
    tgt_valid: BoolArray,
    options: EstimateOptions,
    block: float = 0.0,
    reliable: BoolArray | None = None,
) -> Estimate:
    """Measure the accuracy of a transform on the matches that support it.

    Args:
        matches: All matches.
        inlier: (N,) bool, those that support the transform.
        transform: The transform, fitted to them.
        ref_valid: (H, W) valid ground of the reference.
        tgt_valid: (H', W') valid ground of the target.
        options: Threshold and seed.
        block: What a tie point stands for and how far its error reaches, pixels: the side of a
            window, 0 for keypoints.
        reliable: (N,) bool, matches that were measured as well as the inliers and may contradict
            them: check points as well. None for keypoints, of which those that disagree are taken
            to be mistaken for others, and say nothing of accuracy.

    Returns:
        An estimate whose status is ``uncertain`` until someone judges it.
    """
    kind, matrix = transform.kind, transform.matrix
    ref, tgt = matches.ref_xy[inlier], matches.tgt_xy[inlier]
    held = inlier if reliable is None else inlier | reliable
    given = matches.ref_xy[held], matches.tgt_xy[held]
    points = check_points(kind, matrix, *given, options.threshold, options.seed, block)
    check = np.zeros(len(matches), dtype=bool)
    check_xy = np.full((len(matches), 2), np.nan)
    rows = np.flatnonzero(held)[points.index]
    check[rows], check_xy[rows] = True, points.residual_xy

    overlap = overlap_mask(matrix, ref_valid, tgt_valid)
    y, x = np.nonzero(overlap)
    centre = np.array([x.mean(), y.mean()]) if len(x) else ref.mean(axis=0)
    height, width = ref_valid.shape
    corners = np.array([[0, 0], [width - 1, 0], [width - 1, height - 1], [0, height - 1]])
    samples = displacement_samples(
        kind, matrix, ref, tgt, np.vstack([centre, corners]), options.seed, block
    )
    half = half_width_95(samples, block_count(ref, block))
    if block > 0:
        half = np.hypot(half, _INTERPOLATION)
    ci95 = float(half[0, 0]), float(half[0, 1])
    corner = float(np.hypot(*half[1:].T).max())
    return Estimate(
        "uncertain",
        "not judged",
        matches,
        inlier,
        check,
        check_xy,
        transform,
        rmse=points.rmse,
        ce90=points.ce90,
        ci95=ci95,
        corner_ci95=corner,
        statistical=ci95,
        corner_statistical=corner,
        coverage=coverage(ref, overlap, 0.25 * block),
        centre=(float(centre[0]), float(centre[1])),
    )


def failed(matches: Matches, reason: str) -> Estimate:
    """Returns an estimate of status ``failed`` with its reason."""
    none = np.zeros(len(matches), dtype=bool)
    return Estimate(
        "failed", reason, matches, none, none.copy(), np.full((len(matches), 2), np.nan)
    )
