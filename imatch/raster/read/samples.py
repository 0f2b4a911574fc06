"""Samples pixels of a raster to detect undeclared fill values and classes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from rasterio.io import DatasetReader
from rasterio.windows import Window

from imatch.core.redaction import get_logger
from imatch.core.types import BoolArray
from imatch.raster.gdal import reading

#: (h, w) pixels of a band and where they are valid.
Sample: TypeAlias = tuple[NDArray[Any], BoolArray]

_LOG = get_logger(__name__)
#: Side of a sampled window, and windows along each axis, from edge to edge; fewer where each takes
#: so many pixels to be decoded, as tiles of JPEG 2000 do.
_SIDE, _ACROSS, _FEWER, _LARGE_BLOCK = 64, 5, 3, 1 << 20
#: Pixels of a band that are read whole.
_WHOLE = 1 << 20
#: Fewer pixels tell nothing.
LEAST = 64
#: What software writes where there is no measurement; and anything beyond the largest.
_SENTINELS = frozenset({-999, -9999, -99999, -999999, -32768, -32767, 32767, 65535, -(2**31)})
_LARGEST = 1e20
#: Pixels that suffice for the range of a band.
_ENOUGH = 4096
#: Share of the pixels that any other fill value has at least.
_FREQUENT = 0.005


def sampled(dataset: DatasetReader, name: str, band: int) -> list[Sample]:
    """Reads a small band whole, of a large one windows at full resolution.

    Args:
        dataset: The raster.
        name: What to call it in errors.
        band: 1-based.

    Raises:
        InputError: Pixels cannot be read.
    """
    size = dataset.width, dataset.height
    if size[0] * size[1] <= _WHOLE:
        windows = [Window(0, 0, *size)]
    else:
        sides = [min(_SIDE, side) for side in size]
        large = math.prod(dataset.block_shapes[band - 1]) >= _LARGE_BLOCK
        across = _FEWER if large else _ACROSS
        columns, rows = (
            np.unique(np.linspace(0, side - part, across).round().astype(int))
            for side, part in zip(size, sides, strict=True)
        )
        windows = [Window(x, y, *sides) for y in rows.tolist() for x in columns.tolist()]
    found = []
    for window in windows:
        with reading(name):
            pixels = dataset.read(band, window=window)
            found.append((pixels, dataset.read_masks(band, window=window) != 0))
    return found


def undeclared_fill(samples: Sequence[Sample]) -> tuple[float, float] | None:
    """Finds a value that fills gaps although the file does not say so.

    It is the least or the greatest, and far outside the others: by half their range if it is one
    that software is known to write, else by twice their range if it is frequent.

    Args:
        samples: Windows of a band (`sampled`).

    Returns:
        The value and its share of the sampled pixels; None where there is none.
    """
    values = np.concatenate([pixels[valid] for pixels, valid in samples])
    if values.dtype.kind == "f":
        values = values[np.isfinite(values)]
    if len(values) < LEAST:
        return None
    for fill, nearest in ((float(values.min()), np.min), (float(values.max()), np.max)):
        known = fill in _SENTINELS or abs(fill) > _LARGEST
        share = float((values == values.dtype.type(fill)).mean())
        if share == 1 or not (known or share > _FREQUENT):
            continue
        others = values[values != values.dtype.type(fill)]
        gap = abs(float(nearest(others)) - fill)
        low, high = np.percentile(others[:: len(others) // _ENOUGH + 1], (2, 98))
        if gap > (high - low) / 2 if known else gap > 2 * (high - low) > 0:
            return fill, share
    return None


def log_caveats(
    dataset: DatasetReader, name: str, bands: Sequence[int], known: Sequence[float] = ()
) -> None:
    """Logs a warning of what readers may take otherwise than it was meant.

    That is an EXIF orientation, and a fill value which the file does not declare.

    Args:
        dataset: The raster.
        name: What to call it.
        bands: 1-based bands to look for fill values in.
        known: Values that need no declaration.

    Raises:
        InputError: Pixels cannot be read.
    """
    turned = dataset.tags().get("EXIF_Orientation", "1")
    if turned != "1":
        _LOG.warning(
            "%s: its EXIF orientation (%s) is not applied: pixels are counted as they are stored,"
            " not as viewers show them",
            name,
            turned,
        )
    for band in bands:
        found = undeclared_fill(sampled(dataset, name, band))
        if found is not None and found[0] not in known:
            _log_fill(name, band, *found)
            return


@lru_cache(maxsize=1024)
def log_location(name: str, clause: str) -> None:
    """Logs a warning of how a file is located, once a file.

    Args:
        name: What to call it.
        clause: A clause of which the name is the subject.
    """
    _LOG.warning("%s: %s", name, clause)


@lru_cache(maxsize=1024)
def _log_fill(name: str, band: int, fill: float, share: float) -> None:
    """Logs an undeclared fill value, once a file: it may be opened twice."""
    _LOG.warning(
        "%s: band %d holds %.9g in %.2g %% of the pixels looked at, far from all others, and does"
        " not declare it as nodata: it is mixed into its neighbours; pass --nodata %.9g if it"
        " marks missing ground",
        name,
        band,
        fill,
        100 * share,
        fill,
    )
