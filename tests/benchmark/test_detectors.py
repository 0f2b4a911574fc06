from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from imatch.benchmark.cases import read_cases
from imatch.benchmark.detectors import Keypoints, measure_keypoints, repeatability, shared_keypoints
from imatch.benchmark.prepare_case import prepare_case
from imatch.matchers import load_matcher
from imatch.matchers.sparse.base import Sparse
from imatch.pipeline.pair.config import MatchConfig

SHIFT = np.array([[1.0, 0, 10], [0, 1, 0], [0, 0, 1]])


def test_repeatability_by_hand() -> None:
    everywhere = np.ones((100, 100), dtype=bool)
    ref = shared_keypoints(np.array([[10.0, 10], [50, 50], [95, 20]]), SHIFT, everywhere)
    # The third leaves the target; of the others the first is found 2 px off, the second is not.
    assert len(ref.xy) == 2
    back = np.linalg.inv(SHIFT).astype(np.float64)
    tgt = shared_keypoints(np.array([[22.0, 10], [90, 90], [4, 50]]), back, everywhere)
    assert len(tgt.xy) == 2
    assert repeatability(ref, tgt) == pytest.approx((1 + 1) / 4)
    assert repeatability(ref, tgt, radius=1.0) == 0


def test_repeatability_of_nothing() -> None:
    none = Keypoints(np.zeros((0, 2)), np.zeros((0, 2)))
    one = Keypoints(np.ones((1, 2)), np.ones((1, 2)))
    assert np.isnan(repeatability(none, none))
    assert repeatability(none, one) == 0


def test_points_over_invalid_ground_are_not_shared() -> None:
    valid = np.zeros((50, 50), dtype=bool)
    valid[:, 25:] = True
    shared = shared_keypoints(np.array([[5.0, 5], [20, 5]]), SHIFT, valid)
    assert shared.xy.tolist() == [[20, 5]]


def test_sift_repeats_itself_on_the_same_ground(table: Path) -> None:
    case = read_cases(table)[0]
    matcher = load_matcher("sift")
    assert isinstance(matcher, Sparse)
    found = measure_keypoints(
        case, prepare_case(case, table.parent, MatchConfig()), matcher, "sift"
    )
    assert found.n_ref > 100
    assert found.repeatability > 0.6
    assert 0.5 < found.mma_1 <= found.mma_3 <= found.mma_5 <= 1
    assert 0.1 < found.matching_score <= 1
