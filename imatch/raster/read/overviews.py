"""Overviews of a file, the true positions of their pixels, and what is read of them at a time.

An overview is usually taken to cover the whole image, each of its pixels the mean of a square of
full-resolution ones. Two kinds do not:

- The resolution levels of a JPEG 2000 file are low-pass wavelet bands. Both wavelets of the
  standard (ISO/IEC 15444-1, annex F) have odd symmetric filters centred on even samples, so pixel
  i of level k lies at full-resolution pixel 2**k * i, not at the middle of its square: read as
  other overviews are, the image slips by up to half a pixel of the level. Here it is accounted for.
- Overviews made by nearest neighbour (the default of ``gdaladdo``) hold pixels from one side of
  each square. They are not used.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import numpy as np
from affine import Affine
from rasterio.enums import MaskFlags
from rasterio.io import DatasetReader
from rasterio.windows import Window

from imatch.raster.gdal import opened

#: Bytes of all bands that are read at a time: a part of what GDAL keeps of decoded blocks, so that
#: bands and masks find what the first band had decoded (`imatch.raster.decoding.CACHE_MB`).
_STRIP = 64 << 20


@dataclass(frozen=True)
class Overview:
    """A resolution level of a file.

    Attributes:
        number: GDAL's overview level; None for full resolution.
        width: Columns of the level.
        height: Rows of the level.
        to_native: Corner-based pixel of the level to corner-based pixel of full resolution.
    """

    number: int | None
    width: int
    height: int
    to_native: Affine

    @property
    def factor(self) -> float:
        """How many full-resolution pixels a pixel of the level spans, along the finer axis."""
        return float(min(self.to_native.a, self.to_native.e))


def choose_level(dataset: DatasetReader, file: str, index: int, factor: float) -> Overview:
    """The coarsest trustworthy level that is still as fine as asked.

    Args:
        dataset: The file at full resolution.
        file: What `dataset` was opened from.
        index: 1-based band.
        factor: Full-resolution pixels per pixel wanted.
    """
    width, height = dataset.width, dataset.height
    best = Overview(None, width, height, Affine.identity())
    wavelet = is_wavelet(dataset)
    for number, reduction in enumerate(dataset.overviews(index)):
        if reduction > factor * (1 + 1e-6) or reduction < best.factor:
            continue
        with opened(file, number) as overview:
            w, h = overview.width, overview.height
            nearest = overview.tags(index).get("RESAMPLING", "").upper().startswith("NEAR")
            if nearest or _masking(overview, index) != _masking(dataset, index):
                continue
        if wavelet:
            scale = 2 ** (number + 1)
            to_native = Affine.translation(0.5, 0.5) @ Affine.scale(scale)
            to_native @= Affine.translation(-0.5, -0.5)
        else:
            to_native = Affine.scale(width / w, height / h)
        best = Overview(number, w, h, to_native)
    return best


def plan_reading(
    window: Window, to_native: Affine, level: Overview, factor: float, size: tuple[int, int] | None
) -> tuple[Window, tuple[int, int]]:
    """Whole pixels of a level that hold a native window, and the (height, width) to read them at.

    At full resolution a whole window is read right at the size wanted, if that is no enlargement;
    else with a rim, for the resampling that follows, and twice as fine as wanted.

    Args:
        window: Native pixels; may be fractional.
        to_native: Corner-based pixel of the level to native pixel.
        level: The level.
        factor: Native pixels per pixel allowed.
        size: (width, height) the window is wanted at, if any.
    """
    inverse = ~to_native
    x0, y0 = inverse @ (window.col_off, window.row_off)
    x1, y1 = inverse @ (window.col_off + window.width, window.row_off + window.height)
    whole = all(abs(v - round(v)) < 1e-6 for v in (x0, y0, x1, y1))
    if size is not None and level.number is None and whole:
        part = Window(round(x0), round(y0), round(x1) - round(x0), round(y1) - round(y0))
        if part.width >= size[0] and part.height >= size[1]:
            return part, (size[1], size[0])
    if size is not None:
        factor = max(1.0, factor / 2)
    reduce = max(1.0, factor / min(to_native.a, to_native.e))
    rim = 4 * reduce
    if size is not None:
        # The kernel of the resampling that follows reaches further along the more reduced axis.
        rim = max(rim, 2 * (x1 - x0) / size[0], 2 * (y1 - y0) / size[1])
    left, top = max(0, int(np.floor(x0 - rim))), max(0, int(np.floor(y0 - rim)))
    right = min(level.width, int(np.ceil(x1 + rim)))
    bottom = min(level.height, int(np.ceil(y1 + rim)))
    width, height = max(1, right - left), max(1, bottom - top)
    shape = (max(1, int(np.ceil(height / reduce))), max(1, int(np.ceil(width / reduce))))
    return Window(left, top, width, height), shape


def strips(
    dataset: DatasetReader, part: Window, shape: tuple[int, int]
) -> list[tuple[Window, slice]]:
    """Cuts a reading into strips, each of which GDAL's cache of decoded blocks can hold.

    GDAL reads band by band and mask by mask; of bands that are stored together it decodes all. What
    exceeds the cache would be decoded once for each.

    Args:
        dataset: What is read.
        part: Whole pixels of it.
        shape: (height, width) at which they are wanted.

    Returns:
        Parts, whose edges may be fractional, and the rows each of them makes.
    """
    sizes = [np.dtype(kind).itemsize if kind in np.sctypeDict else 16 for kind in dataset.dtypes]
    total = part.width * part.height * sum(sizes)
    blocks = part.height // (2 * max(rows for rows, _ in dataset.block_shapes))
    count = int(min(math.ceil(total / _STRIP), max(blocks, 1), shape[0]))
    if count <= 1:
        return [(part, slice(0, shape[0]))]
    edges = np.linspace(0, shape[0], count + 1).round().astype(int).tolist()
    step = part.height / shape[0]
    return [
        (
            Window(part.col_off, part.row_off + first * step, part.width, (last - first) * step),
            slice(first, last),
        )
        for first, last in itertools.pairwise(edges)
    ]


def is_wavelet(dataset: DatasetReader) -> bool:
    """Whether a file's overviews are JPEG 2000 resolution levels."""
    external = any(name.lower().endswith(".ovr") for name in dataset.files)
    return bool(dataset.driver.startswith("JP2") and not external)


def _masking(dataset: DatasetReader, index: int) -> frozenset[MaskFlags]:
    """Returns how invalid ground is marked; an overview may lack its image's mask."""
    return frozenset(dataset.mask_flag_enums[index - 1])
