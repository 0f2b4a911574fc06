"""Sentinel-1 products: miniature ones of detected images, as the product specification has them."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rasterio.control import GroundControlPoint
from rasterio.crs import CRS
from rasterio.windows import Window

from imatch.core.errors import InputError
from imatch.raster import open_source

Product = Callable[..., Path]
NAME = "S1A_IW_GRDH_1SDV_20200803T054512_20200803T054537_033735_03E903_ABCD"
STEM = "s1a-iw-grd-{}-20200803t054512-20200803t054537-033735-03e903-00{}"
SIZE = 120, 80
AMPLITUDE = np.random.default_rng(0).integers(50, 400, (SIZE[1], SIZE[0])).astype("uint16")
AMPLITUDE[:, :10] = 0
# Amplitudes are divided by numbers that grow with the range (columns).
_LUT = "{a} {b} {c}"


def _calibration(lines: list[int]) -> str:
    vectors = "".join(
        f"<calibrationVector><line>{line}</line><pixel count='3'>0 60 119</pixel>"
        + "".join(
            f"<{name} count='3'>{_LUT.format(a=low, b=low + 60, c=low + 119)}</{name}>"
            for name, low in (("sigmaNought", 500), ("betaNought", 300), ("gamma", 400))
        )
        + "</calibrationVector>"
        for line in lines
    )
    return f"<calibration><calibrationVectorList>{vectors}</calibrationVectorList></calibration>"


@pytest.fixture
def product(write: Any, tmp_path: Path) -> Product:
    def make(bands: tuple[str, ...] = ("vv", "vh")) -> Path:
        root = tmp_path / f"{NAME}.SAFE"
        at = [(x, y) for y in (0, 40, 80) for x in (0, 60, 120)]
        # Seen from the east on a descending orbit: columns run west.
        gcps = [GroundControlPoint(y, x, 12.0 - 1e-4 * x, 45.0 - 1e-4 * y, 0.0) for x, y in at]
        for number, band in enumerate(bands, start=1):
            stem = STEM.format(band, number)
            pixels = AMPLITUDE if band in ("vv", "hh") else AMPLITUDE // 2
            placed = {"transform": None, "crs": None, "gcps": (gcps, CRS.from_epsg(4326))}
            write(f"{root.name}/measurement/{stem}.tiff", pixels, **placed)
            folder = root / "annotation" / "calibration"
            folder.mkdir(parents=True, exist_ok=True)
            (folder / f"calibration-{stem}.xml").write_text(_calibration([0, 79]))
        (root / "manifest.safe").write_text("<xml/>")
        return root

    return make


def test_the_amplitude_is_read_and_located_by_its_gcps(product: Product) -> None:
    source = open_source(product())
    assert source.info.band_names == ("VV",)
    assert source.info.dtypes == ("uint16",)
    assert source.info.modality == "sar"
    assert source.info.geocoded
    assert source.info.located_by is not None
    assert "GCP" in source.info.located_by
    image = source.read()
    assert not image.valid[:, :10].any()
    np.testing.assert_array_equal(image.pixels[0][:, 10:], AMPLITUDE[:, 10:])
    lon, lat = source.info.to_map(np.array([[59.5, 39.5]]))[0]
    assert (lon, lat) == pytest.approx((12.0 - 60e-4, 45.0 - 40e-4), abs=1e-6)


@pytest.mark.parametrize("way", ["manifest.safe", "zip"])
def test_other_names_of_it(product: Product, tmp_path: Path, way: str) -> None:
    root = product()
    path = root / way
    if way == "zip":
        path = Path(shutil.make_archive(str(tmp_path / NAME), "zip", tmp_path, root.name))
    source = open_source(path, bands=["sigma0_VV", "VH"])
    assert source.info.band_names == ("sigma0_VV", "VH")
    np.testing.assert_array_equal(source.read().pixels[1][:, 10:], AMPLITUDE[:, 10:] // 2)


@pytest.mark.parametrize(("kind", "low"), [("sigma0", 500), ("beta0", 300), ("gamma0", 400)])
def test_backscatter_and_decibels_where_they_are_asked(
    product: Product, kind: str, low: int
) -> None:
    bands = [f"{kind}_vv", f"{kind}_VV_dB", "VV_db"]
    source = open_source(product(), bands=bands)
    assert source.info.band_names == (f"{kind}_VV", f"{kind}_VV_dB", "VV_dB")
    power, decibel, plain = source.read().pixels[:, :, 10:]
    expected = (AMPLITUDE[:, 10:] / (low + np.arange(10, SIZE[0]))) ** 2
    np.testing.assert_allclose(power, expected, rtol=1e-5)
    np.testing.assert_allclose(decibel, 10 * np.log10(expected), rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(plain, 20 * np.log10(AMPLITUDE[:, 10:]), rtol=1e-5)


def test_a_window_is_calibrated_where_it_lies(product: Product) -> None:
    source = open_source(product(), bands=["sigma0_VV"])
    part = source.read(Window(40, 20, 32, 16)).pixels[0]
    np.testing.assert_allclose(part, source.read().pixels[0][20:36, 40:72], rtol=1e-5)


def test_one_polarisation(product: Product) -> None:
    assert open_source(product(("hh",))).info.band_names == ("HH",)


@pytest.mark.parametrize("band", ["VX", "B04", 1, "sigma9_VV", "HH"])
def test_unknown_bands(product: Product, band: str | int) -> None:
    with pytest.raises(InputError, match=r"has no band.*VV, VH"):
        open_source(product(), bands=[band])


def test_swaths_have_to_be_named(product: Product, write: Any) -> None:
    root = product(("vv",))
    other = STEM.format("vv", 4)
    write(f"{root.name}/measurement/{other}.tiff", AMPLITUDE, transform=None, crs=None)
    with pytest.raises(InputError, match="several images of VV"):
        open_source(root)


def test_a_broken_calibration_is_said(product: Product) -> None:
    root = product(("vv",))
    (file,) = (root / "annotation" / "calibration").iterdir()
    assert open_source(root).read().valid.any()
    file.write_text("<calibration/>")
    with pytest.raises(InputError, match=r"no calibration of sigma0.*too few"):
        open_source(root, bands=["sigma0_VV"]).read()
    file.unlink()
    with pytest.raises(InputError, match="no calibration of sigma0"):
        open_source(root, bands=["sigma0_VV"]).read()
