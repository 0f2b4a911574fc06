from __future__ import annotations

import zlib
from collections.abc import Callable
from functools import lru_cache

import numpy as np
import pytest
from numpy.typing import NDArray

from imatch.core.types import Matches, Rendered
from imatch.datasets.synthetic.landscape import Landscape, landscape
from imatch.datasets.synthetic.landscape_view import Season, render_landscape

# Ground that a landscape has on each side of the reference, pixels.
_AROUND = 48

Scene = Callable[..., Matches]


@pytest.fixture
def scene() -> Scene:
    """Matches of a known transform with noise and outliers over a 512 x 400 reference."""

    def make(
        matrix: NDArray[np.float64],
        inliers: int = 200,
        outliers: int = 100,
        noise: float = 0.4,
        seed: int = 0,
        box: tuple[float, float, float, float] = (0, 0, 511, 399),
    ) -> Matches:
        rng = np.random.default_rng(seed)
        x0, y0, x1, y1 = box
        ref = rng.uniform((x0, y0), (x1, y1), (inliers, 2))
        homogeneous = np.column_stack([ref, np.ones(inliers)]) @ matrix.T
        tgt = homogeneous[:, :2] / homogeneous[:, 2:] + rng.normal(0, noise, (inliers, 2))
        wrong_ref = rng.uniform((0, 0), (511, 399), (outliers, 2))
        wrong_tgt = rng.uniform((0, 0), (511, 399), (outliers, 2))
        order = rng.permutation(inliers + outliers)
        return Matches(
            np.concatenate([ref, wrong_ref])[order],
            np.concatenate([tgt, wrong_tgt])[order],
            rng.uniform(0, 1, inliers + outliers),
        )

    return make


Views = Callable[..., tuple[Rendered, Rendered]]


@lru_cache(maxsize=8)
def _ground(size: tuple[int, int], seed: int) -> Landscape:
    return landscape(size, seed)


@lru_cache(maxsize=64)
def _view(
    ground_size: tuple[int, int],
    seed: int,
    season: Season,
    matrix: tuple[float, ...],
    size: tuple[int, int],
    noise: float,
) -> Rendered:
    pixels, valid = render_landscape(
        _ground(ground_size, seed),
        season,
        matrix=np.array(matrix).reshape(3, 3),
        size=size,
        noise=noise,
        seed=zlib.crc32(f"{season}{matrix}".encode()),
    )
    low, high = np.percentile(pixels, [1, 99], axis=(1, 2), keepdims=True)
    return Rendered(np.clip((pixels - low) / (high - low), 0, 1).astype(np.float32), valid)


@pytest.fixture(scope="session")
def views() -> Views:
    """Two views of one landscape, or of two, the target's through an exactly known matrix."""

    def make(
        matrix: NDArray[np.float64] | None = None,
        size: tuple[int, int] = (256, 224),
        tgt_size: tuple[int, int] | None = None,
        *,
        seasons: tuple[Season, Season] = ("summer", "spring"),
        seeds: tuple[int, int] = (1, 1),
        channels: int = 3,
        noise: float = 0.01,
    ) -> tuple[Rendered, Rendered]:
        # The reference sees the middle of the landscape, so that a turned target finds ground too.
        ground = size[0] + 2 * _AROUND, size[1] + 2 * _AROUND
        middle = np.array([[1, 0, -_AROUND], [0, 1, -_AROUND], [0, 0, 1.0]])
        moved = middle if matrix is None else matrix @ middle
        ref = _view(ground, seeds[0], seasons[0], tuple(middle.ravel()), size, noise)
        tgt = _view(ground, seeds[1], seasons[1], tuple(moved.ravel()), tgt_size or size, noise)
        if channels == 3:
            return ref, tgt
        grey = [Rendered(v.pixels.mean(axis=0, keepdims=True), v.valid) for v in (ref, tgt)]
        return grey[0], grey[1]

    return make


@pytest.fixture(scope="session")
def similarity() -> Callable[..., NDArray[np.float64]]:
    """Turn (degrees) and scale about the middle of an image, then shift."""

    def make(
        turn: float = 0.0,
        scale: float = 1.0,
        shift: tuple[float, float] = (0.0, 0.0),
        size: tuple[int, int] = (256, 224),
    ) -> NDArray[np.float64]:
        a, b = scale * np.cos(np.radians(turn)), scale * np.sin(np.radians(turn))
        linear, centre = np.array([[a, -b], [b, a]]), (np.array(size) - 1) / 2
        matrix = np.eye(3)
        matrix[:2, :2], matrix[:2, 2] = linear, centre - linear @ centre + shift
        return matrix

    return make
