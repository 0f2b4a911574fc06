from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage

from imatch.core.types import Rendered

Landscape = Callable[..., Rendered]
_MARGIN = 60


@lru_cache(maxsize=8)
def _terrain(seed: int) -> NDArray[np.float64]:
    """Spline coefficients of a landscape of fields, tracks and mottled ground.

    The spline itself is the landscape, so a view from any real position is exact, not resampled.
    """
    rng = np.random.default_rng(seed)
    extent = 440
    fields = np.zeros((extent, extent), np.float32)
    for _ in range(90):
        centre, sides = rng.uniform(0, extent, 2), rng.uniform(8, 60, 2)
        corners = cv2.boxPoints((centre.tolist(), sides.tolist(), rng.uniform(0, 90)))
        cv2.fillPoly(fields, [np.rint(corners).astype(np.int32)], float(rng.uniform(-1, 1)))
    for _ in range(14):
        ends = rng.integers(0, extent, (2, 2)).tolist()
        cv2.line(fields, ends[0], ends[1], float(rng.choice([-1.5, 1.5])), 2)
    ground = sum(
        ndimage.gaussian_filter(rng.standard_normal((extent, extent)), sigma) * sigma
        for sigma in (1.0, 2.0, 5.0)
    )
    relief = ndimage.gaussian_filter(fields, 0.8) + 1.2 * ground
    coefficients = ndimage.spline_filter(0.5 + 0.4 * np.tanh(0.6 * relief), order=3)
    return np.asarray(coefficients, dtype=np.float64)


@lru_cache(maxsize=32)
def _render(
    size: tuple[int, int], shift: tuple[float, float], channels: int, seed: int
) -> NDArray[np.float32]:
    rows = np.arange(size[1]) + _MARGIN - shift[1]
    columns = np.arange(size[0]) + _MARGIN - shift[0]
    grid = np.meshgrid(rows, columns, indexing="ij")
    grey = ndimage.map_coordinates(_terrain(seed), grid, order=3, prefilter=False)
    grey = np.clip(grey, 0, 1)
    bands = [grey, 0.8 * grey + 0.1, grey**2][:channels]
    return np.stack(bands).astype(np.float32)


@pytest.fixture(scope="session")
def landscape() -> Landscape:
    """Make a view: ``landscape((w, h), shift=(dx, dy))`` has what lies at p at p + shift."""

    def view(
        size: tuple[int, int] = (256, 224),
        shift: tuple[float, float] = (0.0, 0.0),
        *,
        channels: int = 3,
        seed: int = 0,
    ) -> Rendered:
        pixels = _render(size, shift, channels, seed).copy()
        return Rendered(pixels, np.ones(pixels.shape[1:], dtype=bool))

    return view
