"""Residuals of the tie points before and after, their autocorrelation, the correction field."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from imatch.core.types import BoolArray
from imatch.export.quality.views import ViewFrame, ViewPair
from imatch.export.text import number

Floats: TypeAlias = NDArray[np.float64]

_NEIGHBOURS, _DRAWS, _MOST_POINTS = 6, 199, 2000
_BINS = 14
_LEAST_POINTS = 20
_CHANCE = 0.01
#: Correlation of neighbours below which there is nothing to speak of, however sure it is.
_FAINT = 0.05
_ARROWS = 26


@dataclass(frozen=True, eq=False)
class Residuals:
    """Residuals of the inliers before and after registration.

    Attributes:
        ref_xy: (N, 2) reference pixels.
        before: (N, 2) residual of the pair as it came, target pixels along the reference's axes:
            against the geocoding, or where there is none against the best plain shift.
        after: (N, 2) residual of the whole model, its local part included; the same.
        check: (N,) bool, held out of the fit behind the accuracy figures.
        baseline: What ``before`` is measured against.
        metres: (x, y) metres a target pixel, or None.
    """

    ref_xy: Floats
    before: Floats
    after: Floats
    check: BoolArray
    baseline: Literal["geocoding", "best shift"]
    metres: tuple[float, float] | None

    def __len__(self) -> int:
        return len(self.check)


@dataclass(frozen=True, eq=False)
class Autocorrelation:
    """Spatial autocorrelation of residuals.

    Attributes:
        moran: Moran's I (1950) of the residual vectors with their six nearest neighbours: 0 for
            independent ones, 1 where neighbours are equal. NaN with too few tie points.
        p: Share of random permutations whose I is as high.
        shared_px: Root mean square of the part that neighbours share, target pixels.
        distance: (B,) middles of classes of distance, reference pixels.
        correlation: (B,) mean correlation of residuals in each, NaN where there are few pairs.
    """

    moran: float
    p: float
    shared_px: float
    distance: Floats
    correlation: Floats

    @property
    def correlated(self) -> bool:
        """Returns whether neighbours are correlated, beyond chance and by more than a trace."""
        return bool(self.p <= _CHANCE and self.moran >= _FAINT)

    def to_dict(self) -> dict[str, Any]:
        """Returns the figures, JSON-ready but for NaN."""
        return {
            "moran_i": self.moran,
            "p": self.p,
            "correlated": self.correlated if np.isfinite(self.moran) else None,
            "shared_px": self.shared_px,
            "distance_px": self.distance,
            "correlation": self.correlation,
        }


@dataclass(frozen=True, eq=False)
class CorrectionField:
    """The correction on a regular grid over the overlap.

    Attributes:
        shape: (rows, columns) of the grid.
        frame_xy: (N, 2) pixels of the frame.
        whole: (N, 2) target pixels, along the reference's axes, by which the registration moves
            each place; NaN outside.
        local: (N, 2) the part of the local model; None without one.
    """

    shape: tuple[int, int]
    frame_xy: Floats
    whole: Floats
    local: Floats | None

    def to_dict(self) -> dict[str, Any]:
        """Returns the largest and mean lengths."""
        return {
            "whole_px": _lengths(self.whole),
            "local_px": None if self.local is None else _lengths(self.local),
        }


def residuals(pair: ViewPair) -> Residuals | None:
    """Returns the residuals of the inliers; None without a transform or without inliers."""
    points = pair.registration.tie_points
    if pair.after is None or not points.inlier.any():
        return None
    kept = points.inlier
    ref_xy, tgt_xy = points.ref_xy[kept], points.tgt_xy[kept]
    after = tgt_xy - pair.to_target(pair.after)(ref_xy)
    before = tgt_xy - pair.to_target(pair.before)(ref_xy)
    if not pair.before.on_map:
        before = before - np.median(before, axis=0)
    return Residuals(
        ref_xy,
        pair.along_reference_axes(pair.before, before),
        pair.along_reference_axes(pair.after, after),
        points.check[kept],
        "geocoding" if pair.before.on_map else "best shift",
        metres_per_pixel(pair),
    )


def metres_per_pixel(pair: ViewPair) -> tuple[float, float] | None:
    """Returns (x, y) metres a target pixel, its own or by the reference's and the transform."""
    if pair.registration.target.gsd_m is not None:
        return pair.registration.target.gsd_m
    gsd, matrix = pair.registration.reference.gsd_m, pair.registration.matrix
    if gsd is None or matrix is None:
        return None
    scale = float(np.sqrt(abs(np.linalg.det(matrix[:2, :2]))))
    return (gsd[0] / scale, gsd[1] / scale) if scale > 0 else None


