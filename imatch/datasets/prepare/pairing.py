"""Which two dates of a place are worth a pair."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from itertools import combinations

#: Seasons by month; which of them is warm depends on the hemisphere and does not matter here.
SEASONS = ("dec-feb", "mar-may", "jun-aug", "sep-nov")


def season(date: str) -> str:
    """The quarter of the year of a date ``YYYYMM…``; ``unknown`` for anything else.

    Example:
        >>> season("20180805"), season("before")
        ('jun-aug', 'unknown')
    """
    month = _month(date)
    return "unknown" if month is None else SEASONS[month % 12 // 3]


def _month(date: str) -> int | None:
    if not (date.isdecimal() and len(date) in (6, 8)):
        return None
    month = int(date[4:6])
    return month if 1 <= month <= 12 else None


def apart(first: str, second: str) -> float:
    """How far two dates are apart in season: 0 for one day of the year to 1 for half a year.

    Dates that cannot be compared count as half of that.
    """
    days = [_day(date) for date in (first, second)]
    if days[0] is None or days[1] is None:
        return 0.5
    gap = abs(days[0] - days[1]) % 365.25
    return min(gap, 365.25 - gap) / 182.625


def _day(date: str) -> int | None:
    month = _month(date)
    if month is None:
        return None
    day = int(date[6:8]) if len(date) == 8 else 15
    return datetime.date(2001, month, min(max(day, 1), 28)).timetuple().tm_yday


def choose_pairs(dates: Sequence[str], most: int) -> list[tuple[int, int]]:
    """Pairs of dates, far apart in season, every date used about equally often.

    Args:
        dates: One an image; the order is kept within pairs.
        most: How many pairs at most.

    Returns:
        Ascending index pairs.

    Example:
        >>> choose_pairs(["20180115", "20180715", "20180815"], 2)
        [(0, 1), (0, 2)]
    """
    left = list(combinations(range(len(dates)), 2))
    uses = [0] * len(dates)
    chosen: list[tuple[int, int]] = []
    while left and len(chosen) < most:
        # A used date is worth a third of a year less.
        best = max(
            left,
            key=lambda p: (
                apart(dates[p[0]], dates[p[1]]) - 0.35 * (uses[p[0]] + uses[p[1]]),
                (-p[0], -p[1]),
            ),
        )
        left.remove(best)
        chosen.append(best)
        for i in best:
            uses[i] += 1
    return sorted(chosen)
