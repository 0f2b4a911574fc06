from __future__ import annotations

from pathlib import Path
from typing import Any

import dask.array as da
import numpy as np
import pytest
import rasterio
import xarray as xr
from numpy.typing import NDArray
from rasterio.windows import Window

from imatch.core.errors import InputError
from imatch.raster import array_source
from imatch.raster.dataarrays.source import data_array_source
from tests.support.dataarrays import fields, view

# Rioxarray composes transforms by what affine 3 discourages.
pytestmark = pytest.mark.filterwarnings("ignore:Use `@` matmul:PendingDeprecationWarning")


@pytest.fixture(scope="module")
def ground() -> NDArray[np.uint16]:
    """(3, 700, 500) with a hole."""
    pixels = np.stack([fields(500, 700, seed) for seed in range(3)])
    pixels[:, 200:260, 100:190] = 0
    return pixels


@pytest.mark.parametrize("chunks", [None, {"y": 97, "x": 131}, {"band": 1, "y": 700, "x": 64}])
@pytest.mark.parametrize(
    ("window", "size"),
    [
        (None, None),
        (None, (100, 140)),
        (None, (90, 77)),
        (Window(37, 55, 200, 301), None),
        (Window(10.5, 20.25, 300, 300), (75, 75)),
    ],
)
def test_it_is_read_as_arrays_are(
    ground: NDArray[np.uint16],
    chunks: dict[str, int] | None,
    window: Window | None,
    size: tuple[int, int] | None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("imatch.raster.dataarrays.source._SIDE", 150)
    lazy = data_array_source(view(ground, chunks=chunks), nodata=0).read(window, size)
    plain = array_source(ground, nodata=0).read(window, size)
    np.testing.assert_array_equal(lazy.valid, plain.valid)
    np.testing.assert_allclose(lazy.pixels, plain.pixels, rtol=2e-6)


def counted(pixels: NDArray[Any], chunks: int) -> tuple[xr.DataArray, list[tuple[int, ...]]]:
    """A lazy view, and the shapes of the blocks that were computed."""
    seen: list[tuple[int, ...]] = []

    def tell(block: NDArray[Any]) -> NDArray[Any]:
        if block.size:
            seen.append(block.shape)
        return block

    lazy = da.from_array(pixels, chunks=(3, chunks, chunks)).map_blocks(tell, dtype=pixels.dtype)
    seen.clear()
    array = view(pixels)
    return array.copy(data=lazy), seen


def test_a_lazy_one_is_computed_block_by_block(
    ground: NDArray[np.uint16], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("imatch.raster.dataarrays.source._SIDE", 100)
    monkeypatch.setattr("imatch.raster.dataarrays.source._KEPT", 3 * 100 * 100 * 2 * 4)
    array, seen = counted(ground, 100)
    source = data_array_source(array)
    assert seen == []
    source.read(Window(110, 110, 80, 80))
    assert seen == [(3, 100, 100)]
    source.read(Window(115, 115, 80, 80))
    # The window's rim reaches no other block that was not there already.
    assert len(seen) <= 4
    seen.clear()
    source.read(size=(50, 70))
    assert len(seen) <= 35, "each block once"
    assert set(seen) == {(3, 100, 100)}


def test_bands_are_chosen_before_they_are_computed(ground: NDArray[np.uint16]) -> None:
    array = view(ground, bands=["red", "green", "blue"], chunks={"band": 1, "y": 128, "x": 128})
    source = data_array_source(array, bands=["blue", 1])
    assert source.info.band_names == ("blue", "red")
    np.testing.assert_array_equal(source.read().pixels, ground[[2, 0]])
    with pytest.raises(InputError, match="nir"):
        data_array_source(array, bands=["nir"])


def test_a_file_that_is_opened_lazily_is_not_loaded(
    ground: NDArray[np.uint16], tmp_path: Path
) -> None:
    import rioxarray

    view(ground).rio.to_raster(tmp_path / "a.tif")
    opened = rioxarray.open_rasterio(tmp_path / "a.tif")
    assert isinstance(opened, xr.DataArray)
    with opened:
        part = data_array_source(opened).read(Window(50, 60, 40, 30))
        np.testing.assert_array_equal(part.pixels, ground[:, 60:90, 50:90])
        assert not opened._in_memory


def test_a_black_collar_is_missing_ground_as_elsewhere(ground: NDArray[np.uint16]) -> None:
    pixels = ground.copy()
    pixels[:, :, :80] = 0
    valid = data_array_source(view(pixels)).read().valid
    np.testing.assert_array_equal(valid, array_source(pixels).read().valid)
    assert not valid[:, :80].any()


def test_a_block_that_fails_is_one_line(ground: NDArray[np.uint16]) -> None:
    def fail(block: NDArray[Any]) -> NDArray[Any]:
        raise OSError("connection\nlost")

    lazy = da.from_array(ground, chunks=(3, 350, 500)).map_blocks(
        fail, dtype=ground.dtype, meta=np.empty((0, 0, 0), ground.dtype)
    )
    source = data_array_source(view(ground).copy(data=lazy).rename("scene"))
    with pytest.raises(InputError) as caught:
        source.read(size=(50, 70))
    assert str(caught.value) == (
        "scene: its rows 0 to 700 cannot be read (connection lost); see what its own compute() says"
    )


def test_times_and_other_dimensions_are_refused(ground: NDArray[np.uint16]) -> None:
    one = view(ground[0])
    data_array_source(one.expand_dims("time"))
    series = xr.concat([one, one], "time")
    with pytest.raises(InputError, match="holds 2 times; pass one of them"):
        data_array_source(series)
    cube = xr.concat([view(ground), view(ground)], "level")
    with pytest.raises(InputError, match="more dimensions than bands: level, band"):
        data_array_source(cube)


def test_ground_to_ignore_is_ignored(ground: NDArray[np.uint16], tmp_path: Path) -> None:
    mask = np.zeros((700, 500), np.uint8)
    mask[300:400] = 1
    path = tmp_path / "mask.tif"
    view(mask).rio.to_raster(path)
    source = data_array_source(view(ground), mask=path)
    assert not source.read().valid[310:390].any()
    assert source.files == (path,)


def test_it_is_written_block_by_block(
    ground: NDArray[np.uint16], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("imatch.raster.dataarrays.source._SIDE", 200)
    array = view(ground, bands=["red", "green", "blue"], chunks={"y": 200, "x": 200})
    data_array_source(array.rio.write_nodata(0)).write(tmp_path / "a.tif")
    with rasterio.open(tmp_path / "a.tif") as dataset:
        np.testing.assert_array_equal(dataset.read(), ground)
        assert dataset.descriptions == ("red", "green", "blue")
        assert dataset.nodata == 0
        assert dataset.crs == "EPSG:32631"
        assert dataset.transform.almost_equals(array.rio.transform())
