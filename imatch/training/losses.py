"""Descriptor losses, functions of the similarity of each point of one view to each of another.

Point i of the one is point i of the other; ``ignore`` marks pairs that are neither positive nor
negative, since they lie too near to each other on the ground.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

DescriptorLoss = Literal["info-nce", "hinge", "triplet"]


def info_nce(cosine: Tensor, ignore: Tensor, temperature: float = 0.1) -> Tensor:
    """InfoNCE both ways (van den Oord et al. 2018), the negative log of the dual softmax of LoFTR.

    Args:
        cosine: (N, N) similarity, positives on the diagonal.
        ignore: (N, N) bool; the diagonal is used whatever it says.
        temperature: Divides the similarity.

    Returns:
        A scalar; 0 of no points.
    """
    if not len(cosine):
        return cosine.sum()
    logits = (cosine / temperature).masked_fill(_off_diagonal(ignore), float("-inf"))
    both = logits.log_softmax(dim=1).diagonal() + logits.log_softmax(dim=0).diagonal()
    return -0.5 * both.mean()


def hinge(
    cosine: Tensor,
    ignore: Tensor,
    positive: float = 1.0,
    negative: float = 0.2,
    balance: float = 250.0,
) -> Tensor:
    """The loss of SuperPoint (equations 5 and 6), over points instead of all cells.

    Args:
        cosine: (N, N) similarity, positives on the diagonal.
        ignore: (N, N) bool; the diagonal is used whatever it says.
        positive: Margin that positives are to reach.
        negative: Margin that negatives are to stay under.
        balance: Weight of a positive against a negative, for 1024 cells; it is scaled to the
            number of points, so that both sides weigh what they do there.

    Returns:
        A scalar; 0 of no points.
    """
    if not len(cosine):
        return cosine.sum()
    wrong = (cosine - negative).clamp_min(0).masked_fill(_off_diagonal(ignore), 0.0)
    wrong = wrong.masked_fill(torch.eye(len(cosine), dtype=torch.bool, device=cosine.device), 0.0)
    right = (positive - cosine.diagonal()).clamp_min(0)
    return balance / 1024 * right.mean() + wrong.sum() / cosine.numel()


def triplet(cosine: Tensor, ignore: Tensor, margin: float = 1.0) -> Tensor:
    """The triplet loss with the hardest negative either way (HardNet, Mishchuk et al. 2017).

    Args:
        cosine: (N, N) similarity, positives on the diagonal.
        ignore: (N, N) bool; the diagonal is used whatever it says.
        margin: By how much the positive is to be nearer, as a distance of unit vectors.

    Returns:
        A scalar; 0 of no points.
    """
    if not len(cosine):
        return cosine.sum()
    # The root has no slope at 0.
    distance = (2 - 2 * cosine).clamp_min(1e-6).sqrt()
    itself = torch.eye(len(cosine), dtype=torch.bool, device=cosine.device)
    others = distance.masked_fill(itself | ignore, 2.0)
    hardest = torch.minimum(others.amin(dim=1), others.amin(dim=0))
    return (margin + distance.diagonal() - hardest).clamp_min(0).mean()


def too_near(xy: Tensor, radius: float) -> Tensor:
    """(N, N) bool, which of (N, 2) points lie within a radius of each other."""
    return torch.cdist(xy.double(), xy.double()) < radius


def _off_diagonal(ignore: Tensor) -> Tensor:
    return ignore & ~torch.eye(len(ignore), dtype=torch.bool, device=ignore.device)


DESCRIPTOR_LOSSES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "info-nce": info_nce,
    "hinge": hinge,
    "triplet": triplet,
}
