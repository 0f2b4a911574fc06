import numpy as np
import pytest

from imatch.core.types import Features, Matches, Rendered


def matches(n: int, start: float = 0) -> Matches:
    xy = np.arange(2 * n, dtype=np.float64).reshape(n, 2) + start
    return Matches(xy, xy + 1, np.linspace(0, 1, n))


def test_no_matches_still_have_their_shape() -> None:
    empty = Matches()
    assert empty.ref_xy.shape == empty.tgt_xy.shape == (0, 2)
    assert empty.ref_xy.dtype == np.float64
    assert len(empty) == 0
    assert len(Matches.concatenate([])) == 0


def test_points_and_scores_must_agree() -> None:
    with pytest.raises(ValueError, match=r"expected \(2, 2\) points"):
        Matches(np.zeros((3, 2)), np.zeros((2, 2)), np.zeros(2))


def test_select_keeps_rows_together() -> None:
    picked = matches(4).select(np.array([True, False, False, True]))
    np.testing.assert_array_equal(picked.ref_xy, [[0, 1], [6, 7]])
    np.testing.assert_array_equal(picked.tgt_xy, [[1, 2], [7, 8]])
    np.testing.assert_array_equal(picked.scores, [0, 1])


def test_concatenate_keeps_the_order() -> None:
    joined = Matches.concatenate([matches(2), Matches(), matches(1, start=100)])
    assert len(joined) == 3
    np.testing.assert_array_equal(joined.ref_xy[:, 0], [0, 2, 100])


@pytest.mark.parametrize("shape", [(2, 4, 5), (4, 5)])
def test_a_rendered_image_is_grey_or_rgb(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="pixels must be"):
        Rendered(np.zeros(shape, np.float32), np.ones((4, 5), bool))


def test_the_mask_fits_the_pixels() -> None:
    with pytest.raises(ValueError, match="does not fit"):
        Rendered(np.zeros((1, 4, 5), np.float32), np.ones((5, 4), bool))
    assert Rendered(np.zeros((3, 4, 5), np.float32), np.ones((4, 5), bool)).size == (5, 4)


def test_features_select_what_they_have() -> None:
    features = Features(
        np.array([[1, 2], [3, 4]], np.float32),
        np.array([0.5, 0.9], np.float32),
        np.eye(2, dtype=np.float32),
        (10, 20),
        scales=np.array([1, 2], np.float32),
    )
    best = features.select(np.array([1]))
    assert len(best) == 1
    np.testing.assert_array_equal(best.xy, [[3, 4]])
    np.testing.assert_array_equal(best.descriptors, [[0, 1]])
    assert best.scales is not None
    assert best.scales.tolist() == [2]
    assert best.angles is None
    assert best.size == (10, 20)
