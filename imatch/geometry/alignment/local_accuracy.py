"""Accuracy of a global transform plus a local displacement model."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy
from numpy.typing import NDArray

from imatch.core.types import BoolArray
from imatch.geometry.accuracy import (
    CheckPoints,
    block_count,
    displacement_samples,
    half_width_95,
)
from imatch.geometry.fit import least_squares, reweighted
from imatch.geometry.model_selection import blocks, folds
from imatch.geometry.nonrigid.local_models import LocalModel
from imatch.geometry.transform import DisplacementGrid, ModelKind, apply_matrix

_FOLDS = 4
# With fewer tie points every one of them is a check point, by turns.
_ONE_FOLD_FROM = 40
_DRAWS = 100
# What resampling may shift all windows by alike, pixels: no bootstrap sees an error they share.
_INTERPOLATION = 0.04
# Tie points on either side of a rim that is left out.
_LEAST_RIM = 8
_NORMAL_95 = 1.96


@dataclass(frozen=True, eq=False)
class LocalAccuracy:
    """A global transform and a local model, fitted one after the other to tie points.

    Attributes:
        kind: Kind of the global transform.
        matrix: (3, 3) global transform, fitted to all tie points.
        model: The local model, or None.
        threshold: Residuals of the global transform beyond this do not count in its fit, pixels.
        local_threshold: The same for the local model's.
    """

    kind: ModelKind
    matrix: NDArray[np.float64]
    model: LocalModel | None
    threshold: float
    local_threshold: float

    def field(
        self,
        coordinates: NDArray[np.float64],
        ref_xy: NDArray[np.float64],
        tgt_xy: NDArray[np.float64],
    ) -> DisplacementGrid | None:
        """The local displacement at `coordinates`, pixels; None without a local model.

        Args:
            coordinates: (N, 2) tie points in the frame of the local model.
            ref_xy: (N, 2) the same in reference pixels.
            tgt_xy: (N, 2) the same in target pixels.
        """
        if self.model is None:
            return None
        left = tgt_xy - apply_matrix(self.matrix, ref_xy)
        return self._fitted(coordinates, left)

    def check_points(
        self,
        coordinates: NDArray[np.float64],
        ref_xy: NDArray[np.float64],
        tgt_xy: NDArray[np.float64],
        block: float,
        seed: int,
        fits: BoolArray | None = None,
    ) -> CheckPoints:
        """Residuals at tie points that neither fit has seen: a quarter of them, in whole blocks.

        Args:
            coordinates: (N, 2) tie points in the frame of the local model.
            ref_xy: (N, 2) the same in reference pixels.
            tgt_xy: (N, 2) the same in target pixels.
            block: Side of the blocks, pixels.
            seed: Seed of the hold-out.
            fits: (N,) bool, tie points that go into the fits; the others are only held against
                them. All when None.
        """
        fold = folds(ref_xy, _FOLDS, seed, block)
        residual = np.full((len(ref_xy), 2), np.nan)
        for number in range(1 if len(ref_xy) >= _ONE_FOLD_FROM else _FOLDS):
            out = fold == number
            used = ~out if fits is None else fits & ~out
            if not out.any() or not used.any():
                continue
            given = coordinates[used], ref_xy[used], tgt_xy[used]
            try:
                start = least_squares(self.kind, *given[1:], start=self.matrix)
            except np.linalg.LinAlgError:
                continue
            matrix = reweighted(self.kind, *given[1:], start, self.threshold)
            part = LocalAccuracy(
                self.kind, matrix, self.model, self.threshold, self.local_threshold
            )
            predicted = apply_matrix(matrix, ref_xy[out])
            field = part.field(*given)
            if field is not None:
                predicted = predicted + field.displacement(coordinates[out])
            residual[out] = tgt_xy[out] - predicted
        index = np.flatnonzero(np.isfinite(residual).all(axis=1))
        return CheckPoints(index, residual[index])

    def half_width(
        self,
        coordinates: NDArray[np.float64],
        ref_xy: NDArray[np.float64],
        tgt_xy: NDArray[np.float64],
        at: tuple[NDArray[np.float64], NDArray[np.float64]],
        block: float,
        seed: int,
    ) -> NDArray[np.float64]:
        """(M, 2) half-width of the 95 % interval of some mapped points, pixels.

        A bootstrap over blocks, as `displacement_samples`: every draw is fitted anew. A local model
        holds the linear transforms within itself, so where there is one it alone is refitted. Its
        blocks are no larger than the errors of tie points reach, since it would bend into the gap
        that a larger one leaves. How the image bends beyond the outermost tie points no draw can
        tell: there the error of going on is added, as it is measured at tie points near the rim
        that are left out.

        Args:
            coordinates: (N, 2) tie points in the frame of the local model.
            ref_xy: (N, 2) the same in reference pixels.
            tgt_xy: (N, 2) the same in target pixels.
            at: (M, 2) points to watch, in reference pixels and in the frame of the local model.
            block: Least side of a block, pixels.
            seed: Seed of the draws.
        """
        watched, watched_coordinates = at
        count = block_count(ref_xy, block)
        if self.model is None:
            given = self.kind, self.matrix, ref_xy, tgt_xy, watched, seed
            half = half_width_95(displacement_samples(*given, block), count)
            return np.asarray(np.hypot(half, _INTERPOLATION))
        left = tgt_xy - apply_matrix(self.matrix, ref_xy)
        names, member = blocks(ref_xy, block)
        if len(names) < 4:
            return np.full((len(watched), 2), np.inf)
        rng = np.random.default_rng(seed)
        drawn = rng.multinomial(len(names), np.full(len(names), 1 / len(names)), size=_DRAWS)
        samples = np.empty((_DRAWS, len(watched), 2))
        # Outliers stay out of all draws alike.
        kept = self._weights(coordinates, left)
        solver = self.model.solver(coordinates)
        for sample, times in zip(samples, drawn, strict=True):
            sample[:] = solver.solve(left, kept * times[member]).displacement(watched_coordinates)
        half = np.hypot(half_width_95(samples, len(names)), _INTERPOLATION)
        inside = kept > 0
        return np.asarray(
            np.hypot(half, self._beyond(coordinates[inside], left[inside], watched_coordinates))
        )

    def _beyond(
        self,
        coordinates: NDArray[np.float64],
        left: NDArray[np.float64],
        watched: NDArray[np.float64],
    ) -> NDArray[np.float64]:
        """(M, 2) half-width of what going on beyond the tie points may err by, pixels.

        Tie points along each side are left out in turn, and predicted from the others as the
        watched places are from all.
        """
        assert self.model is not None
        tree = scipy.spatial.cKDTree(coordinates)
        spacing = float(np.median(tree.query(coordinates, k=2)[0][:, 1]))
        away = np.maximum(tree.query(watched)[0] - spacing, 0.0)
        reach = float(away.max())
        if reach <= 0:
            return np.zeros((len(watched), 2))
        own = ((left - self._fitted(coordinates, left).displacement(coordinates)) ** 2).mean(axis=0)
        squared = []
        for axis, sign in ((0, 1), (0, -1), (1, 1), (1, -1)):
            inwards = sign * coordinates[:, axis]
            inwards = inwards - inwards.min()
            # As far out as the watched places are, on average.
            out, judged = inwards < 1.5 * reach, inwards < reach
            if judged.sum() < _LEAST_RIM or (~out).sum() < _LEAST_RIM:
                continue
            grid = self._fitted(coordinates[~out], left[~out])
            squared.append((left[judged] - grid.displacement(coordinates[judged])) ** 2)
        if not squared:
            return np.full((len(watched), 2), np.inf)
        error = np.sqrt(np.maximum(np.concatenate(squared).mean(axis=0) - own, 0.0))
        return np.asarray(_NORMAL_95 * error * (away / reach)[:, None])

    def _fitted(
        self, coordinates: NDArray[np.float64], left: NDArray[np.float64]
    ) -> DisplacementGrid:
        assert self.model is not None
        return self.model.fit(coordinates, left, threshold=self.local_threshold)

    def _weights(
        self, coordinates: NDArray[np.float64], left: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        assert self.model is not None
        grid = self._fitted(coordinates, left)
        inside: BoolArray = (
            np.hypot(*(left - grid.displacement(coordinates)).T) < self.local_threshold
        )
        return inside.astype(np.float64)
