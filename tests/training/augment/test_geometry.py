from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from imatch.datasets.sample import PairSample
from imatch.geometry.transform import apply_matrix
from imatch.training.augment.geometry import (
    NEAR,
    ViewConfig,
    draw_views,
    move,
    move_points,
    zoom_of,
)

SIZE = 96
WIDE = ViewConfig(rotation_deg=90, scale=1.4, shear=0.1, perspective=0.05, shift_px=10, zoom=1.3)

seeds = settings(max_examples=25, deadline=None, derandomize=True)


def dots(xy: NDArray[np.float64], size: int = SIZE, sigma: float = 2.0) -> NDArray[np.float32]:
    """(1, size, size) with a round spot at each point."""
    y, x = np.mgrid[:size, :size]
    spots = [np.exp(-((x - u) ** 2 + (y - v) ** 2) / (2 * sigma**2)) for u, v in xy]
    return np.asarray(np.max(spots, axis=0)[None], dtype=np.float32)


def pair_of(pixels: NDArray[np.float32], other: NDArray[np.float32] | None = None) -> PairSample:
    seen = np.ones(pixels.shape[1:], bool)
    return PairSample(
        pixels, pixels if other is None else other, seen, seen.copy(), np.eye(3), 0.2, ~seen
    )


def centroid(image: NDArray[np.float32], near: NDArray[np.float64]) -> NDArray[np.float64]:
    x, y = np.rint(near).astype(int)
    window = image[y - 6 : y + 7, x - 6 : x + 7].astype(np.float64)
    rows, columns = np.mgrid[y - 6 : y + 7, x - 6 : x + 7]
    moments = np.array([(columns * window).sum(), (rows * window).sum()])
    return np.asarray(moments / window.sum(), dtype=np.float64)


@seeds
@given(seed=st.integers(0, 10_000))
def test_what_is_seen_lies_where_the_matrices_say(seed: int) -> None:
    """A spot drawn at a keypoint is found, in both views, where the keypoint went."""
    rng = np.random.default_rng(seed)
    point = rng.uniform(40, 56, (1, 2))
    # The second date shows the ground 3.5 pixels to the right of where the first does.
    shift = np.array([[1, 0, 3.5], [0, 1, -1.25], [0, 0, 1]])
    before = replace(
        pair_of(dots(point), dots(apply_matrix(shift, point))),
        homography=shift,
        keypoints_a=point.astype(np.float32),
        keypoint_sigma_a=np.ones(1, np.float32),
    )
    to_a, to_b = draw_views(WIDE, before, SIZE, rng)
    after = move(before, to_a, to_b, SIZE)
    if not len(after.keypoints_a):
        return
    for image, there in (
        (after.a[0], after.keypoints_a[0]),
        (after.b[0], apply_matrix(after.homography, after.keypoints_a)[0]),
    ):
        if (there > 12).all() and (there < SIZE - 13).all():
            # A spot under perspective is not quite round.
            assert np.hypot(*(centroid(image, there) - there)) < 0.15


@seeds
@given(seed=st.integers(0, 10_000))
def test_the_new_homography_is_the_chain(seed: int) -> None:
    rng = np.random.default_rng(seed)
    given_ = np.array([[1.01, 0.02, 3], [-0.02, 0.99, -2], [1e-5, 0, 1]])
    before = replace(pair_of(dots(np.array([[48.0, 48]]))), homography=given_)
    to_a, to_b = draw_views(WIDE, before, SIZE, rng)
    after = move(before, to_a, to_b, SIZE)
    points = rng.uniform(0, SIZE, (20, 2))
    np.testing.assert_allclose(
        apply_matrix(after.homography, apply_matrix(to_a, points)),
        apply_matrix(to_b, apply_matrix(given_, points)),
        atol=1e-6,
    )


