from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from experiments.embedder.evaluate import measure, standing_out, table
from experiments.embedder.make import classify, some_of_each_source
from imatch.core.types import BoolArray
from imatch.retrieval.chips import ChipWindow
from imatch.retrieval.embedders.base import ChipEmbedder
from imatch.retrieval.evaluate.metrics import rank
from tests.support.place_sets import (
    SETS,
    PlaceSet,
    View,
    americas,
    displaced,
    middle,
    ombria,
    ua,
)

DATA = Path(__file__).parents[2] / ".." / "shared" / "data"
needs_data = pytest.mark.skipif(
    not (DATA / "images.csv").exists(), reason="the shared data is not beside the project"
)


class Thumbnail(ChipEmbedder):
    """A chip of 4 x 4 pixels."""

    def __init__(self) -> None:
        super().__init__("thumbnail", dim=16, bands=1, chip_px=32, settings={})

    def _embed(self, pixels: NDArray[np.float32], valid: BoolArray) -> NDArray[np.float32]:
        small = pixels[:, 0].reshape(len(pixels), 4, 8, 4, 8).mean(axis=(2, 4)).reshape(-1, 16)
        return np.asarray(small - small.mean(axis=1, keepdims=True), dtype=np.float32)


def test_middle_is_224_of_250() -> None:
    assert middle(500, 750, 250) == ChipWindow(513, 763, 224, 224, 224.0)


@pytest.fixture
def places(tmp_path: Path) -> PlaceSet:
    """Nine places, brighter on the second occasion."""
    import cv2

    coarse = np.random.default_rng(0).integers(0, 200, (12, 12)).astype(np.uint8)
    ground = cv2.resize(coarse, (120, 120), interpolation=cv2.INTER_CUBIC)
    paths = [tmp_path / "a.png", tmp_path / "b.png"]
    for path, gain in zip(paths, (1.0, 1.2), strict=True):
        cv2.imwrite(str(path), np.clip(gain * ground, 0, 255).astype(np.uint8))
    cells = [middle(x, y, 40) for y in (0, 40, 80) for x in (0, 40, 80)]
    return PlaceSet("test", tuple(tuple(View(path, cell) for cell in cells) for path in paths))


def test_places_are_found_again(places: PlaceSet) -> None:
    done: list[float] = []
    told = measure(places, Thumbnail(), done.append)
    assert sum(done) == 18
    assert told["queries"] == 18
    assert told["places"] == 9
    assert told["top_1"] == 1.0
    told = measure(PlaceSet("test", places.occasions, pairs=True), Thumbnail(), done.append)
    assert told["queries"] == 9
    assert told["map_5"] == 1.0
    document = {"sets": {"test": {"thumbnail": told}}, "embedders": {"thumbnail": {"dim": 16}}}
    assert "| `thumbnail` | 16 | 100.0 |" in table(document)


def test_displaced_views_stay_in_their_images(places: PlaceSet) -> None:
    moved = displaced(places, 0.5)
    pairs = [
        (a.cell, b.cell)
        for one, two in zip(places.occasions, moved.occasions, strict=True)
        for a, b in zip(one, two, strict=True)
    ]
    steps = [max(abs(a.left - b.left), abs(a.top - b.top)) for a, b in pairs]
    assert 10 < max(steps) <= 18
    assert all(0 <= b.left <= 120 - 36 and 0 <= b.top <= 120 - 36 for _, b in pairs)
    assert displaced(places, 0.0) == places


def test_what_whole_images_share_counts_for_no_chip() -> None:
    # Two images of three places; the second image's chips share what the first's do not have.
    own = np.eye(3, dtype=np.float32)
    first = np.hstack([own, np.zeros((3, 1), np.float32)])
    second = np.hstack([own, np.full((3, 1), 2, np.float32)])
    vectors = np.concatenate([first, second])
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    place = np.tile(np.arange(3), 2)
    plain = rank(vectors, vectors, place, place, themselves=np.arange(6))
    assert plain.relevant[:, 0].tolist() == [True] * 3 + [False] * 3
    apart = standing_out(vectors, place, 2)
    assert apart.relevant[:, 0].all()
    assert apart.total.tolist() == [1] * 6


@needs_data
def test_sets_are_what_they_say() -> None:
    sets = {name: make(DATA) for name, make in SETS.items()}
    assert [len(sets[name].occasions) for name in ("americas", "ua", "ombria")] == [4, 4, 2]
    for name in ("americas", "ua"):
        assert {len(views) for views in sets[name].occasions} == {100}
        boxes = {(v.cell.left, v.cell.top) for v in sets[name].occasions[0]}
        assert len(boxes) == 100
    assert len(sets["ombria"].occasions[0]) == 98
    assert all("bench" in v.path.parts for v in sets["ombria"].occasions[0])
    # The training chips begin at 25 degrees west: column 2325.
    assert max(v.cell.left + v.cell.width for v in sets["americas"].occasions[0]) < 2325
    assert [make.__name__ for make in (americas, ua, ombria)] == list(SETS)


def test_vocabularies_learn_from_every_source() -> None:
    class Rows:
        rows = tuple(type("Row", (), {"source": name}) for name in "aaabbbbbbc")

    chosen = some_of_each_source(Rows(), 2, 0)  # type: ignore[arg-type]
    assert len(chosen) == 5
    assert [Rows.rows[i].source for i in chosen] == list("aabbc")


def test_a_year_tells_what_covers_the_ground() -> None:
    def year(*colours: tuple[int, int, int]) -> NDArray[np.uint8]:
        """(12, 3, 1, 1) months of the given colours in turn."""
        months = np.array([colours[i * len(colours) // 12] for i in range(12)], dtype=np.uint8)
        return months[:, :, None, None]

    sea, ice, wood = (5, 10, 40), (230, 235, 240), (30, 60, 20)
    desert, field = (210, 170, 110), (125, 115, 110)
    ground = [
        year(sea),
        year(ice),
        year(ice, wood, wood),
        year(desert),
        year(wood, (60, 80, 40)),
        year(field),
    ]
    classes = classify(np.concatenate(ground, axis=3))
    assert classes.ravel().tolist() == [1, 2, 3, 4, 5, 6]
