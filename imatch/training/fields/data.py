"""Views that a field network learns from: two sensors, real or made, of one ground."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from imatch.core.types import Rendered
from imatch.datasets.pairs import ChipPairs, Mixture, PairDataset, mix_kinds
from imatch.datasets.sample import MAPS, SENSORS, PairSample
from imatch.datasets.synthetic.maps import MapPairs
from imatch.datasets.synthetic.pairs import LandscapePairs
from imatch.geometry.sensor_field import FieldInput, field_input
from imatch.training.augment.geometry import draw_views, move
from imatch.training.augment.modality import optical, other_modality, stretched
from imatch.training.fields.config import FieldAugmentConfig, FieldDataConfig
from imatch.training.loader import Draw
from imatch.training.views import Pairs, SensorPairs, one_date, split_cases, with_bands

#: `PairSample.source` of the references of real pairs of two sensors.
OPTICAL = "optical"
# Of two dates of a season's pair one is shown twice, once in a made modality.
_ONE_DATE = 0.4
# Procedural images are so many times as wide as a view: as far as views zoom out.
_ZOOMED = 1.4


@dataclass
class OneSensor:
    """The first images of pairs, twice.

    Args:
        pairs: The pairs.
    """

    pairs: PairDataset

    def __len__(self) -> int:
        return len(self.pairs)

    def set_epoch(self, epoch: int) -> None:
        """See `PairDataset.set_epoch`."""
        self.pairs.set_epoch(epoch)

    def __getitem__(self, key: int | tuple[int, int]) -> PairSample:
        """Returns a pair, by (epoch, index) or an index of the present epoch."""
        return replace(one_date(self.pairs[key]), source=OPTICAL)


def open_mixture(config: FieldDataConfig, seed: int) -> tuple[Mixture, dict[str, int]]:
    """Opens the pairs to learn from.

    Args:
        config: What they are.
        seed: Of the draws and of what is procedural.

    Returns:
        The mixture, and how many pairs of each kind there are.

    Raises:
        InputError: Chips or cases are missing or damaged.
        ConfigError: There is nothing to learn from.
    """
    weights, members = config.mixture.model_dump(), dict[str, PairDataset]()
    cases, _ = split_cases(config)
    if cases:
        members["sensors"] = SensorPairs(cases, config)
        members["optical"] = OneSensor(members["sensors"])
    if config.chips is not None:
        members["season"] = ChipPairs(
            config.chips, "train", seed=seed, channels=3, sources=config.sources, known_only=True
        )
    # Validation's ground is of odd seeds.
    if config.landscapes:
        side = _made_side(config)
        members["landscape"] = LandscapePairs(2 * seed, (side, side), config.landscapes)
    if config.maps:
        members["map"] = MapPairs(2 * seed, _made_side(config), config.maps)
    hint = (
        "set data.maps, data.landscapes, data.chips or data.cases, and give them weights in"
        " data.mixture"
    )
    return mix_kinds(members, weights, seed=seed, hint=hint)


def open_validation(config: FieldDataConfig, pairs: int, seed: int) -> Pairs:
    """Opens the held-out pairs of two sensors, or procedural maps where there are none."""
    _, held = split_cases(config)
    if held:
        return SensorPairs(held, config)
    return MapPairs(2 * seed + 1, _made_side(config), max(pairs, config.maps // 5))


def _made_side(config: FieldDataConfig) -> int:
    """Side of procedural images: what the widest view sees of them, pixels."""
    return round(_ZOOMED * config.size)


@dataclass(frozen=True, eq=False)
class FieldItem:
    """Two views and where the middle of the first lies in the second, less its place.

    Attributes:
        a: What the network is told of the first.
        b: Of the second.
        shift: (2,) x and y, pixels.
    """

    a: FieldInput
    b: FieldInput
    shift: NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class FieldBatch:
    """B pairs of views, first all first ones.

    Attributes:
        bands: (2 B, 4, H, W).
        directions: (2 B, 2 K, h, w).
        seen: (2 B, 1, h, w).
        shift: (B, 2) pixels.
    """

    bands: Tensor
    directions: Tensor
    seen: Tensor
    shift: Tensor

    def __len__(self) -> int:
        return len(self.shift)


def collate(items: Sequence[FieldItem]) -> FieldBatch:
    """Stacks views."""
    views = [*(item.a for item in items), *(item.b for item in items)]
    bands, directions, seen = (
        torch.from_numpy(np.stack(part)) for part in zip(*views, strict=True)
    )
    shift = torch.from_numpy(np.stack([item.shift for item in items]))
    return FieldBatch(bands, directions, seen, shift)


def as_item(pair: PairSample) -> FieldItem:
    """What the network is told of a pair of square views."""
    told = [
        field_input(Rendered(pixels, valid))
        for pixels, valid in ((pair.a, pair.valid_a), (pair.b, pair.valid_b))
    ]
    middle = np.array([*((np.array(pair.valid_a.shape[::-1]) - 1) / 2), 1.0])
    x, y, w = pair.homography @ middle
    return FieldItem(
        told[0], told[1], np.array([x / w, y / w], np.float32) - middle[:2].astype("f4")
    )


class _Sized(Protocol):
    def __len__(self) -> int: ...


@dataclass(frozen=True)
class FieldViews:
    """A mixture of pairs, seen at a draw.

    Args:
        pairs: The pairs.
        augment: How they are varied.
        size: Side of a view, pixels.
        seed: Of everything random.
    """

    pairs: PairDataset
    augment: FieldAugmentConfig
    size: int
    seed: int

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, draw: Draw) -> FieldItem:
        index, number = draw
        rng = np.random.default_rng([self.seed, number])
        return as_item(self.vary(self.pairs[number // len(self), index], rng))

    def vary(self, pair: PairSample, rng: np.random.Generator) -> PairSample:
        """Returns two views of a pair, of two sensors, in any order."""
        pair = with_bands(pair, 3)
        one_sensor = pair.source not in (SENSORS, MAPS)
        if one_sensor and rng.random() < _ONE_DATE:
            pair = one_date(pair)
        pair = move(pair, *draw_views(self.augment.views, pair, self.size, rng), self.size)
        if one_sensor:
            first = optical if rng.random() < self.augment.natural else other_modality
            a, b = first(pair.a, rng), other_modality(pair.b, rng)
        else:
            a, b = (
                np.clip(image, 0, 1) ** np.exp(rng.normal(0, 0.2, (3, 1, 1)))
                for image in (pair.a, pair.b)
            )
        pair = replace(
            pair,
            a=stretched(np.asarray(a, dtype=np.float32)),
            b=stretched(np.asarray(b, dtype=np.float32)),
        )
        return pair.swapped() if rng.random() < 0.5 else pair
