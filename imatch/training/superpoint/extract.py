"""Keypoints of a network in training."""

from __future__ import annotations

import torch

from imatch.core.types import Features
from imatch.matchers.sparse.base import best_valid
from imatch.matchers.sparse.superpoint import ALL_MAXIMA
from imatch.models.superpoint.network import SuperPoint
from imatch.models.superpoint.points import detect, sample


def extract(
    network: SuperPoint, pixels: torch.Tensor, valid: torch.Tensor, budget: int
) -> Features:
    """Keypoints on valid ground, the strongest first.

    Args:
        network: The network, in evaluation mode.
        pixels: (C, H, W), sides multiples of 8.
        valid: (H, W) bool.
        budget: Most keypoints.
    """
    height, width = valid.shape
    device = next(network.parameters()).device
    with torch.inference_mode():
        logits, dense = network(pixels[None].to(device))
        ((positions, response),) = detect(logits.float(), ALL_MAXIMA, (width, height))
        xy, scores = positions.float().cpu().numpy(), response.float().cpu().numpy()
        kept = best_valid(xy, scores, valid.numpy(), budget)
        chosen = positions[torch.from_numpy(kept).to(device)]
        descriptors = sample(dense[0], chosen, convention="centred")
    return Features(xy[kept], scores[kept], descriptors.float().cpu().numpy(), (width, height))
