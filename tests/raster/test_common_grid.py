"""The common grid: extent, GSD, orientation, refusals; and metres."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from affine import Affine
from rasterio.crs import CRS

from imatch.core.errors import InputError, NoOverlapError
from imatch.raster import Grid, RasterInfo, common_grid
from imatch.raster.geodesy import apply_affine, ground_distance_m, gsd_metres

UTM31 = CRS.from_epsg(32631)
REF = RasterInfo(
    None,
    1000,
    800,
    1,
    ("uint8",),
    ("1",),
    Affine(10, 0, 400000, 0, -10, 5000000),
    UTM31,
    None,
    "array",
    "ref.tif",
)


def moved(east: float, north: float, **changes: object) -> RasterInfo:
    """REF, moved by map units."""
    transform = Affine.translation(east, north) @ REF.transform
    return replace(REF, **{"transform": transform, "name": "tgt.tif", **changes})  # type: ignore[arg-type]


def test_same_image_keeps_every_pixel() -> None:
    grid = common_grid(REF, REF, size=1024, margin=0.1)
    assert grid == Grid(REF.transform, UTM31, 1000, 800)
    assert grid.bounds == pytest.approx((400000, 4992000, 410000, 5000000))
    assert grid.gsd_m == pytest.approx((10, 10))


def test_overlap_with_margin_within_the_union() -> None:
    # 400 columns in common: 40 (a tenth of the rows' 800 is 80) more on each side.
    grid = common_grid(REF, moved(6000, 0), size=1024, margin=0.1)
    assert (grid.width, grid.height) == (400 + 2 * 80, 800)
    assert grid.transform == Affine(10, 0, 405200, 0, -10, 5000000)


def test_margin_has_a_floor() -> None:
    grid = common_grid(REF, moved(6000, 0), size=1024, margin=0.0)
    assert (grid.width, grid.height) == (400 + 2 * 16, 800)


@pytest.mark.parametrize("size", [100, 333, 512])
def test_size_limits_the_longer_side(size: int) -> None:
    grid = common_grid(REF, moved(1000, 500), size=size, margin=0.1)
    assert max(grid.width, grid.height) == size
    assert grid.gsd_m is not None
    assert grid.gsd_m[0] == pytest.approx(grid.gsd_m[1])


@pytest.mark.parametrize("swap", [False, True])
def test_coarser_gsd_wins(swap: bool) -> None:
    coarse = moved(0, 0, width=200, height=160, transform=REF.transform @ Affine.scale(5))
    ref, tgt = (coarse, REF) if swap else (REF, coarse)
    grid = common_grid(ref, tgt, size=1024, margin=0.1)
    assert grid.gsd_m == pytest.approx((50, 50))
    assert (grid.width, grid.height) == (200, 160)


def test_orientation_is_the_references() -> None:
    turned = replace(REF, transform=REF.transform @ Affine.rotation(30))
    grid = common_grid(turned, REF, size=1024, margin=0.0)
    unit = np.array([grid.transform.a, grid.transform.d]) / 10
    np.testing.assert_allclose(unit, [turned.transform.a / 10, turned.transform.d / 10], rtol=0.1)
    assert grid.transform.d != 0
    south_up = replace(REF, transform=Affine(10, 0, 400000, 0, 10, 4992000))
    assert common_grid(south_up, REF, size=1024, margin=0.1).transform.e == 10


def test_neighbouring_utm_zone_has_the_same_gsd() -> None:
    # 6 degrees of zone: the grid keeps the reference's own 10 m, not 10.004 m.
    east = replace(REF, transform=Affine(10, 0, 690000, 0, -10, 5000000))
    west = Affine(10, 0, 222000, 0, -10, 5003000)
    grid = common_grid(
        east, moved(0, 0, transform=west, crs=CRS.from_epsg(32632)), size=2048, margin=0.1
    )
    assert grid.gsd_m == pytest.approx((10, 10))
    assert grid.crs == UTM31


def test_geographic_pixels_become_square_on_the_ground() -> None:
    north = replace(REF, crs=CRS.from_epsg(4326), transform=Affine(1e-4, 0, 20, 0, -1e-4, 60))
    assert north.gsd_m is not None
    assert north.gsd_m == pytest.approx((5.6, 11.1), abs=0.1)
    grid = common_grid(north, north, size=1024, margin=0.1)
    assert grid.gsd_m is not None
    assert grid.gsd_m[0] == pytest.approx(grid.gsd_m[1], rel=0.01)


def test_web_mercator_metres_are_ground_metres() -> None:
    x, y = 2226389.8, 8399737.9  # 20 E 60 N, where the projection doubles lengths
    info = replace(REF, crs=CRS.from_epsg(3857), transform=Affine(20, 0, x, 0, -20, y))
    assert info.gsd_m == pytest.approx((10, 10), rel=0.01)
    grid = common_grid(info, info, size=1024, margin=0.1)
    assert grid.metres_per_unit == pytest.approx((0.5, 0.5), rel=0.01)
    feet = replace(REF, crs=CRS.from_epsg(2263), transform=Affine(10, 0, 984000, 0, -10, 200000))
    assert feet.gsd_m == pytest.approx((3.048, 3.048), rel=0.001)


def test_ungeocoded_has_no_metres() -> None:
    assert replace(REF, crs=None).gsd_m is None
    assert not replace(REF, transform=Affine.identity()).geocoded
    local = CRS.from_wkt('LOCAL_CS["plan",UNIT["metre",1]]')
    assert not replace(REF, crs=local).geocoded
    with pytest.raises(InputError, match=r"ref.tif: is not geocoded"):
        common_grid(replace(REF, crs=None), REF, size=1024, margin=0.1)


@pytest.mark.parametrize(
    ("target", "distance"),
    [
        (moved(10_200, 0), "200 m"),
        (moved(0, 58_000), "50 km"),
        (moved(0, 0, crs=CRS.from_epsg(32632)), "4[67]. km"),
        (moved(0, 0, crs=CRS.from_epsg(32655)), "km"),
    ],
)
def test_no_overlap_says_by_how_far(target: RasterInfo, distance: str) -> None:
    with pytest.raises(NoOverlapError, match=rf"ref\.tif.*tgt\.tif.*{distance}"):
        common_grid(REF, target, size=1024, margin=0.1)


def test_unreachable_projection_is_no_overlap() -> None:
    polar = CRS.from_proj4("+proj=gnom +lat_0=-90 +datum=WGS84")
    with pytest.raises(NoOverlapError, match="shares no ground"):
        common_grid(REF, moved(0, 0, crs=polar), size=1024, margin=0.1)


def test_sliver_is_refused_but_small_images_are_not() -> None:
    with pytest.raises(NoOverlapError, match="only 20 working pixels"):
        common_grid(REF, moved(9_800, 0), size=1024, margin=0.1)
    small = moved(0, 0, width=24, height=24)
    grid = common_grid(small, small, size=1024, margin=0.1)
    assert (grid.width, grid.height) == (24, 24)


def test_grid_covers_the_overlap_in_any_orientation() -> None:
    turned = replace(REF, transform=REF.transform @ Affine.rotation(40))
    grid = common_grid(turned, REF, size=700, margin=0.05)
    middle = REF.transform @ (400, 500)
    x, y = apply_affine(~grid.transform, [middle])[0]
    assert 0 < x < grid.width
    assert 0 < y < grid.height


def test_metres_on_another_body_are_its_own() -> None:
    moon = CRS.from_wkt(
        'GEOGCS["Moon 2000",DATUM["D_Moon_2000",SPHEROID["Moon_2000_IAU_IAG",1737400,0]],'
        'PRIMEM["Reference_Meridian",0],UNIT["Degree",0.0174532925199433]]'
    )
    step = 1_737_400 * np.radians(0.01)
    lonlat = gsd_metres(Affine(0.01, 0, 10, 0, -0.01, 60), moon, (100, 100))
    assert lonlat == pytest.approx((step * np.cos(np.radians(59.5)), step), rel=1e-6)
    flat = CRS.from_wkt(
        f'PROJCS["Moon",{moon.to_wkt()},PROJECTION["Equirectangular"],'
        'PARAMETER["standard_parallel_1",0],PARAMETER["central_meridian",0],UNIT["metre",1]]'
    )
    north = 1_737_400 * np.radians(60)
    # East and west are stretched there.
    stretched = gsd_metres(Affine(100, 0, 0, 0, -100, north), flat, (10, 10))
    assert stretched == pytest.approx((50, 100), rel=1e-3)
    assert gsd_metres(Affine(100, 0, 0, 0, -100, 0), flat, (10, 10)) == (100, 100)
    assert ground_distance_m((0, 0), (1000, 0), flat) == pytest.approx(1000, rel=1e-6)
