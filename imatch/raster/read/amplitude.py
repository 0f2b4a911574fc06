"""Amplitude of complex radar images."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from affine import Affine
from rasterio.io import DatasetReader
from rasterio.windows import Window

from imatch.raster.gdal import check_extent, reading
from imatch.raster.sampling.resample import Chunk

# Complex numbers read at once, and blocks of rim.
_STRIP, _RIM = 1 << 22, 4


def read_amplitudes(
    dataset: DatasetReader,
    file: str,
    indexes: Sequence[int],
    window: Window,
    to_native: Affine,
    factor: float,
) -> Chunk:
    """Reads amplitudes of complex numbers, the root of the mean power of square blocks.

    A mean of the numbers themselves (an overview, say) would be none of the power: their phases are
    random.

    Args:
        dataset: The raster.
        file: What to call it.
        indexes: 1-based bands.
        window: Native pixels to read.
        to_native: From pixels of the raster to native ones.
        factor: Native pixels for each pixel wanted.

    Returns:
        The amplitudes, with a rim, no coarser than asked.

    Raises:
        InputError: The pixels cannot be read, or are more than memory holds.
    """
    reduce = max(1, int(factor / max(to_native.a, to_native.e)))
    (left, top), (right, bottom) = (
        ~to_native @ corner
        for corner in (
            (window.col_off, window.row_off),
            (window.col_off + window.width, window.row_off + window.height),
        )
    )
    left, top = max(0, int(left) - _RIM * reduce), max(0, int(top) - _RIM * reduce)
    width = min(dataset.width, math.ceil(right) + _RIM * reduce) - left
    height = min(dataset.height, math.ceil(bottom) + _RIM * reduce) - top
    rows, columns = math.ceil(height / reduce), math.ceil(width / reduce)
    check_extent(rows * columns * len(indexes), file, "match a part of it")
    found = np.empty((len(indexes), rows, columns), dtype=np.float32)
    step = max(1, _STRIP // (width * reduce))
    for row in range(0, rows, step):
        strip = min(step * reduce, height - row * reduce)
        part = Window(left, top + row * reduce, width, strip)
        with reading(file):
            power = np.abs(dataset.read(indexes, window=part)).astype(np.float32) ** 2
            # No power at all is no echo, but missing ground.
            power[(dataset.read_masks(indexes, window=part) == 0) | (power == 0)] = np.nan
        rim = ((0, 0), (0, -strip % reduce), (0, columns * reduce - width))
        blocks = np.pad(power, rim, constant_values=np.nan)
        blocks = blocks.reshape(len(indexes), -1, reduce, columns, reduce)
        seen = np.isfinite(blocks).sum(axis=(2, 4), dtype=np.float32)
        mean = np.nansum(blocks, axis=(2, 4)) / np.where(seen > 0, seen, np.nan)
        found[:, row : row + step] = np.sqrt(mean)
    return Chunk(found, to_native @ Affine.translation(left, top) @ Affine.scale(reduce))
