"""Several data sets as one, by weights."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from imatch.core.errors import ConfigError
from imatch.datasets.pairs import Key
from imatch.datasets.sample import PairSample


class PairDataset(Protocol):
    """What `ChipPairs`, `LandscapePairs` and `Mixture` have in common."""

    def __len__(self) -> int: ...

    def __getitem__(self, key: Key, /) -> PairSample: ...

    def set_epoch(self, epoch: int, /) -> None:
        """Draw as in another epoch from now on."""


class Mixture:
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
        self.seed, self.epoch = seed, 0
        self._dealt: tuple[int, np.ndarray, np.ndarray] | None = None

    def __len__(self) -> int:
        return self._length

    def set_epoch(self, epoch: int) -> None:
        """Draw as in another epoch from now on."""
        self.epoch = epoch

    def member_of(self, epoch: int, index: int) -> tuple[int, int, int]:
        """Which member an index asks, and (round, index) there."""
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

    def __getitem__(self, key: Key) -> PairSample:
        """One pair.

        Args:
            key: An index, or (epoch, index).

        Raises:
            IndexError: Beyond the end.
        """
        epoch, index = key if isinstance(key, tuple) else (self.epoch, key)
        if not -self._length <= index < self._length:
            raise IndexError(f"{index} of {self._length} samples")
        member, lap, inner = self.member_of(epoch, index % self._length)
        # Rounds within an epoch must not repeat one another's draws.
        return self.members[member][epoch * 1000 + lap, inner]
