"""Landsat, HLS and PlanetScope products: bands by name, numbers as measured, masks as told."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from affine import Affine
from rasterio.windows import Window

from imatch.core.errors import InputError
from imatch.raster import open_source
from tests.support.products import (
    HLS,
    LANDSAT,
    PLACE,
    PLANET,
    SIDE,
    grounded,
    hls,
    landsat,
    planet,
    quality,
    tar_of,
)

LEVEL1 = "LC08_L1TP_199030_20200803_20200908_02_T1"
MAKERS: dict[str, Callable[..., Path]] = {
    "landsat": landsat,
    "landsat level 1": lambda write, root: landsat(write, root, scene=LEVEL1),
    "landsat tar": lambda write, root: tar_of(landsat(write, root)),
    "hls s30": hls,
    "hls l30": lambda write, root: hls(write, root, "L30"),
    "planet": planet,
    "planet, four bands": lambda write, root: planet(write, root, eight=False),
    "planet, older mask": lambda write, root: planet(write, root, older=True),
}
# Rows that are left out: four for each class, in the order of bits or bands.
LEFT_OUT = {
    "landsat": ({0, 1, 2, 3, 4}, "QA_PIXEL"),
    "hls": ({0, 1, 2, 3, 8}, "Fmask"),
    "planet, older mask": ({0, 1}, "udm"),
    "planet": ({2, 4, 5, 7}, "udm2"),
}


def left_out(kind: str) -> tuple[set[int], str]:
    """What a product's mask leaves out, and its name."""
    return next(value for name, value in LEFT_OUT.items() if kind.startswith(name))


