from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from imatch.core.types import Matches
from imatch.geometry.fit import least_squares
from imatch.geometry.model_selection import blocks, folds, held_out_residuals, select_kind
from imatch.geometry.transform import MODEL_KINDS, ModelKind

Scene = Callable[..., Matches]

_MATRICES: dict[ModelKind, NDArray[np.float64]] = {
    "translation": np.array([[1, 0, 7.0], [0, 1, -4.0], [0, 0, 1]]),
    "similarity": np.array([[1.02, -0.1, 7.0], [0.1, 1.02, -4.0], [0, 0, 1]]),
    "affine": np.array([[1.04, -0.02, 7.0], [0.06, 0.97, -4.0], [0, 0, 1]]),
    "homography": np.array([[1.02, -0.1, 7.0], [0.1, 1.02, -4.0], [1e-4, -8e-5, 1]]),
}


def _points(count: int, seed: int, extent: float = 400.0) -> NDArray[np.float64]:
    return np.random.default_rng(seed).uniform(0, extent, (count, 2))


@given(
    st.integers(1, 120), st.integers(1, 9), st.integers(0, 99), st.sampled_from([0.0, 30.0, 900.0])
)
@settings(max_examples=60, deadline=None, derandomize=True)
def test_every_point_is_in_exactly_one_fold(n: int, count: int, seed: int, block: float) -> None:
    xy = _points(n, seed)
    fold = folds(xy, count, seed, block)
    assert fold.shape == (n,)
    assert ((fold >= 0) & (fold < count)).all()
    assert sum((fold == index).sum() for index in range(count)) == n
    np.testing.assert_array_equal(folds(xy, count, seed, block), fold)
    if block == 0:
        # Dealt like cards: no fold is more than one point ahead.
        sizes = np.bincount(fold, minlength=count)
        assert sizes.max() - sizes.min() <= 1


@given(st.integers(2, 150), st.integers(2, 6), st.integers(0, 99), st.floats(5, 300))
@settings(max_examples=60, deadline=None, derandomize=True)
def test_blocks_are_never_split(n: int, count: int, seed: int, side: float) -> None:
    xy = _points(n, seed)
    names, member = blocks(xy, side)
    fold = folds(xy, count, seed, side)
    for index in range(len(names)):
        inside = member == index
        assert inside.any()
        assert len(np.unique(fold[inside])) == 1
        # A block is a square of the side asked for.
        assert np.ptp(xy[inside], axis=0).max() <= side
    assert len(np.unique(names, axis=0)) == len(names)
    sizes = np.bincount([fold[member == i][0] for i in range(len(names))], minlength=count)
    assert sizes.max() - sizes.min() <= 1


def test_each_fold_is_spread_over_the_image() -> None:
    xy = _points(400, 0)
    fold = folds(xy, 4, 0)
    for index in range(4):
        part = xy[fold == index]
        assert np.ptp(part, axis=0).min() > 350
        assert np.abs(part.mean(axis=0) - 200).max() < 40


@pytest.mark.parametrize("kind", MODEL_KINDS)
@pytest.mark.parametrize("block", [0.0, 60.0])
def test_exact_points_are_predicted_exactly(kind: ModelKind, block: float, scene: Scene) -> None:
    matches = scene(_MATRICES[kind], inliers=80, outliers=0, noise=0.0)
    held = held_out_residuals(
        kind, matches.ref_xy, matches.tgt_xy, _MATRICES[kind], 3.0, 0, block=block
    )
    np.testing.assert_allclose(held, 0, atol=1e-5)


def test_a_point_does_not_vote_on_its_own_residual() -> None:
    """Moving one point changes its own residual by just as much."""
    ref = _points(60, 1)
    tgt = ref + np.array([3.0, -2.0])
    tgt[10] += [1.0, 0.5]
    held = held_out_residuals("translation", ref, tgt, _MATRICES["translation"], 3.0, 0)
    np.testing.assert_allclose(held[10], [1.0, 0.5], atol=1e-6)


def test_neighbours_that_err_together_do_not_vouch_for_each_other() -> None:
    """With a common error per block, single hold-outs look better than they are; blocks do not."""
    rng = np.random.default_rng(0)
    ref = _points(400, 2)
    _, member = blocks(ref, 80)
    tgt = ref + rng.normal(0, 1, (member.max() + 1, 2))[member]
    rich: ModelKind = "homography"
    start = least_squares(rich, ref, tgt)
    single = held_out_residuals(rich, ref, tgt, start, 9.0, 0)
    whole = held_out_residuals(rich, ref, tgt, start, 9.0, 0, block=80)
    assert (whole**2).mean() > 1.03 * (single**2).mean()


def test_too_few_points_leave_nan() -> None:
    ref = _points(3, 0)
    held = held_out_residuals("homography", ref, ref, np.eye(3), 3.0, 0)
    assert np.isnan(held).all()


@pytest.mark.parametrize("kind", MODEL_KINDS)
@pytest.mark.parametrize("block", [0.0, 60.0])
def test_the_true_kind_is_chosen(kind: ModelKind, block: float, scene: Scene) -> None:
    right = 0
    for seed in range(8):
        matches = scene(_MATRICES[kind], inliers=300, outliers=0, noise=0.3, seed=seed)
        found = {k: least_squares(k, matches.ref_xy, matches.tgt_xy) for k in MODEL_KINDS}
        chosen = select_kind(found, matches.ref_xy, matches.tgt_xy, 3.0, seed, block)
        # Never a simpler one than the truth, and hardly ever a richer one.
        assert MODEL_KINDS.index(chosen) >= MODEL_KINDS.index(kind)
        right += chosen == kind
    assert right >= 7


def test_the_only_candidate_is_chosen(scene: Scene) -> None:
    matches = scene(_MATRICES["affine"], inliers=50, outliers=20)
    one: dict[ModelKind, NDArray[np.float64]] = {"similarity": _MATRICES["similarity"]}
    assert select_kind(one, matches.ref_xy, matches.tgt_xy, 3.0, 0) == "similarity"


def test_few_points_go_to_the_simplest_that_explains_them() -> None:
    ref = _points(10, 3)
    tgt = ref + np.array([7.0, -4.0])
    found = {k: least_squares(k, ref, tgt) for k in MODEL_KINDS[:3]}
    found["homography"] = _MATRICES["homography"]
    assert select_kind(found, ref, tgt, 3.0, 0) == "translation"
