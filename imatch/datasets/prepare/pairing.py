"""Pairs of dates: which to take, how their chips lie to each other, and what changed between.

The residual of a pair is the translation in which windows' directions of edges agree
(`imatch.geometry.alignment.fine_alignment`); how far to trust it follows from the windows
themselves.
"""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import PurePosixPath

import cv2
import numpy as np
from numpy.typing import NDArray

from imatch.core.types import BoolArray, Rendered
from imatch.datasets.manifest import PairRow
from imatch.geometry.acceptance import EVIDENCE
from imatch.geometry.alignment.fine_alignment import AGREES, Aligner, Alignment
from imatch.geometry.alignment.orientation import orientation_field, warp_image
from imatch.geometry.transform import apply_matrix

#: Seasons by month; which of them is warm depends on the hemisphere and does not matter here.
SEASONS = ("dec-feb", "mar-may", "jun-aug", "sep-nov")


def season(date: str) -> str:
    """Returns the quarter of the year of a date ``YYYYMM…``; ``unknown`` for anything else.

    Examples:
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


def season_distance(first: str, second: str) -> float:
    """Returns how far two dates are apart in season, from 0 to 1 for half a year.

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
    """Chooses pairs of dates, far apart in season, every date used about equally often.

    Args:
        dates: One an image; the order is kept within pairs.
        most: How many pairs at most.

    Returns:
        Ascending index pairs.

    Examples:
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
                season_distance(dates[p[0]], dates[p[1]]) - 0.35 * (uses[p[0]] + uses[p[1]]),
                (-p[0], -p[1]),
            ),
        )
        left.remove(best)
        chosen.append(best)
        for i in best:
            uses[i] += 1
    return sorted(chosen)


#: Largest residual believed, pixels: geocoded products are closer.
MAX_RESIDUAL_PX = 8.0
# What no number of windows averages away, pixels: on procedural landscapes the error is 0.02 px,
# but real shadows and relief move with the sun.
_FLOOR_PX = 0.05
# Ground is changed where directions of edges, pooled with this sigma in pixels, correlate less. On
# training places that calls 85 to 94 % of other ground changed, and 1 to 2 % of the same ground in
# another season.
_POOL_PX, _UNLIKE = 12.0, 0.10
# Pooled directions weaker than this share of the usual say nothing.
_FLAT = 0.35


@dataclass(frozen=True)
class Residual:
    """``p_b = p_a + (dx, dy)`` between two chips.

    Attributes:
        dx: Pixels to the right; 0 where unknown.
        dy: Pixels down.
        sigma: Standard deviation of both, pixels; NaN where the residual is unknown.
        log_odds: Natural logarithm of the odds that it is right; NaN where nothing was measured.
    """

    dx: float
    dy: float
    sigma: float
    log_odds: float

    @property
    def known(self) -> bool:
        """Whether it may be relied on."""
        return bool(np.isfinite(self.sigma))

    @property
    def matrix(self) -> NDArray[np.float64]:
        """(3, 3) pixel of a to pixel of b."""
        return np.array([[1, 0, self.dx], [0, 1, self.dy], [0, 0, 1.0]])


UNKNOWN = Residual(0.0, 0.0, float("nan"), float("nan"))


def measure_residual(a: Rendered, b: Rendered, start: tuple[float, float] = (0.0, 0.0)) -> Residual:
    """Measures the translation between two chips of one place.

    Args:
        a: The first chip.
        b: The second.
        start: What is known of (dx, dy) beforehand.

    Returns:
        The residual; `UNKNOWN`, with the odds, where the windows do not agree well enough.
    """
    rough = np.array([[1, 0, start[0]], [0, 1, start[1]], [0, 0, 1.0]])
    found = Aligner(a, b).align(rough, "translation")
    if found is None:
        return UNKNOWN
    rule = EVIDENCE
    odds = rule.log_odds(found)
    dx, dy = (float(v) for v in found.matrix[:2, 2])
    if odds < rule.certain or max(abs(dx), abs(dy)) > MAX_RESIDUAL_PX:
        return Residual(0.0, 0.0, float("nan"), odds)
    return Residual(dx, dy, _sigma(found), odds)


def _sigma(found: Alignment) -> float:
    """Estimates the standard error of the translation, one axis, from the windows that agree."""
    off = found.matches.tgt_xy - apply_matrix(found.matrix, found.matches.ref_xy)
    off = off[np.hypot(*off.T) < AGREES]
    spread = 1.4826 * float(np.median(np.abs(off - np.median(off, axis=0))))
    count = max(1.0, found.agree * found.independent)
    return float(np.hypot(spread / np.sqrt(count), _FLOOR_PX))


def changed_ground(a: Rendered, b: Rendered, residual: Residual) -> BoolArray:
    """Finds ground of `a` that `b` does not show again: patches whose edges have nothing in common.

    Seasons turn colours and leave the edges of fields, woods and shores; what has lost these too
    (a flood, a cloud, a clearing) is taken for changed. Flat ground says nothing either way.

    Args:
        a: The first chip.
        b: The second.
        residual: How they lie to each other; nothing is called changed where that is unknown.

    Returns:
        (H, W) bool in the frame of `a`.
    """
    if not residual.known:
        return np.zeros(a.valid.shape, dtype=bool)
    moved = warp_image(b, residual.matrix, a.size)
    first, second = orientation_field(a), orientation_field(moved)
    common = a.valid & moved.valid
    product = _smoothed((first * np.conj(second)).real.astype(np.float32))
    energy = [
        _smoothed((field.real**2 + field.imag**2).astype(np.float32)) for field in (first, second)
    ]
    usual = [float(np.median(part[common])) if common.any() else 0.0 for part in energy]
    either = (energy[0] > _FLAT * usual[0]) | (energy[1] > _FLAT * usual[1])
    similarity = product / np.maximum(np.sqrt(energy[0] * energy[1]), 1e-9)
    return np.asarray((similarity < _UNLIKE) & either & common)


def _smoothed(field: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.asarray(cv2.GaussianBlur(field, (0, 0), _POOL_PX), dtype=np.float32)


# So many chips must agree before they speak for the others of the same two images, and within so
# many pixels.
_FEWEST, _AGREE_PX = 4, 0.35
# A chip's own measurement further from what the others say is held to be wrong, pixels.
_WRONG_PX = 3.0


def fill_residuals(pairs: Sequence[PairRow]) -> list[PairRow]:
    """Gives a residual to chips that could not tell theirs, from others of the same two images.

    Two products are displaced as a whole, up to relief: where at least four chips agree within a
    third of a pixel, their median holds for the rest (snow, water), with the spread as standard
    deviation. A chip that contradicts such a majority by more than three pixels loses its own.

    Args:
        pairs: Pairs as measured.

    Returns:
        The pairs in the same order.
    """
    groups: dict[tuple[str, str, str], list[int]] = {}
    for i, pair in enumerate(pairs):
        grid = str(PurePosixPath(pair.site).parent)
        groups.setdefault((grid, _label(pair.a), _label(pair.b)), []).append(i)
    out = list(pairs)
    for members in groups.values():
        own = [i for i in members if pairs[i].measured == "chip"]
        if len(own) < _FEWEST:
            continue
        shifts = np.array([(pairs[i].dx, pairs[i].dy) for i in own])
        middle = np.median(shifts, axis=0)
        spread = 1.4826 * np.median(np.abs(shifts - middle), axis=0)
        if spread.max() > _AGREE_PX:
            continue
        sigma = float(np.hypot(spread.max(), np.median([pairs[i].sigma_px for i in own])))
        for i in members:
            pair = pairs[i]
            wrong = float(np.hypot(pair.dx - middle[0], pair.dy - middle[1])) > _WRONG_PX
            if pair.measured == "none" or wrong:
                dx, dy = (float(v) for v in middle)
                out[i] = replace(pair, dx=dx, dy=dy, sigma_px=sigma, measured="scene")
    return out


def _label(path: str) -> str:
    return PurePosixPath(path).stem
