from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from imatch.core.types import Matches
from imatch.geometry.accuracy import coverage, displacement_samples, half_width_95, overlap_mask
from imatch.geometry.estimate import EstimateOptions, distinct_matches, estimate
from imatch.geometry.fit import least_squares
from imatch.geometry.transform import MODEL_KINDS, ModelKind, apply_matrix
from imatch.geometry.transform_limits import Limits, implausibility

Scene = Callable[..., Matches]
VALID = np.ones((400, 512), dtype=bool)
TRUTHS: dict[ModelKind, list[list[float]]] = {
    "translation": [[1, 0, 9.3], [0, 1, -14.2], [0, 0, 1]],
    "similarity": [[1.02, -0.1, 9.3], [0.1, 1.02, -14.2], [0, 0, 1]],
    "affine": [[1.02, -0.05, 9.3], [0.1, 0.95, -14.2], [0, 0, 1]],
    "homography": [[1.02, -0.05, 9.3], [0.1, 0.95, -14.2], [2e-4, -1e-4, 1]],
}


@pytest.mark.parametrize("kind", MODEL_KINDS)
@pytest.mark.parametrize("seed", range(3))
def test_auto_picks_the_kind_that_made_the_matches(
    kind: ModelKind, seed: int, scene: Scene
) -> None:
    truth = np.array(TRUTHS[kind])
    found = estimate(scene(truth, noise=0.4, seed=seed), VALID, VALID)
    assert found.status == "ok", found.reason
    assert found.transform is not None
    assert found.transform.kind == kind
    corners = np.array([[0, 0], [511, 0], [511, 399], [0, 399]])
    error = np.hypot(*(found.transform.apply(corners) - apply_matrix(truth, corners)).T)
    assert error.max() < 1.5


def test_check_points_measure_the_noise_that_was_put_in(scene: Scene) -> None:
    found = estimate(scene(np.array(TRUTHS["similarity"]), inliers=600, noise=0.5), VALID, VALID)
    assert 0.6 < found.rmse < 0.82  # sqrt(2) * 0.5 = 0.71
    assert 0.9 < found.ce90 < 1.25  # 2.146 * 0.5 = 1.07
    assert 120 <= found.check.sum() <= 160
    assert not (found.check & ~found.inlier).any()


@pytest.mark.parametrize("kind", ["translation", "similarity", "affine"])
def test_confidence_interval_contains_the_truth_as_often_as_it_says(
    kind: ModelKind, scene: Scene
) -> None:
    truth = np.array(TRUTHS[kind])
    at = np.array([[255.0, 200.0]])
    hits = []
    for seed in range(150):
        m = scene(truth, inliers=80, outliers=0, noise=0.6, seed=seed)
        fitted = least_squares(kind, m.ref_xy, m.tgt_xy)
        samples = displacement_samples(kind, fitted, m.ref_xy, m.tgt_xy, at, seed)
        half = half_width_95(samples, 50)[0]
        hits.append(np.abs(apply_matrix(fitted, at) - apply_matrix(truth, at))[0] <= half)
    assert 0.90 <= np.mean(hits) <= 0.99


def test_random_matches_are_refused(scene: Scene) -> None:
    for seed in range(10):
        noise = scene(np.eye(3), inliers=0, outliers=400, seed=seed)
        assert estimate(noise, VALID, VALID).status == "failed"


@pytest.mark.parametrize("count", range(3))
def test_too_few_matches_fail_with_a_reason(count: int, scene: Scene) -> None:
    found = estimate(scene(np.eye(3), inliers=count, outliers=0), VALID, VALID)
    assert found.status == "failed"
    assert found.transform is None
    assert "match" in found.reason


def test_many_matches_to_one_point_do_not_count() -> None:
    rng = np.random.default_rng(0)
    ref = rng.uniform(0, 399, (300, 2))
    matches = Matches(
        ref, np.tile([[200.0, 200.0]], (300, 1)) + rng.normal(0, 0.1, (300, 2)), np.ones(300)
    )
    assert len(distinct_matches(matches)) < 10
    assert estimate(matches, VALID, VALID).status == "failed"


