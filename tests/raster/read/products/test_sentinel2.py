"""Sentinel-2 products: miniature ones of both levels."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from affine import Affine

from imatch.core.errors import InputError
from imatch.raster import open_source

Product = Callable[..., Path]


def _jp2(write: Any, name: str, value: int, metres: int, count: int = 1) -> None:
    side = 9600 // metres // 10
    pixels = np.full((count, side, side), value, dtype="uint8" if count == 3 else "uint16")
    pixels[..., : side // 4] = 0
    if count == 3:
        pixels[1] += (pixels[1] > 0).astype("uint8")
    write(
        name,
        pixels,
        driver="JP2OpenJPEG",
        transform=Affine(metres, 0, 300000, 0, -metres, 5000000),
        QUALITY=100,
        REVERSIBLE="YES",
    )


@pytest.fixture
def product(write: Any, tmp_path: Path) -> Product:
    def make(level: str, tci: bool = True) -> Path:
        name = f"S2A_MSI{level}_20180815T105021_N0206_R051_T31TCJ_20180815T131540.SAFE"
        stem = "T31TCJ_20180815T105021"
        data = f"{name}/GRANULE/{level}_T31TCJ_A016438_20180815T105020/IMG_DATA"
        finest = {"B02": 10, "B03": 10, "B04": 10, "B08": 10, "B05": 20, "B8A": 20, "B01": 60}
        for i, (band, metres) in enumerate(finest.items(), start=1):
            if level == "L1C":
                _jp2(write, f"{data}/{stem}_{band}.jp2", 100 * i, metres)
                continue
            for coarser in (10, 20, 60):
                if coarser >= metres:
                    folder = f"{data}/R{coarser}m"
                    _jp2(write, f"{folder}/{stem}_{band}_{coarser}m.jp2", 100 * i, coarser)
        if tci and level == "L1C":
            _jp2(write, f"{data}/{stem}_TCI.jp2", 50, 10, 3)
        elif tci:
            for metres in (10, 20, 60):
                _jp2(write, f"{data}/R{metres}m/{stem}_TCI_{metres}m.jp2", 50, metres, 3)
        _jp2(write, f"{name}/GRANULE/x/QI_DATA/{stem}_PVI.jp2", 9, 60)
        (tmp_path / name / f"MTD_MSI{level}.xml").write_text("<xml/>")
        return tmp_path / name

    return make


@pytest.mark.parametrize("level", ["L1C", "L2A"])
def test_default_is_the_true_colour_image(product: Product, level: str) -> None:
    folder = product(level)
    for path in (folder, folder / f"MTD_MSI{level}.xml", next((folder / "GRANULE").glob("L*"))):
        source = open_source(path)
        assert source.info.band_names == ("red", "green", "blue")
        assert source.info.size == (96, 96)
        assert source.info.gsd_m == pytest.approx((10, 10))
        assert source.info.path == path
        image = source.read()
        assert image.pixels[:, 50, 60].tolist() == [50, 51, 50]
        assert not image.valid[:, :24].any()
        assert image.valid[:, 26:].all()


@pytest.mark.parametrize("level", ["L1C", "L2A"])
def test_bands_of_mixed_resolution_come_at_the_finest(product: Product, level: str) -> None:
    source = open_source(product(level), bands=["B08", "b8a", "B1"])
    assert source.info.band_names == ("B08", "B8A", "B01")
    assert source.info.size == (96, 96)
    image = source.read()
    np.testing.assert_allclose(image.pixels[:, 50, 60], [400, 600, 700])
    assert source.info.nodata == 0
    assert not image.valid[:, :20].any()
    assert image.valid[:, 30:].all()


@pytest.mark.parametrize("inside", ["", "folder/"])
def test_zip(product: Product, tmp_path: Path, inside: str) -> None:
    folder = product("L2A")
    root = tmp_path / "root"
    shutil.copytree(folder, root / inside / folder.name)
    archive = Path(shutil.make_archive(str(tmp_path / f"{folder.name}"), "zip", root))
    assert archive.name.endswith(".SAFE.zip")
    source = open_source(archive, bands=["B04"])
    assert source.read(size=(48, 48)).pixels[0, 20, 40] == 300
    assert source.info.path == archive


def test_without_true_colour_red_green_blue(product: Product) -> None:
    source = open_source(product("L1C", tci=False))
    assert source.info.band_names == ("B04", "B03", "B02")


def test_tci_by_name_among_others(product: Product) -> None:
    source = open_source(product("L2A"), bands=["TCI", "B08"])
    assert source.info.band_names == ("red", "green", "blue", "B08")


@pytest.mark.parametrize("band", ["B99", 4, "nir"])
def test_missing_band(product: Product, band: Any) -> None:
    with pytest.raises(InputError, match=r"has no band .*B01, B02, B03, B04, B05, B08, B8A, TCI"):
        open_source(product("L1C"), bands=[band])


def test_several_granules(product: Product) -> None:
    folder = product("L1C")
    granule = next((folder / "GRANULE").glob("L1C*"))
    shutil.copytree(granule, granule.with_name("L1C_other"))
    with pytest.raises(InputError, match=r"holds 2 granules; name one of them, such as .*L1C_T31"):
        open_source(folder)


def test_granule_band_by_itself(product: Product) -> None:
    file = next(product("L1C").rglob("*_B04.jp2"))
    image = open_source(file).read()
    assert not image.valid[:, :24].any()
    assert image.valid[:, 24:].all()
    assert image.bands == ("1",)


def test_zeros_of_a_granule_file_are_no_data_wherever_it_lies(write: Any) -> None:
    pixels = np.full((40, 40), 700, dtype=np.uint16)
    pixels[:10] = 0
    name = "T31TCJ_20180823T105019_B04_10m.jp2"
    path = write(name, pixels, driver="JP2OpenJPEG", QUALITY=100, REVERSIBLE="YES")
    assert path.is_absolute()
    source = open_source(path)
    assert source.info.nodata == 0
    assert not source.read().valid[:10].any()
    assert open_source(path.rename(path.with_name("scene.jp2"))).read().valid.all()
