"""Pairs: which way they are compared, and what cannot be."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from affine import Affine

from imatch.core.errors import InputError, NoOverlapError
from imatch.raster import array_source, open_source, read_pair

SCENE = np.random.default_rng(0).integers(1, 200, (400, 600)).astype("uint8")
UTM31 = Affine(10, 0, 400000, 0, -10, 5000000)


def source(pixels: Any = SCENE, transform: Affine = UTM31, crs: Any = "EPSG:32631") -> Any:
    return array_source(pixels, transform=transform, crs=crs)


def test_geocoded_pair() -> None:
    pair = read_pair(source(), source(transform=UTM31 @ Affine.translation(100, 50)), size=300)
    assert pair.geocoded
    assert pair.grid is not None
    assert pair.ref.size == pair.tgt.size == (300, pair.grid.height)
    there = pair.ref_map.to_native([[10, 10]]) - pair.tgt_map.to_native([[10, 10]])
    np.testing.assert_allclose(there, [[100, 50]])
    assert pair.ref_map.matrix is not None


@pytest.mark.parametrize("without", ["ref", "tgt", "both", "asked"])
def test_pixels_serve_when_one_has_no_geocoding(without: str) -> None:
    ref = source(crs=None) if without in ("ref", "both") else source()
    tgt = source(crs=None) if without in ("tgt", "both") else source()
    pair = read_pair(ref, tgt, size=300, use_geocoding=without != "asked")
    assert not pair.geocoded
    assert pair.ref.size == pair.tgt.size == (300, 200)
    np.testing.assert_allclose(
        pair.ref_map.to_native([[0, 0], [299, 199]]), [[0.5, 0.5], [598.5, 398.5]]
    )


@pytest.mark.parametrize(
    ("shape", "size", "expected"),
    [
        ((400, 600), 1024, ((600, 400), (600, 400))),
        ((800, 1200), 600, ((300, 200), (600, 400))),  # within a factor of two: one scale
        ((1600, 2400), 600, ((600, 400), (600, 400))),  # beyond: each its own
    ],
)
def test_factors_without_geocoding(shape: Any, size: int, expected: Any) -> None:
    pair = read_pair(array_source(SCENE), array_source(np.ones(shape, dtype="uint8")), size=size)
    assert (pair.ref.size, pair.tgt.size) == expected


def test_known_gsds_are_made_equal_without_using_the_place() -> None:
    far = Affine(25, 0, 700000, 0, -25, 2000000)
    pair = read_pair(source(), source(transform=far), size=600, use_geocoding=False)
    assert pair.ref.size == (240, 160)
    assert pair.tgt.size == (600, 400)


def test_constant_image_is_read() -> None:
    assert read_pair(source(), source(np.full_like(SCENE, 7))).tgt.valid.all()


def test_no_overlap_names_both(write: Any) -> None:
    ref = open_source(write("a.tif", SCENE))
    tgt = open_source(write("b.tif", SCENE, transform=UTM31 @ Affine.translation(1000, 0)))
    with pytest.raises(NoOverlapError, match=r"a\.tif: shares no ground with .*b\.tif.* 4 km"):
        read_pair(ref, tgt)
    assert not read_pair(ref, tgt, use_geocoding=False).geocoded


def test_frames_overlap_but_data_do_not() -> None:
    left, right = np.ones(SCENE.shape, dtype=bool), np.ones(SCENE.shape, dtype=bool)
    left[:, 250:] = False
    right[:, :350] = False
    halves = [
        array_source(SCENE, valid=valid, transform=UTM31, crs=32631) for valid in (left, right)
    ]
    with pytest.raises(NoOverlapError, match="shares no valid ground"):
        read_pair(*halves)


@pytest.mark.parametrize("geocoding", [True, False])
def test_nothing_valid(geocoding: bool) -> None:
    empty = source(np.full(SCENE.shape, np.nan))
    for pair in ((source(), empty), (empty, source())):
        with pytest.raises(InputError, match="has no valid pixels"):
            read_pair(*pair, use_geocoding=geocoding)


@pytest.mark.parametrize("geocoding", [True, False])
@pytest.mark.parametrize("shape", [(400, 1), (1, 600), (15, 400), (1, 1)])
def test_too_small(geocoding: bool, shape: tuple[int, int]) -> None:
    with pytest.raises(InputError, match=rf"too small to match: {shape[1]}x{shape[0]} pixels"):
        read_pair(source(), source(np.ones(shape)), use_geocoding=geocoding)


def test_too_small_after_reduction() -> None:
    with pytest.raises(InputError, match="too small to match: 100x5 pixels"):
        read_pair(array_source(np.ones((100, 2000))), array_source(np.ones((100, 2000))), size=100)