@pytest.mark.parametrize("kind", MAKERS)
def test_bands_by_common_names_and_the_mask_by_default(
    kind: str, write: Any, tmp_path: Path
) -> None:
    path = MAKERS[kind](write, tmp_path)
    source = open_source(path, bands=["red", "GREEN", "blue", "nir"])
    assert source.info.band_names == ("red", "green", "blue", "nir")
    assert open_source(path).info.band_names == ("red", "green", "blue")
    assert source.info.gsd_m == pytest.approx((30, 30), rel=0.01)
    rows, mask = left_out(kind)
    assert source.info.mask is not None
    assert source.info.mask.startswith(f"{mask} (")
    assert "clouds" in source.info.mask
    assert source.info.modality == "optical"
    assert open_source(path, bands=["nir"]).info.modality == "ir"
    valid = source.read().valid
    assert not valid[:, :10].any()
    told = valid[:, 10:].all(axis=1)
    assert {int(row) // 4 for row in np.flatnonzero(~told)} == rows
    assert (told == valid[:, 10:].any(axis=1)).all()
    bare = open_source(path, bands=["red"], product_mask="none")
    assert bare.read().valid[:, 10:].all()
    assert bare.info.mask == "none (--product-mask none)"


@pytest.mark.parametrize("form", ["txt", "json", "xml"])
def test_landsat_numbers_become_reflectance_and_kelvin(
    form: str, write: Any, tmp_path: Path
) -> None:
    folder = landsat(write, tmp_path, form)
    for path in (folder, folder / f"{LANDSAT}_MTL.{form}"):
        source = open_source(path, bands=["SR_B4", "nir08", "lwir11"], product_mask="none")
        assert source.info.band_names == ("red", "nir", "lwir11")
        red, nir, kelvin = source.read().pixels[:, 30, 20]
        assert red == pytest.approx((7400 + 20) * 2.75e-05 - 0.2, rel=1e-5)
        assert nir == pytest.approx((7500 + 20) * 2.75e-05 - 0.2, rel=1e-5)
        assert kelvin == pytest.approx((8000 + 20) * 0.00341802 + 149, rel=1e-5)


def test_landsat_level_1_has_its_own_numbers(write: Any, tmp_path: Path) -> None:
    source = open_source(landsat(write, tmp_path, scene=LEVEL1), bands=["B4", "B10"])
    red, radiance = source.read().pixels[:, 50, 20]
    assert red == pytest.approx((7400 + 20) * 2e-05 - 0.1, rel=1e-5)
    assert radiance == pytest.approx((8000 + 20) * 3.342e-04 + 0.1, rel=1e-5)


@pytest.mark.parametrize(
    ("scene", "red"),
    [
        ("LT05_L2SP_199030_20090803_20200908_02_T1", "B3"),
        ("LE07_L1TP_199030_20090803_20200908_02_T1", "B3"),
        ("LM05_L1TP_199030_19860803_20200908_02_T2", "B2"),
        ("LM02_L1TP_199030_19760803_20200908_02_T2", "B5"),
    ],
)
def test_older_landsats_count_their_bands_otherwise(
    write: Any, tmp_path: Path, scene: str, red: str
) -> None:
    folder = landsat(write, tmp_path, scene=scene)
    by_name, by_number = (open_source(folder, bands=[band]).read().pixels for band in ("red", red))
    np.testing.assert_array_equal(by_name, by_number)


def test_a_part_and_a_reduced_image_are_masked_alike(write: Any, tmp_path: Path) -> None:
    source = open_source(landsat(write, tmp_path), bands=["red"])
    part = source.read(Window(20, 10, 20, 20)).valid
    np.testing.assert_array_equal(part, source.read().valid[10:30, 20:40])
    small = source.read(size=(SIDE // 4, SIDE // 4)).valid[:, 4:]
    assert not small[:5].any()
    assert small[5:].all()


@pytest.mark.parametrize("times", [2, 3])
def test_a_mask_of_coarser_pixels_is_taken_by_the_nearest(
    write: Any, tmp_path: Path, times: int
) -> None:
    folder = landsat(write, tmp_path)
    coarse = quality({(0, 7): 1 << 3}, 21824, "uint16")[: SIDE // times, : SIDE // times]
    place = PLACE @ Affine.scale(times)
    write(f"{folder.name}/{LANDSAT}_QA_PIXEL.TIF", coarse, transform=place)
    valid = open_source(folder, bands=["red"]).read().valid[:, 10:]
    assert not valid[: 7 * times].any()
    assert valid[7 * times :].all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"transform": PLACE @ Affine.scale(0.7)}, "QA_PIXEL has pixels that are no multiple"),
        ({"transform": PLACE @ Affine.translation(40, 0)}, "QA_PIXEL does not cover the image"),
        ({"crs": "EPSG:32632"}, "QA_PIXEL has another CRS than the image"),
        ({"transform": None, "crs": None, "rows": 25}, "QA_PIXEL has 60x25 pixels"),
        ({"dtype": "float32"}, "QA_PIXEL holds float32"),
    ],
)
def test_a_mask_of_another_grid_is_refused(
    write: Any, tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    folder = landsat(write, tmp_path)
    change = {"transform": PLACE, "dtype": "uint16", "rows": SIDE, **change}
    pixels = quality({}, 21824, change.pop("dtype"))[: change.pop("rows")]
    write(f"{folder.name}/{LANDSAT}_QA_PIXEL.TIF", pixels, **change)
    with pytest.raises(InputError, match=rf"{message}.*--product-mask none"):
        open_source(folder)
    assert open_source(folder, product_mask="none").read().valid.any()


def test_a_damaged_mask_is_refused(write: Any, tmp_path: Path) -> None:
    folder = landsat(write, tmp_path)
    (folder / f"{LANDSAT}_QA_PIXEL.TIF").write_bytes(b"II*\0nothing")
    with pytest.raises(InputError, match=r"mask QA_PIXEL cannot be used.*--product-mask none"):
        open_source(folder)


@pytest.mark.parametrize(
    ("kind", "mask"),
    [
        ("landsat", f"{LANDSAT}_QA_PIXEL.TIF"),
        ("hls s30", f"{HLS.format('S30')}.Fmask.tif"),
        ("planet", f"{PLANET}_3B_udm2.tif"),
    ],
)
def test_a_missing_mask_is_said(
    write: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture, kind: str, mask: str
) -> None:
    folder = MAKERS[kind](write, tmp_path)
    (folder / mask).unlink()
    with caplog.at_level(logging.WARNING):
        source = open_source(folder)
    assert source.info.mask == f"none: {mask} is missing"
    assert f"is matched with its clouds: {mask} is missing" in caplog.text
    assert source.read().valid[:, 10:].all()


@pytest.mark.parametrize(
    ("kind", "gone", "asked", "message"),
    [
        ("landsat", f"{LANDSAT}_MTL.txt", None, "images of .* without their metadata"),
        ("landsat", f"{LANDSAT}_SR_B4.TIF", "red", "band 'red' is missing: there is no .*_SR_B4"),
        ("landsat", "", "swir16", "band 'swir16' is missing: there is no .*_SR_B6.TIF"),
        ("hls s30", "", "swir22", "band 'swir22' is missing: there is no .*B12.tif"),
        ("planet", "", "swir22", "has no band 'swir22'; .*its bands are blue"),
        ("landsat", "", "rde", "has no band 'rde'; did you mean red"),
        ("landsat", "", 4, "has no band 4"),
    ],
)
def test_what_a_product_lacks(
    write: Any, tmp_path: Path, kind: str, gone: str, asked: str | int | None, message: str
) -> None:
    folder = MAKERS[kind](write, tmp_path)
    if gone:
        (folder / gone).unlink()
    with pytest.raises(InputError, match=message):
        open_source(folder, bands=None if asked is None else [asked])


def test_a_product_of_metadata_alone(write: Any, tmp_path: Path) -> None:
    folder = landsat(write, tmp_path)
    for image in folder.glob("*.TIF"):
        image.unlink()
    with pytest.raises(InputError, match="holds none of the images that its metadata name, as LC"):
        open_source(folder)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("GROUP = X\n", "holds no metadata of Landsat Collection 2"),
        ("{", "metadata cannot be read"),
        ('{"LANDSAT_METADATA_FILE": [1]}', "holds no metadata of Landsat"),
    ],
)
def test_damaged_metadata(write: Any, tmp_path: Path, text: str, message: str) -> None:
    folder = landsat(write, tmp_path)
    (folder / f"{LANDSAT}_MTL.{'json' if text[0] == '{' else 'txt'}").write_text(text)
    with pytest.raises(InputError, match=message):
        open_source(folder)