@seeds
@given(seed=st.integers(0, 10_000))
def test_views_stay_within_their_limits(seed: int) -> None:
    before = pair_of(dots(np.array([[48.0, 48]])))
    to_a, to_b = draw_views(NEAR, before, SIZE, np.random.default_rng(seed))
    np.testing.assert_allclose(to_a, np.eye(3), atol=1e-12)
    middle = np.array([[47.5, 47.5]])
    assert np.abs(apply_matrix(to_b, middle) - middle).max() <= 12
    assert 1 / 1.02 <= zoom_of(to_b, (SIZE, SIZE)) <= 1.02
    assert abs(np.degrees(np.arctan2(to_b[1, 0], to_b[0, 0]))) <= 2


def test_turned_views_turn_both() -> None:
    turns = []
    for seed in range(40):
        views = ViewConfig(rotation_deg=0, scale=1, shear=0, perspective=0, shift_px=0, zoom=1)
        before = pair_of(dots(np.array([[48.0, 48]])))
        to_a, to_b = draw_views(views, before, SIZE, np.random.default_rng(seed))
        np.testing.assert_allclose(to_a, to_b, atol=1e-9)
        turns.append((np.linalg.det(to_a[:2, :2]), np.arctan2(to_a[1, 0], to_a[0, 0])))
    assert {round(float(det)) for det, _ in turns} == {-1, 1}
    assert np.ptp([angle for _, angle in turns]) > 5


def test_masks_go_with_the_ground() -> None:
    before = pair_of(np.full((1, SIZE, SIZE), 0.5, np.float32))
    before.valid_b[:, 70:] = False
    before.changed[20:40, 20:40] = True
    shift = np.array([[1.0, 0, 10], [0, 1, 5], [0, 0, 1]])
    after = move(before, shift, np.eye(3), SIZE)
    assert after.changed[25:45, 30:50].all()
    assert after.changed.sum() == 400
    assert not after.valid_a[:, :10].any()
    assert after.valid_a[7:-2, 12:-2].all()
    assert after.valid_b[2:-2, 2:66].all()
    assert not after.valid_b[:, 69:].any()
    assert (after.a[:, ~after.valid_a] == 0).all()


def test_uncertainty_is_in_pixels_of_the_view() -> None:
    before = replace(
        pair_of(np.full((1, SIZE, SIZE), 0.5, np.float32)),
        keypoints_a=np.array([[48, 48]], np.float32),
        keypoint_sigma_a=np.array([1.5], np.float32),
    )
    middle = (SIZE - 1) / 2
    double = np.array([[2, 0, -middle], [0, 2, -middle], [0, 0, 1]])
    after = move(before, double, double, SIZE)
    assert after.sigma_px == pytest.approx(0.4)
    assert after.keypoint_sigma_a == pytest.approx([3.0])
    assert not np.isfinite(move(replace(before, sigma_px=np.nan), double, double, SIZE).sigma_px)


def test_points_off_valid_ground_are_dropped() -> None:
    valid = np.ones((10, 10), bool)
    valid[:, 5:] = False
    points = np.array([[1.0, 1], [6, 1], [-3, 2], [4.4, 9.4], [4, 9.6]])
    kept, which = move_points(points, np.eye(3), valid)
    assert which.tolist() == [True, False, False, True, False]
    np.testing.assert_allclose(kept, points[which])
    assert move_points(np.zeros((0, 2)), np.eye(3), valid)[0].shape == (0, 2)


def test_coarser_views_do_not_alias() -> None:
    """Stripes a pixel wide vanish at half the scale instead of beating."""
    stripes = np.zeros((1, SIZE, SIZE), np.float32)
    stripes[..., ::2] = 1
    middle = (SIZE - 1) / 2
    half = np.array([[0.5, 0, middle / 2], [0, 0.5, middle / 2], [0, 0, 1]])
    seen = move(pair_of(stripes), half, half, SIZE).a[0, 35:60, 35:60]
    assert seen.std() < 0.1
    naive = cv2.warpPerspective(stripes[0], half, (SIZE, SIZE), flags=cv2.INTER_CUBIC)
    assert naive[35:60, 35:60].std() >= seen.std()
