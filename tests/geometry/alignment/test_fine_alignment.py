from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from imatch.core.types import Rendered
from imatch.geometry.alignment.fine_alignment import AGREES, Aligner
from imatch.geometry.fit import residuals
from imatch.geometry.transform import apply_matrix

Views = Callable[..., tuple[Rendered, Rendered]]
Similarity = Callable[..., NDArray[np.float64]]


def _corner_error(
    matrix: NDArray[np.float64], truth: NDArray[np.float64], size: tuple[int, int]
) -> float:
    width, height = size
    corners = np.array([[0, 0], [width - 1, 0], [width - 1, height - 1], [0, height - 1]])
    error = apply_matrix(matrix, corners) - apply_matrix(truth, corners)
    return float(np.hypot(*error.T).max())


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("size", [(128, 128), (191, 257), (433, 300), (701, 333)])
def test_a_rough_transform_is_pulled_tight(
    views: Views, similarity: Similarity, size: tuple[int, int], channels: int
) -> None:
    truth = similarity(9, 1.06, (6.3, -4.4), size=size)
    ref, tgt = views(truth, size, seasons=("summer", "autumn"), channels=channels)
    # Off by some 3 % of the image: shifted, turned and scaled.
    away = 0.02 * max(size)
    rough = truth @ similarity(0.7, 1.005, (away, -0.6 * away), size=size)
    assert _corner_error(rough, truth, size) > 0.02 * max(size)
    found = Aligner(ref, tgt).align(rough)
    assert found is not None
    assert found.kind == "similarity"
    assert _corner_error(found.matrix, truth, size) < (0.3 if min(size) < 190 else 0.15)
    assert found.agree > 0.5


def test_tie_points_agree_with_the_transform_and_lie_in_the_images(views: Views) -> None:
    truth = np.array([[1, 0, 5.4], [0, 1, -3.7], [0, 0, 1]])
    ref, tgt = views(truth, (300, 260))
    found = Aligner(ref, tgt).align(np.eye(3))
    assert found is not None
    matches = found.matches
    near = residuals(found.matrix, matches.ref_xy, matches.tgt_xy) < AGREES
    assert near.mean() == pytest.approx(found.agree, abs=0.05)
    assert residuals(truth, matches.ref_xy[near], matches.tgt_xy[near]).mean() < 0.2
    for xy, size in ((matches.ref_xy, ref.size), (matches.tgt_xy[near], tgt.size)):
        assert (xy >= -1).all()
        assert (xy <= np.array(size)).all()
    assert ((matches.scores >= 0) & (matches.scores <= 1)).all()


def test_unequal_sizes_and_resolutions_align(views: Views) -> None:
    half = np.array([[0.5, 0, -0.25], [0, 0.5, -0.25], [0, 0, 1]])
    ref, tgt = views(half, (400, 320), (200, 160), seasons=("summer", "autumn"))
    rough = half @ np.array([[1, 0, 7.0], [0, 1, -6.0], [0, 0, 1]])
    found = Aligner(ref, tgt).align(rough)
    assert found is not None
    assert _corner_error(found.matrix, half, ref.size) < 0.15


def test_invalid_ground_gives_no_tie_points(views: Views) -> None:
    truth = np.array([[1, 0, 3.0], [0, 1, 2.0], [0, 0, 1]])
    ref, tgt = views(truth, (300, 260))
    valid, pixels = ref.valid.copy(), ref.pixels.copy()
    valid[:, :150], pixels[:, :, :150] = False, 0.5
    found = Aligner(Rendered(pixels, valid), tgt).align(np.eye(3))
    assert found is not None
    # Windows reach into it by as much as they may miss.
    assert found.matches.ref_xy[:, 0].min() > 140
    assert _corner_error(found.matrix, truth, ref.size) < 0.5


def test_unrelated_ground_finds_no_support(views: Views) -> None:
    """What may come of it agrees far less than the same ground does."""
    ref, same = views(seasons=("summer", "winter"), size=(300, 260))
    true = Aligner(ref, same).align(np.eye(3))
    assert true is not None
    for seed in (2, 3, 4):
        _, other = views(seeds=(1, seed), size=(300, 260))
        found = Aligner(ref, other).align(np.eye(3))
        assert found is None or found.agree < 0.5 * true.agree


@pytest.mark.parametrize("size", [(8, 8), (1, 40), (30, 200)])
def test_images_too_small_for_windows_give_nothing(size: tuple[int, int]) -> None:
    rng = np.random.default_rng(0)
    pixels = rng.random((1, size[1], size[0]), np.float32)
    image = Rendered(pixels, np.ones(size[::-1], dtype=bool))
    assert Aligner(image, image).align(np.eye(3)) is None


def test_blank_and_invalid_images_give_nothing(views: Views) -> None:
    ref, _ = views()
    blank = Rendered(np.full_like(ref.pixels, 0.5), ref.valid)
    nowhere = Rendered(ref.pixels, np.zeros_like(ref.valid))
    for other in (blank, nowhere):
        assert Aligner(ref, other).align(np.eye(3)) is None
        assert Aligner(other, ref).align(np.eye(3)) is None


def test_transforms_that_lead_outside_give_nothing(views: Views) -> None:
    ref, tgt = views()
    away = np.array([[1, 0, 5000.0], [0, 1, 0], [0, 0, 1]])
    assert Aligner(ref, tgt).align(away) is None


def test_a_refit_follows_what_a_similarity_cannot(views: Views) -> None:
    truth = np.array([[1.02, 0.012, -4.0], [-0.002, 0.985, 3.0], [0, 0, 1]])
    ref, tgt = views(truth, (360, 300), seasons=("summer", "autumn"))
    aligner = Aligner(ref, tgt)
    found = aligner.align(np.eye(3))
    assert found is not None
    richer = aligner.refit(found, "affine")
    assert richer is not None
    assert richer.kind == "affine"
    assert _corner_error(found.matrix, truth, ref.size) > 1
    assert _corner_error(richer.matrix, truth, ref.size) < 0.2


def test_the_alignment_is_a_function_of_the_images(views: Views) -> None:
    ref, tgt = views()
    one, other = Aligner(ref, tgt).align(np.eye(3)), Aligner(ref, tgt).align(np.eye(3))
    assert one is not None
    assert other is not None
    np.testing.assert_array_equal(one.matrix, other.matrix)
