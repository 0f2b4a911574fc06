from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import xarray as xr
from affine import Affine

from imatch.core.errors import ConfigError, InputError
from imatch.raster.dataarrays.frame import frame_of, is_data_array
from tests.support.dataarrays import CRS, GSD, LEFT, TOP, odc_view, view

PLACE = Affine(GSD, 0, LEFT, 0, -GSD, TOP)
PIXELS = np.zeros((3, 20, 30), np.uint16)


def test_it_is_told_from_other_images() -> None:
    assert is_data_array(view(PIXELS))
    assert not is_data_array(PIXELS)
    with pytest.raises(InputError, match=r"several variables; pass one of them"):
        is_data_array(view(PIXELS).to_dataset(name="a"))


@pytest.mark.parametrize(
    "array", [view(PIXELS[0]), odc_view(PIXELS[0])], ids=["rioxarray", "odc-geo"]
)
def test_its_place_is_that_of_its_coordinates(array: xr.DataArray) -> None:
    info = frame_of(array).info
    assert info.transform.almost_equals(PLACE)
    assert info.crs == CRS
    assert (info.size, info.count, info.driver) == ((30, 20), 1, "array")
    # The transform beside the CRS is still that of the whole.
    part = frame_of(array[5:, 4:]).info
    assert part.transform.almost_equals(PLACE @ Affine.translation(4, 5))
    coarse = frame_of(array[::2, ::2]).info
    assert coarse.transform.a == pytest.approx(2 * GSD)


def test_without_coordinates_the_transform_beside_the_crs_counts() -> None:
    bare = view(PIXELS).rio.write_transform(PLACE).drop_vars(["x", "y"])
    assert frame_of(bare).info.transform.almost_equals(PLACE)
    turned = bare.rio.write_transform(PLACE @ Affine.rotation(10))
    assert frame_of(turned).info.transform.almost_equals(PLACE @ Affine.rotation(10))
    with pytest.raises(InputError, match="has no coordinates x and y; assign them"):
        frame_of(view(PIXELS).drop_vars(["x", "y"]))


def test_rows_may_run_northwards() -> None:
    info = frame_of(view(PIXELS).sortby("y")).info
    assert info.transform.almost_equals(Affine(GSD, 0, LEFT, 0, GSD, TOP - 20 * GSD))


@pytest.mark.parametrize("names", [("longitude", "latitude"), ("lon", "lat")])
def test_degrees_go_by_their_names(names: tuple[str, str]) -> None:
    x, y = names
    # Coordinates of 32 bits are rounded to a twentieth of such a pixel.
    coords = {
        y: (50 - 1e-4 * np.arange(20)).astype(np.float32),
        x: (35 + 1e-4 * np.arange(30)).astype(np.float32),
    }
    array = xr.DataArray(PIXELS[0], coords=coords, dims=(y, x)).rio.write_crs(4326)
    info = frame_of(array).info
    assert info.transform.a == pytest.approx(1e-4, rel=0.02)
    assert info.geocoded


def test_bands_are_named() -> None:
    assert frame_of(view(PIXELS)).info.band_names == ("1", "2", "3")
    names = frame_of(view(PIXELS, bands=["B04", "B03", "B02"])).info.band_names
    assert names == ("B04", "B03", "B02")
    described = view(PIXELS).assign_attrs(long_name=("red", "green", "blue"))
    assert frame_of(described).info.band_names == ("red", "green", "blue")


def test_what_marks_missing_ground_is_found() -> None:
    array = view(PIXELS[0])
    assert frame_of(array).info.nodata is None
    assert frame_of(array.rio.write_nodata(7)).info.nodata == 7
    assert frame_of(odc_view(PIXELS[0])).info.nodata == 0
    assert frame_of(array, nodata=3).info.nodata == 3
    masked = array.astype(np.float32).rio.write_nodata(np.nan)
    assert frame_of(masked).info.nodata is None
    with pytest.raises(InputError, match="nodata -1 cannot occur in uint16"):
        frame_of(array, nodata=-1)


def bent(array: xr.DataArray, dim: str) -> xr.DataArray:
    """The same with one coordinate moved by a tenth of a pixel."""
    values = array[dim].to_numpy().copy()
    values[5] += GSD / 10
    return array.assign_coords({dim: values})


@pytest.mark.parametrize(
    ("array", "told"),
    [
        (view(PIXELS).drop_vars("spatial_ref"), r"has no CRS; write one, array.rio.write_crs"),
        (view(PIXELS).sortby("x", ascending=False), r"its coordinates x descend: it is mirrored"),
        (bent(view(PIXELS), "x"), "its coordinates x are irregular"),
        (bent(view(PIXELS), "y"), "its coordinates y are irregular"),
        (view(PIXELS).assign_coords(x=np.full(30, 5.0)), "its coordinates x are irregular"),
        (view(PIXELS).assign_coords(x=np.full(30, np.nan)), "its coordinates x are irregular"),
        (
            view(PIXELS).assign_coords(x=[f"{i}" for i in range(30)]),
            "its coordinates x are no numbers",
        ),
        (view(PIXELS)[:, :, :1], "has one pixel along x, of unknown size"),
        (view(PIXELS)[:, :0], "has shape"),
        (view(PIXELS).astype(complex), "holds complex128; pass real numbers"),
        (view(PIXELS).rename(x="columns"), "has the dimensions band, y, columns, and none"),
        (view(PIXELS, gsd=1e12), "its geocoding makes no sense"),
    ],
    ids=str,
)
def test_what_is_no_image_is_refused_in_one_line(array: Any, told: str) -> None:
    with pytest.raises(InputError, match=told) as caught:
        frame_of(array)
    assert "\n" not in str(caught.value)


def test_a_place_is_not_asked_for_where_pixels_are_compared() -> None:
    array = bent(view(PIXELS).drop_vars("spatial_ref"), "x")
    info = frame_of(array, placed=False).info
    assert (info.crs, info.transform) == (None, Affine.identity())


def test_the_extra_is_named_where_it_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "rioxarray", None)
    with pytest.raises(ConfigError, match=r"pip install 'imatch\[xarray\]'"):
        frame_of(view_without_accessor())


def view_without_accessor() -> xr.DataArray:
    return xr.DataArray(PIXELS[0], dims=("y", "x"))
