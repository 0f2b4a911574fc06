"""Samplers that know what covers the ground of chips."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from imatch.core.errors import ConfigError
from imatch.training.embedder.sampling.plan import BatchPlan, Drawing, Integers, triplets


class LabelledChips(Drawing):
    """Chips that one class of a label map dominates, a few of each class.

    Args:
        shares: (N, K) share of each class in each chip; what is missing to 1 has no class.
        count: Classes in a step, at most.
        dates: Chips of each.
        dominance: Least share of the ground that its class covers.
        shifts: See `Drawing`.
        seed: See `Drawing`.

    Raises:
        ConfigError: Fewer than two classes dominate two chips.
    """

    def __init__(
        self,
        shares: NDArray[np.float32],
        count: int,
        dates: int,
        *,
        dominance: float,
        shifts: int = 4,
        seed: int = 0,
    ) -> None:
        super().__init__(count, shifts, seed)
        self.dates = dates
        best, share = shares.argmax(axis=1), shares.max(axis=1)
        groups = [
            np.flatnonzero((best == k) & (share >= dominance)) for k in range(shares.shape[1])
        ]
        #: Class -> the chips it dominates.
        self.chips = {k: group for k, group in enumerate(groups) if len(group) > 1}
        if len(self.chips) < 2:
            raise ConfigError(
                f"{len(self.chips)} class(es) dominate two chips; two are needed",
                subject="sampler.dominance",
                hint="lower it, or take sampler.kind=proportions",
            )

    def plan(self, step: int) -> BatchPlan:
        """See `Sampler`."""
        rng = self.rng(step)
        classes = rng.permutation(sorted(self.chips))[: self.count]
        chips = np.concatenate(
            [np.resize(rng.permutation(self.chips[k]), self.dates) for k in classes]
        )
        labels = np.repeat(classes, self.dates).astype(np.int64)
        return BatchPlan(chips, self.crops(len(chips), rng), labels)


class Proportions(Drawing):
    """Chips of similar mixtures of classes are alike, those of other mixtures are not.

    Args:
        shares: (N, K) share of each class in each chip.
        count: Triplets in a step.
        alike: Least overlap (sum of the smaller shares) of a positive.
        unlike: Largest overlap of a negative.
        shifts: See `Drawing`.
        seed: See `Drawing`.

    Raises:
        ConfigError: No chip has a positive and a negative.
    """

    def __init__(
        self,
        shares: NDArray[np.float32],
        count: int,
        *,
        alike: float,
        unlike: float,
        shifts: int = 4,
        seed: int = 0,
    ) -> None:
        super().__init__(count, shifts, seed)
        self.shares, self.alike, self.unlike = shares, alike, unlike
        known = np.flatnonzero(shares.sum(axis=1) > 0)
        self.anchors = np.array([c for c in known if all(map(len, self._split(int(c))))], np.int64)
        if not len(self.anchors):
            raise ConfigError(
                "no chip has both a mixture like its own and one unlike it",
                subject="sampler",
                hint="lower sampler.alike or raise sampler.unlike",
            )

    def _split(self, chip: int) -> tuple[Integers, Integers]:
        overlap = np.minimum(self.shares, self.shares[chip]).sum(axis=1)
        like = np.flatnonzero(overlap >= self.alike)
        known = self.shares.sum(axis=1) > 0
        return like[like != chip], np.flatnonzero((overlap <= self.unlike) & known)

    def plan(self, step: int) -> BatchPlan:
        """See `Sampler`."""
        rng = self.rng(step)
        chips: list[int] = []
        for anchor in rng.choice(self.anchors, self.count):
            like, unlike = self._split(int(anchor))
            chips += [int(anchor), int(rng.choice(like)), int(rng.choice(unlike))]
        labels = self.shares.argmax(axis=1).astype(np.int64)
        return triplets(np.array(chips), labels, self.crops(len(chips), rng))
