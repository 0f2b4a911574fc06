from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from affine import Affine
from numpy.typing import NDArray
from rasterio.crs import CRS

from imatch.geometry.adjustment.network import Edge
from imatch.geometry.alignment.systematic import BENT_95
from imatch.geometry.transform import DisplacementGrid, ModelKind, Transform, apply_matrix
from imatch.pipeline.registration.certificate import Certificate
from imatch.pipeline.registration.result import ImageSummary, Registration, TiePoints
from imatch.pipeline.stack.pairs import (
    NORMAL_95,
    Frames,
    edge_of,
    overlap_polygon,
    spread,
    stated_covariance,
    stated_sigma,
    systematic_variance,
)
from imatch.raster import RasterInfo

UTM = CRS.from_epsg(32631)
ON_MAP = Affine(10, 0, 500_000, 0, -10, 4_800_000)
PLAIN = ImageSummary(None, 200, 100)


def raster(
    transform: Affine = ON_MAP, crs: CRS | None = UTM, size: tuple[int, int] = (200, 100)
) -> RasterInfo:
    width, height = size
    return RasterInfo(None, width, height, 1, ("uint8",), ("1",), transform, crs, None, "array")


def registration(
    matrix: NDArray[np.float64],
    *,
    kind: ModelKind = "similarity",
    ci95: float = 0.1,
    corner: float = 0.4,
    **changes: Any,
) -> Registration:
    none, column, flags = np.zeros((0, 2)), np.zeros(0), np.zeros(0, dtype=bool)
    found = Registration(
        "ok",
        "made up",
        PLAIN,
        PLAIN,
        "sift",
        1.0,
        TiePoints(none, none, column, flags, flags, none, column),
        transform=Transform(kind, matrix),
        ci95_px=(ci95, ci95),
        certificate=Certificate(corner_ci95_px=corner),
    )
    return replace(found, **changes)


def shift(dx: float, dy: float) -> NDArray[np.float64]:
    return np.array([[1, 0, dx], [0, 1, dy], [0, 0, 1.0]])


def edge(*arguments: Any) -> Edge:
    found = edge_of(*arguments)
    assert isinstance(found, Edge), found
    return found


def test_without_a_map_an_edge_lies_in_pixels() -> None:
    frames = Frames.of([raster(crs=None)] * 2, 0, use_map=True, gsd_m=None)
    assert not frames.on_map
    assert np.isnan(frames.metres).all()
    found = edge(registration(shift(20, -5)), 0, 1, frames)
    assert (found.a, found.b, found.weak, found.kind) == (0, 1, False, "similarity")
    np.testing.assert_allclose(found.b_xy, found.a_xy + np.array([20, -5]))
    # Within the ground both see.
    assert found.a_xy.min(axis=0).tolist() >= [0, 5]
    assert found.a_xy.max(axis=0).tolist() <= [180, 100]
    np.testing.assert_allclose(found.matrix, shift(20, -5), atol=1e-9)


def test_metres_a_pixel_may_be_given_where_files_do_not_say() -> None:
    frames = Frames.of([raster(crs=None)] * 2, 0, use_map=True, gsd_m=30.0)
    assert frames.metres.tolist() == [30.0, 30.0]
    mixed = Frames.of([raster(), raster(crs=None)], 0, use_map=True, gsd_m=None)
    assert not mixed.on_map
    assert mixed.metres[0] == pytest.approx(10)
    assert np.isnan(mixed.metres[1])


