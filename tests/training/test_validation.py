from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from imatch.core.types import Features, Matches
from imatch.datasets.sample import PairSample
from imatch.geometry.transform import apply_matrix
from imatch.matchers.sparse.nearest import Nearest
from imatch.training.validation import (
    as_rgb,
    draw_matches_on,
    keypoint_figures,
    match_figures,
    match_keypoints,
)

MakePair = Callable[..., PairSample]


def features(xy: np.ndarray, seed: int, size: int = 96) -> Features:
    rng = np.random.default_rng(seed)
    described = rng.normal(size=(len(xy), 32))
    described /= np.linalg.norm(described, axis=1, keepdims=True)
    return Features(
        xy.astype(np.float32),
        np.ones(len(xy), np.float32),
        described.astype(np.float32),
        (size, size),
    )


def figures_of(pair: PairSample, a: Features, b: Features) -> dict[str, float]:
    return match_figures(pair, match_keypoints(a, b, Nearest()))


@pytest.fixture
def pair(make_pair: MakePair) -> PairSample:
    turned = np.array([[0.998, -0.03, 5], [0.03, 0.998, -4], [0, 0, 1.0]])
    return replace(make_pair(size=96), homography=turned)


@pytest.fixture
def points() -> np.ndarray:
    return np.random.default_rng(0).uniform(10, 86, (60, 2))


def test_perfect_keypoints(pair: PairSample, points: np.ndarray) -> None:
    a, b = features(points, 0), features(apply_matrix(pair.homography, points), 0)
    assert keypoint_figures(pair, a, b) == {"keypoints": 60, "repeatability": 1.0}
    figures = figures_of(pair, a, b)
    assert figures["matches"] == 60
    assert figures["mma_1"] == figures["mma_3"] == figures["within_3"] == 1
    assert figures["auc_1"] > 0.99


def test_a_constant_error_is_measured(pair: PairSample, points: np.ndarray) -> None:
    moved = apply_matrix(pair.homography, points) + np.array([1.5, 0])
    figures = match_figures(
        pair, match_keypoints(features(points, 0), features(moved, 0), Nearest())
    )
    assert (figures["mma_1"], figures["mma_3"]) == (0, 1)
    assert figures["auc_3"] == pytest.approx(0.5, abs=0.02)
    assert figures["auc_1"] == 0


def test_unrelated_keypoints_register_nothing(pair: PairSample, points: np.ndarray) -> None:
    other = np.random.default_rng(9).uniform(10, 86, (60, 2))
    figures = match_figures(
        pair, match_keypoints(features(points, 0), features(other, 1), Nearest())
    )
    assert figures["matches"] > 0
    assert figures["auc_3"] == figures["within_3"] == 0


def test_no_keypoints(pair: PairSample) -> None:
    nothing = features(np.zeros((0, 2)), 0)
    assert np.isnan(keypoint_figures(pair, nothing, nothing)["repeatability"])
    figures = figures_of(pair, nothing, nothing)
    assert set(figures.values()) == {0.0}


def test_right_matches_are_green_and_wrong_ones_red(pairs: Any) -> None:
    a, b = np.array([[10.0, 10], [30, 50]]), np.array([[11.0, 10], [50, 20]])
    image = draw_matches_on(pairs[0], Matches(a, b, np.ones(2)))
    assert image.shape == (64, 128, 3)
    right, wrong = image[10, 40].astype(int), image[35, 72].astype(int)
    assert right[1] > right[0] + 50
    assert wrong[0] > wrong[1] + 50


def test_any_number_of_bands_can_be_looked_at() -> None:
    for bands in (1, 2, 3, 13):
        image = as_rgb(np.linspace(-0.1, 1.1, bands * 12, dtype=np.float32).reshape(bands, 3, 4))
        assert image.shape == (3, 4, 3)
        assert image.dtype == np.uint8
