"""Output pixels to the target's and back, products of other pixel sizes, and vectors."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from rasterio.crs import CRS

from imatch.core.errors import InputError
from imatch.geometry.transform import DisplacementGrid, Transform, apply_matrix
from imatch.pipeline.registration.geo_correction import GeoCorrection
from imatch.pipeline.registration.result import ImageSummary, Registration, TiePoints
from imatch.raster import Grid, PixelMap, RasterInfo
from imatch.raster.geodesy import WGS84, apply_affine, reproject_points

UTM31, UTM32, MERCATOR = (CRS.from_epsg(code) for code in (32631, 32632, 3857))
SIZE = (1000, 900)
quick = settings(derandomize=True, max_examples=40, deadline=None)
points = st.lists(st.tuples(st.floats(0, 999), st.floats(0, 899)), min_size=1, max_size=20).map(
    np.array
)


def lattice_near(crs: CRS, gsd: float, turn: float, flip: int, lon: float = 6.0) -> Affine:
    """A lattice of pixels of some metres near 45 N, turned."""
    step = gsd * (1e-5 if crs.is_geographic else 1)
    x, y = reproject_points([(lon, 45.0)], WGS84, crs, near=lon)[0]
    turned = Affine.translation(x, y) @ Affine.rotation(turn) @ Affine.scale(step, -flip * step)
    return turned @ Affine.translation(-SIZE[0] / 2, -SIZE[1] / 2)


@st.composite
def lattices(draw: st.DrawFn, crs: CRS) -> Affine:
    gsd, turn = draw(st.floats(5, 50)), draw(st.floats(-180, 180))
    return lattice_near(crs, gsd, turn, draw(st.sampled_from([1, -1])))


def summary(transform: Affine | None, crs: CRS | None, size: tuple[int, int] = SIZE) -> Any:
    place = None if transform is None else tuple(transform)[:6]
    return ImageSummary("a.tif", *size, ("1",), None if crs is None else crs.to_string(), place)


def info(transform: Affine, crs: CRS | None, size: tuple[int, int] = SIZE) -> RasterInfo:
    return RasterInfo(None, *size, 1, ("uint8",), ("1",), transform, crs, None, "array")


def matrix_near(middle: NDArray[np.float64], unit: float, seed: int) -> NDArray[np.float64]:
    """A similarity of a few pixels and parts in a thousand about a place on the map."""
    rng = np.random.default_rng(seed)
    turn = rng.uniform(-1e-3, 1e-3)
    scale = 1 + rng.uniform(-1e-3, 1e-3)
    matrix = np.eye(3)
    matrix[:2, :2] = scale * np.array([[1, -turn], [turn, 1]])
    matrix[:2, 2] = middle - matrix[:2, :2] @ middle + rng.uniform(-5, 5, 2) * unit
    return matrix


def field_near(middle: NDArray[np.float64], unit: float, seed: int) -> DisplacementGrid:
    rng = np.random.default_rng([seed, 1])
    step = 300 * unit
    origin = middle - 5 * step
    coefficients = rng.uniform(-3, 3, (11, 11, 2)) * unit
    return DisplacementGrid("spline", (origin[0], origin[1]), (step, step), coefficients)


@st.composite
def mappings(draw: st.DrawFn) -> tuple[GeoCorrection, Affine, CRS]:
    """A registration on the map, and the geocoding of its target."""
    systems = st.sampled_from([UTM31, UTM32, MERCATOR, WGS84])
    ref_crs, tgt_crs = draw(systems), draw(systems)
    reference = draw(lattices(ref_crs))
    target = draw(lattices(tgt_crs))
    seed = draw(st.integers(0, 1000))
    unit = float(np.hypot(reference.a, reference.d))
    middle = np.array(reference @ (SIZE[0] / 2, SIZE[1] / 2))
    local = field_near(middle, unit, seed) if draw(st.booleans()) else None
    correction = Transform("homography", matrix_near(middle, unit, seed), local)
    mapping = GeoCorrection(correction, summary(reference, ref_crs), summary(target, tgt_crs), True)
    return mapping, target, tgt_crs


@quick
@given(mappings(), points)
def test_to_pixels_and_to_map_are_inverse(
    made: tuple[GeoCorrection, Affine, CRS], xy: NDArray[np.float64]
) -> None:
    mapping, target, crs = made
    raster = info(target, crs)
    lattice = mapping.reference_lattice
    native = mapping.to_pixels(lattice, raster)(xy)
    back = apply_affine(~lattice.transform, mapping.to_map(raster)(native)) - 0.5
    np.testing.assert_allclose(back, xy, atol=1e-3)


@quick
@given(mappings(), st.sampled_from([UTM31, UTM32, WGS84]), points)
def test_vectors_go_where_the_pixels_go(
    made: tuple[GeoCorrection, Affine, CRS], crs: CRS, xy: NDArray[np.float64]
) -> None:
    mapping, target, tgt_crs = made
    # What someone drew on the target's pixels, in whatever CRS.
    believed = reproject_points(apply_affine(target, xy + 0.5), tgt_crs, crs, near=6.0)
    true = mapping.to_truth(crs)(believed)
    assert mapping.moves_to(crs) == crs
    there = reproject_points(mapping.to_map(info(target, tgt_crs))(xy), mapping.crs, crs, near=6.0)
    unit = 1e-8 if crs.is_geographic else 1e-3
    np.testing.assert_allclose(true, there, atol=unit)


@quick
@given(mappings(), points, st.sampled_from([2, 6]))
def test_siblings_show_the_same_ground(
    made: tuple[GeoCorrection, Affine, CRS], xy: NDArray[np.float64], factor: int
) -> None:
    mapping, target, crs = made
    coarse = target @ Affine.scale(factor)
    lattice = mapping.reference_lattice
    coarser = Grid(
        lattice.transform @ Affine.scale(factor), lattice.crs, *(s // factor for s in SIZE)
    )
    fine = mapping.to_pixels(lattice, info(target, crs))(xy)
    sibling = info(coarse, crs, (SIZE[0] // factor, SIZE[1] // factor))
    there = mapping.to_pixels(coarser, sibling)((xy + 0.5) / factor - 0.5)
    np.testing.assert_allclose((there + 0.5) * factor - 0.5, fine, atol=1e-4)


def test_an_identity_agrees_with_the_pixel_map_of_matching() -> None:
    for ref_crs, tgt_crs in ((UTM31, UTM31), (UTM31, UTM32), (WGS84, UTM32), (UTM32, WGS84)):
        reference = lattice_near(ref_crs, 10, 20, 1)
        target = info(lattice_near(tgt_crs, 15, -5, 1), tgt_crs)
        mapping = GeoCorrection(
            Transform("translation", np.eye(3)),
            summary(reference, ref_crs),
            summary(target.transform, tgt_crs),
            True,
        )
        grid = Grid(reference, ref_crs, *SIZE)
        xy = np.random.default_rng(0).uniform(0, 900, (50, 2))
        expected = PixelMap.on_grid(grid, target).to_native(xy)
        found = mapping.to_pixels(mapping.reference_lattice, target)(xy)
        np.testing.assert_allclose(found, expected, atol=1e-6)


def _registration(**changes: Any) -> Registration:
    empty = np.zeros((0, 2))
    nothing = np.zeros(0)
    ties = TiePoints(empty, empty, nothing, nothing > 0, nothing > 0, empty, nothing)
    place = lattice_near(UTM31, 10, 0, 1)
    whole: dict[str, Any] = {
        "status": "ok",
        "reason": "",
        "reference": summary(place, UTM31),
        "target": summary(place, UTM31),
        "matcher": "sift",
        "seconds": 0.0,
        "tie_points": ties,
        **changes,
    }
    return Registration(**whole)


def test_the_map_serves_where_there_is_one() -> None:
    shift = np.array([[1, 0, 30], [0, 1, -20], [0, 0, 1.0]])
    transform = Transform("translation", np.array([[1, 0, 3], [0, 1, 2], [0, 0, 1.0]]))
    registration = _registration(transform=transform, map_matrix=shift)
    mapping = GeoCorrection.of(registration)
    assert mapping.on_map
    target = info(lattice_near(UTM31, 10, 0, 1), UTM31)
    moved = mapping.to_pixels(mapping.reference_lattice, target)([[10.0, 10.0]])
    np.testing.assert_allclose(moved, [[13.0, 12.0]], atol=1e-6)
    pixels = GeoCorrection.of(_registration(transform=transform))
    assert not pixels.on_map
    moved = pixels.to_pixels(pixels.reference_lattice, target)([[10.0, 10.0]])
    np.testing.assert_allclose(moved, [[13.0, 12.0]], atol=1e-6)
    with pytest.raises(InputError, match=r"failed: no pattern.*no transform"):
        GeoCorrection.of(_registration(status="failed", reason="no pattern"))


def _in_pixels(reference: Affine | None, target: Affine | None) -> GeoCorrection:
    matrix = np.array([[0.9, 0.1, 7], [-0.1, 0.9, -3], [1e-6, 0, 1]])
    local = field_near(np.array(SIZE) / 2, 1.0, 3)
    crs = {True: None, False: UTM31}
    return GeoCorrection(
        Transform("homography", matrix, local),
        summary(reference, crs[reference is None]),
        summary(target, crs[target is None]),
        False,
    )


@pytest.mark.parametrize("on_map", [True, False])
def test_pixels_of_a_frame_and_its_siblings(on_map: bool) -> None:
    """Without geocoding a product of half as many pixels shows the same frame."""
    place = lattice_near(UTM32, 10, 30, 1) if on_map else None
    mapping = _in_pixels(place, None)
    lattice = mapping.reference_lattice
    assert (lattice.crs is None) == (place is None)
    xy = np.random.default_rng(0).uniform(0, 900, (20, 2))
    bare = info(Affine.identity(), None)
    native = mapping.to_pixels(lattice, bare)(xy)
    np.testing.assert_allclose(native, mapping.correction.apply(xy), atol=1e-6)
    half = info(Affine.identity(), None, (500, 450))
    there = mapping.to_pixels(lattice, half)(xy)
    np.testing.assert_allclose((there + 0.5) * 2 - 0.5, native, atol=1e-6)
    back = apply_affine(~lattice.transform, mapping.to_map(half)(there)) - 0.5
    np.testing.assert_allclose(back, xy, atol=1e-4)
    # A lattice twice as fine, in the same plane.
    finer = Grid(lattice.transform @ Affine.scale(0.5), lattice.crs, 2000, 1800)
    np.testing.assert_allclose(
        mapping.to_pixels(finer, bare)((xy + 0.5) * 2 - 0.5), native, atol=1e-6
    )
    drawn = mapping.to_truth(None)(native)
    expected = xy if place is None else apply_affine(place, xy + 0.5)
    np.testing.assert_allclose(drawn, expected, atol=1e-4)
    assert mapping.moves_to(None) == mapping.crs
    with pytest.raises(InputError, match="another shape"):
        mapping.to_pixels(lattice, info(Affine.identity(), None, (500, 500)))


def test_geocoded_siblings_are_found_by_their_geocoding() -> None:
    """Matched by pixels, though the target has a place: a cut-out of it is not its frame."""
    target = lattice_near(UTM31, 10, 0, 1)
    mapping = _in_pixels(lattice_near(UTM31, 10, 10, 1), target)
    cut = info(target @ Affine.translation(100, 50) @ Affine.scale(2), UTM31, (200, 100))
    xy = np.random.default_rng(0).uniform(0, 900, (20, 2))
    whole = mapping.to_pixels(mapping.reference_lattice, info(target, UTM31))(xy)
    part = mapping.to_pixels(mapping.reference_lattice, cut)(xy)
    np.testing.assert_allclose((part + 0.5) * 2 - 0.5 + (100, 50), whole, atol=1e-6)
    drawn = reproject_points(apply_affine(target, whole + 0.5), UTM31, UTM32)
    true = reproject_points(mapping.to_truth(UTM32)(drawn), UTM32, UTM31)
    expected = apply_affine(mapping.reference_lattice.transform, xy + 0.5)
    np.testing.assert_allclose(true, expected, atol=1e-3)


def test_pixels_to_an_image_without_a_map() -> None:
    mapping = _in_pixels(None, lattice_near(UTM31, 10, 0, 1))
    assert mapping.moves_to(UTM31) is None
    drawn = apply_affine(lattice_near(UTM31, 10, 0, 1), np.array([[200.0, 300.0]]) + 0.5)
    pixel = mapping.to_truth(UTM31)(drawn)
    np.testing.assert_allclose(mapping.correction.apply(pixel), [[200.0, 300.0]], atol=1e-6)
    with pytest.raises(InputError, match="not geocoded"):
        mapping.to_pixels(Grid(Affine.scale(10), UTM31, 10, 10), info(Affine.identity(), None))


def test_what_the_registration_does_not_correct_is_refused() -> None:
    place = lattice_near(UTM31, 10, 0, 1)
    on_map = GeoCorrection(
        Transform("translation", np.eye(3)), summary(place, UTM31), summary(place, UTM31), True
    )
    with pytest.raises(InputError, match="has no CRS"):
        on_map.to_truth(None)
    with pytest.raises(InputError, match="not geocoded, though"):
        on_map.to_pixels(on_map.reference_lattice, info(Affine.identity(), None))
    with pytest.raises(InputError, match="lies on a map"):
        _in_pixels(place, None).to_truth(UTM31)


@pytest.mark.parametrize("lon", [179.98, -179.98])
@pytest.mark.parametrize("ref_crs", [WGS84, CRS.from_epsg(32601), CRS.from_epsg(32660)])
def test_across_the_antimeridian(lon: float, ref_crs: CRS) -> None:
    """Both sides of the line are neighbours, however their longitudes are written."""
    reference = lattice_near(ref_crs, 30, 0, 1, 179.99)
    middle = np.array(reference @ (SIZE[0] / 2, SIZE[1] / 2))
    unit = float(np.hypot(reference.a, reference.d))
    target = lattice_near(WGS84, 30, 0, 1, lon)
    correction = Transform("homography", matrix_near(middle, unit, 5))
    mapping = GeoCorrection(correction, summary(reference, ref_crs), summary(target, WGS84), True)
    raster = info(target, WGS84)
    xy = np.random.default_rng(0).uniform(0, 900, (200, 2))
    native = mapping.to_pixels(mapping.reference_lattice, raster)(xy)
    assert np.abs(native - xy).max() < 500
    back = mapping.to_map(raster)(native)
    back = apply_affine(~mapping.reference_lattice.transform, back) - 0.5
    np.testing.assert_allclose(back, xy, atol=1e-3)
    # Shapes keep the way in which they write their longitudes.
    drawn = apply_affine(target, native + 0.5)
    drawn[:, 0] = (drawn[:, 0] + 180) % 360 - 180
    true = mapping.to_truth(WGS84)(drawn)
    assert np.abs(true - drawn).max() < 0.1


def test_where_projections_end_there_is_nothing() -> None:
    world = Grid(Affine(10, 0, -180, 0, -10, 90), WGS84, 36, 18)
    place = lattice_near(UTM31, 10, 0, 1)
    local = field_near(np.array(place @ (500, 450)), 10.0, 1)
    mapping = GeoCorrection(
        Transform("translation", np.eye(3), local),
        summary(place, UTM31),
        summary(place, UTM31),
        True,
    )
    y, x = np.mgrid[:18, :36]
    native = mapping.to_pixels(world, info(place, UTM31))(np.column_stack([x.ravel(), y.ravel()]))
    inside = ((native > -0.5) & (native < np.array(SIZE) - 0.5)).all(axis=1)
    assert not inside.any()
    vectors = mapping.to_truth(WGS84)([[6.0, 45.0], [-174.0, -45.0], [np.nan, 0.0]])
    assert np.isfinite(vectors[0]).all()
    assert not np.isfinite(vectors[2]).any()


def test_homographies_and_matrices_agree() -> None:
    matrix = np.array([[1.01, 0.02, 5], [-0.01, 0.98, 9], [1e-5, -2e-5, 1]])
    xy = np.random.default_rng(0).uniform(0, 900, (20, 2))
    mapping = GeoCorrection(
        Transform("homography", matrix), summary(None, None), summary(None, None), False
    )
    native = mapping.to_pixels(mapping.reference_lattice, info(Affine.identity(), None))(xy)
    np.testing.assert_allclose(native, apply_matrix(matrix, xy), atol=1e-9)
