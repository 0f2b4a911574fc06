from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage

from imatch.core.types import Matches
from imatch.geometry.accuracy import (
    block_count,
    check_points,
    coverage,
    displacement_samples,
    half_width_95,
    overlap_mask,
)
from imatch.geometry.fit import least_squares
from imatch.geometry.transform import ModelKind, apply_matrix

Scene = Callable[..., Matches]

_TRUTH = np.array([[1.02, -0.1, 7.0], [0.1, 1.02, -4.0], [0, 0, 1]])
_CENTRE = np.array([[200.0, 200.0]])


def _grid(step: float = 16.0, extent: float = 400.0) -> NDArray[np.float64]:
    axis = np.arange(0, extent + 1, step)
    return np.stack(np.meshgrid(axis, axis), axis=-1).reshape(-1, 2)


def _window_errors(ref: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.float64]:
    """Errors as windows of 64 pixels have them: neighbours see half of the same ground."""
    side = round(np.sqrt(len(ref)))
    taper = np.hanning(18)[1:-1]
    ground = rng.normal(0, 1, (2, 4 * side + 32, 4 * side + 32))
    seen = ndimage.convolve1d(ndimage.convolve1d(ground, taper, axis=1), taper, axis=2)
    # A cell of the ground is 4 pixels, the points are 16 apart.
    error = seen[:, 16 : 16 + 4 * side : 4, 16 : 16 + 4 * side : 4].reshape(2, -1).T
    return np.asarray(0.3 * error / error.std())


@pytest.mark.parametrize("kind", ["translation", "similarity", "affine"])
def test_intervals_hold_the_truth_where_neighbours_err_together(kind: ModelKind) -> None:
    """Of nominal 95 %, blocks of one and a half windows keep some 90; single points would not."""
    ref = _grid()
    truth = np.array([[1, 0, 7.0], [0, 1, -4.0], [0, 0, 1]]) if kind == "translation" else _TRUTH
    held = {16.0: 0, 96.0: 0}
    trials = 100
    for seed in range(trials):
        tgt = apply_matrix(truth, ref) + _window_errors(ref, np.random.default_rng(seed))
        matrix = least_squares(kind, ref, tgt)
        error = np.abs(apply_matrix(matrix, _CENTRE) - apply_matrix(truth, _CENTRE))[0]
        for block in held:
            samples = displacement_samples(kind, matrix, ref, tgt, _CENTRE, seed, block)
            half = half_width_95(samples, block_count(ref, block))[0]
            held[block] += int((error <= half).sum())
    assert held[96.0] / (2 * trials) >= 0.88
    assert held[16.0] < held[96.0]


@pytest.mark.parametrize(
    ("block", "blocks_wanted"), [(0.0, 64), (96.0, 16), (130.0, 9), (999.0, 9)]
)
def test_points_on_the_far_edge_have_no_blocks_of_their_own(
    block: float, blocks_wanted: int
) -> None:
    assert block_count(_grid(), block) == blocks_wanted


def test_independent_errors_give_the_textbook_interval() -> None:
    """Of a translation: 1.96 sigma / sqrt(n)."""
    rng = np.random.default_rng(0)
    ref = rng.uniform(0, 400, (900, 2))
    tgt = ref + rng.normal(0, 0.5, ref.shape)
    matrix = least_squares("translation", ref, tgt)
    samples = displacement_samples("translation", matrix, ref, tgt, _CENTRE, 0)
    half = half_width_95(samples, block_count(ref))
    np.testing.assert_allclose(half, 1.96 * 0.5 / 30, rtol=0.35)


def test_corners_are_less_certain_than_the_centre(scene: Scene) -> None:
    matches = scene(_TRUTH, outliers=0)
    at = np.array([[255.5, 199.5], [0, 0], [511, 0], [511, 399], [0, 399]])
    matrix = least_squares("affine", matches.ref_xy, matches.tgt_xy)
    samples = displacement_samples("affine", matrix, matches.ref_xy, matches.tgt_xy, at, 0)
    half = np.hypot(*half_width_95(samples, block_count(matches.ref_xy)).T)
    assert (half[1:] > 1.4 * half[0]).all()


