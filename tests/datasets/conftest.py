from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from imatch.datasets.synthetic.landscape import landscape
from imatch.datasets.synthetic.landscape_view import Season, render_landscape

WriteImage = Callable[..., Path]
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
def scenes(write_image: WriteImage, views: dict[str, NDArray[np.uint8]]) -> list[Path]:
    """The four dates as GeoTIFFs."""
    return [
        write_image(f"images/T31TCJ_{date}.tif", pixels, photometric="rgb")
        for date, pixels in views.items()
    ]
