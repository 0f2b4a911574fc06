"""Data sets of pairs: prepared chips, and mixtures of several data sets by weights."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal, Protocol, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

from imatch.core.errors import ConfigError, InputError
from imatch.core.io.files import inside
from imatch.core.types import BoolArray
from imatch.datasets.chip_files import ChipCache, load_mask
from imatch.datasets.manifest import ChipRow, DatasetManifest, KeypointRow, PairRow, load_manifest
from imatch.datasets.sample import PairSample

#: An index of the present epoch, or (epoch, index).
Key: TypeAlias = int | tuple[int, int]
# The key of a mapping does not vary: a name of one set of kinds is no plain string there.
_Kind = TypeVar("_Kind", bound=str)
_LUMA = np.array([0.299, 0.587, 0.114], dtype=np.float32)


class PairDataset(Protocol):
    """Data set of pairs: `ChipPairs`, `LandscapePairs`, `Mixture`."""

    def __len__(self) -> int: ...

    def __getitem__(self, key: Key, /) -> PairSample: ...

    def set_epoch(self, epoch: int, /) -> None:
        """Draws as in another epoch from now on."""


class EpochPairs(ABC):
    """A map-style data set whose pairs follow from (epoch, index), whoever asks and when."""

    epoch = 0

    @abstractmethod
    def __len__(self) -> int:
        """Returns the number of pairs of an epoch."""

    @abstractmethod
    def draw(self, epoch: int, index: int) -> PairSample:
        """Returns the pair of an epoch and of an index from 0 to the length."""

    def set_epoch(self, epoch: int) -> None:
        """See `PairDataset.set_epoch`."""
        self.epoch = epoch

    def __getitem__(self, key: Key) -> PairSample:
        """Returns the pair of an index, or of (epoch, index).

        Raises:
            IndexError: Beyond the end.
            InputError: A chip is missing or damaged.
        """
        epoch, index = key if isinstance(key, tuple) else (self.epoch, key)
        if not -len(self) <= index < len(self):
            raise IndexError(f"{index} of {len(self)} pairs")
        return self.draw(epoch, index % len(self))


class ChipPairs(EpochPairs):
    """A map-style data set of the pairs of one split; PyTorch's `DataLoader` takes it as it is.

    What it gives is a function of (seed, epoch, index): the order of the two dates is drawn anew in
    every epoch, all else is fixed. Workers that outlive an epoch are asked by (epoch, index).

    Args:
        data: The folder of a prepared data set, or its manifest.
        split: ``train``, ``val`` or ``test``.
        seed: Of the draws.
        repeat: How often an epoch goes over the pairs.
        channels: 1 for luminance, 3 for three bands (one is repeated), None for the bands as they
            are stored, which may differ from source to source.
        stretch: Which 1 and 99 % become 0 and 1: those of the ``chip``, as a matcher renders an
            image of that size, or of the whole ``scene``.
        sources: Only these.
        known_only: Leave out pairs whose residual is unknown.
        max_changed: Leave out pairs of which more has changed.
        singles: Whether chips make pairs with themselves: ``none``, those ``alone`` that have no
            partner (images of one date), ``all``, or ``auto``: those alone, if there is no pair.
        cache_mb: Decoded chips to keep in memory, in each process.

    Raises:
        InputError: The folder holds no data set.
        ConfigError: The split or a source does not exist, or nothing is left.
    """

    def __init__(
        self,
        data: Path | DatasetManifest,
        split: str,
        *,
        seed: int = 0,
        repeat: int = 1,
        channels: Literal[1, 3] | None = None,
        stretch: Literal["chip", "scene"] = "chip",
        sources: Sequence[str] | None = None,
        known_only: bool = False,
        max_changed: float = 0.6,
        singles: Literal["none", "alone", "all", "auto"] = "none",
        cache_mb: float = 256.0,
    ) -> None:
        manifest = data if isinstance(data, DatasetManifest) else load_manifest(data)
        _check_names(manifest, split, sources)
        self.manifest = manifest
        self.split, self.seed, self.repeat = split, seed, repeat
        self._channels, self._stretch = channels, stretch
        wanted = set(sources or manifest.document["sources"])
        chips = [c for c in manifest.chips if c.split == split and c.source in wanted]
        rows = [
            pair
            for pair in manifest.pairs
            if pair.split == split
            and pair.source in wanted
            and pair.changed_share <= max_changed
            and (not known_only or np.isfinite(pair.sigma_px))
        ]
        paired = {path for pair in manifest.pairs for path in (pair.a, pair.b)}
        if singles in ("all", "alone") or (singles == "auto" and not rows):
            rows += [_self_pair(c) for c in chips if singles == "all" or c.path not in paired]
        if not rows:
            raise ConfigError(
                f"no pair of {split} is left",
                subject=manifest.folder,
                hint="let more change, allow unknown residuals, or take chips alone (singles)",
            )
        self.rows: tuple[PairRow, ...] = tuple(rows)
        self._chips = {chip.path: chip for chip in chips}
        self._points: dict[str, list[KeypointRow]] = {}
        for point in manifest.keypoints:
            self._points.setdefault(point.site, []).append(point)
        self._cache = ChipCache(manifest.folder, cache_mb)

    def __len__(self) -> int:
        return self.repeat * len(self.rows)

    def draw(self, epoch: int, index: int) -> PairSample:
        """See `EpochPairs.draw`; the dates change places or do not."""
        sample = self.pair(self.rows[index % len(self.rows)])
        swap = np.random.default_rng([self.seed, epoch, index]).random() < 0.5
        return sample.swapped() if swap else sample

    def pair(self, row: PairRow) -> PairSample:
        """Reads the pair of a row of the table, first date first."""
        first, second = self._chips[row.a], self._chips[row.b]
        a, valid_a = self._image(first)
        b, valid_b = self._image(second)
        side = self.manifest.chip
        changed = np.zeros(valid_a.shape, dtype=bool)
        if row.changed:
            mask = load_mask(inside(self.manifest.folder, row.changed))
            changed[: mask.shape[0], : mask.shape[1]] = mask
        assert valid_a.shape == (side, side)
        # A clearing that was drawn on a later image is not there yet.
        points = [p for p in self._points.get(row.site, ()) if not (p.date and first.date < p.date)]
        return PairSample(
            a=a,
            b=b,
            valid_a=valid_a,
            valid_b=valid_b,
            homography=np.array([[1, 0, row.dx], [0, 1, row.dy], [0, 0, 1.0]]),
            sigma_px=row.sigma_px,
            changed=changed,
            keypoints_a=np.array([(p.x, p.y) for p in points], np.float32).reshape(-1, 2),
            keypoint_sigma_a=np.array([p.sigma_px for p in points], np.float32),
            place=row.site,
            dates=(first.date, second.date),
            source=row.source,
        )

    def _image(self, chip: ChipRow) -> tuple[NDArray[np.float32], BoolArray]:
        """Reads (C, side, side) float32 in [0, 1] and (side, side) bool; small chips are padded."""
        stored, valid = self._cache.read(chip.path)
        image = stretch_chip(chip, stored, valid, self._stretch, self._channels)
        side = self.manifest.chip
        height, width = valid.shape
        padding = ((0, side - height), (0, side - width))
        if padding == ((0, 0), (0, 0)):
            return image, valid
        return np.pad(image, ((0, 0), *padding)), np.pad(valid, padding)


def stretch_chip(
    chip: ChipRow,
    stored: NDArray[np.uint8] | NDArray[np.uint16],
    valid: BoolArray,
    stretch: Literal["chip", "scene"] = "chip",
    channels: Literal[1, 3] | None = None,
) -> NDArray[np.float32]:
    """Stretches a chip to [0, 1], as a matcher sees it.

    Args:
        chip: Its row.
        stored: (C, H, W) numbers as `read_chip` gives them.
        valid: (H, W) bool.
        stretch: Which 1 and 99 % become 0 and 1, see `ChipPairs`.
        channels: See `ChipPairs`.

    Returns:
        (channels, H, W) float32 in [0, 1], 0 where not valid.
    """
    texts = (chip.low, chip.high) if stretch == "chip" else (chip.scene_low, chip.scene_high)
    low, high = (np.array(text.split(), np.float32)[:, None, None] for text in texts)
    # A band that is all one value becomes 0.5, as matchers see it.
    flat = high <= low
    scaled = (stored.astype(np.float32) - low) / np.where(flat, np.float32(1), high - low)
    image = _to_channels(np.clip(np.where(flat, np.float32(0.5), scaled), 0, 1), channels)
    image[:, ~valid] = 0
    return image


def _to_channels(image: NDArray[np.float32], channels: Literal[1, 3] | None) -> NDArray[np.float32]:
    """Converts to the channels asked for, by the rules of `imatch.raster.read.render`."""
    count = len(image)
    if channels == 1 and count > 1:
        weights = _LUMA if count == 3 else np.full(count, 1 / count, np.float32)
        image = np.tensordot(weights, image, axes=1)[None]
    elif channels == 3 and count == 1:
        image = np.repeat(image, 3, axis=0)
    elif channels == 3 and count == 2:
        image = np.concatenate([image, image.mean(axis=0, keepdims=True)])
    elif channels == 3:
        image = image[:3]
    return image.astype(np.float32)


def _check_names(manifest: DatasetManifest, split: str, sources: Sequence[str] | None) -> None:
    splits = list(manifest.document["counts"])
    if split not in splits:
        raise ConfigError(
            f"has no split {split!r}", subject=manifest.folder, hint=f"it has {', '.join(splits)}"
        )
    manifest.check_sources(sources)
    if not manifest.chips:
        raise InputError("holds no chips", subject=manifest.folder)


def _self_pair(chip: ChipRow) -> PairRow:
    nothing = float("nan")
    return PairRow(
        site=chip.site,
        split=chip.split,
        source=chip.source,
        a=chip.path,
        b=chip.path,
        dx=0.0,
        dy=0.0,
        sigma_px=0.0,
        log_odds=nothing,
        measured="chip",
        given_dx=nothing,
        given_dy=nothing,
        apart=0.0,
        changed="",
        changed_share=0.0,
        tag=chip.tag,
    )


class Mixture(EpochPairs):
    """A map-style data set that draws from others.

    Which member an index asks is drawn from (seed, epoch, index); a member's samples come in an
    order that is shuffled anew for each of its rounds, so that it is used up evenly.

    Args:
        members: Data sets with their weights.
        length: Samples an epoch; as many as all members have when None.
        seed: Of the draws.

    Raises:
        ConfigError: A weight is negative, or all are zero.
    """

    def __init__(
        self,
        members: Sequence[tuple[PairDataset, float]],
        *,
        length: int | None = None,
        seed: int = 0,
    ) -> None:
        weights = np.array([weight for _, weight in members], dtype=float)
        if not len(weights) or (weights < 0).any() or weights.sum() <= 0:
            raise ConfigError(
                f"cannot mix by {weights.tolist()}",
                subject="weights of the data",
                hint="give weights of 0 or more, one of them more",
            )
        used = [(member, w) for (member, _), w in zip(members, weights, strict=True) if w > 0]
        self.members = tuple(member for member, _ in used)
        self._edges = np.cumsum([w for _, w in used]) / weights.sum()
        self._length = sum(map(len, self.members)) if length is None else length
        self.seed = seed
        self._dealt: tuple[int, np.ndarray, np.ndarray] | None = None

    def __len__(self) -> int:
        return self._length

    def member_of(self, epoch: int, index: int) -> tuple[int, int, int]:
        """Returns the member that an index asks, and (round, index) there."""
        if self._dealt is None or self._dealt[0] != epoch:
            draws = np.random.default_rng([self.seed, 11, epoch]).random(self._length)
            choice = np.minimum(
                np.searchsorted(self._edges, draws, side="right"), len(self.members) - 1
            )
            turn = np.zeros(self._length, dtype=np.int64)
            for number in range(len(self.members)):
                own = choice == number
                turn[own] = np.arange(own.sum())
            self._dealt = epoch, choice, turn
        _, choice, turn = self._dealt
        member, position = int(choice[index]), int(turn[index])
        count = len(self.members[member])
        lap, rest = divmod(position, count)
        order = np.random.default_rng([self.seed, 13, epoch, member, lap]).permutation(count)
        return member, lap, int(order[rest])

    def draw(self, epoch: int, index: int) -> PairSample:
        """See `EpochPairs.draw`."""
        member, lap, inner = self.member_of(epoch, index)
        # Rounds within an epoch must not repeat one another's draws.
        return self.members[member][epoch * 1000 + lap, inner]


def mix_kinds(
    members: Mapping[_Kind, PairDataset], weights: Mapping[str, float], *, seed: int, hint: str
) -> tuple[Mixture, dict[str, int]]:
    """Mixes kinds of pairs, those without a pair or a weight left out.

    Args:
        members: The pairs of each kind.
        weights: The weight of each kind.
        seed: Of the draws.
        hint: What to do where nothing is left, to end the message.

    Returns:
        The mixture, and how many pairs of each kind there are.

    Raises:
        ConfigError: There is nothing to learn from.
    """
    used = {kind: part for kind, part in members.items() if weights[kind] and len(part)}
    if not used:
        raise ConfigError("there is nothing to learn from", subject="data", hint=hint)
    mixture = Mixture([(part, weights[kind]) for kind, part in used.items()], seed=seed)
    return mixture, {kind: len(part) for kind, part in used.items()}