def test_on_a_map_an_edge_lies_in_metres_round_the_reference() -> None:
    infos = [raster(), raster(ON_MAP @ Affine.scale(2), size=(100, 50))]
    frames = Frames.of(infos, 0, use_map=True, gsd_m=None)
    assert frames.on_map
    assert frames.pixel.tolist() == pytest.approx([10, 20])
    reference = ImageSummary(None, 200, 100, (), "EPSG:32631", tuple(ON_MAP)[:6])
    target = ImageSummary(None, 100, 50, (), "EPSG:32631", tuple(ON_MAP @ Affine.scale(2))[:6])
    native = np.array([[0.5, 0, -0.25], [0, 0.5, -0.25], [0, 0, 1]])
    found = edge(
        registration(native, reference=reference, target=target, map_matrix=shift(30, -40)),
        0,
        1,
        frames,
    )
    np.testing.assert_allclose(found.b_xy, found.a_xy + np.array([30, -40]), atol=1e-6)
    assert np.abs(found.a_xy).max() <= 1000
    # Stated in target pixels of 20 m.
    assert found.sigma > 20 * 0.1 / NORMAL_95


def test_a_pair_told_in_another_system_comes_out_in_the_plane_of_the_reference() -> None:
    """The same correction of 30 m east, told in two UTM zones."""
    other = CRS.from_epsg(32632)
    frames = Frames.of([raster()] * 2, 0, use_map=True, gsd_m=None)
    # At 3 degrees east, the zone's own meridian, grid north is north; in zone 32 it is not.
    place = frames.of_map([[500_000 + 1000, 4_800_000 - 500]], UTM)
    np.testing.assert_allclose(place, [[0, 0]], atol=1e-6)
    from rasterio.warp import transform

    x, y = transform(UTM, other, [501_000.0, 501_030.0], [4_799_500.0, 4_799_500.0])
    seen = frames.of_map(np.column_stack([x, y]), other)
    np.testing.assert_allclose(seen, [[0, 0], [30, 0]], atol=1e-3)


def test_degrees_become_metres_both_ways() -> None:
    degrees = CRS.from_epsg(4326)
    info = raster(Affine(0.001, 0, 5.0, 0, -0.001, 60.0), degrees)
    frames = Frames.of([info], 0, use_map=True, gsd_m=None)
    middle = 5.1, 59.95
    seen = frames.of_map([(5.1, 59.95), (5.101, 59.95), (5.1, 59.951)], degrees)
    assert seen[0] == pytest.approx([0, 0], abs=1e-6), middle
    # At 60 degrees north a degree of longitude is half as long.
    assert seen[1, 0] == pytest.approx(55.9, abs=0.3)
    assert seen[2, 1] == pytest.approx(111.4, abs=0.3)


def test_local_displacement_is_followed() -> None:
    bulge = DisplacementGrid("spline", (-50, -50), (100, 100), np.full((4, 5, 2), 0.7))
    frames = Frames.of([raster(crs=None)] * 2, 0, use_map=True, gsd_m=None)
    found = edge(registration(shift(3, 0), local=bulge), 0, 1, frames)
    np.testing.assert_allclose(found.b_xy, found.a_xy + np.array([3.7, 0.7]), atol=1e-9)


def test_what_is_not_ok_is_weak() -> None:
    frames = Frames.of([raster(crs=None)] * 2, 0, use_map=True, gsd_m=None)
    assert edge(registration(shift(3, 0), status="uncertain"), 0, 1, frames).weak


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"transform": None}, "made up"),
        ({"ci95_px": None}, "unbounded"),
        ({"ci95_px": (float("inf"), 1.0)}, "unbounded"),
        ({"ci95_px": (float("inf"), float("inf"))}, "unbounded"),
        ({"certificate": Certificate()}, "unbounded"),
        ({"transform": Transform("translation", shift(500, 0))}, "overlap"),
        ({"transform": Transform("translation", shift(195, 97))}, "overlap"),
    ],
)
def test_what_cannot_serve_says_why(changes: dict[str, Any], why: str) -> None:
    frames = Frames.of([raster(crs=None)] * 2, 0, use_map=True, gsd_m=None)
    unfit = registration(shift(3, 0), **changes)
    read_back = Registration.from_dict(json.loads(json.dumps(unfit.to_dict())))
    for found in (edge_of(unfit, 0, 1, frames), edge_of(read_back, 0, 1, frames)):
        assert isinstance(found, str)
        assert why in found


