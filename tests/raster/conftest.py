"""Small rasters made on the spot: a scene of blobs whose centres are known exactly."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pytest
import rasterio
from affine import Affine
from numpy.typing import NDArray
from rasterio.enums import ColorInterp, Resampling
from rasterio.errors import NotGeoreferencedWarning

FloatArray = NDArray[np.float64]
Scene = tuple[NDArray[np.float32], FloatArray]
UTM31 = Affine(10, 0, 400000, 0, -10, 5000000)


class Write(Protocol):
    """write(name, pixels, transform=…, crs=…, driver=…, **profile) -> path"""

    def __call__(self, name: str, pixels: NDArray[Any], **options: Any) -> Path: ...


def _write(
    path: Path,
    pixels: NDArray[Any],
    *,
    transform: Affine | None = UTM31,
    crs: Any = "EPSG:32631",
    driver: str = "GTiff",
    descriptions: tuple[str, ...] = (),
    overviews: tuple[int, ...] = (),
    overview_resampling: Resampling = Resampling.average,
    alpha: bool = False,
    mask: NDArray[Any] | None = None,
    colormap: dict[int, tuple[int, int, int, int]] | None = None,
    gcps: Any = None,
    **options: Any,
) -> Path:
    pixels = pixels if pixels.ndim == 3 else pixels[None]
    path.parent.mkdir(parents=True, exist_ok=True)
    profile: dict[str, Any] = {"driver": driver, "dtype": pixels.dtype, **options}
    profile |= dict(zip(("count", "height", "width"), pixels.shape, strict=True))
    profile |= {k: v for k, v in (("transform", transform), ("crs", crs)) if v is not None}
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True), warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        with rasterio.open(path, "w", **profile) as dataset:
            if alpha:
                dataset.colorinterp = [*dataset.colorinterp[:-1], ColorInterp.alpha]
            if gcps is not None:
                dataset.gcps = gcps
            dataset.write(pixels)
            for index, text in enumerate(descriptions, start=1):
                dataset.set_band_description(index, text)
            if mask is not None:
                dataset.write_mask(mask)
            if colormap is not None:
                dataset.write_colormap(1, colormap)
        if overviews:
            with rasterio.open(path, "r+") as dataset:
                dataset.build_overviews(overviews, overview_resampling)
    return path


@pytest.fixture
def utm31() -> Affine:
    """10 m pixels north of 45 degrees, in EPSG:32631."""
    return UTM31


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Write a raster into the test's folder; by default a GeoTIFF of 10 m pixels in UTM 31."""

    def writer(name: str, pixels: NDArray[Any], **options: Any) -> Path:
        return _write(tmp_path / name, pixels, **options)

    return writer


def _blobs(size: tuple[int, int], sigma: float) -> Scene:
    width, height = size
    gap = 9 * sigma
    grid = np.meshgrid(
        np.arange(gap * 0.75, width - gap * 0.7, gap),
        np.arange(gap * 0.75, height - gap * 0.7, gap),
    )
    centres = np.stack(grid, axis=-1).reshape(-1, 2)
    centres = centres + np.random.default_rng(0).uniform(-1, 1, centres.shape)
    image = np.zeros((height, width), dtype=np.float32)
    reach = int(6 * sigma)
    for x, y in centres:
        x0, y0 = max(0, int(x) - reach), max(0, int(y) - reach)
        ys, xs = np.mgrid[y0 : min(height, y0 + 2 * reach), x0 : min(width, x0 + 2 * reach)]
        image[ys, xs] += 10000 * np.exp(-((xs - x) ** 2 + (ys - y) ** 2) / (2 * sigma**2))
    return image, centres


@pytest.fixture(scope="session")
def blobs() -> Callable[[tuple[int, int], float], Scene]:
    """blobs(size, sigma) -> (H, W) Gaussian blobs 9 sigmas apart, and their (N, 2) centres."""
    return _blobs


def _slip(image: NDArray[Any], expected: FloatArray, sigma: float) -> float:
    height, width = image.shape
    reach = int(np.ceil(3.6 * sigma))
    slips = []
    for x, y in expected:
        cx, cy = round(float(x)), round(float(y))
        if not (reach <= cx < width - reach and reach <= cy < height - reach):
            continue
        ys, xs = np.mgrid[cy - reach : cy + reach + 1, cx - reach : cx + reach + 1]
        value = image[ys, xs] * (np.hypot(xs - x, ys - y) <= 3.6 * sigma)
        slips.append((np.average(xs, weights=value) - x, np.average(ys, weights=value) - y))
    assert len(slips) >= 8, "too few whole blobs to judge"
    return float(np.abs(slips).max())


@pytest.fixture(scope="session")
def slip() -> Callable[[NDArray[Any], FloatArray, float], float]:
    """slip(image, expected, sigma) -> worst distance of a blob's centroid from where it belongs."""
    return _slip
