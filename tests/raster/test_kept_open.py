from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine
from rasterio.windows import Window

from imatch.core.errors import InputError
from imatch.raster import open_source
from imatch.raster.gdal import kept_open, opened


@pytest.fixture
def image(tmp_path: Path) -> Path:
    path = tmp_path / "image.tif"
    pixels = np.arange(64 * 64, dtype=np.uint16).reshape(1, 64, 64)
    with rasterio.open(
        path,
        "w",
        driver="GTiff",
        width=64,
        height=64,
        count=1,
        dtype="uint16",
        crs="EPSG:32631",
        transform=Affine(10, 0, 6e5, 0, -10, 5e6),
    ) as out:
        out.write(pixels)
    return path


def test_a_dataset_is_opened_once_within_the_block(image: Path) -> None:
    with kept_open():
        with opened(str(image)) as first:
            pass
        with opened(str(image)) as second:
            assert second is first
            assert not second.closed
        with kept_open(), opened(str(image)) as inner:
            assert inner is first
        assert not first.closed
    assert first.closed
    with opened(str(image)) as fresh:
        assert fresh is not first


def test_it_reads_the_same(image: Path) -> None:
    source = open_source(image)
    window = Window(3, 5, 20, 10)
    plain = source.read(window).pixels
    with kept_open():
        for _ in range(2):
            np.testing.assert_array_equal(source.read(window).pixels, plain)


def test_no_more_stay_open_than_are_needed(image: Path, tmp_path: Path) -> None:
    names = []
    for number in range(40):
        path = tmp_path / f"{number}.tif"
        path.write_bytes(image.read_bytes())
        names.append(str(path))
    with kept_open():
        with opened(names[0]) as first:
            pass
        for name in names[1:]:
            with opened(name) as dataset:
                assert not dataset.closed
        assert first.closed


def test_what_cannot_be_opened_is_not_kept(tmp_path: Path) -> None:
    with kept_open(), pytest.raises(InputError, match="no such file"), opened(str(tmp_path / "a")):
        pass
