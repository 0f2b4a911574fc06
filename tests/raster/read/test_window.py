from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine
from rasterio.windows import Window

from imatch.core.errors import InputError
from imatch.raster import array_source, open_source
from imatch.raster.read.window import WindowSource

AT = Affine(10, 0, 356_000, 0, -10, 4_835_000)


@pytest.fixture
def image(tmp_path: Path) -> Path:
    """40 x 30 pixels of three bands, two of them without ground."""
    pixels = np.random.default_rng(0).integers(1, 200, (3, 30, 40)).astype(np.uint8)
    pixels[:, 12, 21:23] = 0
    path = tmp_path / "image.tif"
    with rasterio.open(
        path,
        "w",
        driver="GTiff",
        width=40,
        height=30,
        count=3,
        dtype="uint8",
        nodata=0,
        crs="EPSG:32631",
        transform=AT,
    ) as out:
        out.write(pixels)
    return path


def test_a_window_is_the_part_of_the_whole(image: Path) -> None:
    whole = open_source(image)
    part = WindowSource(whole, 20, 10, 12, 8)
    assert part.info.size == (12, 8)
    seen, there = part.read(), whole.read(Window(20, 10, 12, 8))
    assert np.array_equal(seen.pixels, there.pixels)
    assert np.array_equal(seen.valid, there.valid)
    assert int((~seen.valid).sum()) == 2
    assert seen.transform == there.transform == AT @ Affine.translation(20, 10)
    assert (part.info.path, part.info.crs) == (image, whole.info.crs)


@pytest.mark.parametrize("size", [(6, 4), (5, 3)])
def test_reduced_it_is_what_the_whole_shows_there(image: Path, size: tuple[int, int]) -> None:
    whole = open_source(image)
    seen = WindowSource(whole, 4, 2, 12, 8).read(size=size)
    there = whole.read(Window(4, 2, 12, 8), size)
    assert np.allclose(seen.pixels, there.pixels, atol=1e-3)
    assert seen.transform == there.transform


def test_a_window_of_a_window_and_of_an_array() -> None:
    whole = array_source(np.arange(100.0).reshape(10, 10))
    inner = WindowSource(WindowSource(whole, 2, 3, 6, 5), 1, 1, 2, 2)
    assert inner.read().pixels[0].tolist() == [[43, 44], [53, 54]]


@pytest.mark.parametrize("window", [(-1, 0, 5, 5), (36, 0, 5, 5), (0, 0, 0, 5), (0, 26, 5, 5)])
def test_a_window_beyond_the_image_is_refused(
    image: Path, window: tuple[int, int, int, int]
) -> None:
    with pytest.raises(InputError, match="is not within its 40x30 pixels"):
        WindowSource(open_source(image), *window)
