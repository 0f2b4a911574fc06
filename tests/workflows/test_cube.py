"""A time series in, the corrected cube out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import dask.array as da
import numpy as np
import pytest
import xarray as xr

import imatch
from imatch.pipeline.stack.result import Stack
from tests.support.dataarrays import fields, view

#: By how many pixels the geocoding of each time is off, right and down.
SHIFTS = ((0, 0), (7, -4), (-5, 6))
TIMES = np.array(["2018-08-23T10:50:19", "2018-11-06", "2019-02-14"], "datetime64[ns]")


def cube(**how: Any) -> xr.DataArray:
    """Three times of one ground, 240 x 220 pixels."""
    ground = fields(300, 280, seed=11)
    views = [ground[30 + y : 250 + y, 30 + x : 270 + x] for x, y in SHIFTS]
    series = xr.concat([view(image, **how) for image in views], "time")
    return series.assign_coords(time=TIMES, cloud=("time", [0.1, 0.2, 0.3]))


@pytest.fixture(scope="module")
def solved() -> Stack:
    found = imatch.stack(
        cube(chunks={"y": 100, "x": 100}), reference="2018-08-23T105019", matcher="sift"
    )
    assert found.sure, [image.reason for image in found.images]
    return found


def test_every_time_is_an_image(solved: Stack) -> None:
    assert [image.name for image in solved.images] == [
        "2018-08-23T105019",
        "2018-11-06",
        "2019-02-14",
    ]
    assert [str(image.date) for image in solved.images] == [
        "2018-08-23",
        "2018-11-06",
        "2019-02-14",
    ]
    # The files were there for a while only.
    assert {image.registration.target.path for image in solved.images} == {None}
    for image, (x, y) in zip(solved.images[1:], SHIFTS[1:], strict=True):
        assert image.registration.shift_px == pytest.approx((-x, -y), abs=0.1)


@pytest.mark.parametrize("chunks", [None, {"time": 1, "y": 64, "x": 240}])
def test_the_cube_is_corrected(solved: Stack, chunks: dict[str, int] | None) -> None:
    series = cube() if chunks is None else cube().chunk(chunks)
    corrected = solved.warp(series)
    assert isinstance(corrected.data, da.Array) is (chunks is not None)
    assert corrected.dims == ("time", "y", "x")
    assert corrected.sizes == series.sizes
    xr.testing.assert_equal(corrected.time, series.time.assign_coords(status=corrected.status))
    xr.testing.assert_allclose(corrected.x, series.x)
    assert corrected.rio.crs == series.rio.crs
    assert corrected.cloud.to_numpy().tolist() == [0.1, 0.2, 0.3]
    assert corrected.status.to_numpy().tolist() == ["ok", "ok", "ok"]
    inner = corrected.isel(x=slice(20, 220), y=slice(20, 200)).compute().to_numpy().astype(int)
    assert np.median(np.abs(inner[1] - inner[0])) < 8
    assert np.median(np.abs(inner[2] - inner[0])) < 8
    before = series.isel(x=slice(20, 220), y=slice(20, 200)).compute().to_numpy().astype(int)
    assert np.median(np.abs(before[1] - before[0])) > 100


def test_other_bands_at_the_same_times_move_alike(solved: Stack) -> None:
    bands = cube().expand_dims(band=["red", "nir"], axis=1).transpose("band", "time", "y", "x")
    corrected = solved.warp(bands)
    assert corrected.dims == ("band", "time", "y", "x")
    np.testing.assert_array_equal(corrected.sel(band="nir"), solved.warp(cube()))


def test_a_time_that_is_not_tied_shows_no_ground(solved: Stack) -> None:
    from dataclasses import replace

    first, second, third = solved.images
    lost = replace(second, registration=replace(second.registration, status="uncertain"))
    corrected = replace(solved, images=(first, lost, third)).warp(cube())
    assert corrected.status.to_numpy().tolist() == ["ok", "uncertain", "ok"]
    assert (corrected.isel(time=1) == corrected.rio.nodata).all()
    none = tuple(
        replace(i, registration=replace(i.registration, status="failed")) for i in solved.images
    )
    with pytest.raises(imatch.ImatchError, match="ties none of the images"):
        replace(solved, images=none).warp(cube())


def test_its_files_are_kept_where_a_folder_is_given(tmp_path: Path) -> None:
    series = cube().isel(time=slice(2)).drop_vars("time")
    solved = imatch.stack(series, tmp_path / "stack", warp=True, matcher="sift")
    assert sorted(path.name for path in (tmp_path / "stack" / "images").iterdir()) == [
        "time-000.tif",
        "time-001.tif",
    ]
    assert len(list((tmp_path / "stack" / "registered").iterdir())) == 2
    document = json.loads((tmp_path / "stack" / "stack.json").read_text())
    assert document["counts"]["ok"] == 2
    assert solved.warp(series).sizes["time"] == 2


@pytest.mark.parametrize(
    ("series", "told"),
    [
        (cube().isel(time=0, drop=True), "has the dimensions y, x, and no time"),
        (cube().isel(time=[0]), "holds 1 time"),
        (cube().isel(time=[0, 0]), "holds the time 2018-08-23T105019 twice"),
        (cube().drop_vars("spatial_ref"), "has no CRS"),
        (cube().sortby("x", ascending=False), "descend"),
    ],
    ids=str,
)
def test_what_is_no_time_series_is_refused(series: xr.DataArray, told: str) -> None:
    with pytest.raises(imatch.ImatchError, match=told):
        imatch.stack(series)


def test_what_the_stack_does_not_hold_is_refused(solved: Stack) -> None:
    later = cube().assign_coords(time=TIMES + np.timedelta64(1, "D"))
    with pytest.raises(imatch.ImatchError, match="holds the time 2018-08-24T105019, which"):
        solved.warp(later)
    with pytest.raises(imatch.ImatchError, match="cube: is a ndarray; pass a DataArray"):
        solved.warp(cube().to_numpy())  # type: ignore[arg-type]
    with pytest.raises(imatch.ImatchError, match="warp: needs a folder"):
        imatch.stack(cube(), warp=True)
