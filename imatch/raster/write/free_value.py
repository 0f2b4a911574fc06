"""Finds a nodata value that no valid pixel has."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from rasterio.io import DatasetReader
from rasterio.windows import Window

from imatch.core.errors import InputError
from imatch.raster.gdal import reading

#: Types of so few values that which of them occur can be written down.
_COUNTABLE_BYTES = 2
#: Pixels read at a time, and candidates among the values of wider types.
_STRIP, _CANDIDATES = 1 << 22, 64


def free_value(dataset: DatasetReader, dtype: np.dtype[Any], declared: Sequence[float]) -> float:
    """Finds a value that no valid pixel of any band has, to mark what is missing in all of them.

    Reads the whole raster, unless its numbers are floating-point: then NaN is free.

    Args:
        dataset: The raster.
        dtype: Type of the copy's pixels.
        declared: The bands' own values, which are preferred.

    Raises:
        InputError: Every value occurs, or pixels cannot be read.
    """
    if dtype.kind not in "iu":
        return float("nan")
    limits = np.iinfo(dtype)
    first = dict.fromkeys([*declared, 0.0, float(limits.max), float(limits.min)])
    if dtype.itemsize <= _COUNTABLE_BYTES:
        rest: Sequence[int] = range(limits.min, limits.max + 1)
    else:
        rest = range(limits.min, limits.min + _CANDIDATES)
    # As whole numbers: those of 64 bits have no exact counterpart in floating point.
    wanted = [limits.max if value >= limits.max else int(value) for value in first]
    candidates = np.array(list(dict.fromkeys([*wanted, *rest])), dtype=dtype)
    taken = np.zeros(len(candidates), dtype=bool)
    for pixels in _valid_pixels(dataset, dtype):
        taken |= np.isin(candidates, pixels)
    if taken.all():
        marks = ", ".join(f"{value:g}" for value in dict.fromkeys(declared))
        raise InputError(
            f"its bands mark missing ground each in its own way ({marks or 'by masks'}), and no"
            f" value of {dtype} is left to mark it in all of them",
            subject=dataset.name,
            hint="save it with a wider type (gdal_translate -ot), or apply its bands one by one",
        )
    return float(candidates[~taken][0])


def _valid_pixels(dataset: DatasetReader, dtype: np.dtype[Any]) -> Iterator[np.ndarray]:
    rows = max(1, _STRIP // dataset.width)
    for band in dataset.indexes:
        for top in range(0, dataset.height, rows):
            window = Window(0, top, dataset.width, min(rows, dataset.height - top))
            with reading(dataset.name):
                pixels = dataset.read(band, window=window, out_dtype=dtype)
                yield pixels[dataset.read_masks(band, window=window) != 0]
