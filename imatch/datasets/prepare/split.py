"""Deal ground to splits, so that no ground is in two of them.

Random chips of one scene leak: neighbours overlap, and what does not overlap still shares fields
and forests. Ground is therefore dealt in blocks (Roberts et al., Ecography 2017), and chips of
different splits keep a guard distance.
"""

from __future__ import annotations

import bisect
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

#: (left, bottom, right, top) in map units, or pixels where there is no map.
Box = tuple[float, float, float, float]

# Sides of blocks to try, in chips, and how many blocks make a deal worth having.
_BLOCKS = (8.0, 4.0, 2.0)
_FEWEST_BLOCKS = 9


@dataclass(frozen=True)
class Partition:
    """A plane cut into cells by lines along its axes, each cell belonging to one split.

    Attributes:
        x: Ascending cuts; n of them make n + 1 columns, the outer ones unbounded.
        y: Ascending cuts; m of them make m + 1 rows, bottom first.
        cells: Name of the split, row by row.
        guard: Least distance between boxes of different splits.

    Examples:
        >>> halves = Partition((), (10.0,), (("train",), ("val",)), guard=2.0)
        >>> halves.of((0, 0, 5, 9)), halves.of((0, 11, 5, 20)), halves.of((0, 9.5, 5, 20))
        ('train', 'val', None)
    """

    x: tuple[float, ...]
    y: tuple[float, ...]
    cells: tuple[tuple[str, ...], ...]
    guard: float

    def of(self, box: Box) -> str | None:
        """Returns the split a box belongs to; None where it is within half the guard of two.

        Boxes of different splits, each grown by half the guard, lie in different cells, hence they
        are at least the guard apart along x or along y.
        """
        half = self.guard / 2
        left, bottom, right, top = box
        columns = _intervals_reached(self.x, left - half, right + half)
        rows = _intervals_reached(self.y, bottom - half, top + half)
        found = {self.cells[row][column] for row in rows for column in columns}
        return found.pop() if len(found) == 1 else None

    def areas(self, extent: Box) -> list[tuple[Box, str]]:
        """Returns the cells in an extent, less half the guard where they meet another cell."""
        out = []
        for row, (bottom, top) in enumerate(_spans(self.y, extent[1], extent[3], self.guard)):
            for column, (left, right) in enumerate(
                _spans(self.x, extent[0], extent[2], self.guard)
            ):
                if left < right and bottom < top:
                    out.append(((left, bottom, right, top), self.cells[row][column]))
        return out


def _intervals_reached(cuts: Sequence[float], low: float, high: float) -> range:
    """Returns the numbers of the intervals that an open span reaches into."""
    return range(bisect.bisect_right(cuts, low), max(bisect.bisect_left(cuts, high), 0) + 1)


def _spans(
    cuts: Sequence[float], low: float, high: float, guard: float
) -> list[tuple[float, float]]:
    edges = [-math.inf, *cuts, math.inf]
    return [
        (max(low, begin + guard / 2), min(high, end - guard / 2)) for begin, end in pairwise(edges)
    ]


def partition(
    extent: Box,
    chip: float,
    shares: Mapping[str, float],
    *,
    guard: float,
    block: float | None = None,
    rng: np.random.Generator,
) -> Partition | None:
    """Deals the ground of one place.

    Large places are cut into blocks, a share of which goes to each split at random. Places with
    room for fewer than nine blocks are cut into one strip a split along their longer side, which
    loses least ground to the guard.

    Args:
        extent: The place.
        chip: Side of a chip, in the extent's units.
        shares: Split -> share of the ground, summing to 1.
        guard: Least distance between chips of different splits, in chips.
        block: Side of the blocks in chips; tried from 8 downwards when None.
        rng: Decides which block, or which end, goes where.

    Returns:
        The partition; None where a place is too small to hold a chip of each split.
    """
    width, height = extent[2] - extent[0], extent[3] - extent[1]
    gap = guard * chip
    if len(shares) < 2:
        return Partition((), (), ((next(iter(shares)),),), gap)
    for side in _BLOCKS if block is None else (block,):
        columns, rows = (max(1, round(length / (side * chip + gap))) for length in (width, height))
        # A block must hold the chips it is named after, else the guards eat it.
        if columns * rows >= _FEWEST_BLOCKS and min(width / columns, height / rows) >= chip + gap:
            cuts_x = _even_cuts(extent[0], width, columns)
            cuts_y = _even_cuts(extent[1], height, rows)
            names = _shuffled_names(columns * rows, shares, rng)
            cells = tuple(tuple(names[row * columns : (row + 1) * columns]) for row in range(rows))
            return Partition(cuts_x, cuts_y, cells, gap)
    return _strips(extent, chip, shares, gap, rng)


