"""Geocodings that no image of the ground has, and sizes that no machine can hold."""

from __future__ import annotations

import math
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from affine import Affine
from hypothesis import given
from hypothesis import strategies as st
from rasterio.crs import CRS

from imatch.core.errors import InputError
from imatch.raster import array_source, open_source
from imatch.raster.geocoding_check import misplaced
from imatch.raster.grid import Grid
from imatch.raster.read.mask import open_mask
from imatch.raster.read.pair import read_pair

UTM = CRS.from_epsg(32631)
LONLAT = CRS.from_epsg(4326)
GROUND = np.random.default_rng(3).integers(1, 250, (60, 80)).astype("uint8")
GOOD = Affine(10, 0, 356_000, 0, -10, 4_835_000)
SENSELESS = {
    "wide": (1e12, 0, 356_000, 0, -1e12, 4_835_000),
    "narrow": (1e-9, 0, 356_000, 0, -1e-9, 4_835_000),
    "denormal": (1e-320, 0, 356_000, 0, -1e-320, 4_835_000),
    "huge": (1e308, 0, 0, 0, -1e308, 0),
    "singular": (10, 10, 356_000, 10, 10, 4_835_000),
    "nearly singular": (10, 10, 356_000, 10, 10.000001, 4_835_000),
    "slender": (1e4, 0, 356_000, 0, -1e-2, 4_835_000),
    "far": (10, 0, 1e300, 0, -10, 4_835_000),
    "no number": (math.nan, 0, 356_000, 0, -10, 4_835_000),
    "infinite": (10, 0, math.inf, 0, -10, 4_835_000),
}


@pytest.mark.parametrize("numbers", SENSELESS.values(), ids=SENSELESS)
def test_a_geocoding_without_sense_is_refused_unless_left_out(write: Any, numbers: Any) -> None:
    ref = open_source(write("ref.tif", GROUND, transform=GOOD))
    tgt = open_source(write("tgt.tif", GROUND, transform=Affine(*numbers)))
    assert tgt.info.misplaced is not None
    assert (tgt.info.crs, tgt.info.gsd_m, tgt.info.geocoded) == (None, None, False)
    for pair in ((ref, tgt), (tgt, ref)):
        with pytest.raises(InputError, match=r"tgt.tif: its geocoding makes no sense.*--no-geocod"):
            read_pair(*pair)
        assert read_pair(*pair, use_geocoding=False).grid is None
    with pytest.raises(InputError, match="makes no sense"):
        tgt.read_on(Grid(GOOD, UTM, 80, 60))
    with pytest.raises(InputError, match="makes no sense"):
        open_mask(tgt.info.path or "", Grid(GOOD, UTM, 80, 60))
    with pytest.raises(InputError, match="makes no sense"):
        array_source(GROUND, transform=Affine(*numbers), crs=UTM)


@pytest.mark.parametrize(
    ("transform", "crs", "reason"),
    [
        (Affine(0.001, 0, 3, 0, -0.001, 95), LONLAT, "latitude 94.97"),
        (Affine(0.001, 0, 3000, 0, -0.001, 45), LONLAT, "longitude 3000.04"),
        (Affine(60, 0, -180, 0, -60, 90), LONLAT, "m wide"),
        (Affine(1e-12, 0, 3, 0, -1e-12, 45), LONLAT, "m wide"),
        (Affine(7, 7, 0, 7, 7, 0), None, "singular"),
        (Affine(1e300, 0, 0, 0, 1e300, 0), None, "beyond all numbers"),
    ],
)
def test_the_reason_is_named(transform: Affine, crs: CRS | None, reason: str) -> None:
    said = misplaced(transform, crs, (80, 60))
    assert said is not None
    assert reason in said


@given(st.floats(0.01, 1e4), st.floats(-180, 180), st.floats(0.3, 3), st.sampled_from([UTM, None]))
def test_real_geocodings_make_sense(gsd: float, angle: float, ratio: float, crs: Any) -> None:
    turned = Affine.rotation(angle) @ Affine.scale(gsd, -gsd * ratio)
    assert misplaced(Affine.translation(4e5, 5e6) @ turned, crs, (10_980, 10_980)) is None


@pytest.mark.parametrize(
    ("transform", "crs"),
    [
        (Affine(360 / 43200, 0, -180, 0, -180 / 21600, 90), LONLAT),
        (Affine(30, 0, -180, 0, -30, 90), LONLAT),
        (Affine(0.01, 0, 179, 0, -0.01, 3), LONLAT),
        (Affine(0.01, 0, 359, 0, 0.01, -90), LONLAT),
        (Affine(25_000, 0, -9_036_842, 0, -25_000, 9_036_842), CRS.from_epsg(6933)),
        (Affine(1e-3, 0, 32_500_000, 0, -1e-3, 5_600_000), CRS.from_epsg(4647)),
    ],
)
def test_global_turned_and_fine_images_make_sense(transform: Affine, crs: CRS) -> None:
    width = 12 if transform.a > 1 and crs == LONLAT else 720
    height = 6 if width == 12 else 360
    assert misplaced(transform, crs, (width, height)) is None


# Memory ------------------------------------------------------------------------------------------


