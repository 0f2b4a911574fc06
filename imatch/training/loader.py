"""Batches: their order, a function of seed and step, and pairs of equal size as tensors."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, Protocol, TypeVar, cast

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from imatch.datasets.sample import PairSample

ItemT_co = TypeVar("ItemT_co", covariant=True)
BatchT = TypeVar("BatchT")

Draw = tuple[int, int]
"""(index of a sample, running number of the draw, from which its augmentation is seeded)."""


class Drawable(Protocol[ItemT_co]):
    """A data set of which the same sample can be seen in many ways."""

    def __len__(self) -> int:
        """Number of samples."""

    def __getitem__(self, draw: Draw) -> ItemT_co:
        """Returns one sample as it is seen at one draw."""


class Draws(Sampler[Draw]):
    """Every sample once an epoch, in a new order each time, without end.

    Args:
        count: Number of samples.
        seed: Of the orders.
        start: Draws that have been made already.

    Examples:
        >>> [index for index, _ in Draws(3, seed=3).first(6)]
        [2, 1, 0, 0, 1, 2]
        >>> Draws(3, seed=3, start=4).first(2) == Draws(3, seed=3).first(6)[4:]
        True
    """

    def __init__(self, count: int, seed: int, start: int = 0) -> None:
        self.count = count
        self.seed = seed
        self.start = start

    def __iter__(self) -> Iterator[Draw]:
        """Yields draw after draw."""
        draw = self.start
        while True:
            epoch = draw // self.count
            order = np.random.default_rng([self.seed, epoch]).permutation(self.count)
            for index in order[draw % self.count :]:
                yield int(index), draw
                draw += 1

    def first(self, count: int) -> list[Draw]:
        """Returns the next draws."""
        return list(islice(self, count))


def endless(
    data: Drawable[Any],
    collate: Callable[[Sequence[Any]], BatchT],
    *,
    batch_size: int,
    seed: int,
    start: int = 0,
    workers: int = 0,
) -> DataLoader[Any]:
    """Returns a loader of batches without end.

    Args:
        data: The samples.
        collate: Makes a batch of samples.
        batch_size: Samples in a batch.
        seed: Of the order.
        start: Batches that have been used already.
        workers: Processes that prepare batches ahead; the batches are the same for any number.
    """
    return DataLoader(
        cast("Dataset[Any]", data),
        batch_size=batch_size,
        sampler=Draws(len(data), seed, start * batch_size),
        num_workers=workers,
        collate_fn=collate,
        worker_init_fn=_use_one_thread if workers else None,
        drop_last=True,
    )


def _use_one_thread(_worker: int) -> None:
    """Limits a loader's worker to one thread: workers share the cores with the training."""
    import cv2

    cv2.setNumThreads(0)


@dataclass(frozen=True, eq=False)
class PairBatch:
    """B pairs of views.

    Attributes:
        a: (B, C, H, W) float32.
        b: (B, C, H, W) float32.
        valid_a: (B, H, W) bool.
        valid_b: (B, H, W) bool.
        changed: (B, H, W) bool, in the frame of `a`.
        homography: (B, 3, 3) float64, pixel of `a` to pixel of `b`.
        sigma_px: (B,) float64, NaN where the homography is not known.
        samples: The samples themselves, for what does not stack.
    """

    a: Tensor
    b: Tensor
    valid_a: Tensor
    valid_b: Tensor
    changed: Tensor
    homography: Tensor
    sigma_px: Tensor
    samples: tuple[PairSample, ...]

    def __len__(self) -> int:
        return len(self.samples)


def collate(samples: Sequence[PairSample]) -> PairBatch:
    """Stacks pairs into a batch.

    Args:
        samples: Pairs whose images all have one size and number of bands.

    Raises:
        ValueError: They have not.
    """

    def stacked(name: str) -> Tensor:
        return torch.from_numpy(np.stack([getattr(sample, name) for sample in samples]))

    return PairBatch(
        stacked("a"),
        stacked("b"),
        stacked("valid_a"),
        stacked("valid_b"),
        stacked("changed"),
        stacked("homography"),
        torch.tensor([sample.sigma_px for sample in samples], dtype=torch.float64),
        tuple(samples),
    )


def map_points(homography: Tensor, xy: Tensor) -> Tensor:
    """Maps (N, 2) points by a (3, 3) projective matrix, in its precision."""
    moved = torch.nn.functional.pad(xy.to(homography.dtype), (0, 1), value=1.0) @ homography.T
    return moved[:, :2] / moved[:, 2:]
