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


@pytest.mark.parametrize("band", ["B99", 4, "swir16"])
def test_missing_band(product: Product, band: Any) -> None:
    with pytest.raises(InputError, match=r"has no band .*B01 \(coastal, b1\), .*B8A .*, TCI"):
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


def _scl(write: Any, folder: Path) -> None:
    """The classes 0 to 11, four rows each, at 20 m."""
    (data,) = folder.glob("GRANULE/*/IMG_DATA/R20m")
    classes = np.arange(48, dtype=np.uint8)[:, None].repeat(48, axis=1) // 4
    name = data.relative_to(folder.parent) / "T31TCJ_20180815T105021_SCL_20m.jp2"
    place = Affine(20, 0, 300000, 0, -20, 5000000)
    write(str(name), classes, driver="JP2OpenJPEG", transform=place, QUALITY=100, REVERSIBLE="YES")


@pytest.mark.parametrize("archive", [False, True])
def test_the_scene_classification_leaves_clouds_out(
    product: Product, write: Any, tmp_path: Path, archive: bool
) -> None:
    path = product("L2A")
    _scl(write, path)
    if archive:
        path = Path(shutil.make_archive(str(tmp_path / "zipped"), "zip", tmp_path, path.name))
    for bands in (None, ["red", "nir"]):
        source = open_source(path, bands=bands)
        assert source.info.mask is not None
        assert source.info.mask.startswith("SCL (")
        left_out = ~source.read().valid[:, 30:].any(axis=1)
        assert {int(row) // 8 for row in np.flatnonzero(left_out)} == {0, 1, 3, 8, 9, 10}
    assert open_source(path, product_mask="none").read().valid[:, 30:].all()


def _gml(*rings: list[tuple[float, float]], dimension: int = 2) -> str:
    """A mask of polygons as products before 2022 have it."""
    members = "".join(
        "<eop:MaskFeature><eop:maskType>OPAQUE</eop:maskType><eop:extentOf><gml:Polygon>"
        f"<gml:exterior><gml:LinearRing><gml:posList srsDimension='{dimension}'>"
        + " ".join(f"{x} {y}" + " 0" * (dimension - 2) for x, y in ring)
        + "</gml:posList></gml:LinearRing></gml:exterior></gml:Polygon></eop:extentOf>"
        "</eop:MaskFeature>"
        for ring in rings
    )
    return (
        "<eop:Mask xmlns:eop='http://www.opengis.net/eop/2.0'"
        f" xmlns:gml='http://www.opengis.net/gml/3.2'><eop:maskMembers>{members}"
        "</eop:maskMembers></eop:Mask>"
    )


@pytest.mark.parametrize("name", ["MSK_CLOUDS_B00", "S2A_OPER_MSK_CLOUDS_SGS__2018_B00_MSIL1C"])
@pytest.mark.parametrize("dimension", [2, 3])
def test_polygons_of_clouds(product: Product, name: str, dimension: int) -> None:
    folder = product("L1C")
    (granule,) = folder.glob("GRANULE/L1C_*")
    (granule / "QI_DATA").mkdir()
    cloud = [(300500, 4999900), (300900, 4999900), (300900, 4999700), (300500, 4999700)]
    text = _gml([*cloud, cloud[0]], dimension=dimension)
    (granule / "QI_DATA" / f"{name}.gml").write_text(text)
    source = open_source(folder)
    valid = source.read().valid
    assert not valid[11:29, 51:89].any()
    assert valid[32:, 30:].all()
    assert source.info.mask is not None
    assert source.info.mask.startswith("MSK_CLOUDS (")
    (granule / "QI_DATA" / f"{name}.gml").write_text(_gml())
    assert open_source(folder).read().valid[:, 30:].all()
    (granule / "QI_DATA" / f"{name}.gml").write_text("<broken")
    with pytest.raises(InputError, match=r"cannot be read as a mask.*--product-mask none"):
        open_source(folder).read()


def test_rasters_of_clouds_and_of_the_quality_of_bands(product: Product, write: Any) -> None:
    folder = product("L1C")
    (granule,) = folder.glob("GRANULE/L1C_*")
    quality = granule.relative_to(folder.parent) / "QI_DATA"
    clouds, lost = np.zeros((3, 16, 16), np.uint8), np.zeros((8, 96, 96), np.uint8)
    # Opaque clouds, cirrus, snow; then lost packets, and such as are degraded only.
    clouds[0, 2:4], clouds[1, 6:8], clouds[2, 10:12] = 1, 1, 1
    lost[2, 80:84], lost[3, 88:92] = 1, 1
    for name, pixels, metres in (("CLASSI_B00", clouds, 60), ("QUALIT_B04", lost, 10)):
        place = Affine(metres, 0, 300000, 0, -metres, 5000000)
        lossless = {"QUALITY": 100, "REVERSIBLE": "YES"}
        name = str(quality / f"MSK_{name}.jp2")
        write(name, pixels, driver="JP2OpenJPEG", transform=place, **lossless)
    rows = {
        bands: set(np.flatnonzero(~open_source(folder, bands=[bands]).read().valid[:, 30:].any(1)))
        for bands in ("TCI", "red", "blue")
    }
    cloudy = {*range(12, 24), *range(36, 48)}
    assert rows == {
        "TCI": cloudy | {*range(80, 84)},
        "red": cloudy | {*range(80, 84)},
        "blue": cloudy,
    }


def test_a_mask_that_hides_everything_is_said(product: Product, write: Any, tmp_path: Path) -> None:
    from imatch.raster import read_pair

    folder = product("L2A")
    _scl(write, folder)
    (file,) = folder.rglob("*_SCL_20m.jp2")
    place = Affine(20, 0, 300000, 0, -20, 5000000)
    hidden = np.full((48, 48), 9, np.uint8)
    name = str(file.relative_to(folder.parent))
    write(name, hidden, driver="JP2OpenJPEG", transform=place, QUALITY=100, REVERSIBLE="YES")
    with pytest.raises(InputError, match=r"no valid pixels.*--product-mask none keeps its clouds"):
        read_pair(open_source(folder), open_source(folder))
