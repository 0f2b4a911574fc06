"""Observation equations of a network adjustment: misclosures, design matrix, residuals.

All pairs are kept in arrays, so that a round of the solution costs the same few numpy calls for ten
pairs and for ten thousand.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal, TypeAlias, get_args

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.sparse import coo_array
from scipy.sparse.linalg import SuperLU, splu
from scipy.stats import chi2

from imatch.core.types import BoolArray
from imatch.geometry.adjustment.network import Edge, bridges, paths_from, reliable_tree
from imatch.geometry.fit import PARAMETERS, least_squares, normalisation, step
from imatch.geometry.transform import apply_matrix

JointModel: TypeAlias = Literal["translation", "similarity", "affine"]
JOINT_MODELS: tuple[JointModel, ...] = get_args(JointModel)
#: Weight of whole pairs: squared misfits and the misfit at which a right pair is improbable.
Weighing: TypeAlias = Callable[[NDArray[np.float64], NDArray[np.float64]], NDArray[np.float64]]

#: Modes of an affine field.
MODES = 6
#: Beyond this quantile of what right pairs do, a pair is wrong.
QUANTILE = 0.9999
_ROUNDS, _SETTLED = 60, 1e-10
# No weight is quite zero: the equations of an image must not run dry.
_LEAST_WEIGHT = 1e-9


class Equations:
    """Observation equations of all pairs, for one family of transforms.

    A pair's disagreement is an affine field over its points. It is written in at most six modes:
    shifts, rotation and scale, shears, orthogonal over the points and each measured by the RMS
    distance it moves them. Only those modes count that the pair or the maps can express.

    Args:
        count: Number of images, n.
        edges: Pairs, m.
        pixel: (n,) length of a pixel in each frame.
        model: Family of the maps, of p parameters.
        reference: The image that is held fixed.
        floor: Least standard deviation of a mode, pixels.
        most_scatter: Largest scatter between pairs, pixels.
    """

    def __init__(
        self,
        count: int,
        edges: Sequence[Edge],
        pixel: NDArray[np.float64],
        model: JointModel,
        reference: int,
        floor: float,
        most_scatter: float,
    ) -> None:
        self.count, self.edges, self.pixel = count, list(edges), pixel
        self.model, self.reference = model, reference
        self.floor, self.most_scatter = floor, most_scatter
        self.p = PARAMETERS[model]
        self.a = np.array([edge.a for edge in edges], dtype=np.int64)
        self.b = np.array([edge.b for edge in edges], dtype=np.int64)
        self.scales = _scales(count, edges)
        self.unscale = np.linalg.inv(self.scales)
        m = len(self.edges)
        self.measured = np.zeros((m, 3, 3))
        self.to_modes = np.zeros((m, MODES, 2, 3))
        self.stated = np.zeros((m, MODES, MODES))
        self.modes = np.zeros(m, dtype=np.int64)
        for index, edge in enumerate(self.edges):
            self._add(index, edge)
        self.directions = np.stack([step(model, row)[:2] for row in np.eye(self.p)])

    def _add(self, index: int, edge: Edge) -> None:
        k = len(edge.a_xy)
        start = apply_matrix(self.scales[edge.a], edge.a_xy)
        self.measured[index] = least_squares("affine", start, edge.b_xy)
        modes = min(max(PARAMETERS[edge.kind], self.p), MODES)
        fields = _nested_fields(edge.b_xy)[:, :modes]
        basis, _ = np.linalg.qr(fields)
        project = basis.T / np.sqrt(k)
        homogeneous = np.column_stack([start, np.ones(k)])
        # (p, K, 2) x (K, 3): what an affine field's coefficients are in modes.
        self.to_modes[index, :modes] = np.einsum(
            "pkc,kd->pcd", project.reshape(modes, k, 2), homogeneous
        )
        self.stated[index, :modes, :modes] = project @ edge.covariance @ project.T
        self.modes[index] = modes

    def start(self, tied: BoolArray) -> NDArray[np.float64]:
        """(n, 3, 3) maps between normalised frames, through the most reliable tree."""
        inner = np.full((self.count, 3, 3), np.nan)
        common = self.scales[self.reference]
        found = {self.reference: np.eye(3)}
        tree = reliable_tree(self.count, self.edges, self.pixel)
        for parent, child, index in paths_from(self.reference, self.count, self.edges, tree):
            edge = self.edges[index]
            onwards = edge.matrix if edge.a == child else np.linalg.inv(edge.matrix)
            xy = edge.a_xy if edge.a == child else edge.b_xy
            # A homography's best affine over its points, in the family of the maps.
            there = apply_matrix(found[parent] @ onwards, xy)
            found[child] = least_squares(self.model, xy, there)
        for node, matrix in found.items():
            if tied[node]:
                inner[node] = common @ matrix @ self.unscale[node]
        return inner

    def inner(self, matrices: NDArray[np.float64]) -> NDArray[np.float64]:
        """(n, 3, 3) maps between normalised frames."""
        return np.asarray(self.scales[self.reference] @ matrices @ self.unscale)

    def _fields(self, inner: NDArray[np.float64]) -> tuple[NDArray[np.float64], ...]:
        """(m, 6) disagreement of each pair, and what moves it: (m, 2, 2) and (m, 3, 3)."""
        back = _inverses(inner)[self.b]
        to_b, between = self.unscale[self.b] @ back, back @ inner[self.a]
        field = (self.unscale[self.b] @ between - self.measured)[:, :2]
        return np.einsum("mpcd,mcd->mp", self.to_modes, field), to_b[:, :2, :2], between

    def misfits(self, inner: NDArray[np.float64], scatter: float) -> NDArray[np.float64]:
        """(m,) squared and weighed disagreement; of a right pair chi-squared in its modes."""
        value, _, _ = self._fields(inner)
        weights = self._weights(scatter)
        return np.asarray(np.einsum("mp,mpq,mq->m", value, weights, value))

    def residuals(self, inner: NDArray[np.float64]) -> NDArray[np.float64]:
        """(m,) RMS disagreement over the points of each pair, pixels of its target."""
        value, _, _ = self._fields(inner)
        return np.asarray(np.sqrt((value**2).sum(axis=1)) / self.pixel[self.b])

    @property
    def improbable(self) -> NDArray[np.float64]:
        """(m,) the misfit that a right pair all but never exceeds."""
        return np.asarray(chi2.ppf(QUANTILE, self.modes))

    def _weights(self, scatter: float) -> NDArray[np.float64]:
        """(m, 6, 6) inverse covariance of the modes; zero for those that do not count."""
        counted = np.arange(MODES) < self.modes[:, None]
        extra = (scatter**2 + self.floor**2) * self.pixel[self.b] ** 2
        diagonal = np.where(counted, extra[:, None], 1.0)
        inverse = np.linalg.inv(self.stated + diagonal[:, :, None] * np.eye(MODES))
        return np.asarray(inverse * (counted[:, :, None] & counted[:, None, :]))

    def _normal(
        self,
        inner: NDArray[np.float64],
        tied: BoolArray,
        use: BoolArray,
        weights: NDArray[np.float64],
    ) -> tuple[coo_array, NDArray[np.float64], NDArray[np.float64], NDArray[np.int64]]:
        """Normal matrix, right side, (m, 6, 2p) derivatives and (n,) place of each unknown map."""
        place = np.full(self.count, -1, dtype=np.int64)
        free = np.flatnonzero(tied & (np.arange(self.count) != self.reference))
        place[free] = np.arange(len(free))
        value, to_b, between = self._fields(inner)
        moved_a = np.einsum("mij,kjd->mkid", to_b, self.directions)
        moved_b = np.einsum("mkid,mde->mkie", -moved_a, between)
        both = np.concatenate([moved_a, moved_b], axis=1)
        slope = np.einsum("mqid,mkid->mqk", self.to_modes, both)
        rows = np.flatnonzero(use)
        held = np.swapaxes(slope[rows], 1, 2) @ weights[rows]
        blocks, right = held @ slope[rows], -np.einsum("mkq,mq->mk", held, value[rows])
        p = self.p
        at = np.concatenate([place[self.a[rows], None], place[self.b[rows], None]], axis=1)
        unknown = (p * at[:, :, None] + np.arange(p)).reshape(len(rows), 2 * p)
        known = np.repeat(at >= 0, p, axis=1)
        both_known = known[:, :, None] & known[:, None, :]
        i = np.broadcast_to(unknown[:, :, None], both_known.shape)[both_known]
        j = np.broadcast_to(unknown[:, None, :], both_known.shape)[both_known]
        size = p * len(free)
        matrix = coo_array((blocks[both_known], (i, j)), shape=(size, size))
        side = np.zeros(size)
        np.add.at(side, unknown[known], right[known])
        return matrix, side, slope, place

    def iterate(
        self,
        inner: NDArray[np.float64],
        tied: BoolArray,
        use: BoolArray,
        scatter: float,
        weigh: Weighing,
        rounds: int = _ROUNDS,
    ) -> NDArray[np.float64]:
        """Gauss-Newton with the weights of whole pairs renewed in each round.

        Args:
            inner: (n, 3, 3) maps to begin from.
            tied: (n,) bool, images to solve for; pairs in use connect them all.
            use: (m,) bool, pairs between them.
            scatter: See `scatter`.
            weigh: Weights of whole pairs.
            rounds: At most this many.

        Returns:
            (n, 3, 3) maps between normalised frames.
        """
        if tied.sum() < 2:
            return inner
        stated, cut = self._weights(scatter), self.improbable
        for _ in range(rounds):
            squared = np.where(use, self.misfits(inner, scatter), 0.0)
            whole = np.maximum(weigh(squared, cut), _LEAST_WEIGHT)
            matrix, side, _, place = self._normal(inner, tied, use, stated * whole[:, None, None])
            theta = _factors(matrix).solve(side).reshape(-1, self.p)
            free = np.flatnonzero(place >= 0)
            inner = inner.copy()
            inner[free, :2] += np.einsum("np,pij->nij", theta, self.directions)
            if np.abs(theta).max() < _SETTLED:
                break
        return inner

    def typical_scatter(self, inner: NDArray[np.float64], use: BoolArray) -> float:
        """The scatter that makes half of the pairs fit as half of them should."""
        rows = np.flatnonzero(use & ~bridges(self.count, self.edges, use))
        if len(rows) == 0:
            return 0.0
        typical = chi2.ppf(0.5, self.modes[rows])
        # Maps fitted to few pairs follow them: what is left of the misfit is their redundancy.
        nodes = len(np.unique(np.concatenate([self.a[rows], self.b[rows]])))
        total = int(self.modes[rows].sum())
        left = max(total - self.p * (nodes - 1), 1) / total

        def excess(scatter: float) -> float:
            return float(np.median(self.misfits(inner, scatter)[rows] / typical)) - left

        return _root(excess, self.most_scatter)

    def scatter(self, inner: NDArray[np.float64], tied: BoolArray, use: BoolArray) -> float:
        """The scatter that gives the sum of squares its expectation (Paule & Mandel, 1982)."""
        freedom = self.freedom(tied, use)
        if freedom <= 0:
            return 0.0

        def excess(scatter: float) -> float:
            return float(self.misfits(inner, scatter)[use].sum()) - freedom

        return _root(excess, self.most_scatter)

    def freedom(self, tied: BoolArray, use: BoolArray) -> int:
        """Degrees of freedom: what is measured beyond what is needed."""
        return int(self.modes[use].sum()) - self.p * (int(tied.sum()) - 1)

    def precision(
        self, inner: NDArray[np.float64], tied: BoolArray, use: BoolArray, scatter: float
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Returns the covariances of the maps, and how far pairs check one another.

        Returns:
            (n, p, p) covariance of each map's parameters between normalised frames, zero for the
            reference and NaN where not tied; and (m,) redundancy of each pair in use as a share of
            its modes (Baarda, 1968), NaN for the others.
        """
        covariances = np.full((self.count, self.p, self.p), np.nan)
        covariances[self.reference] = 0.0
        checked = np.full(len(self.edges), np.nan)
        if not use.any():
            return covariances, checked
        weights = self._weights(scatter)
        matrix, _, slope, place = self._normal(inner, tied, use, weights)
        factors, p = _factors(matrix), self.p
        columns = np.eye(p)
        # One image at a time: only the blocks where pairs are matter, never the whole inverse.
        across = np.zeros((len(self.edges), p, p))
        for node in np.flatnonzero(place >= 0):
            right = np.zeros((matrix.shape[0], p))
            right[p * place[node] : p * place[node] + p] = columns
            blocks = factors.solve(right).reshape(-1, p, p)
            covariances[node] = blocks[place[node]]
            beside = np.flatnonzero(use & (self.b == node) & (place[self.a] >= 0))
            across[beside] = blocks[place[self.a[beside]]]
        rows = np.flatnonzero(use)
        joint = np.zeros((len(rows), 2 * p, 2 * p))
        joint[:, :p, :p], joint[:, p:, p:] = covariances[self.a[rows]], covariances[self.b[rows]]
        joint[:, :p, p:] = across[rows]
        joint[:, p:, :p] = np.swapaxes(across[rows], 1, 2)
        explained = slope[rows] @ joint @ np.swapaxes(slope[rows], 1, 2) @ weights[rows]
        share = 1 - np.trace(explained, axis1=1, axis2=2) / self.modes[rows]
        checked[rows] = np.clip(share, 0.0, 1.0)
        return covariances, checked