def test_points_in_one_corner_are_not_enough(scene: Scene) -> None:
    found = estimate(
        scene(np.array(TRUTHS["affine"]), outliers=0, noise=0.8, box=(0, 0, 60, 60)), VALID, VALID
    )
    assert found.status == "uncertain"


def test_mirrored_and_collapsed_matches_are_never_ok(scene: Scene) -> None:
    mirrored = np.array([[-1.0, 0, 511], [0, 1, 0], [0, 0, 1]])
    collapsed = np.array([[0.05, 0, 100], [0, 0.05, 100], [0, 0, 1]])
    for matrix in (mirrored, collapsed):
        found = estimate(scene(matrix, inliers=300, outliers=0, noise=0.2), VALID, VALID)
        assert found.status != "ok"


@pytest.mark.parametrize(
    ("matrix", "words"),
    [
        ([[-1, 0, 511], [0, 1, 0], [0, 0, 1]], "mirrors"),
        ([[0.1, 0, 0], [0, 0.1, 0], [0, 0, 1]], "scales"),
        ([[1, 0, 0], [0, 2, 0], [0, 0, 1]], "shears"),
        ([[1, 0, 0], [0, 1, 0], [-4e-3, 0, 1]], "horizon"),
        ([[1, 0, 0], [0, 1, 0], [-1e-3, 0, 1]], "perspective"),
    ],
)
def test_implausible_transforms_are_named(matrix: list[list[float]], words: str) -> None:
    assert words in str(implausibility(np.array(matrix, dtype=float), (400, 512), Limits()))


def test_geocoded_pairs_have_tighter_limits() -> None:
    limits = Limits(prior_shift=40, prior_rotation_deg=10, prior_scale=1.2)
    turned = np.array([[0, -1, 511], [1, 0, 0], [0, 0, 1]], dtype=float)
    assert "turns" in str(implausibility(turned, (512, 512), limits))
    assert "moves" in str(
        implausibility(np.array([[1.0, 0, 50], [0, 1, 0], [0, 0, 1]]), (512, 512), limits)
    )
    assert "geocoded" in str(implausibility(np.diag([1.4, 1.4, 1]), (512, 512), limits))
    assert implausibility(np.eye(3), (512, 512), limits) is None


def test_coverage_counts_cells_of_the_overlap_only() -> None:
    shift = np.array([[1, 0, 256], [0, 1, 0], [0, 0, 1]], dtype=float)
    overlap = overlap_mask(shift, VALID, VALID)
    assert overlap[:, :250].all()
    assert not overlap[:, 260:].any()
    everywhere = np.stack(np.meshgrid(np.arange(0, 256, 8), np.arange(0, 400, 8)), -1).reshape(
        -1, 2
    )
    assert coverage(everywhere.astype(float), overlap) == 1.0
    assert coverage(np.array([[3.0, 3.0]]), overlap) == 1 / 64
    assert coverage(np.array([[3.0, 3.0]]), np.zeros_like(overlap)) == 0.0


def test_a_fixed_model_is_kept(scene: Scene) -> None:
    options = EstimateOptions(model="affine")
    found = estimate(scene(np.array(TRUTHS["similarity"])), VALID, VALID, options)
    assert found.transform is not None
    assert found.transform.kind == "affine"


def test_the_same_seed_gives_the_same_answer(scene: Scene) -> None:
    matches = scene(np.array(TRUTHS["affine"]))
    first, second = (estimate(matches, VALID, VALID) for _ in range(2))
    assert first.transform is not None
    assert second.transform is not None
    np.testing.assert_array_equal(first.transform.matrix, second.transform.matrix)
    assert first.rmse == second.rmse
    assert first.ci95 == second.ci95
