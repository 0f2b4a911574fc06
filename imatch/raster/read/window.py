"""A window of a source, read as an image of its own."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from affine import Affine
from rasterio.windows import Window

from imatch.core.errors import InputError
from imatch.raster.read.source import Source
from imatch.raster.sampling.resample import Chunk


class WindowSource(Source):
    """A window of another source; its pixels stay where they are.

    Pixel (0, 0) is the window's first. What the source's mask ignores stays ignored.

    Args:
        source: The whole image.
        left: First column.
        top: First row.
        width: Columns.
        height: Rows.

    Raises:
        InputError: The window is empty or reaches beyond the image.

    Examples:
        >>> import numpy as np
        >>> from imatch.raster import array_source
        >>> whole = array_source(np.arange(12).reshape(3, 4))
        >>> WindowSource(whole, 1, 1, 2, 2).read().pixels[0].tolist()
        [[5.0, 6.0], [9.0, 10.0]]
    """

    def __init__(self, source: Source, left: int, top: int, width: int, height: int) -> None:
        info = source.info
        inside = left >= 0 and top >= 0 and left + width <= info.width
        if not (inside and top + height <= info.height and width > 0 and height > 0):
            raise InputError(
                f"window {(left, top, width, height)} is not within its {info.width}x{info.height} "
                "pixels",
                subject=info.name,
                hint="ask for a part of the image",
            )
        self._source, self._offset = source, (left, top)
        self._trim_collar, self._masks = source._trim_collar, source._masks
        self._oversampling = source._oversampling
        self.opened_with = source.opened_with
        self.files, self.remote = source.files, source.remote
        self.info = replace(
            info,
            width=width,
            height=height,
            transform=info.transform @ Affine.translation(left, top),
            block=None,
            geolocation=None if info.geolocation is None else info.geolocation.within(left, top),
        )

    def _chunks(
        self, window: Window, factor: float, size: tuple[int, int] | None
    ) -> Iterator[Chunk]:
        left, top = self._offset
        there = Window(window.col_off + left, window.row_off + top, window.width, window.height)
        for chunk in self._source._chunks(there, factor, size):
            yield Chunk(chunk.pixels, Affine.translation(-left, -top) @ chunk.transform)