def test_a_truncated_tar(write: Any, tmp_path: Path) -> None:
    archive = tar_of(landsat(write, tmp_path))
    archive.write_bytes(archive.read_bytes()[: archive.stat().st_size // 2])
    with pytest.raises(InputError, match=r"as a tar: it is truncated or damaged.*download"):
        open_source(archive)


@pytest.mark.parametrize("kind", ["landsat", "hls s30", "planet"])
def test_several_scenes_in_a_folder(write: Any, tmp_path: Path, kind: str) -> None:
    folder = MAKERS[kind](write, tmp_path)
    for file in sorted(folder.iterdir()):
        later = file.name.replace("20200803", "20200819").replace("2020216", "2020232")
        shutil.copy(file, folder / later)
    with pytest.raises(InputError, match=r"holds 2 .* of its own, or name an image file"):
        open_source(folder)


def test_a_planet_image_is_masked_by_what_lies_beside_it(write: Any, tmp_path: Path) -> None:
    (image,) = planet(write, tmp_path).glob("*AnalyticMS*")
    source = open_source(image)
    assert source.info.path == image
    assert source.info.mask is not None
    assert source.info.mask.startswith("udm2")
    assert len(source.files) == 2


def test_the_narrow_infrared_of_both_hls_products(write: Any, tmp_path: Path) -> None:
    for kind, own in (("S30", "B8A"), ("L30", "B05")):
        source = open_source(hls(write, tmp_path, kind), bands=[own])
        assert source.info.band_names == ("nir",)
        assert source.read().pixels[0, 50, 30] == 4000 + 30
        assert source.info.nodata == -9999


def test_a_band_that_declares_no_fill_has_that_of_its_format(write: Any, tmp_path: Path) -> None:
    folder = landsat(write, tmp_path)
    write(f"{folder.name}/{LANDSAT}_SR_B4.TIF", grounded(7400), transform=PLACE)
    image = open_source(folder, bands=["red"]).read()
    assert not image.valid[:, :10].any()
    assert image.pixels[0, 50, 20] == pytest.approx((7400 + 20) * 2.75e-05 - 0.2, rel=1e-5)
