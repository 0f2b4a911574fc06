from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from imatch.core.types import Rendered
from imatch.geometry.acceptance import Evidence
from imatch.geometry.alignment.fine_alignment import Aligner
from imatch.geometry.alignment.judge import judge_alignment
from imatch.geometry.estimate import Estimate, EstimateOptions
from imatch.geometry.transform import ModelKind, apply_matrix

Views = Callable[..., tuple[Rendered, Rendered]]
Similarity = Callable[..., NDArray[np.float64]]

_SIZE = (420, 360)
_AFFINE = np.array([[1.02, 0.012, -4.0], [-0.002, 0.985, 3.0], [0, 0, 1]])
_HOMOGRAPHY = np.array([[1.0, 0.0, 2.0], [0.0, 1.0, -3.0], [5e-5, -4e-5, 1]])


def _certified(
    ref: Rendered,
    tgt: Rendered,
    options: EstimateOptions | None = None,
    evidence: Evidence | None = None,
    rival: float = -math.inf,
    start: NDArray[np.float64] | None = None,
) -> Estimate:
    aligner = Aligner(ref, tgt)
    alignment = aligner.align(np.eye(3) if start is None else start)
    assert alignment is not None
    options, evidence = options or EstimateOptions(), evidence or Evidence()
    return judge_alignment(aligner, alignment, ref.valid, tgt.valid, options, evidence, rival)


def _corner_error(found: Estimate, truth: NDArray[np.float64]) -> float:
    corners = np.array([[0, 0], [_SIZE[0] - 1, 0], [_SIZE[0] - 1, _SIZE[1] - 1], [0, _SIZE[1] - 1]])
    assert found.transform is not None
    return float(np.hypot(*(found.transform.apply(corners) - apply_matrix(truth, corners)).T).max())


@pytest.mark.parametrize("seasons", [("summer", "summer"), ("summer", "winter")])
def test_the_same_ground_is_certain(
    views: Views, similarity: Similarity, seasons: tuple[str, str]
) -> None:
    truth = similarity(1.3, 1.01, (4.0, -3.0), size=_SIZE)
    ref, tgt = views(truth, _SIZE, seasons=seasons)
    found = _certified(ref, tgt)
    assert found.status == "ok"
    assert "windows agree" in found.reason
    assert _corner_error(found, truth) < 0.3
    assert found.evidence > Evidence().certain
    assert found.coverage > 0.8
    assert len(found.inlier) == len(found.check) == len(found.matches)
    assert found.inlier.mean() > 0.5
    assert 0 < found.rmse < 1
    assert 0 < max(found.ci95) < 0.3
    # Check points are inliers that were held out of a fit, and only they have such a residual.
    assert found.check.any()
    assert not (found.check & ~found.inlier).any()
    np.testing.assert_array_equal(np.isfinite(found.check_xy).all(axis=1), found.check)


def test_unrelated_ground_is_never_certain(views: Views) -> None:
    aligned = 0
    for seed in range(2, 8):
        ref, tgt = views(size=(256, 224), seeds=(1, seed))
        aligner = Aligner(ref, tgt)
        alignment = aligner.align(np.eye(3))
        if alignment is None:
            continue
        aligned += 1
        options = EstimateOptions()
        found = judge_alignment(aligner, alignment, ref.valid, tgt.valid, options, Evidence())
        assert found.status != "ok"
    assert aligned > 0


@pytest.mark.parametrize("kind", ["similarity", "affine", "homography"])
def test_the_kind_is_the_one_the_ground_shows(
    views: Views, similarity: Similarity, kind: ModelKind
) -> None:
    truth = {
        "similarity": similarity(4.0, 1.03, (2.5, 1.5), size=_SIZE),
        "affine": _AFFINE,
        "homography": _HOMOGRAPHY,
    }[kind]
    ref, tgt = views(truth, _SIZE, seasons=("summer", "autumn"), seeds=(2, 2))
    start = truth if kind == "similarity" else None
    found = _certified(ref, tgt, start=start)
    assert found.transform is not None
    assert found.transform.kind == kind
    assert found.status == "ok"
    assert _corner_error(found, truth) < 0.3


def test_a_shift_is_not_called_more_than_a_similarity(views: Views) -> None:
    ref, tgt = views(np.array([[1, 0, 4.6], [0, 1, -2.3], [0, 0, 1]]), _SIZE)
    found = _certified(ref, tgt)
    assert found.transform is not None
    assert found.transform.kind in ("translation", "similarity")
    assert found.status == "ok"


def test_the_kind_asked_for_is_the_kind_given(views: Views) -> None:
    ref, tgt = views(_AFFINE, _SIZE)
    found = _certified(ref, tgt, EstimateOptions(model="similarity"))
    assert found.transform is not None
    assert found.transform.kind == "similarity"


def test_a_rival_that_fits_as_well_casts_doubt(views: Views) -> None:
    ref, tgt = views(size=_SIZE)
    alone = _certified(ref, tgt)
    rivalled = _certified(ref, tgt, rival=alone.evidence)
    assert alone.status == "ok"
    assert rivalled.status == "uncertain"
    assert "another position" in rivalled.reason


def test_more_is_asked_of_an_alignment_by_stricter_evidence(views: Views) -> None:
    ref, tgt = views(size=_SIZE)
    loose = _certified(ref, tgt)
    strict = _certified(ref, tgt, evidence=Evidence(certain=loose.evidence + 1))
    assert (loose.status, strict.status) == ("ok", "uncertain")
    assert strict.transform is not None
    assert "chance" in strict.reason


@pytest.mark.parametrize("side", [110, 150, 160, 170, 180, 210])
def test_a_small_patch_does_not_speak_for_the_whole(views: Views, side: int) -> None:
    """Clouds over all but a corner: the answer is refused, or its bound holds at the others."""
    ref, tgt = views(size=_SIZE, seasons=("summer", "autumn"))
    rng = np.random.default_rng(0)
    pixels = tgt.pixels.copy()
    noise = rng.random(pixels.shape, np.float32)
    cloud = np.ones(tgt.valid.shape, dtype=bool)
    cloud[:side, :side] = False
    pixels[:, cloud] = noise[:, cloud]
    aligner = Aligner(ref, Rendered(pixels, tgt.valid))
    alignment = aligner.align(np.eye(3))
    assert alignment is not None
    options = EstimateOptions()
    found = judge_alignment(aligner, alignment, ref.valid, tgt.valid, options, Evidence())
    assert found.status == ("uncertain" if side <= 110 else "ok")
    if found.status == "ok":
        assert _corner_error(found, np.eye(3)) <= found.corner_ci95
