from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from affine import Affine
from rasterio.crs import CRS

from imatch.datasets.prepare.clouds import classification_file, classified, cloud_mask
from imatch.raster.grid import Grid

WriteImage = Callable[..., Path]


def test_bright_and_white_is_cloud_and_a_roof_is_none() -> None:
    pixels = np.full((3, 100, 100), 60, np.float32)
    pixels[:, 20:60, 20:60] = 230
    pixels[:, 80:82, 80:82] = 250
    pixels[0, :, 70:75] = 250  # Bright and red.
    mask = cloud_mask(pixels, np.ones((100, 100), bool), "uint8")
    assert mask[20:60, 20:60].all()
    # A rim for the thin edge, and no more.
    assert mask[40, 15]
    assert not mask[40, 10]
    assert not mask[75:, :].any()
    assert not mask[:15, 70:75].any()


@pytest.mark.parametrize(("dtype", "value"), [("uint16", 4000), ("float32", 0.5)])
def test_units_follow_the_type(dtype: str, value: float) -> None:
    pixels = np.full((3, 60, 60), value, np.float32)
    assert cloud_mask(pixels, np.ones((60, 60), bool), dtype).all()
    assert not cloud_mask(pixels / np.float32(4), np.ones((60, 60), bool), dtype).any()


def test_nothing_is_said_of_unknown_units_or_missing_ground() -> None:
    pixels = np.full((3, 60, 60), 250, np.float32)
    assert not cloud_mask(pixels, np.ones((60, 60), bool), "int8").any()
    assert not cloud_mask(pixels, np.zeros((60, 60), bool), "uint8").any()


def test_a_scene_classification_beside_the_image(write_image: WriteImage, tmp_path: Path) -> None:
    classes = np.full((1, 20, 20), 4, np.uint8)
    classes[0, :5, :5] = 9
    classes[0, 10:12, 10:12] = 3
    classes[0, 15, 15] = 11  # Snow is none.
    twenty = Affine(20, 0, 1000, 0, -20, 5000)
    write_image("S2_20180805_SCL.tif", classes, transform=twenty)
    image = tmp_path / "S2_20180805_TCI.tif"
    grid = Grid(Affine(10, 0, 1000, 0, -10, 5000), CRS.from_epsg(32631), 40, 40)
    mask = classified(str(image), grid)
    assert mask is not None
    expected = np.zeros((40, 40), bool)
    expected[:10, :10] = expected[20:24, 20:24] = True
    np.testing.assert_array_equal(mask, expected)
    assert classified(str(tmp_path / "other.tif"), grid) is None


def test_a_product_brings_its_own(tmp_path: Path) -> None:
    granule = tmp_path / "S2A_MSIL2A.SAFE" / "GRANULE" / "L2A_T31TCJ" / "IMG_DATA" / "R20m"
    granule.mkdir(parents=True)
    for name in ("T31TCJ_20180805T105621_SCL_20m.jp2", "T31TCJ_20180805T105621_B05_20m.jp2"):
        (granule / name).touch()
    found = classification_file(str(tmp_path / "S2A_MSIL2A.SAFE"))
    assert found == str(granule / "T31TCJ_20180805T105621_SCL_20m.jp2")
