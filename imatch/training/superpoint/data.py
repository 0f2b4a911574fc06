"""Views that a SuperPoint learns from: one date twice, or two dates, varied."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from imatch.datasets.sample import PairSample
from imatch.training.augment.pair import Augmentation, Augmented
from imatch.training.loader import Draw, PairBatch, collate
from imatch.training.superpoint.config import ObjectiveConfig
from imatch.training.views import Pairs, one_date, with_bands

Kind = Literal["one-date", "two-dates"]


@dataclass(frozen=True, eq=False)
class Item:
    """One view of a pair, as a draw gives it.

    Attributes:
        index: Number of the pair in the data set.
        kind: Whether it shows one date twice or two dates.
        swapped: Whether `a` and `b` of the data set's pair are exchanged.
        plain: The pair as the data set gives it.
        seen: What the network sees of it.
    """

    index: int
    kind: Kind
    swapped: bool
    plain: PairSample
    seen: Augmented


@dataclass(frozen=True, eq=False)
class SuperPointBatch:
    """Items, and their views side by side.

    Attributes:
        items: The items.
        seen: What the network sees.
        clear: The same views without change of colour.
    """

    items: tuple[Item, ...]
    seen: PairBatch
    clear: PairBatch


@dataclass(frozen=True)
class SuperPointViews:
    """A data set of pairs, seen at a draw.

    Args:
        pairs: The pairs.
        augmentation: How they are varied.
        objectives: Decide how often one date is shown twice.
        bands: Bands the network sees.
        seed: Of everything random.
    """

    pairs: Pairs
    augmentation: Augmentation
    objectives: ObjectiveConfig
    bands: int
    seed: int

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, draw: Draw) -> Item:
        index, number = draw
        rng = np.random.default_rng([self.seed, number])
        plain = with_bands(self.pairs[index], self.bands)
        one, two = self.objectives.one_date, self.objectives.two_dates
        kind: Kind = "one-date" if rng.random() * (one + two) < one else "two-dates"
        swapped = bool(rng.random() < 0.5)
        pair = plain.swapped() if swapped else plain
        if kind == "one-date":
            pair = one_date(pair)
        return Item(index, kind, swapped, plain, self.augmentation.vary(pair, rng))


def collate_items(items: Sequence[Item]) -> SuperPointBatch:
    """Stacks items into a batch."""
    return SuperPointBatch(
        tuple(items),
        collate([item.seen.pair for item in items]),
        collate([item.seen.clear for item in items]),
    )
