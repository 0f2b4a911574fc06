"""A few windows of a raster, and what they tell of fill values that nobody declared."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from rasterio.io import DatasetReader
from rasterio.windows import Window

from imatch.core.types import BoolArray
from imatch.raster.gdal import reading

#: (h, w) pixels of a band and where they are valid.
Sample: TypeAlias = tuple[NDArray[Any], BoolArray]

_LOG = logging.getLogger(__name__)
#: Side of a sampled window, and windows along each axis: corners, middles of edges, centre.
_SIDE, _ACROSS = 64, 3
#: Fewer pixels tell nothing.
LEAST = 64
#: What software writes where there is no measurement; and anything beyond the largest.
_SENTINELS = frozenset({-999, -9999, -99999, -999999, -32768, -32767, 32767, 65535, -(2**31)})
_LARGEST = 1e20
#: Share of the pixels that any other fill value has at least.
_FREQUENT = 0.005


def sampled(dataset: DatasetReader, name: str, band: int) -> list[Sample]:
    """Reads up to nine windows of a band at full resolution.

    Args:
        dataset: The raster.
        name: What to call it in errors.
        band: 1-based.

    Raises:
        InputError: Pixels cannot be read.
    """
    size = dataset.width, dataset.height
    starts = [
        sorted({round(at) for at in np.linspace(0, max(0, side - _SIDE), _ACROSS)}) for side in size
    ]
    width, height = (min(_SIDE, side) for side in size)
    found = []
    for y in starts[1]:
        for x in starts[0]:
            window = Window(x, y, width, height)
            with reading(dataset, name, [band], window):
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
    values = values[np.isfinite(values)].astype(np.float64)
    if len(values) < LEAST:
        return None
    for fill in (float(values.min()), float(values.max())):
        others = values[values != fill]
        share = 1 - len(others) / len(values)
        known = fill in _SENTINELS or abs(fill) > _LARGEST
        if not len(others) or not (known or share > _FREQUENT):
            continue
        gap = float(np.abs(others - fill).min())
        low, high = np.percentile(others, (2, 98))
        if gap > (high - low) / 2 if known else gap > 2 * (high - low) > 0:
            return fill, share
    return None


def warn_of_fill(
    dataset: DatasetReader, name: str, bands: Sequence[int], known: Sequence[float] = ()
) -> None:
    """Logs a warning that names a fill value of some bands which the file does not declare.

    Args:
        dataset: The raster.
        name: What to call it.
        bands: 1-based bands.
        known: Values that need no declaration.

    Raises:
        InputError: Pixels cannot be read.
    """
    for band in bands:
        found = undeclared_fill(sampled(dataset, name, band))
        if found is not None and found[0] not in known:
            _warn(name, band, *found)
            return


@lru_cache(maxsize=1024)
def _warn(name: str, band: int, fill: float, share: float) -> None:
    """Once a file: it is opened to be matched, and again to be written."""
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