def autocorrelation(xy: Floats, vectors: Floats, *, seed: int = 0) -> Autocorrelation:
    """Computes Moran's I of vectors, its p-value by permutation, and the correlogram.

    Args:
        xy: (N, 2) coordinates.
        vectors: (N, 2) residuals there; their mean is taken off.
        seed: Of the permutations, and of the choice among very many points.
    """
    rng = np.random.default_rng(seed)
    good = np.isfinite(vectors).all(axis=1)
    xy, vectors = xy[good], vectors[good]
    if len(xy) > _MOST_POINTS:
        pick = rng.choice(len(xy), _MOST_POINTS, replace=False)
        xy, vectors = xy[pick], vectors[pick]
    nothing = np.zeros(0)
    centred = vectors - vectors.mean(axis=0) if len(vectors) else vectors
    power = float((centred**2).sum(axis=1).mean()) if len(vectors) else 0.0
    if len(xy) < _LEAST_POINTS or power == 0:
        return Autocorrelation(np.nan, np.nan, np.nan, nothing, nothing)
    _, near = cKDTree(xy).query(xy, k=_NEIGHBOURS + 1)
    near = near[:, 1:]

    def moran(values: Floats) -> float:
        return float((values[near] * values[:, None]).sum(axis=2).mean() / power)

    found = moran(centred)
    drawn = [moran(centred[rng.permutation(len(centred))]) for _ in range(_DRAWS)]
    p = (1 + sum(value >= found for value in drawn)) / (1 + _DRAWS)
    distance, correlation = _correlogram(xy, centred, power)
    shared = float(np.sqrt(max(found, 0.0) * power))
    return Autocorrelation(found, p, shared, distance, correlation)


def _correlogram(xy: Floats, centred: Floats, power: float) -> tuple[Floats, Floats]:
    first, second = np.triu_indices(len(xy), 1)
    apart = np.hypot(*(xy[first] - xy[second]).T)
    product = (centred[first] * centred[second]).sum(axis=1) / power
    edges = np.linspace(0, np.quantile(apart, 0.6), _BINS + 1)
    bins = np.digitize(apart, edges) - 1
    inside = bins < _BINS
    count = np.bincount(bins[inside], minlength=_BINS)
    total = np.bincount(bins[inside], product[inside], minlength=_BINS)
    correlation = np.where(count >= _LEAST_POINTS, total / np.maximum(count, 1), np.nan)
    return (edges[1:] + edges[:-1]) / 2, correlation


def autocorrelation_text(found: Autocorrelation) -> str:
    """Describes the autocorrelation in a sentence."""
    if not np.isfinite(found.moran):
        return "Too few tie points agree to tell whether neighbouring residuals are alike."
    figures = f"Moran's I {found.moran:.2f}, p {max(found.p, 1 / (1 + _DRAWS)):.3f}"
    if not found.correlated:
        return (
            f"Neighbouring residuals are not alike beyond chance ({figures}): what is left is noise"
            " of the single tie points, and no smooth model could take it away."
        )
    return (
        f"Neighbouring residuals are still alike ({figures}): about {number(found.shared_px)} px of"
        " what is left is common to a neighbourhood. That may be relief or jitter that the model"
        " does not follow, or an error that neighbouring tie points share, such as a shadow's."
    )


def correction_field(pair: ViewPair, frame: ViewFrame) -> CorrectionField | None:
    """Returns the correction and its local part on a regular grid; None without a transform."""
    if pair.after is None or pair.without_local is None:
        return None
    step = max(frame.size) / _ARROWS
    columns, rows = (max(2, round(side / step)) for side in frame.size)
    x = (np.arange(columns) + 0.5) * frame.width / columns - 0.5
    y = (np.arange(rows) + 0.5) * frame.height / rows - 0.5
    points = np.stack(np.meshgrid(x, y), axis=-1).reshape(-1, 2)
    after, before, plain = (
        pair.to_target(mapping, frame)(points)
        for mapping in (pair.after, pair.before, pair.without_local)
    )
    with np.errstate(invalid="ignore"):
        inside = (after > -1).all(axis=1) & (after < pair.tgt.info.size).all(axis=1)
    after[~inside] = np.nan
    whole = pair.along_reference_axes(pair.before, after - before)
    local = None
    if pair.registration.local is not None:
        local = pair.along_reference_axes(pair.before, after - plain)
    return CorrectionField((rows, columns), points, whole, local)


def statistics(vectors: Floats) -> dict[str, float | int]:
    """Returns statistics of (N, 2) residuals: of their lengths and along each axis."""
    length = np.hypot(*vectors.T)
    if not len(length):
        return {"n": 0}
    return {
        "n": len(length),
        "rmse": float(np.sqrt((length**2).mean())),
        "median": float(np.median(length)),
        "ce90": float(np.percentile(length, 90)),
        "max": float(length.max()),
        "mean_x": float(vectors[:, 0].mean()),
        "mean_y": float(vectors[:, 1].mean()),
        "std_x": float(vectors[:, 0].std()),
        "std_y": float(vectors[:, 1].std()),
    }


def _lengths(vectors: Floats) -> dict[str, float]:
    length = np.hypot(*vectors[np.isfinite(vectors).all(axis=1)].T)
    if not len(length):
        return {"mean": float("nan"), "max": float("nan")}
    return {"mean": float(length.mean()), "max": float(length.max())}
