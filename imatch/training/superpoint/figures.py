"""What a SuperPoint responds to, for the trackers."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from imatch.models.superpoint.network import SuperPoint
from imatch.models.superpoint.points import heatmap
from imatch.training.match_figure import as_rgb


def heat_picture(
    model: SuperPoint, pixels: NDArray[np.float32], device: torch.device
) -> NDArray[np.uint8]:
    """An image and the detector's response, side by side, (H, 2 W, 3)."""
    with torch.inference_mode():
        logits, _ = model(torch.from_numpy(pixels)[None].to(device))
        heat = heatmap(logits.float())[0].cpu().numpy()
    strength = np.sqrt(np.clip(heat / max(float(np.quantile(heat, 0.999)), 1e-9), 0, 1))
    shade = np.repeat((255 * strength).astype(np.uint8)[..., None], 3, axis=2)
    return np.concatenate([as_rgb(pixels), shade], axis=1)
