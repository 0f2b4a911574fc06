"""Pairs that trainers of any network learn from and are measured on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal, Protocol, cast

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from torch.utils.data import ConcatDataset, Dataset, Subset

from imatch.benchmark.cases import UNRELATED, Case, read_cases
from imatch.benchmark.prepare_case import prepare_case
from imatch.core.errors import ConfigError, InputError
from imatch.core.settings import Settings
from imatch.datasets.pairs import EpochPairs
from imatch.datasets.sample import SENSORS, PairSample
from imatch.matchers.images import convert_bands
from imatch.pipeline.pair.config import MatchConfig
from imatch.raster import render
from imatch.training.augment.geometry import ViewConfig
from imatch.training.augment.pair import PLAIN, Augmentation
from imatch.training.config import MOST


class PairsConfig(Settings):
    """Settings of the pairs to learn from.

    Attributes:
        chips: Folder that ``imatch data prepare`` filled; None for procedural landscapes alone.
        sources: Only these of its sources; None for all.
        size: Side of the views the network sees, a multiple of 8.
        landscapes: Number of procedural pairs, alone or beside others; validation is on real ones
            where there are any.
        maps: Number of procedural photographs and maps, likewise.
        cases: Table of cases (``imatch bench``) of real pairs of two sensors; its images lie beside
            it. What it shows of a ground is taken once, as it is.
        case_sources: Only these of its sources; None for all.
        held_out: Every so many-th ground of the table is kept for validation.
        limit: Most pairs used for training; None for all.
    """

    chips: Path | None = None
    sources: tuple[str, ...] | None = None
    size: int = Field(default=256, ge=32, le=MOST, multiple_of=8)
    landscapes: int = Field(default=0, ge=0)
    maps: int = Field(default=0, ge=0)
    cases: Path | None = None
    case_sources: tuple[str, ...] | None = None
    held_out: int = Field(default=5, ge=2)
    limit: int | None = Field(default=None, ge=1)


class ViewsConfig(Settings):
    """Settings of the pairs to measure on, and how far apart their views are.

    Attributes:
        pairs: Validation pairs, spread evenly over the places.
        rotation_deg: Largest rotation between the views.
        scale: Largest ratio of scales.
        shift_px: Largest shift.
    """

    pairs: int = Field(default=60, ge=1, le=MOST)
    rotation_deg: float = Field(default=10.0, ge=0, le=180)
    scale: float = Field(default=1.1, ge=1, le=2)
    shift_px: float = Field(default=12.0, ge=0)


class Pairs(Protocol):
    """A data set of pairs."""

    def __len__(self) -> int:
        """Number of pairs."""

    def __getitem__(self, index: int, /) -> PairSample:
        """Returns one pair, always the same."""


class SensorPairs(EpochPairs):
    """Real pairs of two sensors from a table of cases, each ground once, as its files have it.

    Args:
        cases: The cases; their truth leads to the warped target, and is taken back.
        config: Names the table, beside which the images lie.
    """

    def __init__(self, cases: Sequence[Case], config: PairsConfig) -> None:
        assert config.cases is not None
        self._cases, self._root = list(cases), config.cases.parent
        self._kept: dict[int, PairSample] = {}

    def __len__(self) -> int:
        return len(self._cases)

    def draw(self, _epoch: int, index: int) -> PairSample:
        """See `EpochPairs.draw`; the same in every epoch."""
        if index not in self._kept:
            self._kept[index] = self._read(self._cases[index])
        return self._kept[index]

    def _read(self, case: Case) -> PairSample:
        assert case.truth is not None
        plain = replace(case, warp=np.eye(3))
        images = [
            render(view.source().read(), 3)
            for view in prepare_case(plain, self._root, MatchConfig())
        ]
        homography = np.linalg.inv(case.warp) @ case.truth
        return PairSample(
            a=images[0].pixels,
            b=images[1].pixels,
            valid_a=images[0].valid,
            valid_b=images[1].valid,
            homography=homography / homography[2, 2],
            sigma_px=case.tol_px / 2,
            changed=np.zeros_like(images[0].valid),
            place=case.name,
            dates=("reference", case.source),
            source=SENSORS,
        )


def split_cases(config: PairsConfig) -> tuple[list[Case], list[Case]]:
    """Reads the table of cases and keeps every so many-th ground for validation.

    Args:
        config: Names the table, and which of its sources are used.

    Returns:
        Cases to learn from and cases to measure on, one of each ground.

    Raises:
        InputError: The table cannot be read, or has no pair of the sources.
    """
    if config.cases is None:
        return [], []
    grounds: dict[tuple[str, str], Case] = {}
    for case in read_cases(config.cases):
        wanted = config.case_sources is None or case.source in config.case_sources
        if wanted and case.variant != UNRELATED:
            grounds.setdefault((case.ref, case.tgt), case)
    if not grounds:
        raise InputError(
            "has no pair of two sensors of these sources",
            subject=config.cases,
            hint="see its column source, and data.case_sources",
        )
    # By source, so that each has its share.
    chosen = sorted(grounds.values(), key=lambda case: (case.source, case.name))
    held = chosen[:: config.held_out]
    kept = [case for number, case in enumerate(chosen) if number % config.held_out]
    return kept, held


def one_date(pair: PairSample) -> PairSample:
    """Returns the first date of a pair, twice."""
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
    """Converts a pair to the bands of a network.

    Raises:
        InputError: Neither is 1 or 3 bands, and they differ.
    """
    there = len(pair.a)
    if there == bands:
        return pair
    if bands in (1, 3) and there in (1, 3):
        return replace(pair, a=_to_bands(pair.a, bands), b=_to_bands(pair.b, bands))
    raise InputError(
        f"has {there} bands, the network wants {bands}",
        subject=pair.place or pair.source,
        hint=f"set model.bands={there}, or prepare the data with other --bands",
    )


def _to_bands(pixels: NDArray[np.float32], bands: int) -> NDArray[np.float32]:
    return np.ascontiguousarray(convert_bands(pixels, 1 if bands == 1 else 3), dtype=np.float32)


def open_pairs(config: PairsConfig, split: Literal["train", "val"], bands: int, seed: int) -> Pairs:
    """Opens the pairs of a split.

    Args:
        config: What is learnt from.
        split: Which split.
        bands: Bands the network sees.
        seed: Of procedural landscapes, and of which date comes first.

    Raises:
        InputError: The chips or the cases are missing or damaged.
        ConfigError: There is nothing to learn from, or a source does not exist.
    """
    from imatch.datasets.pairs import ChipPairs
    from imatch.datasets.synthetic.maps import MapPairs
    from imatch.datasets.synthetic.pairs import LandscapePairs

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
    cases = split_cases(config)[split == "val"]
    if cases:
        parts.append(SensorPairs(cases, config))
    procedural = split == "train" or not parts
    # Other seeds are other ground, and fewer are enough to measure on.
    ground, share = 2 * seed + (split == "val"), 1 if split == "train" else 5
    if config.landscapes and procedural:
        count = max(config.landscapes // share, 1)
        parts.append(LandscapePairs(ground, (config.size, config.size), count))
    if config.maps and procedural:
        parts.append(MapPairs(ground, config.size, max(config.maps // share, 1)))
    if not parts:
        raise ConfigError(
            "there is nothing to learn from",
            subject="data",
            hint="set data.chips to a folder of imatch data prepare, data.cases or data.landscapes",
        )
    pairs: Pairs = ConcatDataset(cast("list[Dataset[PairSample]]", parts))
    if split == "train" and config.limit is not None:
        return spread(pairs, config.limit)
    return pairs


def spread(pairs: Pairs, count: int) -> Pairs:
    """Chooses so many pairs of a data set, spread evenly over it; all where there are fewer."""
    kept = min(count, len(pairs))
    data = cast("Dataset[PairSample]", pairs)
    return Subset(data, [index * len(pairs) // kept for index in range(kept)])


def validation_pairs(
    pairs: Pairs, config: ViewsConfig, size: int, bands: int, seed: int, count: int | None = None
) -> list[PairSample]:
    """Returns pairs to measure on: two dates through two views, the same each time.

    Args:
        pairs: Pairs of the validation places.
        config: How many, and how far apart the views are.
        size: Side of a view, pixels.
        bands: Bands the network sees.
        seed: Of the views.
        count: Instead of the configuration's number.

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
    chosen = spread(pairs, count or config.pairs)
    for index in range(len(chosen)):
        pair = with_bands(chosen[index], bands)
        if pair.known:
            cases.append(look(pair, np.random.default_rng([seed, index])))
    if not cases:
        raise InputError(
            "no validation pair has a known alignment", hint="prepare more places or dates"
        )
    return cases
