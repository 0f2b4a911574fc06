from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from affine import Affine
from numpy.typing import NDArray
from rasterio.errors import NotGeoreferencedWarning

from imatch.datasets.synthetic.landscape import landscape
from imatch.datasets.synthetic.landscape_view import Season, render_landscape

WriteImage = Callable[..., Path]
#: Where the test scenes lie: UTM 31N, 10 m pixels.
ORIGIN = Affine(10, 0, 356_000, 0, -10, 4_835_000)
DATES: dict[str, Season] = {
    "20180115": "winter",
    "20180420": "spring",
    "20180715": "summer",
    "20181020": "autumn",
}


@pytest.fixture(scope="session")
def views() -> dict[str, NDArray[np.uint8]]:
    """Date -> (3, 300, 420) of one procedural landscape; July lies 1.5 px further right."""
    ground = landscape((420, 300), 5)
    shift = np.array([[1, 0, 1.5], [0, 1, 0], [0, 0, 1.0]])
    out = {}
    for number, (date, season) in enumerate(DATES.items()):
        matrix = shift if season == "summer" else None
        pixels, _ = render_landscape(ground, season, matrix=matrix, seed=number)
        out[date] = np.rint(255 * pixels).astype(np.uint8)
    return out


@pytest.fixture
def write_image(tmp_path: Path) -> WriteImage:
    """A GeoTIFF at `ORIGIN`, unless told otherwise; without CRS for ``crs=None``."""

    def write(name: str, pixels: NDArray[Any], **profile: Any) -> Path:
        stack = pixels if pixels.ndim == 3 else pixels[np.newaxis]
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        settings: dict[str, Any] = {
            "driver": "GTiff",
            "count": stack.shape[0],
            "height": stack.shape[1],
            "width": stack.shape[2],
            "dtype": stack.dtype,
            "crs": "EPSG:32631",
            "transform": ORIGIN,
        }
        settings |= profile
        if settings["crs"] is None:
            del settings["crs"], settings["transform"]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", NotGeoreferencedWarning)
            with rasterio.open(path, "w", **settings) as out:
                out.write(stack)
        return path

    return write


@pytest.fixture
def scenes(write_image: WriteImage, views: dict[str, NDArray[np.uint8]]) -> list[Path]:
    """The four dates as GeoTIFFs."""
    return [
        write_image(f"images/T31TCJ_{date}.tif", pixels, photometric="rgb")
        for date, pixels in views.items()
    ]
