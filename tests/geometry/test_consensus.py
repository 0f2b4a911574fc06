from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from imatch.geometry.consensus import Consensus, consensus

FloatArray = NDArray[np.float64]
TILE, CELLS, TILES = 200, 5, 6


def windows(seed: int = 0) -> tuple[FloatArray, NDArray[np.int64], FloatArray]:
    """900 windows in 36 tiles, and what correlation would measure where nothing moves."""
    side = CELLS * TILES
    x, y = np.meshgrid(np.arange(side), np.arange(side))
    cell = np.column_stack([x.ravel(), y.ravel()])
    rng = np.random.default_rng(seed)
    xy = TILE / CELLS * (cell + rng.uniform(0.3, 0.7, cell.shape))
    return xy, cell // CELLS, rng.normal(0, 0.2, cell.shape)


def wave(xy: FloatArray, amplitude: float, length: float) -> FloatArray:
    x, y = (2 * np.pi * xy / length).T
    return amplitude * np.column_stack([np.sin(x + 0.3), np.cos(y)])


def dropped(found: Consensus) -> list[tuple[int, int]]:
    return [(int(x), int(y)) for x, y in found.tiles[~found.agrees]]


@pytest.mark.parametrize(("amplitude", "length"), [(0.0, 1.0), (3.0, 700.0), (6.0, 1500.0)])
def test_deformation_is_no_contradiction(amplitude: float, length: float) -> None:
    xy, tile, noise = windows()
    found = consensus(xy, noise + wave(xy, amplitude, length), tile)
    assert dropped(found) == []
    assert found.inlier.mean() > 0.98


def test_windows_on_changed_ground_are_told_apart() -> None:
    xy, tile, moved = windows()
    rng = np.random.default_rng(1)
    changed = rng.random(len(xy)) < 0.4
    moved[changed] = rng.uniform(-8, 8, (int(changed.sum()), 2))
    found = consensus(xy, moved + wave(xy, 2.0, 1200.0), tile)
    assert found.inlier[~changed].mean() > 0.97
    # Of random ones a few lie right by chance: one in forty.
    assert found.inlier[changed].mean() < 0.06


def test_a_tile_of_another_place_is_dropped_as_a_whole() -> None:
    xy, tile, moved = windows()
    alien = (tile == (2, 3)).all(axis=1)
    moved[alien] = np.random.default_rng(2).uniform(-8, 8, (int(alien.sum()), 2))
    found = consensus(xy, moved, tile)
    assert dropped(found) == [(2, 3)]
    assert not found.inlier[alien].any()
    assert found.inlier[~alien].mean() > 0.97


def test_a_tile_that_errs_in_concert_is_dropped() -> None:
    xy, tile, moved = windows()
    alien = (tile == (2, 3)).all(axis=1)
    moved[alien] += (5.0, -3.0)
    found = consensus(xy, moved, tile)
    assert dropped(found) == [(2, 3)]
    assert not found.inlier[alien].any()


def test_both_sides_of_a_mosaic_s_seam_are_believed() -> None:
    xy, tile, moved = windows()
    moved[tile[:, 0] >= 3] += (4.0, 0.0)
    found = consensus(xy, moved, tile)
    assert dropped(found) == []
    assert found.inlier.mean() > 0.9


@pytest.mark.parametrize("seed", range(3))
def test_unrelated_ground_agrees_nowhere(seed: int) -> None:
    xy, tile, _ = windows(seed)
    moved = np.random.default_rng(seed).uniform(-8, 8, xy.shape)
    found = consensus(xy, moved, tile)
    assert found.agrees.mean() < 0.1
    assert found.inlier.mean() < 0.02


def test_no_windows_no_verdicts() -> None:
    none = consensus(np.zeros((0, 2)), np.zeros((0, 2)), np.zeros((0, 2), dtype=np.int64))
    assert len(none.inlier) == len(none.tiles) == len(none.agrees) == 0


def test_a_handful_of_windows_proves_nothing() -> None:
    xy, tile, moved = windows()
    found = consensus(xy[:3], moved[:3], tile[:3])
    assert not found.inlier.any()
