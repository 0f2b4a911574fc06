"""Keeps a reduced level of a file that has none, so that it is decoded once for what is coarse."""

from __future__ import annotations

from collections.abc import Iterator
from threading import Lock

import numpy as np
from affine import Affine
from rasterio.windows import Window

from imatch.raster.read.source import Source
from imatch.raster.sampling.resample import Chunk, resample

#: Native pixels along a side of a pixel that is kept.
FACTOR = 4
#: Pixels of the level that resampling reaches.
_RIM = 4
#: Bytes of a level; a larger one is not kept.
_MOST = 128 << 20
#: Native pixels from which on it is worth keeping.
_LARGE = 1 << 24


def keep_reduced(source: Source) -> Source:
    """Returns a source that keeps a reduced level, where that saves decoding a large file again.

    Args:
        source: The whole image.
    """
    width, height = source.info.size
    kept = 4 * source.info.count * (width // FACTOR) * (height // FACTOR)
    worth = width * height >= _LARGE and kept <= _MOST and source.lacks_level(FACTOR)
    return ReducedSource(source) if worth else source


class ReducedSource(Source):
    """A source of which a level reduced by `FACTOR` is made at its first use, and kept.

    Whole blocks of that size, and anything coarser on a map grid, are read from it; the rest from
    the source.

    Args:
        source: The whole image.
    """

    def __init__(self, source: Source) -> None:
        self._source, self._making = source, Lock()
        self._level: Chunk | None = None
        self._trim_collar, self._masks = source._trim_collar, source._masks
        self._oversampling = source._oversampling
        self.info, self.opened_with = source.info, source.opened_with
        self.files, self.remote = source.files, source.remote

    def _chunks(
        self, window: Window, factor: float, size: tuple[int, int] | None
    ) -> Iterator[Chunk]:
        part = self._part(window, factor, size)
        if part is None:
            yield from self._source._chunks(window, factor, size)
            return
        level = self._made()
        left, top, right, bottom = part
        pixels = np.array(level.pixels[:, top:bottom, left:right])
        yield Chunk(pixels, level.transform @ Affine.translation(left, top))

    def _part(
        self, window: Window, factor: float, size: tuple[int, int] | None
    ) -> tuple[int, int, int, int] | None:
        """Returns (left, top, right, bottom) of a window on the level; None where that is no help.

        For a map grid it has a rim, for what resamples it.
        """
        x, y, w, h = window.col_off, window.row_off, window.width, window.height
        columns, rows = (side // FACTOR for side in self.info.size)
        if size is None:
            left, top = max(0, int(x // FACTOR) - _RIM), max(0, int(y // FACTOR) - _RIM)
            right = min(columns, int(np.ceil((x + w) / FACTOR)) + _RIM)
            bottom = min(rows, int(np.ceil((y + h) / FACTOR)) + _RIM)
            return (left, top, right, bottom) if factor >= FACTOR else None
        left, top = int(x // FACTOR), int(y // FACTOR)
        right, bottom = left + size[0], top + size[1]
        whole = (x, y, w, h) == tuple(FACTOR * v for v in (left, top, *size))
        return (left, top, right, bottom) if whole and right <= columns and bottom <= rows else None

    def _made(self) -> Chunk:
        """Returns the level."""
        with self._making:
            if self._level is None:
                columns, rows = (side // FACTOR for side in self.info.size)
                whole = Window(0, 0, columns * FACTOR, rows * FACTOR)
                size, level = (columns, rows), Affine.scale(FACTOR)
                chunks = self._source._chunks(whole, float(FACTOR), size)
                bands = [resample(chunk, level, size) for chunk in chunks]
                # Nothing is copied where one file has all bands.
                self._level = Chunk(bands[0] if len(bands) == 1 else np.concatenate(bands), level)
            return self._level
