"""Samples of equal size side by side, as tensors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from imatch.datasets.sample import PairSample


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
    """Make a batch.

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
    """Map (N, 2) points by a (3, 3) projective matrix, in its precision."""
    moved = torch.nn.functional.pad(xy.to(homography.dtype), (0, 1), value=1.0) @ homography.T
    return moved[:, :2] / moved[:, 2:]
