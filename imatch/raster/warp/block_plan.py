"""Plans and makes the blocks of a warped output."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from threading import Lock
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from rasterio.io import DatasetReader
from rasterio.windows import Window

from imatch.core.types import BoolArray
from imatch.raster.gdal import reading
from imatch.raster.sampling.coordinate_grid import Convert, CoordinateGrid, positions
from imatch.raster.sampling.interpolation import (
    REACH,
    Resampling,
    averaged,
    nearest,
    sample_bands,
)
from imatch.raster.write.geotiff import TILE
from imatch.raster.write.profile import RasterProfile

#: (C, h, w) pixels of a block and, where the output has a mask or alpha, (h, w) bool of its ground.
Made: TypeAlias = tuple[NDArray[Any], "BoolArray | None"]

#: Blocks made at a time, and made but not yet written.
_WORKERS, _AHEAD = 2, 3
#: Pixels of all bands in a block of the output, and in what is read for it.
_BLOCK, _READ = 4 << 20, 16 << 20
#: Bands stored apart are made so many at a time: a decoder's cache holds no more of them.
_TOGETHER = 4


@dataclass(frozen=True)
class Block:
    """A part of the output.

    Attributes:
        window: Its pixels.
        bands: Its 1-based bands.
    """

    window: Window
    bands: tuple[int, ...]


def plan_blocks(form: RasterProfile, size: tuple[int, int], factor: tuple[int, int]) -> list[Block]:
    """Cut an output into blocks of bounded memory, in the order in which they are best made.

    Args:
        form: The raster.
        size: (width, height) of the output.
        factor: Source pixels averaged into one.
    """
    step = form.count if form.pixelwise else _TOGETHER
    groups = [
        tuple(range(first, min(first + step, form.count + 1)))
        for first in range(1, form.count + 1, step)
    ]
    side = 2 * TILE
    while side > 16 and (
        len(groups[0]) * side**2 > _BLOCK
        or len(groups[0]) * side**2 * factor[0] * factor[1] > _READ
    ):
        side //= 2
    width, height = size
    return [
        Block(Window(x, y, min(side, width - x), min(side, height - y)), bands)
        for bands in groups
        for y in range(0, height, side)
        for x in range(0, width, side)
    ]


class BlockMaker:
    """Makes blocks of an output from an open raster; threads may share it.

    Args:
        dataset: The raster.
        name: What to call it.
        form: What it looks like.
        to_pixels: Output pixels to native pixels of the raster.
        resampling: How to take values between pixels.
        factor: Columns and rows of source pixels that are averaged into one beforehand.
    """

    def __init__(
        self,
        dataset: DatasetReader,
        name: str,
        form: RasterProfile,
        to_pixels: Convert,
        resampling: Resampling,
        factor: tuple[int, int] = (1, 1),
    ) -> None:
        self._dataset, self._name, self._form = dataset, name, form
        self._convert, self._resampling, self._factor = to_pixels, resampling, factor
        self._fill = 0 if form.nodata is None else form.nodata
        self._reading = Lock()

    def in_order(self, blocks: Sequence[Block]) -> Iterator[tuple[Block, Made]]:
        """Make blocks ahead of their use, in their order.

        Raises:
            InputError: The raster cannot be read.
        """
        waiting: deque[tuple[Block, Future[Made]]] = deque()
        pool = ThreadPoolExecutor(_WORKERS, thread_name_prefix="warp")
        try:
            for block in blocks:
                waiting.append((block, pool.submit(self.make, block)))
                if len(waiting) > _AHEAD:
                    first, future = waiting.popleft()
                    yield first, future.result()
            while waiting:
                first, future = waiting.popleft()
                yield first, future.result()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)

    def make(self, block: Block) -> Made:
        """Make one block.

        Raises:
            InputError: The raster cannot be read.
        """
        window = block.window
        size = int(window.width), int(window.height)
        where = positions(self._convert, int(window.col_off), int(window.row_off), *size)
        out = np.full((len(block.bands), size[1], size[0]), self._fill, dtype=self._form.dtype)
        ground = np.zeros(out.shape[1:], dtype=bool)
        inside = self._inside(where)
        if inside.any():
            self._take(block, where, inside, out, ground)
        return out, ground if self._form.masked else None

    def _inside(self, where: CoordinateGrid) -> BoolArray:
        """Returns which positions lie on the raster; those not finite do not."""
        left, top = where.origin
        width, height = self._dataset.width, self._dataset.height
        inside = (where.x >= -0.5 - left) & (where.x <= width - 0.5 - left)
        inside &= (where.y >= -0.5 - top) & (where.y <= height - 0.5 - top)
        return np.asarray(inside)

    def _take(
        self,
        block: Block,
        where: CoordinateGrid,
        inside: BoolArray,
        out: NDArray[Any],
        ground: BoolArray,
    ) -> None:
        """Fill `out` and `ground` where the raster has something."""
        everywhere = bool(inside.all())
        x, y = where.x, where.y
        if not everywhere:
            # Anywhere on the raster will do for what is masked out afterwards.
            x, y = (np.where(inside, place, place[inside][0]) for place in (x, y))
        part = self._part(where.origin, x, y)
        pixels, valid = self._read(part, block.bands)
        fx, fy = self._factor
        column = (x + np.float32(where.origin[0] - part.col_off + 0.5)) / np.float32(
            fx
        ) - np.float32(0.5)
        row = (y + np.float32(where.origin[1] - part.row_off + 0.5)) / np.float32(fy) - np.float32(
            0.5
        )
        known = valid if len(valid) == len(pixels) else valid * len(pixels)
        if self._factor != (1, 1):
            reduced = [averaged(*band, self._factor) for band in zip(pixels, known, strict=True)]
            pixels, known = [band for band, _ in reduced], [ground for _, ground in reduced]
        taken = sample_bands(pixels, known, column, row, self._resampling)
        for i, (values, own) in enumerate(zip(taken, known, strict=True)):
            good = inside if own is None else inside & nearest(own, column, row)
            self._store(values, out[i], good)
            ground |= good
            if block.bands[i] == self._form.alpha:
                out[i][good] = np.maximum(out[i][good], 1)

    def _part(
        self, origin: tuple[int, int], x: NDArray[np.float32], y: NDArray[np.float32]
    ) -> Window:
        """Whole native pixels, and whole cells of averaging, that the kernel needs."""
        bounds = []
        for place, start, side, cell in zip(
            (x, y), origin, (self._dataset.width, self._dataset.height), self._factor, strict=True
        ):
            rim = (REACH[self._resampling] + 1) * cell
            low = max(0, int(np.floor(place.min())) + start - rim) // cell * cell
            high = int(np.ceil(place.max())) + start + rim + 1
            bounds.append((low, min(side, -(-high // cell) * cell)))
        (left, right), (top, bottom) = bounds
        return Window(left, top, right - left, bottom - top)

    def _read(
        self, part: Window, bands: tuple[int, ...]
    ) -> tuple[list[NDArray[Any]], list[BoolArray | None]]:
        """Bands of a window ready to be sampled, and where each (or all, if one) has ground."""
        form = self._form
        alpha = mask = own = None
        with self._reading, reading(self._name):
            raw = self._dataset.read(list(bands), window=part, out_dtype=form.dtype)
            if form.missing == "alpha":
                inner = form.alpha in bands
                alpha = raw[bands.index(form.alpha)] if inner else None
                if alpha is None:
                    alpha = self._dataset.read(form.alpha, window=part)
            elif form.missing == "mask":
                mask = self._dataset.read_masks(1, window=part)
            elif form.missing == "bands":
                own = self._dataset.read_masks(list(bands), window=part)
        valid: list[BoolArray | None] = [None]
        if alpha is not None or mask is not None:
            valid = [np.asarray((alpha if mask is None else mask) != 0)]
        elif own is not None:
            valid = [np.asarray(band != 0) for band in own]
        elif form.missing == "nodata":
            valid = [self._marked(band) for band in raw]
        if raw.dtype.kind == "f":
            valid = [
                _both(valid[min(i, len(valid) - 1)], np.isfinite(band))
                for i, band in enumerate(raw)
            ]
        # To look for missing ground where there is none takes a tenth of the time.
        valid = [None if ground is None or ground.all() else ground for ground in valid]
        if self._resampling == "nearest":
            return list(raw), valid
        # float32 holds 16 bits exactly, and what it holds anyway.
        exact = raw.dtype.itemsize <= 2 or raw.dtype == np.float32
        work = np.dtype(np.float32 if exact else np.float64)
        return [band.astype(work, copy=False) for band in raw], valid

    def _marked(self, band: NDArray[Any]) -> BoolArray:
        nodata = self._form.nodata
        assert nodata is not None
        return np.asarray(~np.isnan(band) if np.isnan(nodata) else band != band.dtype.type(nodata))

    def _store(self, values: NDArray[Any], out: NDArray[Any], good: BoolArray) -> None:
        """Round and clip values into an output band, where they mean something."""
        kind = out.dtype
        if kind.kind in "iu" and values.dtype.kind == "f":
            limits = np.iinfo(kind)
            most = limits.max if self._form.nbits is None else 2**self._form.nbits - 1
            # The largest 64-bit integers are no floating-point numbers; the next smaller ones are.
            top = float(most) if most < 2**53 else np.nextafter(float(most), 0)
            values = np.clip(np.rint(values, out=values), limits.min, top, out=values).astype(kind)
        nodata = self._form.nodata
        if nodata is not None and self._resampling != "nearest" and not np.isnan(nodata):
            # Interpolation must not make ground of a value that means none.
            unlucky = values == kind.type(nodata)
            if unlucky.any():
                values = np.where(unlucky, _neighbour(nodata, kind), values)
        np.copyto(out, values, where=good, casting="unsafe")


def _neighbour(value: float, kind: np.dtype[Any]) -> Any:
    """The number of a type next to one."""
    if kind.kind == "f":
        number = kind.type(value)
        return np.nextafter(number, kind.type(0 if number > 0 else 1))
    return kind.type(int(value) + (1 if value == np.iinfo(kind).min else -1))


def _both(a: BoolArray | None, b: BoolArray) -> BoolArray | None:
    both = b if a is None else a & b
    return None if both.all() else both
