from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from imatch.raster import array_source
from imatch.retrieval.duplicates.normalisation import NormalisedImage, form_of
from imatch.retrieval.duplicates.similarity import Similarity, compare


def ground(seed: int, size: int = 224) -> NDArray[np.uint8]:
    """(size, size, 3) fields of several sizes, each of its own colour."""
    rng = np.random.default_rng(seed)
    total = np.zeros((size, size, 3))
    for step in (8, 16, 32):
        cells = rng.random((-(-size // step), -(-size // step), 3))
        total += cells.repeat(step, 0).repeat(step, 1)[:size, :size]
    return np.asarray(20 + 70 * total, dtype=np.uint8)


def form(pixels: NDArray[Any]) -> NormalisedImage:
    return form_of(array_source(np.ascontiguousarray(pixels)))


def likeness(a: NDArray[Any], b: NDArray[Any]) -> Similarity:
    return compare(form(a), form(b))


def another_date(pixels: NDArray[np.uint8], seed: int) -> NDArray[np.uint8]:
    """The same ground, every field of it grown or cut in its own way."""
    rng = np.random.default_rng(seed)
    count = len(pixels) // 16
    change = rng.normal(0, 20, (count, count, 3))
    moved = pixels + change.repeat(16, 0).repeat(16, 1)
    return np.asarray(np.clip(moved, 0, 255), dtype=np.uint8)


@pytest.mark.parametrize(
    "copy",
    [
        lambda p: p,
        lambda p: cv2.resize(p, (160, 160), interpolation=cv2.INTER_AREA),
        lambda p: np.asarray(255 * (p / 255.0) ** 0.7, dtype=np.uint8),
        lambda p: p[..., ::-1],
        lambda p: cv2.imdecode(cv2.imencode(".jpg", p, [cv2.IMWRITE_JPEG_QUALITY, 60])[1], 1),
    ],
    ids=["itself", "smaller", "gamma", "bands exchanged", "compressed"],
)
def test_a_copy_is_nearer_than_another_date(copy: Any) -> None:
    for seed in range(3):
        pixels = ground(seed)
        same, other = likeness(pixels, copy(pixels)), likeness(pixels, another_date(pixels, seed))
        assert same.typical > other.typical + 0.5
        assert same.most > other.most + 0.5


def test_two_places_have_nothing_in_common() -> None:
    found = likeness(ground(1), ground(2))
    assert max(found.typical, found.most) < 1
    assert likeness(ground(1), ground(1)).most > 3


def test_it_does_not_matter_which_comes_first() -> None:
    a, b = form(ground(4)), form(another_date(ground(4), 5))
    one, two = compare(a, b), compare(b, a)
    assert one.typical == pytest.approx(two.typical, abs=0.3)
    assert one.most == pytest.approx(two.most, abs=0.3)
