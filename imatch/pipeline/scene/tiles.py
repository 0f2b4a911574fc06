"""Plans the levels, tiles and correlation windows of a scene.

A level is the reference reduced by whole numbers of its own pixels along both axes; its pixels are
counted as everywhere, the centre of the first one being (0, 0). The finest level has the pixels of
the coarser of both images. Everything here is arithmetic on a few numbers; no pixel is read.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from imatch.geometry.nonrigid.smooth_map import SmoothMap
from imatch.raster import RasterInfo

#: Pixels round a window that its gradients need.
RIM = 5
#: Tie points a scene is given where nobody says how many.
POINTS = 3000
#: Tie points that lead from one level to the next.
_LEADING_POINTS = 1200
#: From level to level pixels shrink by this factor.
_RATIO = 4
#: The first level's pixels are at least so many times smaller than the rough answer's.
_FINER = 2.0
_LEAST_WINDOW = 16
#: Where an image is small, tiles are too: about so many along its longer side, but no smaller.
_TILES_A_SIDE, _LEAST_TILE = 5, 256
_LATTICE = 8

Predict = Callable[[NDArray[np.float64]], NDArray[np.float64]]


@dataclass(frozen=True)
class TileLevel:
    """One resolution at which tie points are measured.

    Attributes:
        number: 0 for the coarsest.
        factor: Native reference pixels per level pixel, along x and y.
        size: (width, height) of the reference, level pixels.
        window: Side of a window, level pixels.
        radius: Largest displacement sought, level pixels.
        cell: Distance of two windows, level pixels.
        tile: Side of a tile, level pixels; edges of tiles are edges of cells.
    """

    number: int
    factor: tuple[int, int]
    size: tuple[int, int]
    window: int
    radius: int
    cell: float
    tile: int

    @property
    def patch(self) -> int:
        """Side of a window with its rim."""
        return self.window + 2 * RIM

    def to_native(self, xy: NDArray[np.float64]) -> NDArray[np.float64]:
        """Map (N, 2) level pixels to native pixels of the reference."""
        return np.asarray((xy + 0.5) * self.factor - 0.5)

    def to_level(self, xy: NDArray[np.float64]) -> NDArray[np.float64]:
        """Map (N, 2) native pixels of the reference to level pixels."""
        return np.asarray((xy + 0.5) / self.factor - 0.5)


@dataclass(frozen=True, eq=False)
class TileTask:
    """A piece of the reference to be measured.

    Attributes:
        key: Level, row and column.
        level: The level.
        origin: (x, y) of the first pixel to be read, level pixels.
        size: (width, height) to be read, level pixels.
        areas: (K, 4) int64 left, top, right and bottom bounds (inclusive) of where the top-left
            corner of each cell's window may lie, level pixels.
        mapping: Level pixel of the reference to native pixel of the target, as far as known.
    """

    key: tuple[int, int, int]
    level: TileLevel
    origin: tuple[int, int]
    size: tuple[int, int]
    areas: NDArray[np.int64]
    mapping: SmoothMap


def finest_factor(ref: RasterInfo, predict: Predict) -> tuple[int, int]:
    """Reference pixels per target pixel, along the reference's x and y; 1 where it is coarser."""
    middle = np.array([[ref.width / 2, ref.height / 2]])
    steps = middle + np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    there = predict(steps)
    spans = np.hypot(*(there[1:] - there[0]).T)
    x, y = (max(1, round(1 / span)) if np.isfinite(span) and span > 0 else 1 for span in spans)
    return x, y


def level_factors(
    finest: tuple[int, int], rough: float, count: int | None
) -> list[tuple[int, int]]:
    """Factors of the levels, coarsest first.

    Args:
        finest: That of the last level.
        rough: Native reference pixels per pixel of the images that gave the rough answer.
        count: How many levels; None for as many as lead from the rough answer to the last level.
    """
    if count is None:
        # So that an error of half a rough pixel is well within the search radius.
        gap = rough / (_FINER * max(finest))
        count = 1 + max(0, math.floor(math.log(max(gap, 1.0), _RATIO)))
    return [
        (finest[0] * _RATIO**power, finest[1] * _RATIO**power) for power in reversed(range(count))
    ]