def test_points_in_one_place_determine_nothing() -> None:
    ref = np.full((30, 2), 50.0)
    samples = displacement_samples("similarity", np.eye(3), ref, ref, _CENTRE, 0)
    assert np.isinf(half_width_95(samples, 1)).all()


def test_few_blocks_widen_the_interval() -> None:
    samples = np.random.default_rng(0).normal(0, 1, (400, 1, 2))
    wide, narrow = half_width_95(samples, 4), half_width_95(samples, 60)
    assert (wide > 1.5 * narrow).all()
    np.testing.assert_allclose(narrow, 2, atol=0.25)


def test_the_draws_depend_on_the_seed_alone(scene: Scene) -> None:
    matches = scene(_TRUTH, outliers=0)
    points = matches.ref_xy, matches.tgt_xy

    def draw(seed: int) -> NDArray[np.float64]:
        return displacement_samples("affine", _TRUTH, *points, _CENTRE, seed, 64.0)

    np.testing.assert_array_equal(draw(1), draw(1))
    assert (draw(1) != draw(2)).any()


@pytest.mark.parametrize("block", [0.0, 64.0])
def test_check_points_are_a_quarter_and_see_the_noise(scene: Scene, block: float) -> None:
    matches = scene(_TRUTH, inliers=400, outliers=0, noise=0.4)
    matrix = least_squares("similarity", matches.ref_xy, matches.tgt_xy)
    points = check_points("similarity", matrix, matches.ref_xy, matches.tgt_xy, 3.0, 0, block)
    assert 70 <= len(points.index) <= 135
    assert len(np.unique(points.index)) == len(points.index)
    assert points.rmse == pytest.approx(0.4 * np.sqrt(2), rel=0.15)
    # Of a Rayleigh distribution.
    assert points.ce90 == pytest.approx(0.4 * np.sqrt(2 * np.log(10)), rel=0.2)


def test_few_inliers_are_left_out_one_by_one(scene: Scene) -> None:
    matches = scene(_TRUTH, inliers=20, outliers=0)
    points = check_points("similarity", _TRUTH, matches.ref_xy, matches.tgt_xy, 3.0, 0)
    np.testing.assert_array_equal(points.index, np.arange(20))


def test_just_enough_inliers_leave_no_check_points(scene: Scene) -> None:
    matches = scene(_TRUTH, inliers=2, outliers=0)
    points = check_points("similarity", _TRUTH, matches.ref_xy, matches.tgt_xy, 3.0, 0)
    assert len(points.index) == 0
    assert np.isnan([points.rmse, points.ce90]).all()


def test_the_overlap_is_the_ground_both_see() -> None:
    ref, tgt = np.ones((40, 60), dtype=bool), np.ones((50, 50), dtype=bool)
    ref[:5] = False
    tgt[:, 40:] = False
    shift = np.array([[1, 0, 10.0], [0, 1, 20.0], [0, 0, 1]])
    expected = np.zeros_like(ref)
    expected[5:30, :30] = True
    np.testing.assert_array_equal(overlap_mask(shift, ref, tgt), expected)


def test_coverage_counts_cells_of_the_overlap() -> None:
    overlap = np.zeros((200, 200), dtype=bool)
    overlap[20:180, 40:200] = True
    cell = np.arange(8) * 20 + 10
    everywhere = np.stack(np.meshgrid(cell + 40, cell + 20), axis=-1).reshape(-1, 2).astype(float)
    assert coverage(everywhere, overlap) == 1
    assert coverage(everywhere[:16], overlap) == 0.25
    assert coverage(np.repeat(everywhere[:1], 50, axis=0), overlap) == 1 / 64
    assert coverage(np.array([[5.0, 5.0]]), overlap) == 0
    assert coverage(everywhere, np.zeros_like(overlap)) == 0
