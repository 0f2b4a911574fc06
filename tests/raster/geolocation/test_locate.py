"""Which images GCPs and RPCs locate, and what is said of the others."""

from __future__ import annotations

import logging
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from affine import Affine
from rasterio.control import GroundControlPoint

from imatch.core.errors import InputError
from imatch.raster import open_source
from imatch.raster.geolocation.models import ControlPoints
from tests.support.geolocated import GRID, camera, grid_gcps, sine, write_heights, write_located


def test_gcps_that_obey_an_affine_are_one(tmp_path: Path) -> None:
    for noise in (0.0, 0.1):
        info = open_source(
            write_located(tmp_path / f"{noise}.tif", gcps=grid_gcps(sine(0), noise=noise))
        ).info
        assert info.geocoded
        assert info.geolocation is None
        assert info.transform.almost_equals(GRID, 1 if noise else 1e-5)
        assert info.located_by is not None
        assert info.located_by.startswith("121 GCPs, which an affine")


@pytest.mark.parametrize("amplitude", [0.3, 3.0, 12.0, 25.0])
@pytest.mark.parametrize("step", [20, 40])
def test_other_gcps_bend(tmp_path: Path, amplitude: float, step: int) -> None:
    bend = sine(amplitude)
    info = open_source(write_located(tmp_path / "a.tif", gcps=grid_gcps(bend, step=step))).info
    assert info.geocoded
    assert info.unlocated is None
    assert info.geolocation is not None
    assert info.located_by == f"{(400 // step + 1) ** 2} GCPs"
    at = np.random.default_rng(1).uniform(0, 399, (300, 2))
    column, row = at.T + 0.5
    truth = np.column_stack(GRID @ (column + bend(column, row), row))
    # An error of the spline between GCPs, and a tenth of it for what an amplitude is for.
    assert np.abs(info.to_map(at) - truth).max() / 10 < 0.02 * amplitude
    again = info.geolocation.to_native(info.geolocation.to_flat(at))
    np.testing.assert_allclose(again, at, atol=1e-5)


def test_thousands_of_gcps_are_thinned(tmp_path: Path) -> None:
    path = write_located(tmp_path / "a.tif", gcps=grid_gcps(sine(12), step=8))
    bend = open_source(path).info.geolocation
    assert bend is not None
    assert isinstance(bend.model, ControlPoints)
    assert len(bend.model.points) <= 1000
    assert bend.describe() == "2601 GCPs"


def moved(column: float, step: int = 40) -> list[GroundControlPoint]:
    gcps = grid_gcps(sine(12), step=step)
    odd = gcps[60]
    odd.x += 10 * column
    return gcps


@pytest.mark.parametrize(
    ("gcps", "crs", "said"),
    [
        (grid_gcps(sine(12))[:2], "EPSG:32636", "its 2 GCPs are too few"),
        (grid_gcps(sine(12)), None, "have no CRS"),
        (grid_gcps(sine(12))[:6], "EPSG:32636", "lie on one line"),
        (moved(12.0), "EPSG:32636", "contradict each other: the one at column"),
        (moved(-30.0), "EPSG:32636", "contradict each other: the one at column"),
        (grid_gcps(sine(12), noise=8), "EPSG:32636", "contradict each other"),
        (
            [*grid_gcps(sine(12)), GroundControlPoint(row=40, col=40, x=500500, y=5599500)],
            "EPSG:32636",
            "one pixel has two places",
        ),
        (
            [
                GroundControlPoint(row=r, col=c, x=500000, y=5600000 - r)
                for r, c in ((0, 0), (0, 400), (400, 0), (400, 400))
            ],
            "EPSG:32636",
            "one place has two pixels",
        ),
    ],
)
def test_gcps_that_cannot_be_used_are_told(
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    gcps: list[GroundControlPoint],
    crs: str | None,
    said: str,
) -> None:
    path = write_located(tmp_path / "a.tif", gcps=gcps, crs=crs)
    with caplog.at_level(logging.WARNING):
        info = open_source(path).info
    assert not info.geocoded
    assert info.misplaced is None
    assert info.unlocated is not None
    assert said in info.unlocated
    assert f"is matched as not geocoded: {info.unlocated}" in caplog.text


