from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imatch.benchmark.metrics import (
    LEVELS,
    auc,
    corner_error,
    corners,
    observed_coverage,
    recall,
    recall_curve,
)

INF = float("inf")
errors_of = st.lists(st.one_of(st.floats(0, 50), st.just(INF)), min_size=1, max_size=30)
thresholds = st.floats(0.1, 20)
steady = settings(derandomize=True, max_examples=60, deadline=None)


def test_corners_are_the_centres_of_the_corner_pixels() -> None:
    assert corners((4, 3)).tolist() == [[0, 0], [3, 0], [3, 2], [0, 2]]


def test_the_corner_error_of_a_scale_grows_with_the_distance() -> None:
    # Corners (0,0), (100,0), (100,50), (0,50) of a scale by 1.01: off by 0, 1, sqrt(1.25), 0.5.
    scale = np.diag([1.01, 1.01, 1.0])
    expected = (0 + 1 + np.sqrt(1.25) + 0.5) / 4
    assert corner_error(scale, np.eye(3), (101, 51)) == pytest.approx(expected)


def test_a_corner_at_infinity_is_infinitely_wrong() -> None:
    horizon = np.array([[1.0, 0, 0], [0, 1, 0], [-0.01, 0, 1]])
    assert corner_error(horizon, np.eye(3), (101, 51)) == INF


def test_recall_counts_the_threshold_itself_and_no_refusal() -> None:
    assert recall([0.2, 1.0, 3.0, INF], 1.0) == 0.5
    assert recall([INF, INF], 1e9) == 0
    assert np.isnan(recall([], 1.0))


def test_auc_by_hand() -> None:
    # Recall is 0 up to 0.5, 1/4 up to 1.5, 1/2 up to 2: (1.0 * 0.25 + 0.5 * 0.5) / 2.
    assert auc([0.5, 1.5, 7.0, INF], 2.0) == pytest.approx(0.25)
    assert auc([0, 0], 1.0) == 1
    assert np.isnan(auc([], 1.0))


@steady
@given(errors_of, thresholds)
def test_auc_is_the_area_under_the_recall_curve(errors: list[float], threshold: float) -> None:
    # The staircase summed step by step: exact, whatever the errors.
    steps = sorted({0.0, threshold, *(e for e in errors if e < threshold)})
    area = sum((right - left) * recall(errors, left) for left, right in pairwise(steps))
    assert auc(errors, threshold) == pytest.approx(area / threshold, abs=1e-9)


@steady
@given(errors_of, thresholds)
def test_auc_lies_between_zero_and_recall_and_refusing_never_helps(
    errors: list[float], threshold: float
) -> None:
    value = auc(errors, threshold)
    assert 0 <= value <= recall(errors, threshold) + 1e-12
    assert auc([INF, *errors[1:]], threshold) <= value + 1e-12


@steady
@given(errors_of)
def test_the_curve_is_recall_at_each_threshold(errors: list[float]) -> None:
    at = np.array([0.1, 1.0, 3.0, 30.0])
    assert recall_curve(errors, at).tolist() == pytest.approx([recall(errors, t) for t in at])


def test_normal_errors_with_true_intervals_are_calibrated_at_every_level() -> None:
    errors = np.random.default_rng(0).normal(0, 2.0, 20_000)
    observed = observed_coverage(errors, np.full(20_000, 1.959964 * 2.0))
    assert observed == pytest.approx(LEVELS, abs=0.012)


def test_intervals_half_as_wide_hold_far_less_often() -> None:
    errors = np.random.default_rng(0).normal(0, 1, 20_000)
    assert observed_coverage(errors, np.full(20_000, 0.98), [0.95])[0] == pytest.approx(
        0.673, abs=0.01
    )


def test_an_interval_without_width_contains_an_exact_answer_only() -> None:
    assert observed_coverage([0.0, 1e-9], [0.0, 0.0], [0.95]) == [0.5]
    assert np.isnan(observed_coverage([], [])[0])
