"""Images to find, and embedders that need no weights."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from affine import Affine
from numpy.typing import NDArray

from imatch.core.types import BoolArray
from imatch.retrieval.embedders.base import ChipEmbedder

WriteImage = Callable[..., Path]


class Means(ChipEmbedder):
    """A chip as the means of a grid of cells: enough to find again what did not change."""

    def __init__(self, name: str = "means", *, grid: int = 8, bands: int = 3) -> None:
        super().__init__(
            name, dim=bands * grid**2, bands=bands, chip_px=64, settings={"means": grid}
        )
        self.grid = grid

    def _embed(self, pixels: NDArray[np.float32], valid: BoolArray) -> NDArray[np.float32]:
        count, bands, height, width = pixels.shape
        cut = pixels[..., : height // self.grid * self.grid, : width // self.grid * self.grid]
        cells = cut.reshape(count, bands, self.grid, height // self.grid, self.grid, -1)
        vectors = cells.mean(axis=(3, 5)).reshape(count, -1)
        vectors -= vectors.mean(axis=1, keepdims=True)
        norm = np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
        return np.asarray(vectors / norm, dtype=np.float32)


@pytest.fixture
def make_means() -> Callable[..., ChipEmbedder]:
    """Makes an embedder at once: ``name``, ``grid`` cells a side, ``bands``."""
    return Means


@pytest.fixture
def means() -> ChipEmbedder:
    """An embedder of three bands."""
    return Means()


def texture(seed: int, width: int, height: int) -> NDArray[np.uint8]:
    """(height, width) of fields and texture at every scale."""
    rng = np.random.default_rng(seed)
    image = np.zeros((height, width))
    for step in (2, 4, 8, 16, 32):
        cells = rng.random((-(-height // step), -(-width // step)))
        image += cells.repeat(step, 0).repeat(step, 1)[:height, :width]
    return np.asarray(20 + image * 44, dtype=np.uint8)


@pytest.fixture
def archive(write_image: WriteImage) -> list[Path]:
    """Three scenes of 256 x 192 pixels, each of another place."""
    return [
        write_image(
            f"archive/{seed}.tif",
            texture(seed, 256, 192),
            transform=Affine(10, 0, 356_000 + 20_000 * seed, 0, -10, 4_835_000),
        )
        for seed in range(3)
    ]
