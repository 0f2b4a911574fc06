"""Chooses which pairs of a stack to match."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import date
from itertools import combinations
from typing import Literal, TypeAlias, get_args

from imatch.core.errors import ConfigError
from imatch.raster.dates import season_gap

#: Two images, by their places in the stack; the smaller first.
IndexPair: TypeAlias = tuple[int, int]
Choice: TypeAlias = Literal["auto", "all", "reference", "neighbours"]

#: Up to so many images `auto` matches all pairs.
ALL_UP_TO = 12
_NEIGHBOURS, _SEASONAL = 2, 1
# Further partners tried at a time for an image that is not tied yet.
_MORE = 3
# Dates closer than this are of one season of one year; other years begin beyond it.
_OTHER_YEAR = 180


@dataclass(frozen=True)
class PairChoice:
    """Settings of the choice of pairs.

    Attributes:
        kind: ``all``; ``reference``: each image with the reference; ``neighbours``: with those
            next to it in time; ``auto``: all of few images, else the reference, the neighbours and
            the same season of other years first, and more only for what these do not tie.
        count: Neighbours on each side.
    """

    kind: Choice = "auto"
    count: int = _NEIGHBOURS

    @classmethod
    def parse(cls, text: str) -> PairChoice:
        """Read ``auto``, ``all``, ``reference`` or ``neighbours:K``.

        Raises:
            ConfigError: It is something else.

        Examples:
            >>> PairChoice.parse("neighbours:3")
            PairChoice(kind='neighbours', count=3)
        """
        name, colon, number = text.strip().lower().partition(":")
        for kind in get_args(Choice):
            if name == kind and not colon:
                return cls(kind)
        if name == "neighbours" and number.isdigit() and int(number) > 0:
            return cls("neighbours", int(number))
        raise ConfigError(
            f"{text!r} is no choice of pairs",
            subject="pairs",
            hint="write auto, all, reference or neighbours:K",
        )


def first_pairs(choice: PairChoice, dates: Sequence[date | None], centre: int) -> list[IndexPair]:
    """The pairs to begin with.

    Args:
        choice: How to choose.
        dates: When each image was taken; images stand in the order of time, then of names.
        centre: The reference, or what serves for one until it is chosen.
    """
    count = len(dates)
    if choice.kind == "all" or (choice.kind == "auto" and count <= ALL_UP_TO):
        return list(combinations(range(count), 2))
    chosen: set[IndexPair] = set()
    if choice.kind in ("reference", "auto"):
        chosen |= {_sorted_pair(centre, other) for other in range(count) if other != centre}
    if choice.kind in ("neighbours", "auto"):
        reach = choice.count
        chosen |= {(i, j) for i in range(count) for j in range(i + 1, min(i + reach + 1, count))}
    if choice.kind == "auto":
        for image in range(count):
            chosen |= {_sorted_pair(image, other) for other in _same_season(image, dates)}
    return sorted(chosen)


def more_pairs(
    choice: PairChoice,
    dates: Sequence[date | None],
    tried: Collection[IndexPair],
    tied: Collection[int],
) -> list[IndexPair]:
    """Further pairs for the images that are not tied yet; none when there is nothing left to try.

    Those that are tied come first as partners, and among them those of the nearest season.

    Args:
        choice: How to choose; only ``auto`` tries more.
        dates: As for `first_pairs`.
        tried: Pairs matched before.
        tied: Images that need nothing more.
    """
    if choice.kind != "auto" or not tied:
        return []
    chosen: set[IndexPair] = set()
    for image in range(len(dates)):
        if image in tied:
            continue
        partners = sorted(
            (other not in tied, *_date_distance(image, other, dates), other)
            for other in range(len(dates))
            if other != image and _sorted_pair(image, other) not in tried
        )
        chosen |= {_sorted_pair(image, other) for *_, other in partners[:_MORE]}
    return sorted(chosen)


def _same_season(image: int, dates: Sequence[date | None]) -> list[int]:
    own = dates[image]
    if own is None:
        return []
    others = [
        (season_gap(own, day), other)
        for other, day in enumerate(dates)
        if day is not None and abs((day - own).days) > _OTHER_YEAR
    ]
    return [other for _, other in sorted(others)[:_SEASONAL]]


def _date_distance(one: int, other: int, dates: Sequence[date | None]) -> tuple[float, float]:
    """Returns the distance of two dates: by season, then by time."""
    first, second = dates[one], dates[other]
    if first is None or second is None:
        return math.inf, float(abs(one - other))
    return season_gap(first, second), float(abs((first - second).days))


def _sorted_pair(one: int, other: int) -> IndexPair:
    return (one, other) if one < other else (other, one)
