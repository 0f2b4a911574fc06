"""Alignment of two sensors by the correlation of whole images, on made ground."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from imatch.benchmark.metrics import corner_error
from imatch.core.types import Matches, Rendered
from imatch.geometry.acceptance import EVIDENCE, WHOLE
from imatch.geometry.alignment.judge import judge_whole_image, reconciled
from imatch.geometry.alignment.whole_image import WholeAlignment, WholeImages
from imatch.geometry.estimate import Estimate, EstimateOptions
from imatch.geometry.transform import Transform, apply_matrix
from imatch.geometry.transform_limits import Limits
from imatch.raster import array_source, render
from tests.support.pairs import sensors
from tests.support.sensor_fields import shipped

SIDE = 280


def rendered(planes: NDArray[np.float32], valid: NDArray[np.bool_] | None = None) -> Rendered:
    pixels = np.moveaxis(np.clip(planes, 0, 255), 0, 2).astype(np.uint8)
    return render(array_source(pixels, valid=valid).read(), 3)


def pair(
    seed: int, kind: str, matrix: NDArray[np.float64], looks: float = 1.0
) -> tuple[Rendered, Rendered]:
    """A camera image, and a radar image or map of the same ground by a (3, 3) pixel to pixel."""
    ground = sensors.fields(seed, sensors.grid(SIDE, np.eye(3)), SIDE)
    there = sensors.fields(seed, sensors.grid(SIDE, np.linalg.inv(matrix)), SIDE)
    other = sensors.radar(there, seed, looks) if kind == "radar" else sensors.drawn(there, seed)
    return rendered(sensors.camera(ground, seed)), rendered(other)


def aligned(seed: int, kind: str, matrix: NDArray[np.float64]) -> WholeAlignment:
    found = WholeImages(*pair(seed, kind, matrix), shipped()).align()
    assert found is not None
    return found


@pytest.mark.parametrize("kind", ["radar", "map"])
@settings(max_examples=4, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    degrees=st.floats(-30, 30),
    scale=st.floats(0.82, 1.2),
    x=st.floats(-15, 15),
    y=st.floats(-15, 15),
)
def test_it_finds_a_similarity(
    kind: str, seed: int, degrees: float, scale: float, x: float, y: float
) -> None:
    truth = sensors.similarity(SIDE, degrees, scale, (x, y))
    found = aligned(seed, kind, truth)
    # The best turn and scale are flat where lines are thin: what two sensors are good for.
    assert corner_error(found.matrix, truth, (SIDE, SIDE)) < 5
    assert found.scatter < 6
    missed = found.matches.tgt_xy - found.matches.ref_xy @ truth[:2, :2].T - truth[:2, 2]
    assert np.median(np.hypot(*missed.T)) < 3


def test_parts_of_another_ground_scatter_and_lead_by_little() -> None:
    ref, _ = pair(1, "radar", np.eye(3))
    right = aligned(1, "radar", np.eye(3))
    wrong = WholeImages(ref, pair(2, "radar", np.eye(3))[1], shipped()).align()
    assert wrong is not None
    assert wrong.lead < 0.5 * right.lead
    assert wrong.scatter > right.scatter
    assert WHOLE.log_odds(wrong) < WHOLE.certain < WHOLE.log_odds(right)


def test_a_mirrored_radar_image_is_not_believed() -> None:
    ref, tgt = pair(3, "radar", np.eye(3))
    mirrored = replace(tgt, pixels=np.ascontiguousarray(tgt.pixels[:, :, ::-1]))
    found = WholeImages(ref, mirrored, shipped()).align()
    assert found is not None
    assert WHOLE.log_odds(found) < WHOLE.certain


def test_sizes_may_differ_and_be_odd() -> None:
    ref, tgt = pair(4, "map", np.eye(3))
    cut = Rendered(tgt.pixels[:, 10:251, 20:257], tgt.valid[10:251, 20:257])
    shift = np.eye(3)
    shift[:2, 2] = -20, -10
    found = WholeImages(ref, cut, shipped()).align()
    assert found is not None
    assert corner_error(found.matrix, shift, ref.size) < 3


def test_missing_ground_is_no_structure() -> None:
    ref, tgt = pair(5, "map", np.eye(3))
    valid = np.ones_like(tgt.valid)
    valid[:, 100:140] = False
    gap = Rendered(np.where(valid, tgt.pixels, 0), valid)
    found = WholeImages(ref, gap, shipped()).align()
    assert found is not None
    assert corner_error(found.matrix, np.eye(3), ref.size) < 3


def test_nothing_in_common_is_no_alignment() -> None:
    ref, tgt = pair(6, "map", np.eye(3))
    blank = Rendered(np.zeros_like(tgt.pixels), np.zeros_like(tgt.valid))
    assert WholeImages(ref, blank, shipped()).align() is None


def test_a_given_transform_is_followed_beyond_the_search() -> None:
    truth = sensors.similarity(SIDE, 120.0, 1.0, (3.0, 2.0))
    images = WholeImages(*pair(11, "map", truth), shipped())
    alone, told = images.align(), images.align([sensors.similarity(SIDE, 119.0, 1.0, (0.0, 0.0))])
    assert alone is not None
    assert corner_error(alone.matrix, truth, (SIDE, SIDE)) > 20
    assert told is not None
    assert corner_error(told.matrix, truth, (SIDE, SIDE)) < 5


def test_the_middle_stays_within_what_is_said() -> None:
    truth = sensors.similarity(SIDE, 0.0, 1.0, (40.0, 0.0))
    images = WholeImages(*pair(12, "map", truth), shipped())
    far, near = images.align(), images.align(within=10.0)
    assert far is not None
    assert corner_error(far.matrix, truth, (SIDE, SIDE)) < 3
    assert near is not None
    middle = (np.array([[SIDE, SIDE]]) - 1) / 2
    # Tightening may leave by as much as it reaches.
    assert np.hypot(*(apply_matrix(near.matrix, middle) - middle)[0]) < 30


def test_without_turning_only_the_shift_is_sought() -> None:
    truth = sensors.similarity(SIDE, 0.0, 1.0, (6.0, -9.0))
    found = WholeImages(*pair(7, "map", truth), shipped()).align(turning=False)
    assert found is not None
    np.testing.assert_array_equal(found.matrix[:2, :2], np.eye(2))
    assert corner_error(found.matrix, truth, (SIDE, SIDE)) < 2


class TestJudgement:
    def test_its_interval_holds_the_truth_and_what_sensors_see_apart(self) -> None:
        truth = sensors.similarity(SIDE, 1.0, 1.01, (5.0, 2.0))
        ref, tgt = pair(8, "radar", truth)
        found = WholeImages(ref, tgt, shipped()).align()
        assert found is not None
        judged = judge_whole_image(found, ref.valid, tgt.valid, EstimateOptions())
        assert judged.status == "ok", judged.reason
        assert judged.transform is not None
        assert judged.transform.kind == "similarity"
        assert corner_error(judged.transform.matrix, truth, ref.size) < judged.corner_ci95
        assert min(judged.ci95) >= WHOLE.systematic
        assert judged.corner_ci95 >= judged.corner_statistical
        assert "whole images agree" in judged.reason

    def test_ground_that_repeats_itself_is_refused(self) -> None:
        ref, tgt = pair(13, "radar", np.eye(3))
        found = WholeImages(ref, tgt, shipped()).align()
        assert found is not None
        assert found.repetition < WHOLE.repeating
        for alike in (
            replace(found, repetition=WHOLE.repeating + 0.01),
            replace(found, lead=0.2 * found.peak),
        ):
            judged = judge_whole_image(alike, ref.valid, tgt.valid, EstimateOptions())
            assert judged.status == "uncertain"
            assert judged.reason.endswith("another position fits almost as well")

    def test_a_translation_is_one(self) -> None:
        ref, tgt = pair(9, "map", np.eye(3))
        found = WholeImages(ref, tgt, shipped()).align(turning=False)
        assert found is not None
        options = EstimateOptions(model="translation")
        judged = judge_whole_image(found, ref.valid, tgt.valid, options)
        assert judged.transform is not None
        assert judged.transform.kind == "translation"

    def test_what_the_geocoding_excludes_fails(self) -> None:
        truth = sensors.similarity(SIDE, 0.0, 1.0, (15.0, 0.0))
        ref, tgt = pair(10, "map", truth)
        found = WholeImages(ref, tgt, shipped()).align()
        assert found is not None
        options = EstimateOptions(limits=Limits(prior_shift=5.0))
        assert judge_whole_image(found, ref.valid, tgt.valid, options).status == "failed"


class TestReconciled:
    """What the windows of two sensors say is held against what their whole images say."""

    CORNERS = np.array([[0.0, 0], [279, 0], [279, 279], [0, 279]])

    def estimate(self, shift: float, agree: int, **figures: Any) -> Estimate:
        matrix = sensors.similarity(SIDE, 0.0, 1.0, (shift, 0.0))
        inlier = np.arange(10) < agree
        places = np.resize(self.CORNERS, (10, 2))
        return Estimate(
            **{
                "status": "uncertain",
                "reason": "",
                "matches": Matches(places, places, np.ones(10)),
                "inlier": inlier,
                "check": inlier,
                "check_xy": np.zeros((10, 2)),
                "transform": Transform("similarity", matrix),
                "evidence": EVIDENCE.certain + 1,
                "corner_ci95": 4.0,
                **figures,
            }
        )

    def whole(self) -> Estimate:
        return self.estimate(0.0, 10, status="ok")

    def test_windows_that_tell_it_are_taken(self) -> None:
        windows = self.estimate(1.0, 9, status="ok")
        assert reconciled(self.whole(), windows) is windows

    def test_windows_that_know_nothing_do_not_object(self) -> None:
        whole = self.whole()
        assert reconciled(whole, self.estimate(100.0, 2, evidence=1.0)) is whole
        assert reconciled(whole, self.estimate(100.0, 2, transform=None)) is whole
        # Few agree, but where the whole images do.
        assert reconciled(whole, self.estimate(2.0, 2)) is whole

    def test_windows_sure_of_another_place_object(self) -> None:
        for status in ("uncertain", "ok"):
            one = reconciled(self.whole(), self.estimate(20.0, 2, status=status))
            assert one.status == "uncertain"
            assert "whole images agree elsewhere" in one.reason

    def test_many_windows_refuse_for_a_reason(self) -> None:
        windows = self.estimate(1.0, 6, corner_ci95=2.0)
        assert reconciled(self.whole(), windows) is windows

    def test_a_wide_bound_of_windows_is_kept(self) -> None:
        assert reconciled(self.whole(), self.estimate(1.0, 6, corner_ci95=9.0)).corner_ci95 == 9.0
        windows = self.estimate(1.0, 6, corner_ci95=30.0)
        assert reconciled(self.whole(), windows) is windows
