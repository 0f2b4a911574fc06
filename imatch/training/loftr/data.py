"""Views that a LoFTR learns from: kinds of pairs in proportion, varied, as its matcher does."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from imatch.core.types import Rendered
from imatch.datasets.pairs import ChipPairs, Key, Mixture, PairDataset, mix_kinds
from imatch.datasets.sample import PairSample
from imatch.datasets.synthetic.maps import MapPairs
from imatch.datasets.synthetic.pairs import LandscapePairs
from imatch.matchers.dense.loftr_s2 import LoFTRS2
from imatch.matchers.images import prepare
from imatch.training.augment.pair import Augmentation
from imatch.training.loader import Draw
from imatch.training.loftr.config import (
    LoFTRConfig,
    LoFTRDataConfig,
    LoFTRDistilConfig,
)
from imatch.training.loftr.labels import AlignedTargets, Alignments, with_alignment
from imatch.training.views import (
    Pairs,
    PairsConfig,
    SensorPairs,
    one_date,
    open_pairs,
    split_cases,
)

Kind = Literal["season", "hard", "self", "landscape", "distil", "sensors", "map"]


@dataclass
class Part:
    """Some pairs of a data set, as they are or each date with itself.

    Args:
        pairs: The data set.
        indices: Which of its pairs.
        alone: Whether the first date is shown twice.
        aligned: How pairs lie to each other by our own matchers, instead of what they say.
        reach_px: How far from a tie point that alignment holds.
    """

    pairs: PairDataset
    indices: Sequence[int]
    alone: bool = False
    aligned: dict[int, AlignedTargets] | None = None
    reach_px: float = 24.0

    def __len__(self) -> int:
        return len(self.indices)

    def set_epoch(self, epoch: int) -> None:
        """See `Mixture.set_epoch`."""
        self.pairs.set_epoch(epoch)

    def __getitem__(self, key: Key) -> PairSample:
        """Returns a pair, by (epoch, index) or an index of the present epoch."""
        epoch, index = key if isinstance(key, tuple) else (None, key)
        own = self.indices[index]
        if self.aligned is not None:
            # Labels are of the pair as it lies on disk, first date first.
            pair = with_alignment(in_order(self.pairs, own), self.aligned[own], self.reach_px)
            swap = np.random.default_rng([17, epoch or 0, own]).random() < 0.5
            return pair.swapped() if swap else pair
        sample = self.pairs[own if epoch is None else (epoch, own)]
        return one_date(sample) if self.alone else sample


def in_order(pairs: PairDataset, index: int) -> PairSample:
    """Returns a pair with its first date first, whichever epoch it is."""
    if isinstance(pairs, ChipPairs):
        return pairs.pair(pairs.rows[index])
    return pairs[index]


@dataclass(frozen=True)
class InOrder:
    """A data set whose pairs have their first date first, to be aligned."""

    pairs: PairDataset

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, index: int) -> PairSample:
        return in_order(self.pairs, index)


def kinds_of(chips: ChipPairs, config: LoFTRDataConfig) -> dict[Kind, list[int]]:
    """Sorts the pairs of a data set by kind; one may be of several.

    Args:
        chips: The data set.
        config: From when on a pair is hard, and how many there may be of a kind.
    """
    hard_share = config.mixture.hard_share
    kinds: dict[Kind, list[int]] = {"season": [], "hard": [], "self": [], "distil": []}
    for index, row in enumerate(chips.rows):
        kinds["self"].append(index)
        if not np.isfinite(row.sigma_px):
            kinds["distil"].append(index)
        elif "hard" in row.tag.split() or row.changed_share >= hard_share:
            kinds["hard"].append(index)
        else:
            kinds["season"].append(index)
    if config.limit is None:
        return kinds
    return {kind: _thinned(indices, config.limit) for kind, indices in kinds.items()}


def _thinned(indices: Sequence[int], count: int) -> list[int]:
    kept = min(count, len(indices))
    return [indices[k * len(indices) // kept] for k in range(kept)]


def open_mixture(
    config: LoFTRDataConfig, distil: LoFTRDistilConfig, alignments: Alignments, seed: int
) -> tuple[Mixture, dict[str, int]]:
    """Opens the pairs to learn from.

    Args:
        config: What they are.
        distil: How far a tie point vouches.
        alignments: Makes or finds the alignments of pairs whose residual is unknown.
        seed: Of the draws and of the procedural landscapes.

    Returns:
        The mixture, and how many pairs of each kind there are.

    Raises:
        InputError: The chips or the cases are missing or damaged.
        ConfigError: There is nothing to learn from, or a source does not exist.
    """
    weights = config.mixture.model_dump(by_alias=True)
    members: dict[Kind, PairDataset] = {}
    if config.chips is not None:
        chips = ChipPairs(
            config.chips, "train", seed=seed, channels=3, sources=config.sources, singles="alone"
        )
        for kind, indices in kinds_of(chips, config).items():
            if not indices or not weights[kind]:
                continue
            if kind == "distil":
                known = alignments.of_all(InOrder(chips), indices)
                part = Part(chips, list(known), aligned=known, reach_px=distil.reach_px)
            else:
                part = Part(chips, indices, alone=kind == "self")
            if len(part):
                members[kind] = part
    if config.landscapes:
        # Validation's ground is of odd seeds.
        side = (config.size, config.size)
        members["landscape"] = LandscapePairs(2 * seed, side, config.landscapes)
    if config.maps:
        members["map"] = MapPairs(2 * seed, config.size, config.maps)
    cases, _ = split_cases(config)
    if cases:
        members["sensors"] = SensorPairs(cases, config)
    hint = (
        "set data.chips to a folder of imatch data prepare, data.cases or data.landscapes, and give"
        " them weights in data.mixture"
    )
    return mix_kinds(members, weights, seed=seed, hint=hint)


@dataclass(frozen=True)
class LoFTRViews:
    """A mixture of pairs, seen at a draw.

    Args:
        pairs: The pairs.
        augmentation: How they are varied.
        seed: Of everything random.
        channels: Bands the network sees.
    """

    pairs: PairDataset
    augmentation: Augmentation
    seed: int
    channels: Literal[1, 3] = 1

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, draw: Draw) -> PairSample:
        index, number = draw
        rng = np.random.default_rng([self.seed, number])
        pair = self.pairs[number // len(self), index]
        return as_matched(self.augmentation(pair, rng), self.channels)


def as_matched(pair: PairSample, channels: Literal[1, 3] = 1) -> PairSample:
    """Renders a pair as the matcher shows it to the network.

    Luminance or colour; invalid ground continued from what is nearest to it, and widened by a guard
    band.
    """
    seen = [
        prepare(Rendered(pixels, valid), channels, LoFTRS2.guard)
        for pixels, valid in ((_rgb(pair.a), pair.valid_a), (_rgb(pair.b), pair.valid_b))
    ]
    a, b = (np.ascontiguousarray(image.pixels, dtype=np.float32) for image in seen)
    return replace(pair, a=a, b=b, valid_a=seen[0].valid, valid_b=seen[1].valid)


def _rgb(pixels: NDArray[np.float32]) -> NDArray[np.float32]:
    """Converts to one or three bands."""
    return pixels if len(pixels) in (1, 3) else pixels.mean(axis=0, keepdims=True)


def open_validation(config: LoFTRConfig, seed: int) -> Pairs:
    """Opens pairs of validation places, or procedural ones where there are no chips.

    Raises:
        InputError: The chips are missing or damaged.
        ConfigError: There is nothing to measure on.
    """
    data = config.data
    shared = data.model_dump(include=set(PairsConfig.model_fields))
    wanted = PairsConfig(**(shared | {"size": config.validation.size}))
    return open_pairs(wanted, "val", config.shape.channels, seed)
