"""Parts of files, and files whose names look like something else."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from rasterio.shutil import copy

from imatch.core.errors import InputError
from imatch.raster import open_source
from imatch.raster.names import container_of, is_remote, is_virtual, located

PIXELS = np.random.default_rng(0).integers(0, 255, (2, 40, 50)).astype("uint8")


@pytest.fixture
def parts(write: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """two.nc, of two variables, and pages.tif, of two pages, in the current folder."""
    first = write("a.tif", PIXELS)
    copy(first, tmp_path / "two.nc", driver="netCDF")
    write("pages.tif", PIXELS)
    write("pages.tif", PIXELS[::-1].copy(), APPEND_SUBDATASET="YES")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_hint_names_what_can_be_opened(parts: Path) -> None:
    with pytest.raises(InputError, match="name one of its parts, such as netcdf:") as caught:
        open_source("two.nc")
    assert caught.value.hint is not None
    named = caught.value.hint.split("such as ")[1].split(", ")
    assert len(named) == 2
    for band, name in enumerate(named):
        np.testing.assert_array_equal(open_source(name).read().pixels[0], PIXELS[band])


@pytest.mark.parametrize(
    "name",
    [
        'NETCDF:"{folder}/two.nc":Band2',
        "netcdf:{folder}/two.nc:Band2",
        'NETCDF:"two.nc":Band2',
        "GTIFF_DIR:2:pages.tif",
        "GTIFF_DIR:2:{folder}/pages.tif",
    ],
)
def test_a_part_is_read_from_anywhere(
    parts: Path, name: str, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: Any
) -> None:
    name = name.format(folder=parts)
    container = container_of(name)
    assert container is not None
    assert (parts / container).exists()
    assert is_virtual(name)
    assert not is_remote(name)
    absolute = located(name, parts)
    monkeypatch.chdir(tmp_path_factory.mktemp("elsewhere"))
    source = open_source(absolute)
    np.testing.assert_array_equal(source.read().pixels[0], PIXELS[1])


@pytest.mark.parametrize(
    "name", ["zip:foo.tif", "a:b.tif", "http:x.tif", "NETCDF:y.tif", "q?#.tif"]
)
def test_a_file_wins_over_a_scheme(write: Any, monkeypatch: Any, tmp_path: Path, name: str) -> None:
    write("plain.tif", PIXELS).rename(tmp_path / name)
    monkeypatch.chdir(tmp_path)
    for path in (name, Path(name), str(tmp_path / name)):
        assert not is_virtual(path)
        source = open_source(path)
        np.testing.assert_array_equal(source.read().pixels, PIXELS)
        assert source.info.path == Path(path)


def test_what_is_not_there(parts: Path) -> None:
    for name in ("netcdf:absent.nc:Band1", 'NETCDF:"absent.nc":Band1', "zip:absent.tif", "a\0b"):
        assert container_of(name) is None
        assert not is_virtual(name)
        with pytest.raises(InputError):
            open_source(name)
    (parts / "two.nc").write_bytes(b"")
    with pytest.raises(InputError, match="the file is empty"):
        open_source("netcdf:two.nc:Band1")


def test_urls_and_stores_are_remote() -> None:
    for name in ("https://a/b.tif", "s3://a/b.tif", "/vsicurl/https://a/b.tif", "/vsis3/a/b.tif"):
        assert is_virtual(name)
        assert is_remote(name)
        assert located(name, Path("/data")) == name
    for name in ("WMS:https://a/?SERVICE=WMS", "/vsizip//vsicurl/https://a/b.zip/b.tif"):
        assert is_remote(name)
    for name in ("/vsizip/a.zip/b.tif", "file:///data/b.tif", "zip://a.zip!b.tif"):
        assert not is_remote(name)
    assert not is_virtual("a.tif")
    assert located("a.tif", Path("/data")) == os.path.join("/data", "a.tif")  # noqa: PTH118


def test_rasters_are_written_from_parts(parts: Path) -> None:
    from imatch.raster.warp.warp import warp_file

    with rasterio.open("a.tif") as dataset:
        from imatch.raster import Grid

        lattice = Grid(dataset.transform, dataset.crs, 50, 40)
    warp_file("netcdf:two.nc:Band2", "out.tif", lattice, lambda xy: np.asarray(xy, dtype=float))
    with rasterio.open("out.tif") as dataset:
        np.testing.assert_array_equal(dataset.read(1), PIXELS[1])
