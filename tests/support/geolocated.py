"""Images that GCPs or RPCs locate, made on the spot."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from affine import Affine
from numpy.typing import NDArray
from rasterio.control import GroundControlPoint
from rasterio.crs import CRS
from rasterio.rpc import RPC

from imatch.raster.gdal import session

GRID = Affine(10, 0, 500000, 0, -10, 5600000)
UTM = "EPSG:32636"

Bend = Callable[[Any, Any], Any]


def sine(amplitude: float, down: float = 130.0, across: float = 170.0) -> Bend:
    """Columns by which the pixel at (column, row), corner-based, is displaced."""
    return lambda c, r: amplitude * np.sin(r / down) * np.cos(c / across)


def grid_gcps(
    bend: Bend, *, size: int = 400, step: int = 40, noise: float = 0.0, seed: int = 0
) -> list[GroundControlPoint]:
    """GCPs that lie exactly where a bend puts them, but for noise in pixels."""
    rng = np.random.default_rng(seed)
    found = []
    for row in range(0, size + 1, step):
        for column in range(0, size + 1, step):
            dx, dy = rng.normal(0, noise, 2) if noise else (0.0, 0.0)
            x, y = GRID @ (column + float(bend(column, row)) + dx, row + dy)
            found.append(GroundControlPoint(row=row, col=column, x=x, y=y))
    return found


def camera(*, parallax: float = 0.05, bend: float = 0.02, **fields: Any) -> RPC:
    """A camera that looks down nearly straight: `parallax` tells columns by height."""
    one = [1.0] + [0.0] * 19
    sample, line = [0.0] * 20, [0.0] * 20
    sample[1], sample[3], sample[7] = 1.0, parallax, bend
    line[2], line[4] = -1.0, bend
    values: dict[str, Any] = {
        "height_off": 300.0,
        "height_scale": 500.0,
        "lat_off": 50.0,
        "lat_scale": 0.02,
        "long_off": 30.0,
        "long_scale": 0.03,
        "line_off": 200.0,
        "line_scale": 200.0,
        "samp_off": 200.0,
        "samp_scale": 200.0,
        "line_num_coeff": line,
        "line_den_coeff": one,
        "samp_num_coeff": sample,
        "samp_den_coeff": one,
    }
    return RPC(**{**values, **fields})


def write_located(
    path: Path,
    pixels: NDArray[Any] | None = None,
    *,
    gcps: list[GroundControlPoint] | None = None,
    crs: str | None = UTM,
    rpcs: RPC | None = None,
    tags: dict[str, str] | None = None,
) -> Path:
    """Write an image without a geotransform; `tags` are RPCs as GDAL has them, right or wrong."""
    if pixels is None:
        pixels = np.random.default_rng(0).integers(1, 255, (400, 400)).astype(np.uint8)
    kind = {"driver": "GTiff", "count": 1, "dtype": pixels.dtype}
    height, width = pixels.shape
    with session(), rasterio.open(path, "w", height=height, width=width, **kind) as dataset:
        dataset.write(pixels, 1)
        if gcps is not None:
            dataset.gcps = gcps, CRS() if crs is None else crs
        if rpcs is not None:
            dataset.rpcs = rpcs
        if tags is not None:
            dataset.update_tags(ns="RPC", **tags)
    return path


def write_heights(path: Path, width: int = 200) -> Path:
    """A DEM of waves round 300 m over the camera's ground; a narrow one covers some of it."""
    y, x = np.mgrid[:200, :width]
    dem = (300 + 100 * np.sin(x / 20) * np.cos(y / 30)).astype(np.float32)
    place = Affine(0.0004, 0, 29.96, 0, -0.0003, 50.03)
    kind = {"driver": "GTiff", "count": 1, "dtype": "float32", "crs": "EPSG:4326"}
    with rasterio.open(path, "w", height=200, width=width, transform=place, **kind) as dataset:
        dataset.write(dem, 1)
    return path