def plan_level(
    number: int,
    factor: tuple[int, int],
    ref: RasterInfo,
    *,
    last: bool,
    window: int,
    tile: int,
    spacing: float | None,
    max_points: int | None,
    share: float,
    radius: int,
) -> TileLevel | None:
    """Plans the windows and tiles of a level.

    Args:
        number: 0 for the coarsest.
        factor: Native reference pixels per level pixel.
        ref: The reference.
        last: Whether its windows are the tie points; those of other levels only lead to it.
        window: Side of a window wanted, pixels.
        tile: Side of what is read at once, pixels, about.
        spacing: Distance of tie points, native pixels; None to decide.
        max_points: Most tie points.
        share: Share of the reference that the target covers.
        radius: Largest displacement sought, pixels.

    Returns:
        The level, or None where the image has too few pixels for it.
    """
    size = ref.width // factor[0], ref.height // factor[1]
    window = min(window, 2 * (min(size) // 6))
    if window < _LEAST_WINDOW:
        return None
    area = size[0] * size[1] * min(max(share, 0.01), 1.0)
    wanted = _LEADING_POINTS if not last else POINTS
    cell = math.sqrt(area / wanted)
    if last and spacing is not None:
        cell = spacing / math.sqrt(factor[0] * factor[1])
    if last and max_points is not None:
        cell = max(cell, math.sqrt(area / max_points))
    cell = max(cell, window / 2)
    side = float(min(tile, max(_LEAST_TILE, max(size) / _TILES_A_SIDE)))
    block = ref.block
    if block is not None and max(size) > 2 * tile and min(block) >= 128:
        # Whole blocks, since a block is decoded whole whatever is wanted of it.
        native = math.lcm(block[0], block[1], *factor)
        if native <= 2 * side * max(factor):
            side = native * max(1, round(side * factor[0] / native)) / factor[0]
    cell = min(cell, side)
    radius = min(radius, window // 2 - 3)
    return TileLevel(number, factor, size, window, radius, cell, round(side))


def plan_tiles(level: TileLevel, tgt: RasterInfo, predict: Predict) -> tuple[list[TileTask], int]:
    """The tiles of a level that may show both images, row by row.

    Args:
        level: The level.
        tgt: The target.
        predict: (N, 2) native pixels of the reference to those of the target, as far as known.

    Returns:
        The tiles, and how many more lie outside of the target.
    """
    width, height = level.size
    edges_x, edges_y = _edges(level, width), _edges(level, height)
    tasks, outside = [], 0
    for row, rows in enumerate(edges_y):
        for column, columns in enumerate(edges_x):
            areas = _areas(level, columns, rows)
            if not len(areas):
                continue
            low = np.maximum(areas[:, :2].min(axis=0), 0)
            high = areas[:, 2:].max(axis=0) + level.patch
            mapping = smooth_map(level, low, high, predict)
            if mapping is None or not _reaches(mapping, low, high, tgt):
                outside += 1
                continue
            x, y = (int(v) for v in low)
            size = int(high[0]) - x, int(high[1]) - y
            key = level.number, row, column
            tasks.append(TileTask(key, level, (x, y), size, areas + RIM, mapping))
    return tasks, outside


def _edges(level: TileLevel, length: int) -> list[NDArray[np.int64]]:
    """Returns the edges of every tile's cells along one axis."""
    count = max(1, round(level.tile / level.cell))
    inner = np.floor(np.linspace(0, level.tile, count + 1)).astype(np.int64)
    tiles = []
    for begin in range(0, length, level.tile):
        edges = np.minimum(begin + inner, length)
        edges = np.unique(edges)
        if len(edges) > 1:
            tiles.append(edges)
    return tiles


def _areas(
    level: TileLevel, columns: NDArray[np.int64], rows: NDArray[np.int64]
) -> NDArray[np.int64]:
    """(K, 4) inclusive bounds of where the corner of each cell's patch may lie."""

    def spans(edges: NDArray[np.int64], length: int) -> list[tuple[int, int]]:
        found = []
        half = level.patch // 2
        for begin, end in zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True):
            if level.cell >= 1.5 * level.patch:
                # Room enough: the patch stays in its cell, and reads nothing beyond its tile.
                low, high = begin, end - level.patch
            else:
                low, high = begin - half, end - 1 - half
            low, high = max(low, 0), min(high, length - level.patch)
            if high >= low:
                found.append((low, high))
        return found

    across, down = spans(columns, level.size[0]), spans(rows, level.size[1])
    return np.array(
        [(x0, y0, x1, y1) for y0, y1 in down for x0, x1 in across], dtype=np.int64
    ).reshape(-1, 4)


def smooth_map(
    level: TileLevel, low: NDArray[np.int64], high: NDArray[np.int64], predict: Predict
) -> SmoothMap | None:
    """Fits a smooth map over a box of a level and returns it, None where there is too little of it.

    Args:
        level: The level.
        low: (2,) first pixel of the box.
        high: (2,) last pixel of the box.
        predict: (N, 2) native pixels of the reference to those of the target.
    """
    x, y = np.meshgrid(*(np.linspace(a, b, _LATTICE) for a, b in zip(low, high, strict=True)))
    xy = np.column_stack([x.ravel(), y.ravel()])
    there = predict(level.to_native(xy))
    good = np.isfinite(there).all(axis=1)
    # A third-degree fit to a corner of the lattice would be of no use elsewhere.
    return SmoothMap.fit(xy[good], there[good]) if good.sum() > len(xy) // 2 else None


def _reaches(
    mapping: SmoothMap, low: NDArray[np.int64], high: NDArray[np.int64], tgt: RasterInfo
) -> bool:
    x, y = np.meshgrid(*(np.linspace(a, b, _LATTICE) for a, b in zip(low, high, strict=True)))
    there = mapping.apply(np.column_stack([x.ravel(), y.ravel()]))
    return bool((there.max(axis=0) > 0).all() and (there.min(axis=0) < tgt.size).all())
