from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from imatch.core.types import Features, Rendered
from imatch.matchers.base import MatcherOptions
from imatch.matchers.sparse.base import Extractor, Sparse, best_valid
from imatch.matchers.sparse.nearest import Nearest
from imatch.matchers.sparse.sift import SiftExtractor

if TYPE_CHECKING:
    from tests.matchers.conftest import Landscape


def unit(rows: list[list[float]]) -> Features:
    table = np.array(rows, dtype=np.float32)
    table /= np.linalg.norm(table, axis=1, keepdims=True)
    n = len(table)
    return Features(np.zeros((n, 2), np.float32), np.ones(n, np.float32), table, (9, 9))


class TestNearest:
    def test_pairs_are_mutual(self) -> None:
        # Both of the second image's first two are nearest to row 0, which prefers the first.
        i0, i1, scores = Nearest().pair(unit([[1, 0], [0, 1]]), unit([[1, 0.1], [1, 0.3], [0, 1]]))
        assert list(zip(i0.tolist(), i1.tolist(), strict=True)) == [(0, 0), (1, 2)]
        assert scores[0] == pytest.approx(1 / np.hypot(1, 0.1))

    def test_least_similarity(self) -> None:
        i0, _, _ = Nearest(min_cosine=0.999).pair(unit([[1, 0], [0, 1]]), unit([[1, 0.1], [0, 1]]))
        assert i0.tolist() == [1]

    def test_ratio(self) -> None:
        f0 = unit([[1, 0, 0], [0, 1, 0.0]])
        f1 = unit([[1, 0.1, 0], [1, -0.11, 0], [0, 1, 0.1]])
        i0, i1, scores = Nearest(max_ratio=0.8).pair(f0, f1)
        assert (i0.tolist(), i1.tolist()) == ([1], [2])
        near = np.linalg.norm(f0.descriptors[1] - f1.descriptors[2])
        far = np.linalg.norm(f0.descriptors[1] - f1.descriptors[0])
        assert scores[0] == pytest.approx(1 - near / far, abs=1e-4)

    def test_ratio_with_one_candidate(self) -> None:
        i0, _, scores = Nearest(max_ratio=0.8).pair(unit([[1, 0]]), unit([[1, 0.1]]))
        assert i0.tolist() == [0]
        assert scores[0] == 1.0

    def test_nothing_to_pair(self) -> None:
        empty = unit([[1, 0]]).select(np.zeros(0, int))
        assert all(len(part) == 0 for part in Nearest().pair(empty, unit([[1, 0]])))


def test_masked_keypoints_do_not_eat_the_budget() -> None:
    xy = np.array([[0, 0], [5, 0], [6, 0], [7, 0]], np.float32)
    valid = np.ones((4, 10), bool)
    valid[:, :5] = False
    kept = best_valid(xy, np.array([9, 1, 3, 3], np.float32), valid, 2)
    assert kept.tolist() == [2, 3]


class Counting(Extractor):
    channels = 1

    def __init__(self) -> None:
        super().__init__(MatcherOptions())
        self.calls = 0

    def extract(self, image: Rendered) -> Features:
        self.calls += 1
        return SiftExtractor(self.options).extract(image)


class TestCache:
    def test_an_image_is_extracted_once(self, landscape: Landscape) -> None:
        extractor = Counting()
        matcher = Sparse(extractor=extractor, pairing=Nearest())
        ref = landscape((96, 80))
        first = matcher.match(ref, landscape((96, 80), shift=(1, 0)))
        assert extractor.calls == 2
        matcher.match(ref, landscape((96, 80), shift=(2, 0)))
        assert extractor.calls == 3
        again = matcher.match(ref, landscape((96, 80), shift=(1, 0)))
        assert extractor.calls == 3
        np.testing.assert_array_equal(first.tgt_xy, again.tgt_xy)

    def test_the_mask_counts(self, landscape: Landscape) -> None:
        extractor = Counting()
        matcher = Sparse(extractor=extractor, pairing=Nearest())
        ref = landscape((96, 80))
        half = ref.valid.copy()
        half[:, :48] = False
        matcher.match(ref, ref)
        assert extractor.calls == 1
        matcher.match(ref, Rendered(ref.pixels, half))
        assert extractor.calls == 2

    def test_it_forgets(self, landscape: Landscape) -> None:
        extractor = Counting()
        matcher = Sparse(extractor=extractor, pairing=Nearest())
        for k in range(12):
            matcher.match(landscape((48, 40)), landscape((48, 40), shift=(k, 0)))
        assert len(matcher._features) == matcher.remembered
        assert extractor.calls == 12
