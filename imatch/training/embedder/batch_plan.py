"""Which chips a step learns from: a function of (seed, step), so that any step can be resumed.

(`pytorch_metric_learning.samplers` draw from one global generator and know no map, so they are not
used; what they do, M chips of each of P labels, is
`imatch.training.embedder.samplers.Random`.)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from imatch.training.embedder.chips import CENTRE

Rng: TypeAlias = np.random.Generator
Integers: TypeAlias = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class BatchPlan:
    """The chips of one step.

    Attributes:
        chips: (B,) which chips.
        crops: (B,) which crop of each.
        labels: (B,) chips of one label are alike.
        triplets: (T, 3) anchors, positives and negatives, by their position among the B; None where
            labels say all.
    """

    chips: Integers
    crops: Integers
    labels: Integers
    triplets: Integers | None = None


class Sampler(Protocol):
    """Chooses the chips of a step."""

    def plan(self, step: int) -> BatchPlan:
        """Returns the chips of step number `step`, from 0."""


class Drawing:
    """Base of the samplers: a generator for each step, and crops.

    Args:
        count: Places, triplets or classes in a step.
        shifts: Crops of a chip there are.
        seed: Of the draws.
    """

    def __init__(self, count: int, shifts: int, seed: int) -> None:
        self.count, self.shifts, self.seed = count, shifts, seed

    def rng(self, step: int) -> Rng:
        """Returns the generator of a step."""
        return np.random.default_rng([self.seed, 21, step])

    def crops(self, count: int, rng: Rng) -> Integers:
        """Crops of so many chips."""
        if self.shifts == 1:
            return np.full(count, CENTRE)
        return rng.integers(0, self.shifts, count)


def triplets(chips: Integers, labels: Integers, crops: Integers) -> BatchPlan:
    """Returns the plan of (3 T,) chips that come as anchor, positive, negative, again and again.

    Args:
        chips: Which chips.
        labels: (N,) label of every chip there is.
        crops: (3 T,) which crop of each.
    """
    return BatchPlan(chips, crops, labels[chips], np.arange(len(chips)).reshape(-1, 3))
