"""Answers in native pixels, map units and metres, held against ground that is known exactly."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import rasterio
from affine import Affine
from numpy.typing import NDArray

import imatch
from imatch.core.errors import NoOverlapError
from imatch.pipeline.registration.result import Registration
from imatch.raster import array_source, open_source

MakeScene = Callable[..., Any]
Register = Callable[..., Registration]

# The target's geocoding puts everything too far east and too far south.
MISPLACED = (37.0, -12.0)
# What two dates cost SIFT on this ground, with room: measured 0.02 target pixels at most.
ERROR_PX = 0.05

OTHER_GEOCODINGS: dict[str, dict[str, Any]] = {
    "15 m": {"gsd": 15},
    "20 m": {"gsd": 20},
    "UTM 32": {"crs": "EPSG:32632"},
    "degrees": {"crs": "EPSG:4326"},
    "Web Mercator": {"crs": "EPSG:3857"},
    "UTM 32 at 15 m": {"crs": "EPSG:32632", "gsd": 15},
    "rotated": {"degrees": 30},
    "south up": {"south_up": True},
}


def known(value: Any) -> NDArray[np.float64]:
    """A figure of a registration that must be there, as an array."""
    assert value is not None
    return np.asarray(value, dtype=np.float64)


class TestKnownShift:
    def test_the_misplacement_is_found_with_the_right_signs(
        self, scene: MakeScene, register: Register
    ) -> None:
        ref, tgt = scene("ref.tif", noise=1), scene("tgt.tif", noise=2, misplaced=MISPLACED)
        r = register(ref, tgt)
        assert r.status == "ok"
        interval = known(r.ci95_m)
        np.testing.assert_array_less(np.abs(known(r.shift_m) - MISPLACED), interval)
        assert interval.max() < 0.5
        # Southwards is downwards.
        np.testing.assert_allclose(known(r.shift_px), [3.7, 1.2], atol=0.02)

    def test_turning_the_pair_round_turns_the_signs(
        self, scene: MakeScene, register: Register
    ) -> None:
        ref, tgt = scene("ref.tif", noise=1), scene("tgt.tif", noise=2, misplaced=MISPLACED)
        r = register(tgt, ref)
        np.testing.assert_allclose(known(r.shift_m), np.negative(MISPLACED), atol=0.3)

    @pytest.mark.parametrize("matcher", ["sift", "auto"])
    def test_every_place_is_right(self, matcher: str, scene: MakeScene, register: Register) -> None:
        ref, tgt = scene("ref.tif", noise=1), scene("tgt.tif", noise=2, misplaced=MISPLACED)
        r = register(ref, tgt, matcher=matcher)
        assert r.status == "ok"
        assert ref.error_px(tgt, r) < 0.08

    def test_the_map_matrix_leads_to_what_the_target_claims(
        self, scene: MakeScene, register: Register
    ) -> None:
        ref, tgt = scene("ref.tif", noise=1), scene("tgt.tif", noise=2, misplaced=MISPLACED)
        r = register(ref, tgt)
        assert r.map_matrix is not None
        true = ref.to_ground(ref.places(tgt))
        claimed = np.column_stack([true, np.ones(len(true))]) @ r.map_matrix.T
        np.testing.assert_allclose(claimed[:, :2], true + MISPLACED, atol=10 * ERROR_PX)


class TestOtherGeocodings:
    @pytest.fixture
    def equal_m(self, scene: MakeScene, register: Register) -> float:
        """Error with one CRS and one GSD, metres."""
        ref, tgt = scene("ref.tif", noise=1), scene("equal.tif", noise=2, misplaced=MISPLACED)
        return 10 * float(ref.error_px(tgt, register(ref, tgt)))

    @pytest.mark.parametrize(
        "geocoding", OTHER_GEOCODINGS.values(), ids=list(OTHER_GEOCODINGS.keys())
    )
    def test_as_right_as_with_equal_ones(
        self, geocoding: dict[str, Any], equal_m: float, scene: MakeScene, register: Register
    ) -> None:
        ref = scene("ref.tif", noise=1)
        tgt = scene("tgt.tif", noise=2, misplaced=MISPLACED, **geocoding)
        r = register(ref, tgt)
        assert r.status == "ok"
        gsd = geocoding.get("gsd", 10)
        error_m = gsd * ref.error_px(tgt, r)
        assert error_m < ERROR_PX * gsd
        # A fiftieth of a pixel more, where noise alone decides which of the two is better.
        assert error_m < equal_m + 0.02 * gsd
        # Metres east and north are the reference's, whatever the target's axes.
        np.testing.assert_allclose(known(r.shift_m), MISPLACED, atol=ERROR_PX * gsd)
        assert r.provenance["matrix_error_px"] < 0.03

    def test_a_coarser_reference(
        self, equal_m: float, scene: MakeScene, register: Register
    ) -> None:
        ref = scene("coarse.tif", noise=1, gsd=20, crs="EPSG:32632")
        tgt = scene("tgt.tif", noise=2)
        r = register(ref, tgt)
        assert r.status == "ok"
        assert 10 * ref.error_px(tgt, r) < equal_m + 0.02 * 20

    def test_tie_points_lie_where_they_say(self, scene: MakeScene, register: Register) -> None:
        ref = scene("ref.tif", noise=1, crs="EPSG:32632", degrees=10)
        tgt = scene("tgt.tif", noise=2, misplaced=MISPLACED, gsd=15)
        points = register(ref, tgt).tie_points
        corner_based = np.column_stack([points.ref_xy + 0.5, np.ones(len(points))])
        on_map = corner_based @ np.array(ref.transform).reshape(3, 3).T
        np.testing.assert_allclose(known(points.map_xy), on_map[:, :2], atol=1e-6)
        missed = points.tgt_xy - ref.to(tgt, points.ref_xy)
        error = np.hypot(missed[:, 0], missed[:, 1])[points.inlier]
        assert np.median(error) < 0.3
        # The residuals stated are the errors, since the transform is right.
        np.testing.assert_allclose(points.residual_px[points.inlier], error, atol=ERROR_PX)
        np.testing.assert_allclose(
            points.residual_m[points.inlier], 15 * points.residual_px[points.inlier], rtol=0.01
        )


class TestWithoutGeocoding:
    @pytest.mark.parametrize("geocoded", [(False, False), (True, False), (False, True)])
    def test_pixels_serve(
        self, geocoded: tuple[bool, bool], scene: MakeScene, register: Register
    ) -> None:
        ref = scene("ref.tif", noise=1, geocoded=geocoded[0])
        tgt = scene("tgt.tif", noise=2, geocoded=geocoded[1], degrees=20, misplaced=MISPLACED)
        r = register(ref, tgt)
        assert (r.status, r.model) == ("ok", "similarity")
        assert ref.error_px(tgt, r) < ERROR_PX
        assert (r.map_matrix, r.shift_m) == (None, None)
        assert (r.tie_points.map_xy is None) == (not geocoded[0])
        # Metres come from whichever image knows them.
        assert (r.rmse_m is None) == (not any(geocoded))

    def test_the_gsd_given_makes_metres(self, scene: MakeScene, register: Register) -> None:
        ref = scene("ref.tif", noise=1, geocoded=False)
        tgt = scene("tgt.tif", noise=2, geocoded=False, gsd=14)
        r = register(ref, tgt, gsd_m=10)
        assert r.status == "ok"
        assert ref.error_px(tgt, r) < ERROR_PX
        np.testing.assert_array_equal(known(r.reference.gsd_m), [10, 10])
        assert known(r.rmse_m) == pytest.approx(14 * known(r.rmse_px), rel=0.01)
        bound_m, bound_px = known(r.certificate.corner_ci95_m), known(r.certificate.corner_ci95_px)
        assert bound_m == pytest.approx(14 * bound_px, rel=0.01)

    def test_geocoding_may_be_ignored(self, scene: MakeScene, register: Register) -> None:
        ref, far = scene("ref.tif", noise=1), scene("tgt.tif", noise=2)
        with rasterio.open(far.path, "r+") as dataset:
            dataset.transform = Affine.translation(1_500_000, 0) @ dataset.transform
        with pytest.raises(NoOverlapError, match=r"miss each other by 1,\d{3} km.*--no-geocoding"):
            register(ref, far)
        r = register(ref, far, use_geocoding=False)
        assert r.status == "ok"
        np.testing.assert_allclose(known(r.matrix), np.eye(3), atol=ERROR_PX)

    def test_arrays_and_sources_are_images_too(self, scene: MakeScene) -> None:
        ref, tgt = scene("ref.tif", noise=1), scene("tgt.tif", noise=2, degrees=5)
        r = imatch.match(ref.pixels, array_source(tgt.pixels), matcher="sift")
        assert ref.error_px(tgt, r) < ERROR_PX
        assert r.reference.path is None
        mixed = imatch.match(open_source(ref.path), tgt.pixels, matcher="sift")
        assert mixed.reference.path == str(ref.path)
