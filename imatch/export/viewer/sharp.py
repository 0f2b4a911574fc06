"""Parts of a large pair at full resolution, where its tie points lie, as far as bytes allow."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from imatch.export.quality.views import ViewFrame
from imatch.export.subsample import subsample
from imatch.export.viewer.layers import QUALITY, Painter
from imatch.pipeline.registration.result import TiePoints

Cell: TypeAlias = tuple[int, int]

#: Side of a tile, reference pixels.
SIDE = 256
# What the page shows around a tie point, to each side, and a pixel of rounding; see view.js.
_REACH = 25
# About how many bytes a tile takes, encoded as text.
_TILE_BYTES = 22_000


def sharp_tiles(
    paint: Mapping[str, Painter],
    frame: ViewFrame,
    points: TiePoints | None,
    budget: int,
    told: Callable[[int], None] = lambda _bytes: None,
) -> dict[str, Any] | None:
    """Returns tiles at full resolution, the same of each image.

    The largest residual of each part of the overlap comes first, then other tie points, then what
    is nearest to the middle: a budget that is large enough takes everything.

    Args:
        paint: What paints each image, by its name.
        frame: The overlap, at any resolution.
        points: The tie points, if there are any.
        budget: Bytes that they may take.
        told: Told of the bytes of each that is taken.

    Returns:
        ``side``, ``left`` and ``top`` of the grid of tiles in reference pixels, ``share`` of it
        that is there, whether that is the ``whole``, and for each image a data URL by
        ``column,row``. None where not even one tile fits.
    """
    columns, rows = (math.ceil(side * frame.step / SIDE - 1e-9) for side in frame.size)
    found: dict[str, dict[str, str]] = {name: {} for name in paint}
    fits, done = True, set[Cell]()
    for cell in _order(frame, points, (columns, rows), budget // (len(paint) * _TILE_BYTES)):
        left, top = (low + index * SIDE for low, index in zip(_corner(frame), cell, strict=True))
        # The last ones of the overlap go on beyond it, where there is ground.
        tile = ViewFrame(left, top, 1.0, SIDE, SIDE)
        images = {name: painter.paint(tile) for name, painter in paint.items()}
        sources = {name: one.source(QUALITY) for name, one in images.items() if one.valid.any()}
        size = sum(map(len, sources.values()))
        budget -= size
        if budget < 0:
            fits = False
            break
        done.add(cell)
        told(size)
        for name, source in sources.items():
            found[name]["{},{}".format(*cell)] = source
    if not done:
        return None
    left, top = _corner(frame)
    share = len(done) / (columns * rows)
    return {"side": SIDE, "left": left, "top": top, "share": share, "whole": fits, **found}


def _order(
    frame: ViewFrame, points: TiePoints | None, shape: tuple[int, int], count: int
) -> Iterator[Cell]:
    """Yields every tile once, the ones most worth their bytes first."""
    seen = set[Cell]()
    for cell in itertools.chain(_round_points(frame, points, count), _from_middle(shape)):
        if cell not in seen and all(0 <= c < n for c, n in zip(cell, shape, strict=True)):
            seen.add(cell)
            yield cell


def _round_points(frame: ViewFrame, points: TiePoints | None, count: int) -> Iterator[Cell]:
    """Yields the tiles around tie points: the worst of each part, then all, the worst first."""
    if points is None or not len(points):
        return
    cost: NDArray[np.float64] = np.where(points.inlier, -points.residual_px, np.inf)
    # A point near the edge of a tile takes two of them, or four.
    chosen = subsample(points.ref_xy, cost, max(1, round(count / 1.4)))
    rest = np.setdiff1d(np.arange(len(points)), chosen)
    for indices in (chosen, rest):
        for index in indices[np.argsort(cost[indices], kind="stable")]:
            place = points.ref_xy[index] + 0.5 - _corner(frame)
            low, high = (((place + reach) // SIDE).astype(int) for reach in (-_REACH, _REACH))
            yield from itertools.product(range(low[0], high[0] + 1), range(low[1], high[1] + 1))


def _from_middle(shape: tuple[int, int]) -> Iterator[Cell]:
    """Yields all tiles of a grid, those nearest to its middle first."""
    middle = (np.array(shape) - 1) / 2
    cells = list(itertools.product(range(shape[0]), range(shape[1])))
    yield from sorted(cells, key=lambda cell: float(np.hypot(*(cell - middle))))


def _corner(frame: ViewFrame) -> tuple[float, float]:
    """Returns the grid's left upper corner, whole reference pixels."""
    return math.floor(frame.left), math.floor(frame.top)
