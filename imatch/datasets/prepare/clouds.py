"""Clouds: from a scene classification where there is one, else estimated from the colours.

The estimate is a plain one, in the manner of the brightness and whiteness tests with which Fmask
begins (Zhu & Woodcock, Remote Sensing of Environment 118, 2012): bright in every visible band, and
of no colour. It takes snow, salt and white roofs for clouds and misses thin cirrus; a scene
classification knows better.
"""

from __future__ import annotations

import re
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from rasterio.enums import Resampling
from rasterio.warp import reproject

from imatch.core.errors import ImatchError
from imatch.core.types import BoolArray
from imatch.raster.gdal import opened, reading
from imatch.raster.grid import Grid
from imatch.raster.read.products.sentinel2 import find_safe

# Sentinel-2 scene classification: cloud shadow, clouds of medium and high probability, cirrus.
_SCL_CLOUD = (3, 8, 9, 10)
# What a white cloud reaches, in the units of the file: 8-bit pictures end at 255; 16-bit ones are
# taken for reflectance times 10,000, as of Sentinel-2 and Landsat surface products.
_BRIGHT = {"uint8": 178.0, "uint16": 2500.0, "int16": 2500.0, "float32": 0.25, "float64": 0.25}
# Largest difference of bands as a share of the brightest.
_COLOUR = 0.2
# Radius of what counts as a cloud rather than a roof, and of the rim added for its thin edge.
_OPENING, _RIM = 2, 6


def cloud_mask(pixels: NDArray[np.float32], valid: BoolArray, dtype: str) -> BoolArray:
    """Estimates clouds by brightness and whiteness.

    Args:
        pixels: (C, H, W) in the file's own units; of more than three bands the first three serve.
        valid: (H, W) bool.
        dtype: The file's type, which tells the units; none known gives no cloud.

    Returns:
        (H, W) bool, clouds and a rim of 6 pixels round them.
    """
    bright = _BRIGHT.get(dtype)
    if bright is None:
        return np.zeros_like(valid)
    visible = pixels[:3]
    low, high = visible.min(axis=0), visible.max(axis=0)
    white = valid & (low > bright) & (high - low <= _COLOUR * high)
    opened_ = cv2.morphologyEx(white.astype(np.uint8), cv2.MORPH_OPEN, _disc(_OPENING))
    return np.asarray((cv2.dilate(opened_, _disc(_RIM)) > 0) & valid)


def classified(path: str, grid: Grid) -> BoolArray | None:
    """Reads clouds and their shadows from a Sentinel-2 scene classification.

    Args:
        path: The image. Its classification is the ``SCL`` of the same product, or a raster of the
            same name that ends in ``_SCL.tif`` (``…_TCI.tif`` has ``…_SCL.tif``).
        grid: Where to say it.

    Returns:
        (H, W) bool; None where the image has no classification.

    Raises:
        InputError: The classification cannot be read.
    """
    file = classification_file(path)
    if file is None:
        return None
    out = np.zeros((grid.height, grid.width), dtype=np.uint8)
    with opened(file) as dataset, reading(file):
        # Classes have no means: the nearest pixel's.
        reproject(
            dataset.read(1),
            out,
            src_transform=dataset.transform,
            src_crs=dataset.crs,
            dst_transform=grid.transform,
            dst_crs=grid.crs,
            resampling=Resampling.nearest,
        )
    return np.isin(out, _SCL_CLOUD)


def classification_file(path: str) -> str | None:
    """Finds the scene classification that belongs to an image, None where there is none."""
    whole = Path(path)
    try:
        product = find_safe(whole) if not whole.is_file() or whole.suffix == ".zip" else None
    except ImatchError:
        product = None
    if product is not None:
        named = [file for file in product if re.search(r"_SCL(_\d+m)?\.jp2$", file, re.IGNORECASE)]
        return named[0] if named else None
    stem = re.sub(r"_(TCI|visual)(_10m)?$", "", whole.stem, flags=re.IGNORECASE)
    candidate = whole.with_name(f"{stem}_SCL.tif")
    return str(candidate) if candidate.is_file() else None


def _disc(radius: int) -> NDArray[np.uint8]:
    side = 2 * radius + 1
    shape = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side))
    return np.asarray(shape, dtype=np.uint8)