def test_a_pair_of_bare_pixels_has_no_place_on_a_map() -> None:
    frames = Frames.of([raster()] * 2, 0, use_map=True, gsd_m=None)
    found = edge_of(registration(shift(3, 0)), 0, 1, frames)
    assert found == "it does not say where on the map it lies"


def test_stated_figures_come_back_from_the_covariance() -> None:
    """At the centre and at the corner the covariance is what the registration states."""
    sigma, reach = (0.2, 0.5), 100.0
    places = np.array([[0, 0], [100, 0], [60, 80], [0, 50.0]])
    for kind in ("similarity", "affine", "homography"):
        found = stated_covariance(kind, places, np.zeros(2), sigma, reach)
        deviation = np.sqrt(np.diag(found)).reshape(-1, 2)
        np.testing.assert_allclose(deviation[0], 0.2)
        np.testing.assert_allclose(deviation[1:3], 0.5)
        assert (deviation[3] > 0.2).all()
        assert (deviation[3] < 0.5).all()
    alike = stated_covariance("translation", places, np.zeros(2), sigma, reach)
    np.testing.assert_allclose(np.sqrt(np.diag(alike)), 0.2)
    # A shift moves all points together.
    assert np.linalg.matrix_rank(alike) == 2


def test_stated_deviations_are_those_of_one_coordinate() -> None:
    found = stated_sigma(registration(np.eye(3), ci95=0.2, corner=0.4 * np.sqrt(2)))
    assert found == pytest.approx((0.2 / NORMAL_95, 0.4 / NORMAL_95))
    # No corner is known better than the centre.
    assert stated_sigma(registration(np.eye(3), ci95=0.2, corner=0.01)) == pytest.approx(
        (0.2 / NORMAL_95, 0.2 / NORMAL_95)
    )


def test_what_no_loop_shows_is_kept_apart_from_chance() -> None:
    """The parts of an edge make up the whole of what the pair states."""
    frames = Frames.of([raster(crs=None)] * 2, 0, use_map=True, gsd_m=None)
    stated = Certificate(corner_ci95_px=0.9, misfit_px=(0.05, 0.0), appearance_px=(0.1, 0.15))
    pair = registration(shift(3, 0), ci95=0.5, certificate=stated)
    found, plain = (
        edge(pair, 0, 1, frames),
        edge(registration(shift(3, 0), ci95=0.5, corner=0.9), 0, 1, frames),
    )
    assert found.systematic == pytest.approx(
        ((BENT_95 / 1.96 * 0.05) ** 2 + 0.1**2, 0.15**2), rel=1e-3
    )
    assert found.sigma < plain.sigma
    assert plain.total == plain.sigma
    assert found.total == pytest.approx(plain.sigma)


def test_no_more_is_systematic_than_is_stated_in_all() -> None:
    stated = Certificate(corner_ci95_px=0.4, appearance_px=(5.0, 0.0))
    found = systematic_variance(registration(shift(3, 0), ci95=0.2, certificate=stated))
    assert found == pytest.approx(((0.2 / NORMAL_95) ** 2, 0.0))
    assert not systematic_variance(registration(shift(3, 0), ci95=0.2)).any()


def test_points_spread_over_what_both_images_show() -> None:
    angle = np.radians(30)
    turn = np.array(
        [[np.cos(angle), -np.sin(angle), 20], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]]
    )
    overlap = overlap_polygon(turn, PLAIN, PLAIN)
    points = spread(overlap)
    assert points.shape == (9, 2)
    there = apply_matrix(turn, points)
    for xy in (points, there):
        assert (xy >= -0.5).all()
        assert (xy <= [199.5, 99.5]).all()
    # Well spread: their hull holds half of the overlap or more.
    from shapely.geometry import MultiPoint

    assert MultiPoint(points).convex_hull.area > 0.5 * overlap.area
