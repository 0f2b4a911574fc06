from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imatch.datasets.prepare.pairing import choose_pairs, season, season_distance


@pytest.mark.parametrize(
    ("date", "name"),
    [
        ("20181231", "dec-feb"),
        ("201803", "mar-may"),
        ("20180601", "jun-aug"),
        ("20181130", "sep-nov"),
        ("20181301", "unknown"),
        ("", "unknown"),
    ],
)
def test_seasons(date: str, name: str) -> None:
    assert season(date) == name


def test_the_year_is_round() -> None:
    assert season_distance("20181225", "20190105") == season_distance("20190105", "20181225") < 0.1
    assert season_distance("20180115", "20180716") == pytest.approx(1.0, abs=0.02)
    assert season_distance("20180715", "20220715") == 0
    assert season_distance("before", "20180715") == 0.5


@settings(max_examples=40, deadline=None, derandomize=True)
@given(months=st.lists(st.integers(1, 12), min_size=0, max_size=9), most=st.integers(0, 12))
def test_every_date_is_used_about_equally(months: list[int], most: int) -> None:
    dates = [f"2018{month:02d}15" for month in months]
    pairs = choose_pairs(dates, most)
    assert len(pairs) == min(most, len(dates) * (len(dates) - 1) // 2)
    assert len(set(pairs)) == len(pairs)
    assert all(i < j for i, j in pairs)
    uses = Counter(i for pair in pairs for i in pair)
    if pairs:
        counts = [uses[i] for i in range(len(dates))]
        # Opposite seasons may serve a few times more.
        assert max(counts) - min(counts) <= 4


def test_far_seasons_come_first() -> None:
    dates = ["20180105", "20180120", "20180705", "20180720"]
    assert set(choose_pairs(dates, 2)) <= {(0, 2), (0, 3), (1, 2), (1, 3)}
