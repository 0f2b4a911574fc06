"""Batches that an embedder learns from: the chips of a plan, varied."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from imatch.core.types import BoolArray
from imatch.training.augment.pair import PLAIN, Augmentation
from imatch.training.embedder.batch_plan import BatchPlan
from imatch.training.embedder.batch_plan import Sampler as PlanSampler
from imatch.training.embedder.chips import CENTRE, PlaceChips, cropped
from imatch.training.embedder.config import EmbedderAugmentConfig
from imatch.training.embedder.label_map import LabelMap, one_hot


@dataclass(frozen=True, eq=False)
class EmbedderBatch:
    """The chips of a step.

    Attributes:
        image: (B, C, S, S) float32.
        valid: (B, S, S) bool.
        labels: (B,) int64, chips of one label are alike.
        triplets: (T, 3) int64 positions, or None.
    """

    image: Tensor
    valid: Tensor
    labels: Tensor
    triplets: Tensor | None

    def __len__(self) -> int:
        return len(self.image)


class EmbedderViews(Dataset[EmbedderBatch]):
    """Batches by their number and plan.

    Args:
        chips: The chips.
        augment: How they are varied; None for not at all.
        semantics: The label map, where the network sees it.
        seed: Of the variations.
    """

    def __init__(
        self,
        chips: PlaceChips,
        augment: EmbedderAugmentConfig | None,
        semantics: LabelMap | None = None,
        seed: int = 0,
    ) -> None:
        self.chips, self.semantics, self.seed = chips, semantics, seed
        self.turn = augment is not None and augment.turn
        self._sky: Augmentation | None = None
        if augment is not None:
            values = augment.model_dump(exclude={"turn"})
            self._sky = Augmentation(PLAIN.model_copy(update=values), chips.size)

    def __getitem__(self, key: tuple[int, BatchPlan]) -> EmbedderBatch:
        step, plan = key
        rng = np.random.default_rng([self.seed, 22, step])
        pixels, grounds = [], []
        for chip, crop in zip(plan.chips, plan.crops, strict=True):
            image, valid = self.see(int(chip), int(crop), rng)
            pixels.append(image)
            grounds.append(valid)
        image, valid = np.stack(pixels), np.stack(grounds)
        if self.turn:
            turns, mirror = int(rng.integers(4)), bool(rng.random() < 0.5)
            image, valid = _turned(image, turns, mirror), _turned(valid, turns, mirror)
        return EmbedderBatch(
            torch.from_numpy(np.ascontiguousarray(image)),
            torch.from_numpy(np.ascontiguousarray(valid)),
            torch.from_numpy(plan.labels),
            None if plan.triplets is None else torch.from_numpy(plan.triplets),
        )

    def see(
        self, chip: int, crop: int = CENTRE, rng: np.random.Generator | None = None
    ) -> tuple[NDArray[np.float32], BoolArray]:
        """Returns a chip as the network sees it, varied where there is a generator.

        Returns:
            (bands + classes, S, S) and (S, S).
        """
        image, valid = self.chips.read(chip, crop)
        if self._sky is not None and rng is not None:
            image, _ = self._sky.coloured(image, valid, rng)
        if self.semantics is None:
            return image, valid
        grid = self.semantics.grid(self.chips.rows[chip], self.chips.size)
        planes = one_hot(grid, len(self.semantics.classes))
        whole = np.ones(grid.shape, dtype=bool)
        classes, _ = cropped(planes, whole, self.chips.crop, crop, self.chips.size)
        return np.concatenate([image, np.rint(classes)]), valid


class BatchPlans(Sampler[tuple[int, BatchPlan]]):
    """Yields plans without end, each with its number; runs in the training process.

    Args:
        sampler: Makes them.
        start: Steps that have been done.
    """

    def __init__(self, sampler: PlanSampler, start: int = 0) -> None:
        self.sampler, self.start = sampler, start

    def __iter__(self) -> Iterator[tuple[int, BatchPlan]]:
        """Yields plan after plan."""
        step = self.start
        while True:
            yield step, self.sampler.plan(step)
            step += 1


def batches(
    views: EmbedderViews, sampler: PlanSampler, start: int, workers: int
) -> DataLoader[EmbedderBatch]:
    """Batches without end, from step `start` on.

    Args:
        views: Makes batches of plans.
        sampler: Makes plans.
        start: Steps that have been done.
        workers: Processes that prepare batches ahead; the batches are the same for any number.
    """
    return DataLoader(
        views, batch_size=None, sampler=BatchPlans(sampler, start), num_workers=workers
    )


def spread(chips: PlaceChips, most: int) -> NDArray[np.int64]:
    """Chooses chips to measure on: all dates of places spread evenly, as fit into `most`.

    Places that were seen on one occasion only can answer nothing and are left out, unless there are
    no others.
    """
    place = chips.layout.place
    names, first, counts = np.unique(place, return_index=True, return_counts=True)
    usable = names[counts > 1] if (counts > 1).any() else names
    wanted = max(1, round(most / max(float(counts[np.isin(names, usable)].mean()), 1.0)))
    if len(usable) > wanted:
        # By where they come first in the table, so that all sources have their share.
        ordered = usable[np.argsort(first[np.searchsorted(names, usable)], kind="stable")]
        usable = ordered[np.arange(wanted) * len(ordered) // wanted]
    return np.flatnonzero(np.isin(place, usable))


def _turned(stack: NDArray, turns: int, mirror: bool) -> NDArray:  # type: ignore[type-arg]
    turned = np.rot90(stack, turns, axes=(-2, -1))
    return turned[..., ::-1] if mirror else turned
