from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from experiments.embedder.evaluate import Asked, ask, told
from imatch.pipeline.pair.config import MatchConfig
from imatch.pipeline.pair.registrar import load_registrar
from imatch.retrieval.chips import ChipWindow
from tests.support.place_sets import PlaceSet, View

SIFT = MatchConfig(matcher="sift", use_geocoding=False)


@pytest.fixture
def places(tmp_path: Path) -> PlaceSet:
    """Four places, a little darker on the second occasion."""
    rng = np.random.default_rng(0)
    ground = cv2.GaussianBlur(rng.random((260, 260)).astype(np.float32), (0, 0), 2)
    ground = (ground - ground.min()) / np.ptp(ground)
    paths = [tmp_path / "a.png", tmp_path / "b.png"]
    for path, gain in zip(paths, (250, 200), strict=True):
        cv2.imwrite(str(path), (gain * ground).astype(np.uint8))
    cells = [ChipWindow(x, y, 120, 120, 120.0) for y in (5, 135) for x in (5, 135)]
    return PlaceSet("test", tuple(tuple(View(path, cell) for cell in cells) for path in paths))


def test_matching_puts_the_place_first(places: PlaceSet) -> None:
    # Vectors that take every place for the next one first, and for itself second.
    eye: NDArray[np.float32] = np.eye(4, dtype=np.float32)
    vectors = np.concatenate([eye + 2 * np.roll(eye, 1, axis=1), eye])
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    pairs = PlaceSet("test", places.occasions, pairs=True)
    asked = ask(pairs, vectors, load_registrar(SIFT), k=2, queries=2)
    assert [query.place for query in asked] == [0, 3]
    assert [query.before for query in asked] == [(1, 0), (0, 3)]
    assert [query.after[0] for query in asked] == [0, 3]
    assert {query.status[0] for query in asked} == {"ok"}
    assert told(asked) == {
        "queries": 2,
        "top_1_before": 0,
        "among_the_hits": 1,
        "top_1": 1,
        "certified": 1,
        "certified_wrong": 0,
    }


def test_a_query_is_no_answer_to_itself(places: PlaceSet) -> None:
    vectors = np.tile(np.eye(4, dtype=np.float32), (2, 1))
    asked = ask(places, vectors, load_registrar(SIFT), k=1, queries=3)
    assert [query.before for query in asked] == [(query.place,) for query in asked]


def test_what_is_certified_and_wrong_is_told() -> None:
    wrong = Asked(1, (1, 2), (2, 1), ("ok", "failed"), (9.0, None))
    figures = told([wrong, Asked(1, (1, 2), (1, 2), ("failed", "failed"), (None, None))])
    assert (figures["top_1_before"], figures["top_1"]) == (1, 0.5)
    assert (figures["certified"], figures["certified_wrong"]) == (0.5, 0.5)