def _block(path: Path) -> None:
    profile = {"driver": "GTiff", "dtype": "uint8", "count": 1, "SPARSE_OK": "YES"}
    side = 30_000
    blocks = {"tiled": True, "blockxsize": side, "blockysize": side, "compress": "DEFLATE"}
    with rasterio.open(
        path, "w", width=side, height=side, crs=UTM, transform=GOOD, **profile, **blocks
    ):
        pass


def _interleaved(path: Path) -> None:
    with rasterio.open(
        path, "w", driver="GTiff", dtype="float64", width=240_000, height=300, count=300,
        interleave="pixel", compress="DEFLATE", crs=UTM, transform=GOOD, SPARSE_OK="YES",
    ):  # fmt: skip
        pass


def _claimed(path: Path) -> None:
    """A PNG that says it is 100000 x 100000 under a right checksum."""
    with rasterio.open(path, "w", driver="PNG", dtype="uint8", width=80, height=60, count=1) as out:
        out.write(GROUND, 1)
    content = bytearray(path.read_bytes())
    struct.pack_into(">II", content, 16, 100_000, 100_000)
    struct.pack_into(">I", content, 29, zlib.crc32(content[12:29]))
    path.write_bytes(content)


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
@pytest.mark.parametrize("make", [_block, _interleaved, _claimed])
def test_sizes_that_a_header_claims_are_refused_before_they_are_reserved(
    tmp_path: Path, make: Callable[[Path], None], capfd: Any
) -> None:
    path = tmp_path / ("a.png" if make is _claimed else "a.tif")
    make(path)
    with pytest.raises(InputError, match=rf"{path.name}: ") as caught:
        open_source(path).read(size=(1000, 1000))
    assert caught.value.hint
    assert capfd.readouterr() == ("", "")


def _sparse(path: Path, side: int, count: int) -> Path:
    """A raster of which nothing but the header is there."""
    profile = {"width": side, "height": side, "count": count, "dtype": "uint8", "tiled": True}
    profile |= {"crs": UTM, "transform": GOOD}
    with rasterio.open(path, "w", driver="GTiff", SPARSE_OK=True, BIGTIFF="YES", **profile):
        return path


def test_what_only_a_header_says_takes_no_hours(tmp_path: Path) -> None:
    wide, many = (
        _sparse(tmp_path / "wide.tif", 200_000, 1),
        _sparse(tmp_path / "many.tif", 8, 20_000),
    )
    with pytest.raises(
        InputError, match=r"wide\.tif: has 4e\+10 pixels to be read for so few; make"
    ):
        open_source(wide).read(size=(1000, 1000))
    frame = Grid(Affine.identity(), None, 200_000, 200_000)
    with pytest.raises(InputError, match=r"wide\.tif: has 4e\+10 pixels .* coarser"):
        open_mask(wide, frame)
    with pytest.raises(InputError, match=r"many\.tif: claims to have 20000 bands"):
        open_source(many)


def test_an_image_as_large_as_the_machine_is_refused(write: Any) -> None:
    source = open_source(write("a.tif", GROUND))
    with pytest.raises(InputError, match=r"would take [\d,.]+ GiB of memory"):
        source.read(size=(10_000_000, 10_000_000))
    with pytest.raises(InputError, match="GiB of memory"):
        source.read_on(Grid(GOOD, UTM, 10_000_000, 10_000_000))


def test_a_grid_that_is_fine_in_one_place_reads_a_bounded_part(write: Any) -> None:
    # Round the pole one row of longitudes is a point: there a pixel spans next to nothing.
    image = np.zeros((3000, 3000), dtype="uint8")
    polar = CRS.from_epsg(3995)
    path = write("a.tif", image, crs=polar, transform=Affine(3000, 0, -4.5e6, 0, -3000, 4.5e6))
    source = open_source(path)
    window, factor = source._window_of(Grid(Affine(1, 0, -180, 0, -1, 90), LONLAT, 360, 40))
    assert window is not None
    assert window.width * window.height / factor**2 < 1 << 26


def test_a_nearly_empty_file_is_no_image(write: Any, tmp_path: Path) -> None:
    options = {"sparse_ok": True, "crs": UTM, "transform": GOOD, "count": 3, "dtype": "float64"}
    tiled = {"tiled": True, "blockxsize": 512, "blockysize": 512, "count": 1, "dtype": "uint8"}
    compressed = {"count": 1, "dtype": "uint8", "compress": "deflate"}
    for name, width, more in (
        ("claims.tif", 300_000, {}),
        ("plain.tif", 10_000, {"count": 1, "dtype": "uint8"}),
        ("blank.tif", 10_000, compressed),
        ("fine.tif", 3000, {}),
        ("tiled.tif", 200_000, tiled),  # A mosaic that is to be filled.
    ):
        size = {"width": width, "height": 240 if not more else width}
        with rasterio.open(tmp_path / name, "w", **size, **options | more) as dataset:
            if name == "blank.tif":
                dataset.write(np.zeros((1, width, width), np.uint8))
    with pytest.raises(InputError, match=r"claims 300000 x 240 pixels in .* nearly all of it is"):
        open_source(tmp_path / "claims.tif")
    with pytest.raises(InputError, match=r"claims 10000 x 10000 pixels in .* nearly all of it is"):
        open_source(tmp_path / "plain.tif")
    assert open_source(tmp_path / "blank.tif").info.size == (10_000, 10_000)
    assert open_source(tmp_path / "fine.tif").info.size == (3000, 240)
    assert open_source(tmp_path / "tiled.tif").info.size == (200_000, 200_000)
