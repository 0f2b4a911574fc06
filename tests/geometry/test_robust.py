from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from imatch.core.types import Matches
from imatch.geometry.robust import log10_false_alarms, search
from imatch.geometry.transform import MODEL_KINDS, ModelKind, apply_matrix

Scene = Callable[..., Matches]
CORNERS = np.array([[0, 0], [511, 0], [511, 399], [0, 399]], dtype=np.float64)
SIMILARITY = np.array([[0.97, -0.2, 30], [0.2, 0.97, -20], [0, 0, 1]])
SHIFT = np.array([[1, 0, 30], [0, 1, -20], [0, 0, 1]])


@pytest.mark.parametrize("kind", MODEL_KINDS)
def test_finds_the_transform_among_outliers(kind: ModelKind, scene: Scene) -> None:
    truth = SHIFT if kind == "translation" else SIMILARITY
    matches = scene(truth, inliers=150, outliers=150, noise=0.3)
    found = search(kind, matches.ref_xy, matches.tgt_xy, 3.0)
    assert found is not None
    assert np.abs(apply_matrix(found, CORNERS) - apply_matrix(truth, CORNERS)).max() < 0.5


def test_similarity_survives_five_percent_inliers(scene: Scene) -> None:
    matches = scene(SIMILARITY, inliers=40, outliers=760, noise=0.3)
    found = search("similarity", matches.ref_xy, matches.tgt_xy, 2.0)
    assert found is not None
    assert np.abs(apply_matrix(found, CORNERS) - apply_matrix(SIMILARITY, CORNERS)).max() < 1


def test_keeps_fractions_at_large_offsets(scene: Scene) -> None:
    matches = scene(SHIFT, inliers=100, outliers=0, noise=0.0)
    far = np.array([4e6, 5e6])
    found = search("translation", matches.ref_xy + far, matches.tgt_xy + far, 1.0)
    assert found is not None
    np.testing.assert_allclose(found[:2, 2], [30, -20], atol=1e-3)


@pytest.mark.parametrize("kind", MODEL_KINDS)
def test_degenerate_points_give_none(kind: ModelKind) -> None:
    same = np.tile([[3.0, 4.0]], (20, 1))
    line = np.column_stack([np.arange(20.0), np.arange(20.0)])
    if kind != "translation":
        assert search(kind, same, same, 1.0) is None
    if kind in ("affine", "homography"):
        assert search(kind, line, line, 1.0) is None
    assert search(kind, same[:0], same[:0], 1.0) is None


def test_poselib_agrees(scene: Scene) -> None:
    poselib = pytest.importorskip("poselib")
    truth = SIMILARITY.copy()
    truth[2, 0] = 1e-4
    matches = scene(truth, inliers=150, outliers=100, noise=0.3)
    theirs, _ = poselib.estimate_homography(
        matches.ref_xy, matches.tgt_xy, {"max_reproj_error": 2.0}, {}
    )
    ours = search("homography", matches.ref_xy, matches.tgt_xy, 2.0)
    assert ours is not None
    gap = apply_matrix(ours, CORNERS) - apply_matrix(np.asarray(theirs), CORNERS)
    assert np.abs(gap).max() < 0.7


def test_false_alarms_tell_agreement_from_chance(scene: Scene) -> None:
    real = scene(SIMILARITY, inliers=40, outliers=160)
    noise = scene(SIMILARITY, inliers=0, outliers=200)
    area = 512.0 * 400
    for kind in ("similarity", "affine"):
        matrix = search(kind, real.ref_xy, real.tgt_xy, 3.0)
        assert matrix is not None
        assert log10_false_alarms(kind, matrix, real.ref_xy, real.tgt_xy, 3.0, area) < -40
        fluke = search(kind, noise.ref_xy, noise.tgt_xy, 3.0)
        assert fluke is not None
        assert log10_false_alarms(kind, fluke, noise.ref_xy, noise.tgt_xy, 3.0, area) > -1
