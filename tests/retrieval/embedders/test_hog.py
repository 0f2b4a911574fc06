from __future__ import annotations

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from imatch.retrieval.embedders import EMBEDDERS, load_embedder
from imatch.retrieval.embedders.hog import HogFeatures


@pytest.fixture(scope="module")
def chips() -> NDArray[np.float32]:
    """(6, 3, 128, 128), each of another place."""
    rng = np.random.default_rng(0)
    images = [cv2.GaussianBlur(rng.random((128, 128, 3)), (0, 0), 4) for _ in range(6)]
    stack = np.stack(images).transpose(0, 3, 1, 2).astype(np.float32)
    return np.asarray((stack - stack.min()) / np.ptp(stack), dtype=np.float32)


def whole(chips: NDArray[np.float32]) -> NDArray[np.bool_]:
    return np.ones((len(chips), *chips.shape[2:]), dtype=bool)


def test_vectors_are_of_length_one_and_places_apart(chips: NDArray[np.float32]) -> None:
    edges = HogFeatures()
    vectors = edges.embed(chips, whole(chips))
    assert vectors.shape == (6, edges.dim)
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    likeness = vectors @ vectors.T
    assert likeness[~np.eye(6, dtype=bool)].max() < 0.3
    assert np.array_equal(vectors, edges.embed(chips, whole(chips)))


@pytest.mark.parametrize(
    "change",
    [
        lambda c: 1 - c,
        lambda c: 0.3 * c + 0.2,
        lambda c: c**0.6,
        lambda c: c[:, [2, 1, 0]],
        lambda c: np.roll(c, 3, axis=(2, 3)),
    ],
    ids=["inverted", "faint", "gamma", "bands", "shifted"],
)
def test_colours_and_small_shifts_change_little(chips: NDArray[np.float32], change: object) -> None:
    edges = HogFeatures()
    before = edges.embed(chips, whole(chips))
    after = edges.embed(change(chips).astype(np.float32), whole(chips))  # type: ignore[operator]
    likeness = before @ after.T
    assert (likeness.argmax(axis=1) == np.arange(6)).all()
    assert np.diag(likeness).min() > 0.5


def test_what_is_not_ground_says_nothing(chips: NDArray[np.float32]) -> None:
    edges = HogFeatures()
    valid = whole(chips[:1])
    valid[:, :, 64:] = False
    other = chips[:1].copy()
    other[..., 64:] = chips[1:2, ..., 64:]
    assert np.allclose(edges.embed(chips[:1], valid), edges.embed(other, valid), atol=1e-5)
    assert not edges.embed(chips[:1], np.zeros_like(valid)).any()


def test_it_is_a_row_that_needs_nothing() -> None:
    assert EMBEDDERS["edges"].weights == ()
    loaded = load_embedder("edges")
    assert loaded.identity == HogFeatures().identity != HogFeatures(grid=4).identity
