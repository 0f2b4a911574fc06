"""A smooth map between two planes over a small region, cheap to evaluate and to differentiate."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_POWERS = [(i, j) for i in range(4) for j in range(4 - i)]


@dataclass(frozen=True, eq=False)
class SmoothMap:
    """A polynomial of the third degree in both coordinates.

    Attributes:
        centre: (2,) middle of the region.
        scale: (2,) half of its extent.
        coefficients: (10, 2) of the monomials of the centred and scaled position.
    """

    centre: NDArray[np.float64]
    scale: NDArray[np.float64]
    coefficients: NDArray[np.float64]

    @classmethod
    def fit(cls, xy: NDArray[np.float64], uv: NDArray[np.float64]) -> SmoothMap:
        """Least squares through (N, 2) points and their images; N is 10 at least.

        Examples:
            >>> x, y = np.meshgrid(np.arange(5.0), np.arange(5.0))
            >>> xy = np.column_stack([x.ravel(), y.ravel()])
            >>> SmoothMap.fit(xy, 2 * xy + 1).apply(np.array([[1.5, 2.5]])).round(6)
            array([[4., 6.]])
        """
        low, high = xy.min(axis=0), xy.max(axis=0)
        centre, scale = (low + high) / 2, np.maximum((high - low) / 2, 1e-9)
        basis = _monomials((xy - centre) / scale)
        middle = uv.mean(axis=0)
        # Large coordinates are taken off first, for the sake of the digits after the point.
        coefficients = np.linalg.lstsq(basis, uv - middle, rcond=None)[0]
        coefficients[0] += middle
        return cls(centre, scale, coefficients)

    def apply(self, xy: NDArray[np.float64]) -> NDArray[np.float64]:
        """Map (N, 2) points."""
        return np.asarray(_monomials((xy - self.centre) / self.scale) @ self.coefficients)

    def jacobian(self, xy: NDArray[np.float64]) -> NDArray[np.float64]:
        """(N, 2, 2) derivative of the mapped point at (N, 2) points."""
        x, y = ((xy - self.centre) / self.scale).T
        by_x = np.column_stack([i * x ** max(i - 1, 0) * y**j for i, j in _POWERS])
        by_y = np.column_stack([j * x**i * y ** max(j - 1, 0) for i, j in _POWERS])
        columns = [
            by_x @ self.coefficients / self.scale[0],
            by_y @ self.coefficients / self.scale[1],
        ]
        return np.stack(columns, axis=2)


def _monomials(xy: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.column_stack([xy[:, 0] ** i * xy[:, 1] ** j for i, j in _POWERS])
