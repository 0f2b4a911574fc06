"""What a copy of a raster keeps: how each band marks missing ground, bits, metadata and tables."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from rasterio.crs import CRS
from rasterio.io import MemoryFile

from imatch.core.errors import InputError
from imatch.raster.grid import Grid
from imatch.raster.warp.set_geotransform import set_geotransform
from imatch.raster.warp.warp import warp_file
from imatch.raster.write.free_value import free_value
from imatch.raster.write.profile import form_of

PLACE = Affine(10, 0, 400000, 0, -10, 5000000)
LATTICE = Grid(PLACE, CRS.from_epsg(32631), 90, 70)
RNG = np.random.default_rng(0)


def slip(xy: Any) -> Any:
    return np.asarray(xy, dtype=np.float64) + np.array([0.4, -0.3])


def far(xy: Any) -> Any:
    return slip(xy) + np.array([0, -9.0])


def vrt(path: Path, source: Path, bands: list[str], dtype: str = "Byte") -> Path:
    """A VRT of a raster of 90 x 70 pixels, with something added to the XML of each band."""
    parts = "".join(
        f'<VRTRasterBand dataType="{dtype}" band="{i}">{more}<SimpleSource>'
        f'<SourceFilename relativeToVRT="1">{source.name}</SourceFilename>'
        f"<SourceBand>{i}</SourceBand></SimpleSource></VRTRasterBand>"
        for i, more in enumerate(bands, start=1)
    )
    path.write_text(
        '<VRTDataset rasterXSize="90" rasterYSize="70"><SRS>EPSG:32631</SRS><GeoTransform>400000,'
        f"10,0,5000000,0,-10</GeoTransform>{parts}</VRTDataset>"
    )
    return path


def own_mask(source: Path) -> str:
    return (
        '<MaskBand><VRTRasterBand dataType="Byte"><SimpleSource><SourceFilename relativeToVRT="1">'
        f"{source.name}</SourceFilename><SourceBand>1</SourceBand></SimpleSource></VRTRasterBand>"
        "</MaskBand>"
    )


def of_each_band(marks: list[float | None]) -> list[str]:
    return ["" if mark is None else f"<NoDataValue>{mark}</NoDataValue>" for mark in marks]


@pytest.mark.parametrize("dtype", ["uint8", "int16", "float32"])
@pytest.mark.parametrize("marks", [[0, 255, 1], [0, None, None], [None, 7, None]])
@pytest.mark.parametrize("how", ["cubic", "nearest", "set_geotransform"])
def test_what_each_band_marks_stays_missing(
    write: Any, tmp_path: Path, dtype: str, marks: list[float | None], how: str
) -> None:
    pixels = RNG.integers(0, 251, (3, 70, 90)).astype(dtype)
    for band, mark in zip(pixels, marks, strict=True):
        # Everywhere else the bands hold one another's marks as ground.
        if mark is not None:
            band[band == mark] = 100
            band[20:40, 30:50] = mark
    kinds = {"uint8": "Byte", "int16": "Int16", "float32": "Float32"}
    source = write("pixels.tif", pixels)
    path = vrt(tmp_path / "a.vrt", source, of_each_band(marks), kinds[dtype])
    out = tmp_path / "out.tif"
    if how == "set_geotransform":
        set_geotransform(path, out, LATTICE)
    else:
        warp_file(path, out, LATTICE, slip, resampling=how)  # type: ignore[arg-type]
    with rasterio.open(out) as dataset:
        for band, mark in enumerate(marks, start=1):
            missing = dataset.read_masks(band)[2:-2, 2:-2] == 0
            expected = np.zeros((70, 90), dtype=bool)
            expected[20:40, 30:50] = mark is not None
            np.testing.assert_array_equal(missing, expected[2:-2, 2:-2], err_msg=f"band {band}")
        if how == "set_geotransform":
            kept = dataset.read(masked=True)
            valid = ~np.ma.getmaskarray(kept)
            np.testing.assert_array_equal(kept.data[valid], pixels[valid])


def test_a_band_with_a_mask_of_its_own(write: Any, tmp_path: Path) -> None:
    pixels = RNG.integers(1, 200, (2, 70, 90)).astype("uint8")
    mask = np.full((70, 90), 255, dtype=np.uint8)
    mask[10:30, 10:30] = 0
    source, ground = write("pixels.tif", pixels), write("ground.tif", mask)
    path = vrt(tmp_path / "a.vrt", source, ["", own_mask(ground)])
    warp_file(path, tmp_path / "out.tif", LATTICE, slip)
    with rasterio.open(tmp_path / "out.tif") as dataset:
        missing = dataset.read_masks()[:, 2:-2, 2:-2] == 0
    assert not missing[0].any()
    np.testing.assert_array_equal(missing[1], mask[2:-2, 2:-2] == 0)


def test_no_value_is_left(write: Any, tmp_path: Path) -> None:
    every = np.resize(np.arange(256, dtype=np.uint8), (70, 90))
    path = vrt(tmp_path / "a.vrt", write("a.tif", np.stack([every] * 2)), of_each_band([0, None]))
    out = tmp_path / "out.tif"
    with pytest.raises(InputError, match=r"a.vrt: its bands mark missing ground each .* \(0\)"):
        warp_file(path, out, LATTICE, slip)
    assert not out.exists()


@settings(max_examples=60, deadline=None)
@given(
    dtype=st.sampled_from(["uint8", "int16", "uint16", "int32", "uint32"]),
    values=st.lists(st.integers(0, 255), min_size=1, max_size=60),
    declared=st.lists(st.integers(0, 255), max_size=3),
)
def test_a_free_value_is_free(dtype: str, values: list[int], declared: list[int]) -> None:
    pixels = np.array([values], dtype=dtype)
    with MemoryFile() as memory:
        with memory.open(
            driver="GTiff", count=1, width=len(values), height=1, dtype=dtype, crs="EPSG:3857",
            transform=PLACE,
        ) as dataset:  # fmt: skip
            dataset.write(pixels[None])
        with memory.open() as dataset:
            value = free_value(dataset, np.dtype(dtype), [float(v) for v in declared])
    assert value not in values
    assert np.dtype(dtype).type(value) == value
    unused = [v for v in declared if v not in values]
    assert not unused or value == unused[0]


@pytest.mark.parametrize("cog", [False, True])
def test_bits_and_metadata_domains_are_kept(write: Any, tmp_path: Path, cog: bool) -> None:
    pixels = RNG.integers(3800, 4096, (1, 70, 90)).astype("uint16")
    path = write("a.tif", pixels, nbits=12)
    with rasterio.open(path, "r+") as dataset:
        dataset.update_tags(ns="MISSION", orbit="94")
        dataset.update_tags(1, ns="CALIBRATION", gain="2.5")
    out = tmp_path / "out.tif"
    warp_file(path, out, LATTICE, slip, cog=cog, resampling="lanczos")
    with rasterio.open(out) as dataset:
        assert dataset.tags(1, ns="IMAGE_STRUCTURE")["NBITS"] == "12"
        assert dataset.read().max() <= 4095
        assert dataset.tags(ns="MISSION") == {"orbit": "94"}
        assert dataset.tags(1, ns="CALIBRATION") == {"gain": "2.5"}
    # A nodata value that needs all bits is worth more than a small file.
    warp_file(path, out, LATTICE, far, cog=cog, nodata=65535, overwrite=True)
    with rasterio.open(out) as dataset:
        assert dataset.nodata == 65535
        assert "NBITS" not in dataset.tags(1, ns="IMAGE_STRUCTURE")
        assert dataset.read_masks(1)[0].min() == 0


@pytest.mark.parametrize("how", ["warp", "set_geotransform"])
def test_metadata_of_the_old_place_goes(write: Any, tmp_path: Path, how: str) -> None:
    path = write("a.tif", RNG.integers(1, 255, (1, 70, 90)).astype("uint8"))
    with rasterio.open(path, "r+") as dataset:
        dataset.update_tags(ns="ENVI", map_info="{UTM, 1, 1}", wavelength_units="nm")
        dataset.update_tags(
            **{
                "crs#GeoTransform": "400000 10 0 5000000 0 -10",
                "crs#long_name": "CRS definition",
                "x#actual_range": "{1,2}",
                "temperature#long_name": "surface",
                "EXIF_Orientation": "3",
            }
        )
    out = tmp_path / "out.tif"
    moved = Grid(PLACE @ Affine.translation(3, 4), LATTICE.crs, 90, 70)
    if how == "warp":
        warp_file(path, out, moved, slip)
    else:
        set_geotransform(path, out, moved)
    with rasterio.open(out) as dataset:
        assert dataset.transform == moved.transform
        assert dataset.tags(ns="ENVI") == {"wavelength_units": "nm"}
        assert not {key for key in dataset.tags() if key.startswith(("crs#", "x#", "EXIF"))}
        assert dataset.tags()["temperature#long_name"] == "surface"


@pytest.mark.parametrize("cog", [False, True])
def test_names_of_classes_come_along(write: Any, tmp_path: Path, cog: bool) -> None:
    path, out = write("a.tif", np.ones((70, 90), dtype=np.uint8)), tmp_path / "out.tif"
    text = "<CategoryNames><Category>none</Category><Category>sea</Category></CategoryNames>"
    (tmp_path / "a.tif.aux.xml").write_text(
        f'<PAMDataset><PAMRasterBand band="1">{text}</PAMRasterBand></PAMDataset>'
    )
    (tmp_path / "out.tif.aux.xml").write_text("<PAMDataset><Metadata/></PAMDataset>")
    warp_file(path, out, LATTICE, slip, resampling="nearest", cog=cog)
    with rasterio.open(out) as dataset:
        assert form_of(dataset).classes[1].replace("\n", "").replace(" ", "") == text
    assert {file.name for file in tmp_path.iterdir()} >= {"out.tif", "out.tif.aux.xml"}


def test_a_side_car_of_the_file_before_goes(write: Any, tmp_path: Path) -> None:
    path, out = write("a.tif", np.ones((70, 90), dtype=np.uint8)), tmp_path / "out.tif"
    for suffix in ("", ".aux.xml", ".ovr", ".msk"):
        (tmp_path / f"out.tif{suffix}").write_text("old")
    warp_file(path, out, LATTICE, slip, overwrite=True)
    assert {file.name for file in tmp_path.iterdir()} == {"a.tif", "out.tif"}
