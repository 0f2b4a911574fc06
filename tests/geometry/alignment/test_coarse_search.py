from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from imatch.core.types import Rendered
from imatch.geometry.alignment.coarse_search import (
    ANY,
    FREE,
    NEAR,
    CoarseGrid,
    Hypothesis,
    coarse_search,
)
from imatch.geometry.transform import apply_matrix

Views = Callable[..., tuple[Rendered, Rendered]]
Similarity = Callable[..., NDArray[np.float64]]


def _misplaced(hypothesis: Hypothesis, truth: NDArray[np.float64], size: tuple[int, int]) -> float:
    """Largest error over the corners, as a share of the image."""
    width, height = size
    corners = np.array([[0, 0], [width, 0], [width, height], [0, height]])
    error = apply_matrix(hypothesis.matrix, corners) - apply_matrix(truth, corners)
    return float(np.hypot(*error.T).max() / max(size))


@pytest.mark.parametrize(
    ("turn", "scale", "shift"),
    [(0, 1.0, (0, 0)), (7, 1.1, (12, -9)), (-21, 0.88, (-15, 10)), (32, 1.2, (5, 20))],
)
def test_turned_and_scaled_views_are_found(
    views: Views, similarity: Similarity, turn: float, scale: float, shift: tuple[float, float]
) -> None:
    truth = similarity(turn, scale, shift)
    ref, tgt = views(truth, seasons=("summer", "autumn"))
    best = coarse_search(ref, tgt, FREE)[0]
    assert _misplaced(best, truth, ref.size) < 0.04


@pytest.mark.parametrize("turn", [90, 180, -135])
def test_any_rotation_is_found(views: Views, similarity: Similarity, turn: float) -> None:
    truth = similarity(turn)
    ref, tgt = views(truth, seasons=("summer", "autumn"))
    coarse = CoarseGrid(ANY.angles, (1.0,))
    assert _misplaced(coarse_search(ref, tgt, coarse)[0], truth, ref.size) < 0.04


def test_hypotheses_come_best_first_and_differ(views: Views) -> None:
    ref, tgt = views()
    found = coarse_search(ref, tgt, FREE, keep=4)
    scores = [h.score for h in found]
    assert len(found) == 4
    assert scores == sorted(scores, reverse=True)
    for index, hypothesis in enumerate(found):
        for other in found[index + 1 :]:
            assert _misplaced(hypothesis, other.matrix, ref.size) > 0.1
    assert _misplaced(found[0], np.eye(3), ref.size) < 0.03
    # The truth stands out from the best of the wrong ones.
    assert scores[0] > 1.3 * scores[1]


@pytest.mark.parametrize("sizes", [((256, 224), (180, 256)), ((200, 256), (401, 301))])
def test_sizes_need_not_be_equal(
    views: Views,
    similarity: Similarity,
    sizes: tuple[tuple[int, int], tuple[int, int]],
) -> None:
    truth = similarity(8, 1.0, (-20, 15), size=sizes[0])
    ref, tgt = views(truth, *sizes, seasons=("summer", "autumn"))
    best = coarse_search(ref, tgt, FREE)[0]
    assert _misplaced(best, truth, ref.size) < 0.04


def test_a_view_at_another_resolution_is_found(views: Views) -> None:
    """Equal extents: the reduced images are alike, whatever the pixels."""
    half = np.array([[0.5, 0, -0.25], [0, 0.5, -0.25], [0, 0, 1]])
    ref, tgt = views(half, (256, 224), (128, 112))
    both_scales = CoarseGrid((0.0,), (0.4, 0.5, 0.63))
    best = coarse_search(ref, tgt, both_scales)[0]
    assert _misplaced(best, half, tgt.size) < 0.03


def test_masked_ground_has_no_say(views: Views) -> None:
    """A bright frame that both share at the same place would win, were it not masked."""
    truth = np.array([[1, 0, 14.0], [0, 1, -11.0], [0, 0, 1]])
    framed = []
    for view in views(truth, seasons=("summer", "autumn")):
        pixels, valid = view.pixels.copy(), view.valid.copy()
        cover = np.zeros(valid.shape, np.uint8)
        for x in range(30, 220, 60):
            cv2.rectangle(cover, (x, 80), (x + 25, 130), 1, -1)
        pixels[:, cover > 0], valid[cover > 0] = 1.0, False
        framed.append(Rendered(pixels, valid))
    best = coarse_search(framed[0], framed[1], NEAR)[0]
    assert _misplaced(best, truth, framed[0].size) < 0.03


def test_a_blank_image_gives_hypotheses_without_a_peak() -> None:
    blank = Rendered(np.full((1, 90, 120), 0.5, np.float32), np.ones((90, 120), dtype=bool))
    for hypothesis in coarse_search(blank, blank, NEAR, keep=2):
        assert np.isfinite(hypothesis.matrix).all()
        assert hypothesis.score == 0


def test_the_result_is_a_function_of_the_images(views: Views) -> None:
    ref, tgt = views()
    first, second = coarse_search(ref, tgt, NEAR), coarse_search(ref, tgt, NEAR)
    for one, other in zip(first, second, strict=True):
        assert one.score == other.score
        np.testing.assert_array_equal(one.matrix, other.matrix)


@pytest.mark.parametrize("size", [(150, 150), (170, 90), (61, 128)])
def test_angles_that_share_a_resampling_say_what_each_says_alone(size: tuple[int, int]) -> None:
    rng = np.random.default_rng(3)
    valid = np.ones(size[::-1], dtype=bool)
    valid[:20, :30] = False
    ref, tgt = (
        Rendered(np.stack([cv2.GaussianBlur(rng.random(size[::-1], np.float32), (0, 0), 2)]), valid)
        for _ in range(2)
    )
    angles = (10.0, 100.0, -170.0, -80.0)
    together = coarse_search(ref, tgt, CoarseGrid(angles, (0.9,)), keep=4)
    alone = [coarse_search(ref, tgt, CoarseGrid((a,), (0.9,)), keep=1)[0] for a in angles]
    alone.sort(key=lambda hypothesis: -hypothesis.score)
    for one, other in zip(together, alone, strict=True):
        np.testing.assert_allclose(one.matrix, other.matrix, atol=1e-9)
        assert one.score == pytest.approx(other.score, rel=1e-4)
