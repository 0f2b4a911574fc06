"""Losses of SuperPoint: the detector's with soft targets, and three of the descriptors.

Descriptor losses are functions of the similarity of each point of one view to each of another.
Point i of the one is point i of the other; ``ignore`` marks pairs that are neither positive nor
negative, since they lie too near to each other on the ground.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from imatch.models.superpoint.network import CELL

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
    """Returns (N, N) bool, which of (N, 2) points lie within a radius of each other."""
    return torch.cdist(xy.double(), xy.double()) < radius


def _off_diagonal(ignore: Tensor) -> Tensor:
    return ignore & ~torch.eye(len(ignore), dtype=torch.bool, device=ignore.device)


DESCRIPTOR_LOSSES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "info-nce": info_nce,
    "hinge": hinge,
    "triplet": triplet,
}


def detector_loss(logits: Tensor, target: Tensor, mask: Tensor) -> Tensor:
    """Cross-entropy of SuperPoint (equation 2) with soft targets.

    Args:
        logits: (B, 65, h, w).
        target: (B, 65, h, w), sums to 1 over each cell.
        mask: (B, h, w) bool, cells that count.

    Returns:
        A scalar, the mean over the cells that count; 0 of none.
    """
    per_cell = -(target * logits.float().log_softmax(dim=1)).sum(dim=1)
    return (per_cell * mask).sum() / mask.sum().clamp_min(1)


def whole_cells(valid: Tensor) -> Tensor:
    """Returns (B, h, w) bool, cells of which all pixels of (B, H, W) are valid."""
    return -F.max_pool2d(-valid[:, None].float(), CELL)[:, 0] > 0.5


def soft_targets(xy: Tensor, weight: Tensor, sigma: Tensor, size: tuple[int, int]) -> Tensor:
    """Spreads keypoints over the pixels that they may lie in.

    Each becomes a Gaussian of its positional uncertainty, of total `weight`. Where a cell receives
    more than 1 in all it is scaled to 1; what a cell lacks to 1 is its share of "no keypoint".

    Args:
        xy: (N, 2) pixels.
        weight: (N,) in [0, 1], how much of a keypoint it is.
        sigma: (N,) standard deviation, pixels; less than a third of a pixel counts as that.
        size: (width, height), multiples of 8.

    Returns:
        (65, h, w), each cell sums to 1.
    """
    width, height = size
    mass = torch.zeros(height * width, dtype=torch.float32, device=xy.device)
    spread = sigma.float().clamp_min(1 / 3)
    reaches = (3 * spread).ceil().long()
    for reach in sorted(set(reaches.tolist())):
        chosen = reaches == reach
        steps = torch.arange(-reach, reach + 1, device=xy.device)
        centre = xy[chosen].float()
        pixel = centre.round().long()
        columns = pixel[:, None, None, 0] + steps[None, None, :]
        rows = pixel[:, None, None, 1] + steps[None, :, None]
        gap = (columns - centre[:, None, None, 0]) ** 2 + (rows - centre[:, None, None, 1]) ** 2
        bell = torch.exp(-0.5 * gap / spread[chosen, None, None] ** 2)
        bell = bell / bell.sum(dim=(1, 2), keepdim=True) * weight[chosen, None, None]
        inside = (columns >= 0) & (columns < width) & (rows >= 0) & (rows < height)
        mass.index_add_(0, (rows * width + columns)[inside], bell[inside].float())
    cells = F.pixel_unshuffle(mass.view(1, 1, height, width), CELL)[0]
    total = cells.sum(dim=0, keepdim=True)
    cells = cells / total.clamp_min(1.0)
    return torch.cat([cells, (1 - total).clamp(0, 1)])