def _factors(normal: coo_array) -> SuperLU:
    """A symmetric positive matrix in factors, ordered so that they stay sparse."""
    return splu(
        normal.tocsc(),
        permc_spec="MMD_AT_PLUS_A",
        diag_pivot_thresh=0.0,
        options={"SymmetricMode": True},
    )


def _root(excess: Callable[[float], float], most: float) -> float:
    """Finds the zero of a falling function between 0 and `most`, or the nearer end."""
    if excess(0.0) <= 0:
        return 0.0
    return float(most if excess(most) >= 0 else brentq(excess, 0.0, most, xtol=1e-6))


def _scales(count: int, edges: Sequence[Edge]) -> NDArray[np.float64]:
    """(n, 3, 3) normalisation of each frame over the points that lie in it."""
    points: list[list[NDArray[np.float64]]] = [[] for _ in range(count)]
    for edge in edges:
        points[edge.a].append(edge.a_xy)
        points[edge.b].append(edge.b_xy)
    return np.stack([normalisation(np.concatenate(p)) if p else np.eye(3) for p in points])


def _nested_fields(xy: NDArray[np.float64]) -> NDArray[np.float64]:
    """(2K, 6) displacement fields: two shifts, rotation and scale, two shears."""
    x, y = ((xy - xy.mean(axis=0)) / max(float(np.ptp(xy)), 1e-300)).T
    one, zero = np.ones_like(x), np.zeros_like(x)
    fields = [(one, zero), (zero, one), (x, y), (-y, x), (x, -y), (y, x)]
    return np.stack([np.column_stack(field).ravel() for field in fields], axis=1)


def _inverses(matrices: NDArray[np.float64]) -> NDArray[np.float64]:
    """(n, 3, 3) inverses, NaN where there is nothing to invert."""
    good = np.isfinite(matrices).all(axis=(1, 2))
    out = np.full_like(matrices, np.nan)
    out[good] = np.linalg.inv(matrices[good])
    return out
