"""Transforms between two images: a projective matrix with an optional smooth displacement."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, TypeAlias, get_args

import numpy as np
import scipy
from numpy.typing import ArrayLike, NDArray

from imatch.core.errors import InputError
from imatch.core.types import FloatArray

ModelKind: TypeAlias = Literal["translation", "similarity", "affine", "homography"]
MODEL_KINDS: tuple[ModelKind, ...] = get_args(ModelKind)
_ROUNDS = 50
# Shares of the largest displacement: where the fixed point is found, and where it is not.
_SETTLED, _FOLDED = 1e-9, 1e-3


@dataclass(frozen=True, eq=False)
class DisplacementGrid:
    """A smooth displacement field: a uniform cubic B-spline over a regular lattice.

    Every local model is written as one of these: cubic splines hold polynomials up to the third
    degree exactly, and any smooth field as closely as the lattice is fine. Beyond the lattice the
    displacement stays what it is at its border, so nothing runs away where there were no points.

    Attributes:
        kind: How it was fitted: ``polynomial2``, ``polynomial3``, ``spline`` or ``tps``.
        origin: (x, y) of the node in the first row and column.
        step: (x, y) distance of two nodes; a negative y step runs north to south on a map.
        coefficients: (R, C, 2) B-spline coefficients of the displacement in x and y, at least 4
            nodes each way; the field is defined between the second and the second last.
    """

    kind: str
    origin: tuple[float, float]
    step: tuple[float, float]
    coefficients: NDArray[np.float64]

    def __post_init__(self) -> None:
        coefficients = np.asarray(self.coefficients, dtype=np.float64)
        shape = coefficients.shape
        if len(shape) != 3 or shape[2] != 2 or min(shape[:2]) < 4:
            raise InputError(f"not a displacement grid of 4 x 4 nodes or more: {shape}")
        numbers = np.array([*self.origin, *self.step, *coefficients.ravel()])
        if not np.isfinite(numbers).all() or 0 in self.step:
            raise InputError("the displacement grid holds numbers that make no sense")
        object.__setattr__(self, "coefficients", coefficients)

    def displacement(self, xy: ArrayLike) -> NDArray[np.float64]:
        """(N, 2) displacement at (N, 2) positions."""
        points = np.asarray(xy, dtype=np.float64).reshape(-1, 2)
        rows, columns, _ = self.coefficients.shape
        column = np.clip((points[:, 0] - self.origin[0]) / self.step[0], 1.0, columns - 2.0)
        row = np.clip((points[:, 1] - self.origin[1]) / self.step[1], 1.0, rows - 2.0)
        return np.column_stack(
            [
                scipy.ndimage.map_coordinates(
                    plane, [row, column], order=3, prefilter=False, mode="nearest"
                )
                for plane in np.moveaxis(self.coefficients, 2, 0)
            ]
        )

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready form."""
        return {
            "kind": self.kind,
            "origin": list(self.origin),
            "step": list(self.step),
            "coefficients": self.coefficients.tolist(),
        }

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> DisplacementGrid:
        """The inverse of `to_dict`."""
        x, y = data["origin"]
        dx, dy = data["step"]
        return cls(data["kind"], (x, y), (dx, dy), np.asarray(data["coefficients"]))


@dataclass(frozen=True, eq=False)
class Transform:
    """Maps positions in the reference to positions in the target, pixels or map coordinates.

    Attributes:
        kind: The family of the matrix.
        matrix: (3, 3) float64, ``[x', y', w'] = matrix @ [x, y, 1]``, scaled so that
            ``matrix[2, 2]`` is 1.
        local: Displacement added to what the matrix gives, as a function of the position the
            matrix is applied to; None without local deformation.

    Examples:
        >>> shift = Transform("translation", np.array([[1, 0, 3], [0, 1, -2], [0, 0, 1]]))
        >>> shift.apply([[10, 10]])
        array([[13.,  8.]])
        >>> shift.inverse(shift.apply([[1, 2]]))
        array([[1., 2.]])
    """

    kind: ModelKind
    matrix: NDArray[np.float64]
    local: DisplacementGrid | None = None

    def __post_init__(self) -> None:
        matrix = np.asarray(self.matrix, dtype=np.float64)
        if matrix.shape != (3, 3) or not np.isfinite(matrix).all() or matrix[2, 2] == 0:
            raise InputError(f"not a 3x3 projective matrix: {matrix.tolist()}")
        object.__setattr__(self, "matrix", matrix / matrix[2, 2])

    @cached_property
    def _inverse(self) -> NDArray[np.float64]:
        try:
            return np.asarray(np.linalg.inv(self.matrix), dtype=np.float64)
        except np.linalg.LinAlgError as error:
            raise InputError("the transform cannot be inverted") from error

    def apply(self, xy: ArrayLike) -> NDArray[np.float64]:
        """Map (N, 2) positions forward; what is not finite has no image, NaN."""
        return _where_finite(self._apply, xy)

    def inverse(self, xy: ArrayLike) -> NDArray[np.float64]:
        """Map (N, 2) positions back, to a millionth of the displacement; NaN as in `apply`.

        Raises:
            InputError: The matrix is singular, or the displacement folds over itself.
        """
        return _where_finite(self._invert, xy)

    def _apply(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        moved = apply_matrix(self.matrix, points)
        return moved if self.local is None else moved + self.local.displacement(points)

    def _invert(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        found = apply_matrix(self._inverse, points)
        if self.local is None or len(points) == 0:
            return found
        scale = max(float(np.abs(self.local.coefficients).max()), 1e-300)
        for _ in range(_ROUNDS):
            # Fixed point: a smooth field changes far less over its own length than it measures.
            better = apply_matrix(self._inverse, points - self.local.displacement(found))
            step = float(np.abs(better - found).max())
            found = better
            if step <= _SETTLED * scale:
                return found
        # Also when it is not finite any more.
        if not step <= _FOLDED * scale:
            raise InputError("the displacement field folds over itself and cannot be inverted")
        return found


def apply_matrix(matrix: FloatArray, xy: ArrayLike) -> NDArray[np.float64]:
    """Map (N, 2) points by a (3, 3) projective matrix."""
    points = np.asarray(xy, dtype=np.float64).reshape(-1, 2)
    x, y = points[:, 0], points[:, 1]
    # Plain numbers, which multiply an array faster than those that are taken out of one.
    (a, b, c), (d, e, f), (g, h, i) = np.asarray(matrix, dtype=np.float64).tolist()
    mapped = np.empty_like(points, order="C")
    # Written out: BLAS raises spurious floating-point flags, which numpy reports as warnings.
    # A place without an image is infinite, and times zero that is no number: as it should be.
    with np.errstate(invalid="ignore"):
        u, v, w = a * x + b * y + c, d * x + e * y + f, g * x + h * y + i
    np.divide(u, w, out=mapped[:, 0])
    np.divide(v, w, out=mapped[:, 1])
    return mapped


def _where_finite(
    convert: Callable[[NDArray[np.float64]], NDArray[np.float64]], xy: ArrayLike
) -> NDArray[np.float64]:
    points = np.asarray(xy, dtype=np.float64).reshape(-1, 2)
    finite = np.isfinite(points).all(axis=1)
    if finite.all():
        return convert(points)
    out = np.full_like(points, np.nan)
    out[finite] = convert(points[finite])
    return out
