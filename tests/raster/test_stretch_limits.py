from __future__ import annotations

import numpy as np
import pytest
from affine import Affine

from imatch.core.errors import ConfigError
from imatch.raster import GeoImage, open_source, render, stretch_limits


def image(pixels: object, valid: object = None) -> GeoImage:
    stack = np.asarray(pixels, dtype=np.float32)
    good = np.ones(stack.shape[1:], dtype=bool) if valid is None else np.asarray(valid, dtype=bool)
    return GeoImage(stack, good, Affine.identity(), None, tuple("123"[: len(stack)]))


def test_parts_of_an_image_look_alike() -> None:
    rng = np.random.default_rng(0)
    whole = image(rng.gamma(2.0, 500.0, (3, 80, 80)))
    limits = stretch_limits(whole)
    part = image(whole.pixels[:, 20:50, 10:30])
    expected = render(whole, 3).pixels[:, 20:50, 10:30]
    np.testing.assert_array_equal(render(part, 3, limits=limits).pixels, expected)
    # By itself a part is stretched otherwise.
    assert np.abs(render(part, 3).pixels - expected).max() > 0.05


def test_only_valid_ground_counts() -> None:
    pixels = np.tile(np.arange(100.0), (1, 10, 1))
    valid = np.ones((10, 100), dtype=bool)
    valid[:, 50:] = False
    np.testing.assert_allclose(stretch_limits(image(pixels, valid), (0.0, 100.0)), [[0, 49]])


def test_a_band_of_one_value_and_an_image_without_ground() -> None:
    flat = image(np.full((1, 5, 5), 7.0))
    limits = stretch_limits(flat)
    assert limits[0, 0] == limits[0, 1]
    assert (render(flat, 1, limits=limits).pixels == 0.5).all()
    none = stretch_limits(image(np.ones((2, 4, 4)), np.zeros((4, 4))))
    np.testing.assert_array_equal(none, np.zeros((2, 2)))


def test_percentiles_that_make_no_sense() -> None:
    with pytest.raises(ConfigError, match="cannot stretch"):
        stretch_limits(image(np.ones((1, 4, 4))), (99.0, 1.0))


def test_a_file_says_how_it_is_stored(tmp_path: object) -> None:
    import rasterio

    path = f"{tmp_path}/tiled.tif"
    profile = {"driver": "GTiff", "width": 300, "height": 200, "count": 1, "dtype": "uint8"}
    transform = Affine(10, 0, 6e5, 0, -10, 5e6)
    with rasterio.open(
        path,
        "w",
        tiled=True,
        blockxsize=128,
        blockysize=64,
        crs="EPSG:32631",
        transform=transform,
        **profile,
    ) as out:
        out.write(np.zeros((1, 200, 300), dtype=np.uint8))
    assert open_source(path).info.block == (128, 64)
