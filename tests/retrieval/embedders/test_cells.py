from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from imatch.core.types import BoolArray
from imatch.retrieval.embedders.cells import CellDescriptors
from imatch.retrieval.embedders.local import LocalDescriptors


class Known:
    sha256 = "0" * 64


class Means(LocalDescriptors):
    """A cell's descriptor is the mean of its bands."""

    bands = 3
    dim = 3
    found = Known()  # type: ignore[assignment]

    def dense(self, pixels: NDArray[np.float32]) -> NDArray[np.float32]:
        n, bands, height, width = pixels.shape
        cells = pixels.reshape(n, bands, height // 8, 8, width // 8, 8)
        return np.asarray(cells.mean(axis=(3, 5)), dtype=np.float32)


@pytest.fixture
def chips() -> tuple[NDArray[np.float32], BoolArray]:
    """(4, 3, 64, 64) of coarse ground, all valid."""
    coarse = np.random.default_rng(0).random((4, 3, 4, 4), dtype=np.float32)
    return coarse.repeat(16, axis=2).repeat(16, axis=3), np.ones((4, 64, 64), dtype=bool)


def test_vectors_by_hand(chips: tuple[NDArray[np.float32], BoolArray]) -> None:
    pixels, valid = chips
    found = CellDescriptors("test", Means(), grid=4).embed(pixels, valid)
    expected = pixels[:, :, ::16, ::16] - pixels.mean(axis=(2, 3))[:, :, None, None]
    expected = expected.reshape(4, -1)
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    assert np.allclose(found, expected, atol=1e-5)


def test_what_all_cells_share_is_taken_off(chips: tuple[NDArray[np.float32], BoolArray]) -> None:
    pixels, valid = chips
    cells = CellDescriptors("test", Means(), grid=4)
    assert np.allclose(cells.embed(pixels, valid), cells.embed(pixels + 0.3, valid), atol=1e-5)


def test_invalid_ground_says_nothing(chips: tuple[NDArray[np.float32], BoolArray]) -> None:
    pixels, valid = chips
    cells = CellDescriptors("test", Means(), grid=4)
    valid[:, :, 30:] = False
    other = pixels.copy()
    other[..., 32:] = pixels[::-1, ..., 32:]
    assert np.allclose(cells.embed(pixels, valid), cells.embed(other, valid), atol=1e-5)
    # Where no cell is whole, all that show some ground are taken.
    valid[:] = False
    valid[:, 3:45:8, 3] = True
    assert np.allclose(np.linalg.norm(cells.embed(pixels, valid), axis=1), 1, atol=1e-4)


def test_identity_tells_grids_apart() -> None:
    assert CellDescriptors("a", Means()).identity == CellDescriptors("b", Means()).identity
    assert CellDescriptors("a", Means()).identity != CellDescriptors("a", Means(), grid=4).identity
