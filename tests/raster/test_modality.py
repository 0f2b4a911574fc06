"""What kind of sensor made an image, by names, palette and pixels."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import rasterio
from affine import Affine
from numpy.typing import NDArray

from imatch.raster import array_source, open_source
from imatch.raster.image import GeoImage
from imatch.raster.modality import (
    modality_of,
    modality_of_names,
    modality_of_pixels,
    of_two_sensors,
)
from tests.support.pairs import sensors

SIDE = 256


def image(planes: NDArray[np.float32]) -> GeoImage:
    return array_source(np.moveaxis(planes, 0, 2)).read()


def ground(seed: int) -> NDArray[np.int64]:
    return sensors.fields(seed, sensors.grid(SIDE, np.eye(3)), SIDE)


def smoothed(planes: NDArray[np.float32], sigma: float) -> GeoImage:
    bands = np.ascontiguousarray(np.moveaxis(planes, 0, 2), dtype=np.float32)
    smooth = np.asarray(cv2.GaussianBlur(bands, (0, 0), sigma), dtype=np.float32)
    return image(np.moveaxis(smooth, 2, 0))


def beside_one_another(seed: int) -> tuple[GeoImage, GeoImage]:
    """A camera that sees little noise, and radar of four looks that was resampled."""
    radar = np.repeat(sensors.radar(ground(seed), seed, 4.0)[:1], 3, axis=0)
    return smoothed(sensors.camera(ground(seed), seed), 2.5), smoothed(radar, 0.8)


@pytest.mark.parametrize(
    ("bands", "name", "expected"),
    [
        (["VV"], "a.tif", "sar"),
        (["VV", "VH"], "a.tif", "sar"),
        (["Sigma0_HH_db"], "a.tif", "sar"),
        (["1"], "x/S1A_IW_GRDH_1SDV_20200101T000000.SAFE/measurement/a.tiff", "sar"),
        (["B08"], "a.tif", "ir"),
        (["nir"], "a.tif", "ir"),
        (["lwir11"], "a.tif", "ir"),
        (["B11", "B12"], "a.tif", "ir"),
        (["B04", "B03", "B02"], "a.tif", None),
        (["B04", "B08"], "a.tif", None),
        (["B1"], "a.tif", None),
        (["overview"], "thermal_city.tif", None),
        ([], "a.tif", None),
    ],
)
def test_names(bands: list[str], name: str, expected: str | None) -> None:
    assert modality_of_names(bands, name, palette=False) == expected


def test_a_palette_is_a_map(tmp_path: Path) -> None:
    path = tmp_path / "map.tif"
    form = {"driver": "GTiff", "width": 64, "height": 64, "count": 1, "dtype": "uint8"}
    place = {"crs": "EPSG:32631", "transform": Affine(10, 0, 0, 0, -10, 0)}
    with rasterio.open(path, "w", **form, **place) as file:
        file.write(np.tile(np.arange(64, dtype=np.uint8) // 16, (1, 64, 1)))
        file.write_colormap(1, {i: (60 * i, 200, 255 - 60 * i, 255) for i in range(4)})
    assert open_source(path).info.modality == "map"


@pytest.mark.parametrize("seed", range(4))
class TestPixels:
    def test_a_camera_is_optical(self, seed: int) -> None:
        planes = sensors.camera(ground(seed), seed)
        assert modality_of_pixels(image(planes)) == "optical"
        assert modality_of_pixels(image(planes[:1])) == "optical"

    @pytest.mark.parametrize("looks", [1.0, 4.0])
    def test_speckle_is_radar(self, seed: int, looks: float) -> None:
        assert modality_of_pixels(image(sensors.radar(ground(seed), seed, looks))) == "sar"

    def test_plain_colours_and_lines_are_a_map(self, seed: int) -> None:
        assert modality_of_pixels(image(sensors.drawn(ground(seed), seed))) == "map"


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_smoothed_speckle_is_told_beside_colours(seed: int) -> None:
    optical, radar = beside_one_another(seed)
    assert modality_of_pixels(optical) == modality_of_pixels(radar) == "optical"
    assert of_two_sensors(optical, radar)
    assert of_two_sensors(radar, optical)
    # One band of the camera is no other sensor's, and nothing is said of two of a kind.
    assert not of_two_sensors(optical, image(np.repeat(optical.pixels[:1], 3, axis=0)))
    assert not of_two_sensors(radar, radar)
    assert not of_two_sensors(optical, optical)


def test_of_too_little_two_sensors_are_not_told() -> None:
    optical, radar = (image(one.pixels[:, :30, :30]) for one in beside_one_another(1))
    assert not of_two_sensors(optical, radar)
    blank = image(np.zeros((3, 30, 30), np.float32))
    assert not of_two_sensors(blank, blank)


def test_sea_and_gradients_are_no_map() -> None:
    sea = np.full((3, SIDE, SIDE), 40, dtype=np.float32)
    sea[:, :, 150:] = sensors.camera(ground(1), 1)[:, :, 150:]
    assert modality_of_pixels(image(sea)) == "optical"
    slope = np.tile(np.linspace(0, 255, SIDE, dtype=np.float32), (3, SIDE, 1))
    assert modality_of_pixels(image(slope)) == "optical"


def test_too_little_is_not_told() -> None:
    assert modality_of_pixels(image(np.zeros((1, SIDE, SIDE), dtype=np.float32))) is None
    assert modality_of_pixels(image(sensors.camera(ground(1), 1)[:, :30, :30])) is None
    none = GeoImage(
        np.zeros((1, 64, 64), dtype=np.float32),
        np.zeros((64, 64), dtype=bool),
        Affine.identity(),
        None,
        ("1",),
    )
    assert modality_of_pixels(none) is None


def test_what_is_asked_comes_first_and_names_before_pixels() -> None:
    radar = image(sensors.radar(ground(2), 2, 1.0))
    assert modality_of("optical", "ir", radar) == "optical"
    assert modality_of("auto", "ir", radar) == "ir"
    assert modality_of("auto", None, radar) == "sar"
