"""GeoTIFF and COG: accepted by others, whole or absent, options understood or refused."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from affine import Affine
from rasterio.crs import CRS

from imatch.core.errors import ConfigError, OutputError
from imatch.raster import Grid
from imatch.raster.warp.warp import warp_file

PLACE = Affine(10, 0, 400000, 0, -10, 5000000)
LATTICE = Grid(PLACE, CRS.from_epsg(32631), 700, 600)


def still(xy: Any) -> Any:
    return np.asarray(xy, dtype=np.float64)


@pytest.fixture
def source(write: Any) -> Path:
    rng = np.random.default_rng(0)
    pixels = rng.integers(1, 60000, (600, 700), dtype=np.uint16)
    path: Path = write("source.tif", pixels, nodata=0)
    return path


@pytest.mark.parametrize("mask", [False, True])
@pytest.mark.parametrize("count", [1, 4])
def test_a_cog_is_one(write: Any, tmp_path: Path, count: int, mask: bool) -> None:
    from rio_cogeo.cogeo import cog_validate

    rng = np.random.default_rng(0)
    pixels = rng.integers(1, 60000, (count, 1400, 1100), dtype=np.uint16)
    path = write("a.tif", pixels, **({} if mask else {"nodata": 0}))
    out = tmp_path / "cog.tif"
    size = Grid(PLACE, LATTICE.crs, 1100, 1400)
    warp_file(path, out, size, still, cog=True, tags={"IMATCH_X": "1"})
    valid, errors, _ = cog_validate(out)
    assert valid, errors
    with rasterio.open(out) as dataset:
        np.testing.assert_array_equal(dataset.read(), pixels)
        assert dataset.overviews(1)
        assert dataset.tags()["IMATCH_X"] == "1"
        assert dataset.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
    assert [file.name for file in tmp_path.iterdir() if file.name.startswith(".")] == []
    assert sorted(file.name for file in tmp_path.glob("*.tif")) == ["a.tif", "cog.tif"]


@pytest.mark.skipif(shutil.which("gdalinfo") is None, reason="GDAL's programs are not installed")
def test_gdalinfo_accepts_it(write: Any, tmp_path: Path) -> None:
    pixels = np.arange(3 * 600 * 700, dtype=np.uint16).reshape(3, 600, 700)
    out = tmp_path / "out.tif"
    warp_file(write("a.tif", pixels), out, LATTICE, still)
    program = shutil.which("gdalinfo")
    said = subprocess.run(
        [str(program), "-checksum", out], capture_output=True, text=True, check=True
    )
    assert not said.stderr
    for line in ("Size is 700, 600", "Block=512x512", "Overviews: 350x300", "Mask Flags: PER_DATA"):
        assert line in said.stdout


def test_creation_options(source: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.tif"
    options = {"compress": "lzw", "blockxsize": "256", "BLOCKYSIZE": "256", "PREDICTOR": "2"}
    warp_file(source, out, LATTICE, still, creation=options, overviews=False)
    with rasterio.open(out) as dataset:
        assert dataset.profile["compress"] == "lzw"
        assert dataset.block_shapes == [(256, 256)]
        assert dataset.overviews(1) == []
    for more in ({"TILED": "NO"}, {"COMPRESS": "NONE"}, {"SPARSE_OK": "TRUE"}):
        warp_file(source, out, LATTICE, still, creation=more, overwrite=True)
        with rasterio.open(out) as dataset:
            assert dataset.read(1).any()


@pytest.mark.parametrize("cog", [False, True])
@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"COMPRESSION": "LZW"}, "does not support creation option COMPRESSION"),
        ({"COMPRESS": "FOO"}, "FOO.*COMPRESS"),
        ({"BIGTIFF": "MAYBE"}, "MAYBE.*BIGTIFF"),
        ({"COMPRESS": "WEBP"}, "WEBP|3 .*bands"),
        ({"COMPRESS": "JPEG"}, "JPEG|BitsPerSample"),
    ],
)
def test_options_that_do_not_work(
    source: Path, tmp_path: Path, options: dict[str, str], said: str, cog: bool, capfd: Any
) -> None:
    out = tmp_path / "out.tif"
    with pytest.raises(ConfigError, match=rf"--co .*GDAL refuses it \(.*{said}.*GDAL's page"):
        warp_file(source, out, LATTICE, still, creation=options, cog=cog)
    assert not out.exists()
    assert not [file for file in tmp_path.iterdir() if file.name.startswith(".")]
    assert capfd.readouterr().err == ""


def test_blocks_of_no_size(source: Path, tmp_path: Path) -> None:
    for options in ({"BLOCKXSIZE": "17"}, {"BLOCKXSIZE": "wide"}, {"PREDICTOR": "9"}):
        with pytest.raises(ConfigError):
            warp_file(source, tmp_path / "out.tif", LATTICE, still, creation=options)


_LIMITED = """
import resource, sys
import numpy as np
from affine import Affine
from rasterio.crs import CRS
from imatch.core.errors import ImatchError
from imatch.raster import Grid
from imatch.raster.warp.warp import warp_file
limit = int(sys.argv[3])
resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
lattice = Grid(Affine(10, 0, 400000, 0, -10, 5000000), CRS.from_epsg(32631), 700, 600)
try:
    warp_file(sys.argv[1], sys.argv[2], lattice, lambda xy: np.asarray(xy), cog=len(sys.argv) > 4)
