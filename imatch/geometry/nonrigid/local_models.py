"""Robust fits of smooth displacement fields to residuals of a global transform.

Four families, all written as a `DisplacementGrid` in the end:

- polynomials of the second and third degree;
- a penalised spline (Eilers & Marx, 1996): a lattice of cubic B-splines, its second differences
  penalised in both directions;
- a thin-plate spline with smoothing (Wahba, 1990), through robust means of cells.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal, Protocol, TypeAlias, get_args

import numpy as np
import scipy
from numpy.typing import NDArray

from imatch.geometry.transform import DisplacementGrid

LocalKind: TypeAlias = Literal["polynomial2", "polynomial3", "spline", "tps"]
LOCAL_KINDS: tuple[LocalKind, ...] = get_args(LocalKind)
#: Weights of the penalty on bending worth trying, by family.
SMOOTHNESS: dict[LocalKind, tuple[float, ...]] = {
    "polynomial2": (0.0,),
    "polynomial3": (0.0,),
    "spline": (1e-3, 1e-2, 1e-1, 1.0, 10.0),
    "tps": (1e-5, 1e-4, 1e-3, 1e-2, 1e-1),
}

_POWERS = {
    "polynomial2": [(i, j) for i in range(3) for j in range(3 - i)],
    "polynomial3": [(i, j) for i in range(4) for j in range(4 - i)],
}
#: The fewest parameters of any family.
FEWEST_PARAMETERS = len(_POWERS["polynomial2"])
# Tie points for each interval of the spline's lattice, and its most intervals along a side.
_POINTS_AN_INTERVAL, _MOST_INTERVALS = 5.0, 20
# A thin-plate spline costs the cube of its points: it is fitted to the means of so many cells.
_TPS_CELLS = 20
# Far from any tie point the spline levels out, by this share of a tie point's weight.
_LEVEL = 1e-4
_ROUNDS = 3


class LocalSolver(Protocol):
    """Weighted least squares of one model at given tie points."""

    def solve(self, moved: NDArray[np.float64], weights: NDArray[np.float64]) -> DisplacementGrid:
        """The field for (N, 2) displacements and (N,) weights, not all of them zero."""
        ...


@dataclass(frozen=True)
class LocalModel:
    """A family of smooth displacement fields, ready to be fitted.

    Attributes:
        kind: Which family.
        box: (left, top, right, bottom) of the region it is defined on; beyond it the displacement
            stays what it is at the border.
        smoothness: Weight of the penalty on bending, relative to that of the tie points.
        intervals: Of the lattice, along x and y.
    """

    kind: LocalKind
    box: tuple[float, float, float, float]
    smoothness: float = 0.0
    intervals: tuple[int, int] = (1, 1)

    @classmethod
    def over(
        cls,
        kind: LocalKind,
        xy: NDArray[np.float64],
        smoothness: float | None = None,
        margin: float = 0.0,
    ) -> LocalModel:
        """The model whose lattice suits (N, 2) tie points, and reaches `margin` beyond them."""
        low, high = xy.min(axis=0) - margin, xy.max(axis=0) + margin
        span = np.maximum(high - low, 1e-9 * max(1.0, float(np.abs(xy).max())))
        high = low + span
        intervals = (1, 1)
        if kind in ("spline", "tps"):
            wanted = np.sqrt(len(xy) / _POINTS_AN_INTERVAL / (span[0] * span[1])) * span
            x, y = np.clip(np.round(wanted), 1, _MOST_INTERVALS).astype(int)
            intervals = (int(x), int(y))
        smooth = SMOOTHNESS[kind][len(SMOOTHNESS[kind]) // 2] if smoothness is None else smoothness
        box = (float(low[0]), float(low[1]), float(high[0]), float(high[1]))
        return cls(kind, box, smooth, intervals)

    @property
    def parameters(self) -> int:
        """How many tie points could be fitted exactly."""
        if self.kind in _POWERS:
            return len(_POWERS[self.kind])
        return (self.intervals[0] + 3) * (self.intervals[1] + 3)

    def fit(
        self,
        xy: NDArray[np.float64],
        moved: NDArray[np.float64],
        *,
        threshold: float,
        weights: NDArray[np.float64] | None = None,
        rounds: int = _ROUNDS,
    ) -> DisplacementGrid:
        """Fit a field, by least squares reweighted with Tukey's biweight.

        Args:
            xy: (N, 2) tie points.
            moved: (N, 2) displacement at each of them, pixels.
            threshold: Largest residual of an inlier, pixels.
            weights: (N,) of the tie points, before any reweighting; None for equal ones.
            rounds: Fits in all.

        Returns:
            The field, in pixels.
        """
        given = np.ones(len(xy)) if weights is None else weights
        current = given
        solver = self.solver(xy)
        grid = solver.solve(moved, current)
        for _ in range(rounds - 1):
            rest = np.hypot(*(moved - grid.displacement(xy)).T)
            sigma = float(np.median(rest[given > 0])) / 1.1774
            cut = float(np.clip(4.685 * sigma, threshold / 4, 4 * threshold))
            current = given * np.where(rest < cut, (1 - (rest / cut) ** 2) ** 2, 0.0)
            if np.count_nonzero(current) < 4:
                break
            grid = solver.solve(moved, current)
        return grid

    def solver(self, xy: NDArray[np.float64]) -> LocalSolver:
        """Least squares at (N, 2) tie points, to be solved for many displacements and weights."""
        solver: LocalSolver = _SOLVERS[self.kind](self, xy)
        return solver

    def unit(self, xy: NDArray[np.float64]) -> NDArray[np.float64]:
        """(N, 2) positions in [0, 1] across the box."""
        low, high = np.array(self.box[:2]), np.array(self.box[2:])
        return np.asarray((xy - low) / (high - low))

    def grid(self, coefficients: NDArray[np.float64]) -> DisplacementGrid:
        """A field from (R, C, 2) coefficients on the lattice."""
        low, high = np.array(self.box[:2]), np.array(self.box[2:])
        step = (high - low) / np.array(self.intervals)
        origin = low - step
        return DisplacementGrid(
            self.kind,
            (float(origin[0]), float(origin[1])),
            (float(step[0]), float(step[1])),
            coefficients,
        )


class _Polynomial:
    """Least squares on monomials, written exactly as one interval of cubic splines."""

    def __init__(self, model: LocalModel, xy: NDArray[np.float64]) -> None:
        self._model = model
        self._basis = self._monomials(2 * model.unit(xy) - 1)

    def _monomials(self, xy: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.column_stack(
            [xy[:, 0] ** i * xy[:, 1] ** j for i, j in _POWERS[self._model.kind]]
        )

    def solve(self, moved: NDArray[np.float64], weights: NDArray[np.float64]) -> DisplacementGrid:
        weighted = self._basis * weights[:, None]
        normal = weighted.T @ self._basis
        normal += 1e-9 * max(float(np.trace(normal)), 1e-12) * np.eye(len(normal))
        theta = np.linalg.solve(normal, weighted.T @ moved)
        return _sampled(self._model, lambda unit: self._monomials(2 * unit - 1) @ theta)


class _Spline:
    """Penalised least squares for the coefficients themselves."""

    def __init__(self, model: LocalModel, xy: NDArray[np.float64]) -> None:
        self._model = model
        columns, rows = (count + 3 for count in model.intervals)
        unit = np.clip(model.unit(xy), 0, 1) * np.array(model.intervals) + 1
        across, down = _spline_basis(unit[:, 0], columns), _spline_basis(unit[:, 1], rows)
        # Row by row products: the tensor basis at every tie point, sixteen entries a line.
        self._basis = _khatri_rao(down, across)
        bending, slope = _penalties(columns, rows)
        self._penalty = len(xy) / (rows * columns) * (model.smoothness * bending + _LEVEL * slope)
        self._shape = rows, columns, 2

    def solve(self, moved: NDArray[np.float64], weights: NDArray[np.float64]) -> DisplacementGrid:
        weighted = self._basis.multiply(weights[:, None]).tocsr()
        normal = (weighted.T @ self._basis).toarray() + self._penalty
        factor = scipy.linalg.cho_factor(normal, check_finite=False)
        solved = scipy.linalg.cho_solve(factor, weighted.T @ moved)
        return self._model.grid(np.asarray(solved).reshape(self._shape))


class _ThinPlate:
    """SciPy's smoothing thin-plate spline through means of cells, sampled on the lattice."""

    def __init__(self, model: LocalModel, xy: NDArray[np.float64]) -> None:
        self._model = model
        self._unit = model.unit(xy)
        cell = np.clip((self._unit * _TPS_CELLS).astype(np.int64), 0, _TPS_CELLS - 1)
        _, self._member = np.unique(cell @ [1, _TPS_CELLS], return_inverse=True)

    def solve(self, moved: NDArray[np.float64], weights: NDArray[np.float64]) -> DisplacementGrid:
        total = np.bincount(self._member, weights)
        used = total > 0

        def mean(values: NDArray[np.float64]) -> NDArray[np.float64]:
            columns = [np.bincount(self._member, weights * v)[used] for v in values.T]
            return np.column_stack(columns) / total[used, None]

        # A cell's smoothing falls with the weight behind its mean.
        smoothing = self._model.smoothness * len(self._unit) / used.sum() / total[used]
        field = scipy.interpolate.RBFInterpolator(
            mean(self._unit), mean(moved), smoothing=smoothing, kernel="thin_plate_spline"
        )
        return _sampled(self._model, field)


