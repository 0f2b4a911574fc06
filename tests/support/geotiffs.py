"""Small GeoTIFFs for tests."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import rasterio
from affine import Affine
from numpy.typing import NDArray
from rasterio.errors import NotGeoreferencedWarning

#: Where the test scenes lie: UTM 31N near Toulouse, 10 m pixels.
ORIGIN = Affine(10, 0, 356_000, 0, -10, 4_835_000)


def textured(side: int) -> NDArray[np.uint16]:
    """(side, side) of texture with corners at every scale."""
    rng = np.random.default_rng(7)
    layers = [
        rng.random((side // step, side // step)).repeat(step, 0).repeat(step, 1)
        for step in (4, 8, 16)
    ]
    # Edges as a lens shows them: pixels in fours would be a coarser image's, repeated.
    sharp = 1000 + 900 * np.sum(layers, axis=0)
    return np.asarray(cv2.GaussianBlur(sharp, (0, 0), 0.5), dtype=np.uint16)


def write_geotiff(path: Path, pixels: NDArray[Any], **profile: Any) -> Path:
    """Writes pixels as a GeoTIFF at `ORIGIN`, unless told otherwise; without CRS for ``crs=None``.

    Args:
        path: Where to; its folder is made.
        pixels: (H, W) or (bands, H, W).
        **profile: As rasterio has it, instead of what the pixels say.
    """
    stack = pixels if pixels.ndim == 3 else pixels[np.newaxis]
    path.parent.mkdir(parents=True, exist_ok=True)
    settings: dict[str, Any] = {
        "driver": "GTiff",
        "count": stack.shape[0],
        "height": stack.shape[1],
        "width": stack.shape[2],
        "dtype": stack.dtype,
        "crs": "EPSG:32631",
        "transform": ORIGIN,
    } | profile
    if settings["crs"] is None:
        del settings["crs"]
        if "transform" not in profile:
            del settings["transform"]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        with rasterio.open(path, "w", **settings) as out:
            out.write(stack)
    return path
