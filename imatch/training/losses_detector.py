"""The detector's loss: which of a cell's 64 pixels is a keypoint, or none, as soft targets."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from imatch.models.superpoint.network import CELL


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
    """(B, h, w) bool, cells of which all pixels of (B, H, W) are valid."""
    return -F.max_pool2d(-valid[:, None].float(), CELL)[:, 0] > 0.5


def soft_targets(xy: Tensor, weight: Tensor, sigma: Tensor, size: tuple[int, int]) -> Tensor:
    """Spread keypoints over the pixels that they may lie in.

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


LARGEST_NONE = math.log(CELL * CELL + 1)
"""The loss of a detector that knows nothing: the logarithm of the number of classes."""