_SOLVERS: dict[str, Any] = {
    "polynomial2": _Polynomial,
    "polynomial3": _Polynomial,
    "spline": _Spline,
    "tps": _ThinPlate,
}


def _sampled(model: LocalModel, field: Any) -> DisplacementGrid:
    """The splines on a model's lattice nearest to a function of positions in [0, 1] x [0, 1].

    Exact where the function is of their kind, as polynomials up to the third degree are.
    """
    (x, across), (y, down) = (_samples(count) for count in model.intervals)
    columns, rows = np.meshgrid(x, y)
    values = np.asarray(field(np.column_stack([columns.ravel(), rows.ravel()])))
    planes = values.reshape(*columns.shape, 2).transpose(2, 0, 1)
    return model.grid((down @ planes @ across.T).transpose(1, 2, 0))


@lru_cache(maxsize=16)
def _samples(intervals: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Places in [0, 1] of a function's values, and the matrix that makes coefficients of them."""
    at = np.linspace(0, 1, 2 * (intervals + 3))
    return at, np.linalg.pinv(_spline_basis(at * intervals + 1, intervals + 3).toarray())


def _spline_basis(at: NDArray[np.float64], count: int) -> scipy.sparse.csr_array:
    """(N, count) values of uniform cubic B-splines round the nodes 0 to count - 1, four a line."""
    return scipy.interpolate.BSpline.design_matrix(at, np.arange(-2.0, count + 2.0), 3)


@lru_cache(maxsize=4)
def _penalties(columns: int, rows: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(R C, R C) quadratic forms of a lattice's second differences, and of its first ones."""
    sparse = scipy.sparse
    across, down = np.eye(columns), np.eye(rows)
    (x1, x2), (y1, y2) = (
        [sparse.csr_array(np.diff(unit, order, axis=0)) for order in (1, 2)]
        for unit in (across, down)
    )
    bending = [sparse.kron(down, x2), sparse.kron(y2, across), np.sqrt(2) * sparse.kron(y1, x1)]
    slope = [sparse.kron(down, x1), sparse.kron(y1, across)]

    def form(differences: list[Any]) -> NDArray[np.float64]:
        stacked = sparse.vstack(differences).tocsr()
        return np.asarray((stacked.T @ stacked).toarray())

    return form(bending), form(slope) + 1e-5 * np.eye(rows * columns)


def _khatri_rao(
    down: scipy.sparse.csr_array, across: scipy.sparse.csr_array
) -> scipy.sparse.csr_array:
    """(N, R C) products of the rows of (N, R) and (N, C), four entries each."""
    count, columns = down.shape[0], across.shape[1]
    values = down.data.reshape(count, 4, 1) * across.data.reshape(count, 1, 4)
    index = down.indices.reshape(count, 4, 1) * columns + across.indices.reshape(count, 1, 4)
    rows = np.repeat(np.arange(count), 16)
    shape = count, down.shape[1] * columns
    return scipy.sparse.csr_array((values.ravel(), (rows, index.ravel())), shape=shape)
