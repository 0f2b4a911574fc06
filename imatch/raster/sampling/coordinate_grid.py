"""Source coordinates of output pixels, computed at nodes and interpolated in between.

A mapping through map projections and splines costs microseconds a point; a scene has 10**8 of them.
Between nodes every mapping of a registration is nearly linear, so it is evaluated on a sparse
lattice and interpolated, and the error of that is measured, not hoped for.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

Convert: TypeAlias = Callable[[ArrayLike], NDArray[np.float64]]

#: Largest error of an interpolated position, source pixels.
TOLERANCE_PX = 0.005
#: Output pixels between two nodes, and the smallest part that is still worth interpolating.
_STEP, _SMALLEST = 16, 8


@dataclass(frozen=True, eq=False)
class CoordinateGrid:
    """Source positions of a block of output pixels.

    Attributes:
        origin: (x, y) source pixel from which `x` and `y` count; whole numbers, so that float32
            keeps a thousandth of a pixel anywhere in a large scene.
        x: (H, W) float32 source column of each output pixel less the origin's, NaN where none.
        y: (H, W) float32 source row less the origin's.
    """

    origin: tuple[int, int]
    x: NDArray[np.float32]
    y: NDArray[np.float32]

    def bounds(self) -> tuple[float, float, float, float] | None:
        """(left, top, right, bottom) of the finite positions, source pixels; None without any."""
        finite = np.isfinite(self.x) & np.isfinite(self.y)
        if not finite.any():
            return None
        x, y = (self.x, self.y) if finite.all() else (self.x[finite], self.y[finite])
        ox, oy = self.origin
        return ox + float(x.min()), oy + float(y.min()), ox + float(x.max()), oy + float(y.max())


def positions(convert: Convert, left: int, top: int, width: int, height: int) -> CoordinateGrid:
    """Map a block of output pixels into the source, to within `TOLERANCE_PX`.

    Args:
        convert: (N, 2) output pixels to (N, 2) source pixels, not finite where there is none.
        left: First column of the block.
        top: First row of the block.
        width: Columns.
        height: Rows.
    """
    sketch = convert(_nodes(left, top, width, height, 5, 5))
    sketch = sketch[np.isfinite(sketch).all(axis=1)]
    low = np.floor(sketch.min(axis=0)) if len(sketch) else np.zeros(2)
    origin = (int(low[0]), int(low[1]))
    x = np.empty((height, width), dtype=np.float32)
    y = np.empty_like(x)
    _fill(convert, np.array(origin, dtype=np.float64), (left, top), x, y)
    return CoordinateGrid(origin, x, y)


def spans(convert: Convert, width: int, height: int) -> tuple[float, float]:
    """Source pixels that one output pixel spans along the source's rows and columns.

    Args:
        convert: (N, 2) output pixels to (N, 2) source pixels.
        width: Columns of the output.
        height: Rows of the output.

    Returns:
        The medians over the output along x and y of the source; (1, 1) where nothing is mapped.
    """
    coordinates = _nodes(0, 0, width, height, 17, 17)
    half = np.array([0.5, 0.0])
    across = convert(coordinates + half) - convert(coordinates - half)
    down = convert(coordinates + half[::-1]) - convert(coordinates - half[::-1])
    lengths = np.hypot(across, down)
    lengths = lengths[np.isfinite(lengths).all(axis=1)]
    if not len(lengths):
        return 1.0, 1.0
    x, y = np.median(lengths, axis=0)
    return float(x), float(y)


def _fill(
    convert: Convert,
    origin: NDArray[np.float64],
    corner: tuple[int, int],
    x: NDArray[np.float32],
    y: NDArray[np.float32],
) -> None:
    """Fill a block by interpolation; where that is too coarse, its quarters one by one."""
    height, width = x.shape
    if max(height, width) <= _SMALLEST:
        exact = convert(_nodes(*corner, width, height, width, height)) - origin
        exact[~np.isfinite(exact).all(axis=1)] = np.nan
        x[...], y[...] = exact.T.reshape(2, height, width)
        return
    # An odd number of nodes, so that every second one makes a lattice to judge the rest by.
    columns, rows = (2 * max(1, -(-side // (2 * _STEP))) + 1 for side in (width, height))
    nodes = convert(_nodes(*corner, width, height, columns, rows)) - origin
    if np.isfinite(nodes).all():
        planes = nodes.T.reshape(2, rows, columns)
        worst = max(_coarse_error(plane) for plane in planes)
        # Interpolation errs by the square of the step: nodes twice as far apart err four times.
        if worst / 4 <= TOLERANCE_PX / 2:
            for plane, out in zip(planes, (x, y), strict=True):
                out[...] = _interpolated(plane, (height, width), np.float32)
            return
    elif not np.isfinite(nodes).any():
        x.fill(np.nan)
        y.fill(np.nan)
        return
    middle_row, middle_column = (height + 1) // 2, (width + 1) // 2
    for row in (slice(0, middle_row), slice(middle_row, height)):
        for column in (slice(0, middle_column), slice(middle_column, width)):
            part = np.s_[row, column]
            if x[part].size:
                start = corner[0] + column.start, corner[1] + row.start
                _fill(convert, origin, start, x[part], y[part])


def _nodes(
    left: int, top: int, width: int, height: int, columns: int, rows: int
) -> NDArray[np.float64]:
    """(rows * columns, 2) places evenly from the first pixel of a block to its last."""
    x = np.linspace(left, left + width - 1, columns)
    y = np.linspace(top, top + height - 1, rows)
    return np.stack(np.meshgrid(x, y), axis=-1).reshape(-1, 2)


def _coarse_error(plane: NDArray[np.float64]) -> float:
    """Returns the error with which every second node predicts the others."""
    guessed = _interpolated(plane[::2, ::2], plane.shape)
    return float(np.abs(guessed - plane).max())


def _interpolated(
    plane: NDArray[np.float64], shape: tuple[int, ...], kind: type[np.floating[Any]] = np.float64
) -> NDArray[Any]:
    """Bilinear interpolation from nodes that span a block evenly, end to end.

    The last step, which takes the time, is made in numbers of a kind.
    """
    lines = _between(plane.T, shape[1]).T
    return _between(np.ascontiguousarray(lines, dtype=kind), shape[0])


def _between(nodes: NDArray[Any], count: int) -> NDArray[Any]:
    """(count, W) linear interpolation of (N, W) lines, evenly from the first to the last."""
    place = np.linspace(0, len(nodes) - 1, count)
    first = np.minimum(place.astype(np.intp), len(nodes) - 2)
    out = nodes[first]
    step = nodes[first + 1]
    step -= out
    step *= (place - first)[:, None].astype(nodes.dtype)
    out += step
    return out
