"""DataArrays of made ground, as rioxarray and odc-geo make them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
import odc.geo.xr
import rioxarray  # noqa: F401 - it makes the accessor.
import xarray as xr
from affine import Affine
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox

CRS = "EPSG:32631"
#: Where the first pixel of the ground lies, and how large a pixel is.
LEFT, TOP, GSD = 500_000.0, 4_800_000.0, 10.0


def fields(width: int, height: int, seed: int = 3) -> NDArray[np.uint16]:
    """(height, width) of smooth ground with detail in every window."""
    coarse = np.random.default_rng(seed).random((height // 10, width // 10))
    smooth = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    return (np.clip(smooth, 0, 1) * 4000 + 1000).astype(np.uint16)


def view(
    pixels: NDArray[Any],
    *,
    left: float = LEFT,
    top: float = TOP,
    gsd: float = GSD,
    bands: Sequence[Any] | None = None,
    chunks: dict[str, int] | None = None,
) -> xr.DataArray:
    """Pixels (H, W) or (C, H, W) as rioxarray opens them, north up."""
    height, width = pixels.shape[-2:]
    coords: dict[str, Any] = {
        "y": top - gsd * (np.arange(height) + 0.5),
        "x": left + gsd * (np.arange(width) + 0.5),
    }
    dims: tuple[str, ...] = ("y", "x")
    if pixels.ndim == 3:
        dims = ("band", *dims)
        coords["band"] = list(bands) if bands is not None else list(range(1, len(pixels) + 1))
    array: xr.DataArray = xr.DataArray(pixels, coords=coords, dims=dims).rio.write_crs(CRS)
    return array if chunks is None else array.chunk(chunks)


def odc_view(pixels: NDArray[Any], *, left: float = LEFT, top: float = TOP) -> xr.DataArray:
    """Pixels (H, W) as odc-geo wraps them."""
    box = GeoBox(pixels.shape, Affine(GSD, 0, left, 0, -GSD, top), CRS)
    wrapped: xr.DataArray = odc.geo.xr.wrap_xr(pixels, box, nodata=0)
    return wrapped
