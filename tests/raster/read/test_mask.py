"""User masks: rasters and polygons, geocoded or not."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

import geopandas
import numpy as np
import pytest
from affine import Affine
from rasterio.crs import CRS
from shapely.geometry import LineString, box

from imatch.core.errors import InputError
from imatch.raster import Grid, open_source
from tests.support.geolocated import GRID, UTM, grid_gcps, sine, write_located

UTM31 = CRS.from_epsg(32631)
SCENE = np.full((100, 120), 50, dtype="uint8")
#: Columns 20 to 49 and rows 30 to 59 of the scene are to be ignored.
HOLE = np.zeros(SCENE.shape, dtype=bool)
HOLE[30:60, 20:50] = True
GROUND = box(400200, 4999400, 400500, 4999700)


def _polygons(path: Path, shape: Any, crs: Any) -> Path:
    geopandas.GeoDataFrame(geometry=[shape], crs=crs).to_file(path)
    return path


def _same(valid: Any, expected: Any, rim: int = 0) -> None:
    """All but `rim` pixels along the edge of the hole agree."""
    from scipy.ndimage import binary_dilation, binary_erosion

    if rim:
        assert not valid[binary_erosion(expected, iterations=rim)].any()
        assert valid[~binary_dilation(expected, iterations=rim)].all()
    else:
        np.testing.assert_array_equal(valid, ~expected)


@pytest.mark.parametrize("suffix", [".geojson", ".gpkg", ".shp"])
@pytest.mark.parametrize("crs", ["EPSG:32631", "EPSG:4326"])
def test_polygons_are_reprojected(write: Any, tmp_path: Path, suffix: str, crs: str) -> None:
    shape = geopandas.GeoSeries([GROUND.buffer(-0.5)], crs="EPSG:32631").to_crs(crs)[0]
    mask = _polygons(tmp_path / f"clouds{suffix}", shape, crs)
    source = open_source(write("a.tif", SCENE), mask=mask)
    _same(source.read().valid, HOLE, rim=0 if crs == "EPSG:32631" else 1)
    half = source.read(size=(60, 50)).valid
    _same(half, HOLE[::2, ::2], rim=0 if crs == "EPSG:32631" else 1)


def test_polygons_follow_onto_another_crs(write: Any, tmp_path: Path, utm31: Affine) -> None:
    mask = _polygons(tmp_path / "clouds.gpkg", GROUND, "EPSG:32631")
    source = open_source(write("a.tif", SCENE), mask=mask)
    west, north = 1.7301, 45.1477
    grid = Grid(Affine(1e-4, 0, west, 0, -1e-4, north), CRS.from_epsg(4326), 140, 120)
    image = source.read_on(grid)
    marked = open_source(write("b.tif", np.where(HOLE, 200, SCENE).astype("uint8"))).read_on(grid)
    assert image.valid.any()
    assert (marked.pixels[0] > 190).sum() > 500
    assert not image.valid[marked.pixels[0] > 190].any()
    inside = marked.valid & (marked.pixels[0] == 50)
    assert image.valid[inside].mean() > 0.97


def test_polygons_on_rotated_and_south_up_images(write: Any, tmp_path: Path) -> None:
    mask = _polygons(tmp_path / "clouds.gpkg", GROUND, "EPSG:32631")
    for i, turn in enumerate((Affine.rotation(90), Affine.scale(1, -1))):
        transform = Affine.translation(400350, 4999550) @ turn @ Affine.scale(10, -10)
        transform = transform @ Affine.translation(-60, -50)
        valid = open_source(write(f"{i}.tif", SCENE, transform=transform), mask=mask).read().valid
        expected = np.zeros(SCENE.shape, dtype=bool)
        expected[35:65, 45:75] = True
        _same(valid, expected, rim=1)


def test_polygons_in_pixels_where_there_is_no_map(write: Any, tmp_path: Path) -> None:
    # GeoJSON always claims longitude and latitude; pixel 20 begins at 19.5.
    mask = _polygons(tmp_path / "m.geojson", box(19.6, 29.6, 49.4, 59.4), "EPSG:4326")
    path = write("a.png", SCENE, driver="PNG", crs=None, transform=None)
    _same(open_source(path, mask=mask).read().valid, HOLE)
    path.with_suffix(".pgw").write_text("2\n0\n0\n-2\n1001\n1999\n")
    _same(open_source(path, mask=mask).read().valid, HOLE)


def test_polygons_without_crs_are_in_the_images(write: Any, tmp_path: Path) -> None:
    mask = _polygons(tmp_path / "m.shp", GROUND.buffer(-0.5), "EPSG:4326")
    mask.with_suffix(".prj").unlink()
    _same(open_source(write("a.tif", SCENE), mask=mask).read().valid, HOLE)


def test_raster_of_the_same_size(write: Any) -> None:
    mask = write("m.tif", HOLE.astype("uint16") * 256, crs=None, transform=None)
    for name, options in {"a.tif": {}, "b.tif": {"crs": None, "transform": None}}.items():
        source = open_source(write(name, SCENE, **options), mask=mask)
        _same(source.read().valid, HOLE)
        _same(source.read(size=(60, 50)).valid, HOLE[::2, ::2])


def test_raster_by_its_geocoding(write: Any, utm31: Affine) -> None:
    coarse = np.ones((3, 3), dtype="uint8")
    place = utm31 @ Affine.translation(20, 30) @ Affine.scale(10)
    mask = write("m.tif", coarse, transform=place)
    _same(open_source(write("a.tif", SCENE), mask=mask).read().valid, HOLE)


def test_nodata_of_a_mask_is_not_ignored(write: Any) -> None:
    pixels = np.full(SCENE.shape, 255, dtype="uint8")
    pixels[HOLE] = 1
    mask = write("m.tif", pixels, nodata=255)
    _same(open_source(write("a.tif", SCENE), mask=mask).read().valid, HOLE)


def test_masks_that_do_not_fit(write: Any, tmp_path: Path) -> None:
    path = write("a.tif", SCENE)
    small = write("m.tif", HOLE[:50].astype("uint8"), crs=None, transform=None)
    with pytest.raises(InputError, match=r"m\.tif: has 120x50 pixels where its image has 120x100"):
        open_source(path, mask=small)
    for place in ({"crs": "EPSG:32633"}, {"transform": Affine(10, 0, 9e5, 0, -10, 4e6)}):
        elsewhere = write("m.tif", HOLE.astype("uint8"), **place)
        with pytest.raises(InputError, match=r"m\.tif: lies nowhere on its image, by its CRS"):
            open_source(path, mask=elsewhere)
    with pytest.raises(InputError, match="no such file"):
        open_source(path, mask=tmp_path / "none.gpkg")
    line = _polygons(tmp_path / "line.gpkg", LineString([(0, 0), (1, 1)]), "EPSG:32631")
    with pytest.raises(InputError, match="other shapes than polygons"):
        open_source(path, mask=line)
    (tmp_path / "bad.geojson").write_text("{}")
    with pytest.raises(InputError, match="cannot be read as polygons"):
        open_source(path, mask=tmp_path / "bad.geojson")


@pytest.mark.parametrize(
    "ring",
    [
        "[[0, 0]]",
        "[]",
        "[[0, 0], [1, 1], [2, 0], [3, 3]]",
        "[[0, 0], [NaN, 1], [2, 0], [0, 0]]",
        "[[0, 0], [1e300, 1], [2, 0], [0, 0]]",
        "[[0, 0], [1e999, 1], [2, 0], [0, 0]]",
        "[[3, 95], [4, 95], [4, 96], [3, 95]]",
        '[[0, 0], ["a", 1], [2, 0], [0, 0]]',
        "7",
    ],
)
@pytest.mark.parametrize("geocoded", [True, False])
def test_polygons_that_are_none_are_one_line(
    write: Any, tmp_path: Path, ring: str, geocoded: bool, capfd: Any
) -> None:
    image = write("a.tif", SCENE, **({} if geocoded else {"crs": None, "transform": None}))
    mask = tmp_path / "m.geojson"
    mask.write_text(
        '{"type": "FeatureCollection", "features": [{"type": "Feature", "properties": {},'
        f' "geometry": {{"type": "Polygon", "coordinates": [{ring}]}}}}]}}'
    )
    # What GDAL takes for an empty shape, or what is a shape where there is no map, may be read.
    harmless = ring in ("[]", "7") or any(t in ring for t in ("NaN", "95", '"a"')) or not geocoded
    with suppress(InputError) if harmless else pytest.raises(InputError, match=mask.name):
        assert open_source(image, mask=mask).read().valid.any()
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("suffix", [".fgb", ".gpkg", ".shp", ".geojson"])
@pytest.mark.parametrize("share", [0.05, 0.5, 0.95])
def test_cut_vector_files_are_one_line(
    write: Any, tmp_path: Path, suffix: str, share: float, capfd: Any
) -> None:
    image = write("a.tif", SCENE)
    mask = _polygons(tmp_path / f"m{suffix}", GROUND, UTM31)
    whole = mask.read_bytes()
    mask.write_bytes(whole[: int(share * len(whole))])
    with suppress(InputError):
        open_source(image, mask=mask).read()
    assert capfd.readouterr().out == ""


def test_a_mask_on_the_map_follows_gcps_that_bend(tmp_path: Path) -> None:
    bend = sine(12)
    path = write_located(tmp_path / "a.tif", gcps=grid_gcps(bend))
    (left, top), (right, bottom) = GRID @ (100, 100), GRID @ (200, 220)
    shape = box(left, bottom, right, top)
    polygons = tmp_path / "m.gpkg"
    geopandas.GeoSeries([shape], crs=UTM).to_file(polygons)
    ignored = ~open_source(path, mask=polygons).read().valid
    y, x = np.mgrid[:400, :400] + 0.5
    column = x + bend(x, y)
    inside = (column > 100) & (column < 200) & (y > 100) & (y < 220)
    # Pixels that a polygon touches count too.
    assert not (inside & ~ignored).any()
    assert (ignored & ~inside).sum() < 450

    native = np.zeros((400, 400), np.uint8)
    native[30:60, 50:90] = 1
    mask = write_located(tmp_path / "mask.tif", native)
    np.testing.assert_array_equal(~open_source(path, mask=mask).read().valid, native != 0)
