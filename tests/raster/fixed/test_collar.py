"""Collars of single bands that nothing declares."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from imatch.raster import array_source, read_pair
from imatch.raster.fixed.collar import band_collars
from tests.support.ground import waves
from tests.support.pairs.trust.fixed import swath_edge

SIZE = (160, 140)


def ground(bands: int = 3) -> NDArray[np.float32]:
    return np.stack([np.round(10 + 200 * waves(band, SIZE)) for band in range(bands)])


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("bands", [1, 3])
def test_zeros_beyond_the_edge_of_a_swath_are_no_ground(bands: int, seed: int) -> None:
    pixels, rng = ground(bands), np.random.default_rng(seed)
    beyond = swath_edge(SIZE, rng)
    pixels[seed % bands, beyond] = 0
    found = band_collars(pixels, np.ones(SIZE[::-1], dtype=bool))
    assert found[beyond].mean() > 0.99
    assert found[~beyond].mean() < 0.15
    assert not band_collars(ground(bands), np.ones(SIZE[::-1], dtype=bool)).any()


def test_zeros_within_and_dark_water_are_ground() -> None:
    valid = np.ones(SIZE[::-1], dtype=bool)
    inside = ground(1)
    inside[0, 40:70, 50:90] = 0
    assert not band_collars(inside, valid).any()
    # Scattered zeros that reach the edge.
    scattered = ground(1)
    scattered[0, np.random.default_rng(0).random(SIZE[::-1]) < 0.3] = 0
    assert not band_collars(scattered, valid).any()
    # Water at the edge, whose noise is clipped: beside it lies water as well.
    _, x = np.mgrid[: SIZE[1], : SIZE[0]]
    depth = np.clip((x - 70) / 20, 0, 1)
    water = np.round(ground(1) * (1 - depth) - 25 * depth).clip(0)
    assert (water == 0).mean() > 0.2
    assert not band_collars(water, valid).any()


def test_only_where_zero_may_be_a_collar() -> None:
    pixels = ground(2)
    pixels[1, :, :30] = 0
    types = (np.uint8, np.uint16, np.float32, np.int16)
    plain = array_source(ground(2)[:, ::-1].astype(np.uint8))
    for kind, trimmed in zip(types, (True, True, False, False), strict=True):
        work = read_pair(array_source(pixels.astype(np.dtype(kind))), plain)
        assert work.ref.valid[:, 35:].all()
        assert work.ref.valid[:, :30].any() != trimmed
        assert work.tgt.valid.all()
        assert (work.ref.pixels[:, ~work.ref.valid] == 0).all()
