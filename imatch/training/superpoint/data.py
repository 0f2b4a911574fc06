"""What a SuperPoint is shown: one date twice, or two dates, varied."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from imatch.core.errors import ConfigError, InputError
from imatch.matchers.images import convert_bands
from imatch.training.augment import PLAIN, Augmentation, Augmented
from imatch.training.augment_geometry import ViewConfig
from imatch.training.collate import PairBatch, collate
from imatch.training.loading import Draw
from imatch.training.sample import PairSample
from imatch.training.superpoint.config import DataConfig, ObjectiveConfig, ValidationConfig

Kind = Literal["one-date", "two-dates"]


class Pairs(Protocol):
    """A data set of pairs."""

    def __len__(self) -> int:
        """Number of pairs."""

    def __getitem__(self, index: int, /) -> PairSample:
        """One pair, always the same."""


@dataclass(frozen=True, eq=False)
class Item:
    """A pair as it is shown once.

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
class Batch:
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
class Shown:
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


def gather(items: Sequence[Item]) -> Batch:
    """Make a batch of items."""
    return Batch(
        tuple(items),
        collate([item.seen.pair for item in items]),
        collate([item.seen.clear for item in items]),
    )


def one_date(pair: PairSample) -> PairSample:
    """The first date of a pair, twice."""
    return replace(
        pair,
        b=pair.a,
        valid_b=pair.valid_a,
        homography=np.eye(3),
        sigma_px=0.0,
        changed=np.zeros_like(pair.changed),
        dates=(pair.dates[0], pair.dates[0]),
    )


def with_bands(pair: PairSample, bands: int) -> PairSample:
    """A pair as a network of so many bands sees it.

    Raises:
        InputError: Neither is 1 or 3 bands, and they differ.
    """
    there = len(pair.a)
    if there == bands:
        return pair
    if bands in (1, 3) and there in (1, 3):
        return replace(pair, a=_converted(pair.a, bands), b=_converted(pair.b, bands))
    raise InputError(
        f"has {there} bands, the network wants {bands}",
        subject=pair.place or pair.source,
        hint=f"set model.bands={there}, or prepare the data with other --bands",
    )


def _converted(pixels: NDArray[np.float32], bands: int) -> NDArray[np.float32]:
    return np.ascontiguousarray(convert_bands(pixels, 1 if bands == 1 else 3), dtype=np.float32)


def open_pairs(config: DataConfig, split: Literal["train", "val"], bands: int, seed: int) -> Pairs:
    """The pairs of a split.

    Args:
        config: What is learnt from.
        split: Which split.
        bands: Bands the network sees.
        seed: Of procedural landscapes, and of which date comes first.

    Raises:
        InputError: The chips are missing or damaged.
        ConfigError: There is nothing to learn from, or a source does not exist.
    """
    from imatch.training.data.landscapes import LandscapePairs
    from imatch.training.data.pairs import ChipPairs

    parts: list[Pairs] = []
    if config.chips is not None:
        channels: Literal[1, 3] | None = 1 if bands == 1 else 3 if bands == 3 else None
        # A pair whose shift is unknown still shows what one date looks like.
        known = split == "val"
        parts.append(
            ChipPairs(
                config.chips,
                split,
                seed=seed,
                channels=channels,
                sources=config.sources,
                known_only=known,
            )
        )
    if config.landscapes and (split == "train" or not parts):
        # Other seeds are other ground.
        count = config.landscapes if split == "train" else max(config.landscapes // 5, 1)
        parts.append(LandscapePairs(2 * seed + (split == "val"), (config.size, config.size), count))
    if not parts:
        raise ConfigError(
            "there is nothing to learn from",
            subject="data",
            hint="set data.chips to a folder of imatch data prepare, or data.landscapes",
        )
    pairs = Joined(tuple(parts))
    if split == "train" and config.limit is not None:
        return Chosen(pairs, config.limit)
    return pairs


@dataclass(frozen=True)
class Joined:
    """Data sets one after the other."""

    parts: Sequence[Pairs]

    def __len__(self) -> int:
        return sum(len(part) for part in self.parts)

    def __getitem__(self, index: int) -> PairSample:
        for part in self.parts:
            if index < len(part):
                return part[index]
            index -= len(part)
        raise IndexError(index)


@dataclass(frozen=True)
class Chosen:
    """So many pairs of a data set, spread evenly over it."""

    pairs: Pairs
    count: int

    def __len__(self) -> int:
        return min(self.count, len(self.pairs))

    def __getitem__(self, index: int) -> PairSample:
        if not 0 <= index < len(self):
            raise IndexError(index)
        return self.pairs[index * len(self.pairs) // len(self)]


def validation_pairs(
    pairs: Pairs, config: ValidationConfig, size: int, bands: int, seed: int
) -> list[PairSample]:
    """Pairs to measure on: two dates through two views, the same each time.

    Args:
        pairs: Pairs of the validation places.
        config: How many, and how far apart the views are.
        size: Side of a view, pixels.
        bands: Bands the network sees.
        seed: Of the views.

    Raises:
        InputError: Of none of them is the alignment known.
    """
    views = ViewConfig(
        rotation_deg=config.rotation_deg,
        scale=config.scale,
        shear=0,
        perspective=0,
        shift_px=config.shift_px,
        turn=False,
        zoom=1,
    )
    look = Augmentation(PLAIN.model_copy(update={"views": views}), size)
    cases = []
    chosen = Chosen(pairs, config.pairs)
    for index in range(len(chosen)):
        pair = with_bands(chosen[index], bands)
        if pair.known:
            cases.append(look(pair, np.random.default_rng([seed, index])))
    if not cases:
        raise InputError(
            "no validation pair has a known alignment", hint="prepare more places or dates"
        )
    return cases
