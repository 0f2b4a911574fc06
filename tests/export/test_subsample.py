from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from imatch.export.subsample import subsample


@settings(max_examples=60, derandomize=True, deadline=None)
@given(
    xy=st.integers(0, 60).flatmap(
        lambda n: arrays(np.float64, (n, 2), elements=st.floats(-1e6, 1e6))
    ),
    limit=st.integers(1, 40),
)
def test_at_most_the_limit_and_never_none_of_some(xy: np.ndarray, limit: int) -> None:
    kept = subsample(xy, np.zeros(len(xy)), limit)
    assert len(kept) <= limit
    assert len(kept) > 0 or len(xy) == 0
    assert (np.diff(kept) > 0).all()
    assert len(xy) > limit or len(kept) == len(xy)


def test_the_best_of_each_cell_stays() -> None:
    rng = np.random.default_rng(0)
    xy = rng.uniform(0, [100, 50], (2000, 2))
    cost = rng.random(2000)
    kept = subsample(xy, cost, 50)
    assert len(kept) == 50, "two thousand points fill ten by five cells"
    cell = (np.floor(xy / 10.0) @ [1, 100]).astype(int)
    # The bounding box is a hair smaller than the field, so compare costs, not cells.
    assert cost[kept].max() < 0.2
    assert len(set(cell[kept])) > 45


def test_points_without_a_figure_come_last() -> None:
    xy = np.array([[0.0, 0], [0, 0], [10, 10], [10, 10]])
    assert subsample(xy, np.array([np.nan, 1, 2, np.nan]), 2).tolist() == [1, 2]


def test_points_in_a_row_are_cut_along_it() -> None:
    xy = np.column_stack([np.arange(100.0), np.zeros(100)])
    kept = subsample(xy, np.zeros(100), 10)
    assert len(kept) == 10
    assert np.diff(xy[kept, 0]).max() <= 11