@pytest.mark.parametrize("parallax", [0.0, 0.05])
def test_rpcs_locate_at_their_height(
    tmp_path: Path, parallax: float, caplog: pytest.LogCaptureFixture
) -> None:
    path = write_located(tmp_path / "a.tif", rpcs=camera(parallax=parallax))
    with caplog.at_level(logging.WARNING):
        info = open_source(path).info
    assert info.geolocation is not None
    assert info.located_by is not None
    assert "RPCs at a height of 300 m, their own offset (relief is not" in info.located_by
    assert info.located_by in caplog.text
    relief = info.geolocation.relief_px()
    # 100 m are a fifth of the model's scale of heights, and 200 pixels its scale of columns.
    assert relief == pytest.approx(parallax * 200 / 5, rel=0.1, abs=1e-6)
    at = np.random.default_rng(1).uniform(0, 399, (300, 2))
    again = info.geolocation.to_native(info.geolocation.to_flat(at))
    np.testing.assert_allclose(again, at, atol=1e-4)


def test_a_height_and_a_dem_move_rpcs(tmp_path: Path) -> None:
    path = write_located(tmp_path / "a.tif", rpcs=camera(parallax=0.05))
    dem = write_heights(tmp_path / "dem.tif")
    own, raised, over = (open_source(path, dem=d).info for d in (None, 400.0, dem))
    at = np.random.default_rng(1).uniform(20, 379, (200, 2))
    assert own.geolocation and raised.geolocation and over.geolocation  # noqa: PT018
    step = own.geolocation.to_native(
        np.array([~own.transform @ tuple(p) for p in raised.to_map(at)])
    ) - (at + 0.5)
    # What is higher was imaged further along the row, so its pixel shows ground before it.
    assert np.median(step[:, 0]) == pytest.approx(-2.0, abs=0.05)
    assert np.abs(np.median(step[:, 1])) < 0.05
    waves = own.geolocation.to_native(
        np.array([~own.transform @ tuple(p) for p in over.to_map(at)])
    ) - (at + 0.5)
    assert 1.5 < np.abs(waves[:, 0]).max() < 2.5
    assert over.located_by == "RPCs over dem.tif"
    assert dem.resolve() in {f.resolve() for f in open_source(path, dem=dem).files}


def test_a_dem_that_ends_early_is_told_and_one_that_is_none_is_an_error(tmp_path: Path) -> None:
    path = write_located(tmp_path / "a.tif", rpcs=camera())
    info = open_source(path, dem=write_heights(tmp_path / "small.tif", width=60)).info
    assert not info.geocoded
    assert info.unlocated == "the DEM small.tif does not cover all of it"
    with pytest.raises(InputError, match="cannot be used as a DEM"):
        open_source(path, dem=tmp_path / "none.tif")


@pytest.mark.parametrize(
    "change",
    [
        {"HEIGHT_OFF": None},
        {"HEIGHT_OFF": "nan"},
        {"LAT_SCALE": "0"},
        {"LINE_NUM_COEFF": "0 " * 20},
    ],
)
def test_broken_rpcs_are_told(tmp_path: Path, change: dict[str, str | None]) -> None:
    tags = {**camera().to_gdal(), **change}
    items = "".join(f'<MDI key="{k}">{v}</MDI>' for k, v in tags.items() if v is not None)
    path = write_located(tmp_path / "a.tif")
    band = f"<SimpleSource><SourceFilename>{path}</SourceFilename></SimpleSource>"
    document = tmp_path / "a.vrt"
    document.write_text(
        f'<VRTDataset rasterXSize="400" rasterYSize="400"><Metadata domain="RPC">{items}</Metadata>'
        f'<VRTRasterBand dataType="Byte" band="1">{band}</VRTRasterBand></VRTDataset>'
    )
    info = open_source(document).info
    assert not info.geocoded
    assert info.unlocated is not None
    assert "its RPCs" in info.unlocated


def test_rpcs_are_read_from_a_sidecar(tmp_path: Path) -> None:
    path = write_located(tmp_path / "a.tif")
    rows = []
    for name, text in camera().to_gdal().items():
        values = text.split()
        if len(values) == 1:
            rows.append(f"{name}: {values[0]}")
        else:
            rows += [f"{name}_{i}: {v}" for i, v in enumerate(values, start=1)]
    (tmp_path / "a_rpc.txt").write_text("\n".join(rows) + "\n")
    bend = open_source(path).info.geolocation
    assert bend is not None
    assert bend.model.kind == "rpcs"
    assert math.isclose(bend.frame.c, 30 - 0.03, abs_tol=1e-3)


def test_a_geotransform_comes_first(tmp_path: Path, write: Any, utm31: Affine) -> None:
    pixels = np.ones((40, 40), np.uint8)
    info = open_source(write("a.tif", pixels)).info
    assert (info.located_by, info.transform) == ("geotransform", utm31)
