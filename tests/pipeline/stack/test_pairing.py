from __future__ import annotations

from datetime import date, timedelta
from itertools import combinations

import pytest

from imatch.core.errors import ConfigError
from imatch.pipeline.stack.pairing import ALL_UP_TO, PairChoice, first_pairs, more_pairs

# Two years, a date a month.
MONTHLY = [date(2018, 1, 15) + timedelta(days=round(30.44 * i)) for i in range(24)]


@pytest.mark.parametrize(
    ("text", "choice"),
    [
        ("auto", PairChoice("auto")),
        ("ALL", PairChoice("all")),
        (" reference ", PairChoice("reference")),
        ("neighbours", PairChoice("neighbours", 2)),
        ("neighbours:5", PairChoice("neighbours", 5)),
    ],
)
def test_choices_are_read(text: str, choice: PairChoice) -> None:
    assert PairChoice.parse(text) == choice


@pytest.mark.parametrize(
    "text", ["", "some", "neighbours:0", "neighbours:x", "all:3", "neighbours:"]
)
def test_other_choices_are_refused_with_what_to_write(text: str) -> None:
    with pytest.raises(ConfigError, match="write auto, all, reference or neighbours:K"):
        PairChoice.parse(text)


def test_all_pairs_of_few_images() -> None:
    few = MONTHLY[:ALL_UP_TO]
    everything = list(combinations(range(ALL_UP_TO), 2))
    assert first_pairs(PairChoice("auto"), few, 0) == everything
    assert first_pairs(PairChoice("all"), MONTHLY, 0) == list(combinations(range(24), 2))


def test_pairs_with_the_reference_and_with_neighbours() -> None:
    assert first_pairs(PairChoice("reference"), MONTHLY[:4], 2) == [(0, 2), (1, 2), (2, 3)]
    assert first_pairs(PairChoice("neighbours", 1), MONTHLY[:4], 0) == [(0, 1), (1, 2), (2, 3)]


def test_many_images_begin_with_the_reference_the_neighbours_and_the_season() -> None:
    chosen = first_pairs(PairChoice("auto"), MONTHLY, 5)
    assert all(i < j for i, j in chosen)
    assert len(chosen) == len(set(chosen)) < 100
    assert {(min(5, i), max(5, i)) for i in range(24) if i != 5} <= set(chosen)
    assert {(i, i + 1) for i in range(23)} <= set(chosen)
    # January with January, a year later.
    assert (0, 12) in chosen
    assert (11, 23) in chosen


def test_images_without_dates_are_neighbours_by_their_order() -> None:
    chosen = first_pairs(PairChoice("auto"), [None] * 20, 0)
    assert {(i, i + 2) for i in range(18)} <= set(chosen)


def test_more_pairs_only_for_what_is_not_tied_and_with_what_is() -> None:
    choice, tried = PairChoice("auto"), [(0, 5), (0, 1), (0, 2), (0, 12)]
    tied = set(range(1, 24)) - {13}
    more = more_pairs(choice, MONTHLY, tried, tied)
    assert all({0, 13} & set(pair) for pair in more)
    assert not set(more) & set(tried)
    # The nearest in season that is tied and was not tried.
    assert (0, 11) in more
    assert (0, 13) not in more


def test_more_pairs_come_to_an_end() -> None:
    dates, tried = MONTHLY[:14], list[tuple[int, int]]()
    choice, tied = PairChoice("auto"), set(range(1, 14))
    rounds = 0
    while more := more_pairs(choice, dates, tried, tied):
        assert not set(more) & set(tried)
        tried += more
        rounds += 1
    assert sorted(tried) == [(0, other) for other in range(1, 14)]
    assert rounds > 2


def test_a_fixed_choice_is_never_extended() -> None:
    assert more_pairs(PairChoice("reference"), MONTHLY, [(0, 1)], {1}) == []
    assert more_pairs(PairChoice("auto"), MONTHLY, [(0, 1)], set(range(24))) == []