except ImatchError as error:
    print(type(error).__name__, error)
"""


@pytest.mark.parametrize("cog", [False, True])
@pytest.mark.parametrize("limit", [200, 100_000, 900_000])
def test_a_full_disk(source: Path, tmp_path: Path, limit: int, cog: bool) -> None:
    """A file may grow to `limit` bytes and no further, as on a disk without room."""
    folder = tmp_path / "out"
    folder.mkdir()
    (folder / "out.tif").write_bytes(b"precious")
    again = [sys.executable, "-c", _LIMITED, str(source), str(folder / "new.tif"), str(limit)]
    again += ["cog"] if cog else []
    done = subprocess.run(again, capture_output=True, text=True, check=True)
    assert done.stdout.startswith("OutputError"), done.stdout + done.stderr
    assert f"{folder / 'new.tif'}: " in done.stdout
    assert "Traceback" not in done.stderr
    assert [file.name for file in folder.iterdir()] == ["out.tif"]
    assert (folder / "out.tif").read_bytes() == b"precious"


def test_no_room_is_noticed_before_gdal_does(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: Any
) -> None:
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: usage._replace(free=1000))
    with pytest.raises(OutputError, match=r"out.tif: the disk is full.*nothing was written"):
        warp_file(source, tmp_path / "out.tif", LATTICE, still)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["source.tif"]
    assert capfd.readouterr().err == ""


_SLOW = """
import sys, time
import numpy as np
from affine import Affine
from rasterio.crs import CRS
from imatch.raster import Grid
from imatch.raster.warp.warp import warp_file
def convert(xy):
    time.sleep(0.05)
    return np.asarray(xy)
lattice = Grid(Affine(10, 0, 400000, 0, -10, 5000000), CRS.from_epsg(32631), 9000, 9000)
print("begun", flush=True)
warp_file(sys.argv[1], sys.argv[2], lattice, convert)
"""


def test_a_killed_process_leaves_no_half_file(source: Path, tmp_path: Path) -> None:
    folder = tmp_path / "out"
    folder.mkdir()
    out = folder / "out.tif"
    process = subprocess.Popen(
        [sys.executable, "-c", _SLOW, source, out], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "begun\n"
    until = time.monotonic() + 30
    while not list(folder.glob(".out.tif.*/*")) and time.monotonic() < until:
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    process.stdout.close()
    assert list(folder.glob(".out.tif.*/*"))
    assert not out.exists()
