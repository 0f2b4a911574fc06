"""Decoding and compressing in threads: the same bytes, and no damage that nobody hears of."""

from __future__ import annotations

import multiprocessing
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from affine import Affine
from rasterio._env import get_gdal_config
from rasterio.crs import CRS

from imatch.core.errors import InputError
from imatch.raster import Grid, open_source
from imatch.raster.decoding import CACHE_MB, decoding_options, larger_cache
from imatch.raster.gdal import kept_open, session
from imatch.raster.warp.warp import warp_file

TILES = {"tiled": True, "blockxsize": 64, "blockysize": 64, "compress": "deflate"}
PIXELS = np.random.default_rng(0).integers(1, 4000, (3, 700, 600), dtype=np.uint16)


@pytest.fixture
def source(write: Any) -> Path:
    path: Path = write("source.tif", PIXELS, nodata=0, interleave="pixel", **TILES)
    return path


def test_only_tiffs_are_decoded_in_threads_of_gdal(
    source: Path, write: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPJ_NUM_THREADS", "3")
    assert decoding_options(str(source)) == {"NUM_THREADS": "3"}
    assert decoding_options(str(write("a.png", PIXELS[0], driver="PNG"))) == {}
    assert decoding_options("/vsicurl/https://nowhere/a.tif") == {}


@pytest.mark.parametrize("cog", [False, True])
def test_threads_write_what_one_writes(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cog: bool
) -> None:
    lattice = Grid(Affine(10, 0, 400000, 0, -10, 5000000), CRS.from_epsg(32631), 600, 700)
    made = []
    for threads in ("1", "4"):
        monkeypatch.setenv("OPJ_NUM_THREADS", threads)
        out = tmp_path / f"{threads}.tif"
        warp_file(source, out, lattice, lambda xy: np.asarray(xy) + 0.3, cog=cog)
        made.append(out.read_bytes())
    assert made[0] == made[1]


@pytest.mark.parametrize("size", [None, (200, 250)])
def test_a_damaged_tile_is_an_error_in_threads_too(
    source: Path, size: tuple[int, int] | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPJ_NUM_THREADS", "4")
    with rasterio.open(source) as dataset:
        at = int(dataset.get_tag_item("BLOCK_OFFSET_3_4", "TIFF", 1))
    content = bytearray(source.read_bytes())
    content[at : at + 10] = bytes(10)
    source.write_bytes(content)
    with pytest.raises(InputError, match="its pixels cannot be read"):
        open_source(source).read(size=size)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="processes cannot be forked here")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_forked_process_does_not_wait_for_threads_that_stayed_behind(
    source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPJ_NUM_THREADS", "4")
    image = open_source(source)

    def read() -> None:
        image.read(size=(300, 350))

    with kept_open():
        read()
        child = multiprocessing.get_context("fork").Process(target=read)
        child.start()
        child.join(60)
        alive = child.is_alive()
        child.kill()
    assert not alive
    assert child.exitcode == 0


def test_a_larger_cache_is_given_back() -> None:
    def megabytes() -> int:
        with session():
            return int(get_gdal_config("GDAL_CACHEMAX")) >> 20

    assert megabytes() == CACHE_MB
    with larger_cache(400):
        assert megabytes() == 400
        with larger_cache(300):
            assert megabytes() == 400
    assert megabytes() == CACHE_MB
