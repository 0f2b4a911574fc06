"""Working to native pixels and back: properties."""

from __future__ import annotations

import numpy as np
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from rasterio.crs import CRS

from imatch.raster import Grid, PixelMap, RasterInfo
from imatch.raster.geodesy import WGS84, apply_affine, reproject_points

numbers = st.floats(-500, 1500)
points = st.lists(st.tuples(numbers, numbers), min_size=1, max_size=20).map(np.array)
quick = settings(derandomize=True, max_examples=40, deadline=None)


@st.composite
def lattices(draw: st.DrawFn, crs: CRS) -> Affine:
    """A rotated, perhaps south-up lattice near 3 E 45 N, its pixels 5 to 50 m."""
    gsd = draw(st.floats(5, 50)) * (1e-5 if crs.is_geographic else 1)
    x, y = reproject_points([(3.0 + draw(st.floats(-1, 1)), 45.0)], WGS84, crs)[0]
    turn = Affine.rotation(draw(st.floats(-180, 180)))
    return Affine.translation(x, y) @ turn @ Affine.scale(gsd, gsd * draw(st.sampled_from([1, -1])))


def _info(transform: Affine, crs: CRS) -> RasterInfo:
    return RasterInfo(None, 1000, 1000, 1, ("uint8",), ("1",), transform, crs, None, "array")


UTM31, UTM32, MERCATOR = (CRS.from_epsg(code) for code in (32631, 32632, 3857))


@quick
@given(st.data(), points)
def test_same_crs_round_trip_is_exact(data: st.DataObject, xy: np.ndarray) -> None:
    crs = data.draw(st.sampled_from([UTM31, MERCATOR, WGS84]))
    grid = Grid(data.draw(lattices(crs)), crs, 1000, 1000)
    pixel_map = PixelMap.on_grid(grid, _info(data.draw(lattices(crs)), crs))
    native = pixel_map.to_native(xy)
    np.testing.assert_allclose(pixel_map.to_work(native), xy, atol=1e-6)
    assert pixel_map.matrix is not None
    direct = np.column_stack([xy, np.ones(len(xy))]) @ pixel_map.matrix.T
    np.testing.assert_allclose(direct[:, :2], native, atol=1e-5)


@quick
@given(st.data(), points)
def test_across_crs_round_trip(data: st.DataObject, xy: np.ndarray) -> None:
    systems = st.sampled_from([UTM31, UTM32, MERCATOR, WGS84])
    work, native = data.draw(st.tuples(systems, systems).filter(lambda pair: pair[0] != pair[1]))
    grid = Grid(data.draw(lattices(work)), work, 1000, 1000)
    pixel_map = PixelMap.on_grid(grid, _info(data.draw(lattices(native)), native))
    assert pixel_map.matrix is None
    np.testing.assert_allclose(pixel_map.to_work(pixel_map.to_native(xy)), xy, atol=1e-3)


@quick
@given(
    st.tuples(st.integers(16, 11000), st.integers(16, 11000)),
    st.tuples(st.integers(16, 2000), st.integers(16, 2000)),
    points,
)
def test_resize_follows_the_pixel_rule(
    native: tuple[int, int], work: tuple[int, int], xy: np.ndarray
) -> None:
    pixel_map = PixelMap.resize(native, work)
    scale = np.array(native) / work
    np.testing.assert_allclose(pixel_map.to_native(xy), (xy + 0.5) * scale - 0.5, atol=1e-6)
    np.testing.assert_allclose(pixel_map.to_work(pixel_map.to_native(xy)), xy, atol=1e-6)


def test_pixels_meet_on_the_ground() -> None:
    grid = Grid(Affine(20, 0, 300000, 0, -20, 5000000), UTM31, 100, 100)
    info = _info(Affine(1e-4, 0, 0.4, 0, -1e-4, 45.2), WGS84)
    pixel_map = PixelMap.on_grid(grid, info)
    xy = np.array([[0.0, 0.0], [99.0, 0.0], [31.25, 77.5]])
    ground = reproject_points(apply_affine(grid.transform, xy + 0.5), UTM31, WGS84)
    there = apply_affine(info.transform, pixel_map.to_native(xy) + 0.5)
    np.testing.assert_allclose(there, ground, atol=1e-11)


def test_no_points_are_no_points() -> None:
    grid = Grid(Affine(20, 0, 300000, 0, -20, 5000000), UTM31, 100, 100)
    info = _info(Affine(1e-4, 0, 0.4, 0, -1e-4, 45.2), WGS84)
    for pixel_map in (PixelMap.on_grid(grid, info), PixelMap.resize((30, 30), (20, 20))):
        assert pixel_map.to_native(np.zeros((0, 2))).shape == (0, 2)
        assert pixel_map.to_work(np.zeros((0, 2))).shape == (0, 2)
