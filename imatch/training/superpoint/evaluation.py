"""A SuperPoint in training, looked at: its keypoints, and its response as a picture."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from imatch.core.types import Features
from imatch.matchers.sparse.base import best_valid
from imatch.matchers.sparse.superpoint import ALL_MAXIMA
from imatch.models.superpoint.network import SuperPoint
from imatch.models.superpoint.points import detect, heatmap, sample
from imatch.training.validation import as_rgb


def extract(
    network: SuperPoint, pixels: torch.Tensor, valid: torch.Tensor, budget: int
) -> Features:
    """Returns the keypoints on valid ground, the strongest first.

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


def heat_picture(
    model: SuperPoint, pixels: NDArray[np.float32], device: torch.device
) -> NDArray[np.uint8]:
    """Draws an image and the detector's response, side by side, (H, 2 W, 3)."""
    with torch.inference_mode():
        logits, _ = model(torch.from_numpy(pixels)[None].to(device))
        heat = heatmap(logits.float())[0].cpu().numpy()
    strength = np.sqrt(np.clip(heat / max(float(np.quantile(heat, 0.999)), 1e-9), 0, 1))
    shade = np.repeat((255 * strength).astype(np.uint8)[..., None], 3, axis=2)
    return np.concatenate([as_rgb(pixels), shade], axis=1)