def _even_cuts(begin: float, length: float, count: int) -> tuple[float, ...]:
    return tuple(begin + length * i / count for i in range(1, count))


def _shuffled_names(count: int, shares: Mapping[str, float], rng: np.random.Generator) -> list[str]:
    """Returns `count` names in random order, each split at least once."""
    names = list(shares)
    whole = {name: max(1, int(share * count)) for name, share in shares.items()}
    while sum(whole.values()) < count:
        short = max(names, key=lambda name: shares[name] * count - whole[name])
        whole[short] += 1
    while sum(whole.values()) > count:
        whole[max(names, key=lambda name: whole[name])] -= 1
    deck = [name for name in names for _ in range(whole[name])]
    return [deck[i] for i in rng.permutation(count)]


def _strips(
    extent: Box, chip: float, shares: Mapping[str, float], gap: float, rng: np.random.Generator
) -> Partition | None:
    width, height = extent[2] - extent[0], extent[3] - extent[1]
    along_x = width > height
    length, across = (width, height) if along_x else (height, width)
    if length < len(shares) * chip + (len(shares) - 1) * gap or across < min(chip, length):
        return None
    # At least a chip each; the largest share takes what is left.
    names = sorted(shares, key=lambda name: shares[name])
    need = {
        name: chip + gap / 2 * (1 if i in (0, len(names) - 1) else 2)
        for i, name in enumerate(names)
    }
    order = names if rng.random() < 0.5 else names[::-1]
    wide = {name: max(need[name], shares[name] * length) for name in names[:-1]}
    wide[names[-1]] = length - sum(wide.values())
    if wide[names[-1]] < need[names[-1]]:
        wide = {name: need[name] for name in names[:-1]}
        wide[names[-1]] = length - sum(wide.values())
    begin = extent[0] if along_x else extent[1]
    cuts = tuple(float(begin + total) for total in np.cumsum([wide[name] for name in order])[:-1])
    if along_x:
        return Partition(cuts, (), (tuple(order),), gap)
    return Partition((), cuts, tuple((name,) for name in order), gap)


def assign_groups(
    weights: Mapping[str, float], shares: Mapping[str, float], rng: np.random.Generator
) -> dict[str, str]:
    """Deals whole groups (events, tiles, places too small to be cut) to splits.

    Args:
        weights: Group -> how much it holds.
        shares: Split -> share wanted.
        rng: Breaks ties.

    Returns:
        Group -> split. The largest groups go first, each to the split that lacks most, so every
        split gets a group as soon as there are as many groups as splits; a single group goes to
        the first split.
    """
    names = list(shares)
    total = sum(weights.values())
    got = dict.fromkeys(names, 0.0)
    order = [list(weights)[i] for i in rng.permutation(len(weights))]
    order.sort(key=lambda group: -weights[group])
    out: dict[str, str] = {}
    for position, group in enumerate(order):
        empty = [name for name in names if got[name] == 0]
        left = len(order) - position
        pool = empty if empty and left <= len(empty) else names
        choice = max(pool, key=lambda name: shares[name] * total - got[name])
        got[choice] += max(weights[group], 1e-9)
        out[group] = choice
    return out
