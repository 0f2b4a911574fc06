"""What albumentations has and does not move: sensor noise and compression.

This is the one module that imports albumentations (2.0.8, its last MIT release).
"""

from __future__ import annotations

import os
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

# Its import asks the package index for a newer release otherwise.
os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")

import albumentations as A  # noqa: N812


@cache
def _pipeline() -> Any:
    return A.Compose(
        [
            A.OneOf(
                [
                    A.GaussNoise(std_range=(0.005, 0.04), p=1.0),
                    A.ShotNoise(scale_range=(0.002, 0.02), p=1.0),
                    A.MultiplicativeNoise(multiplier=(0.9, 1.1), elementwise=True, p=1.0),
                ],
                p=0.5,
            ),
            A.ImageCompression(quality_range=(60, 95), p=0.2),
        ]
    )


def sensor(pixels: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
    """Adds noise and compression, each at times.

    Args:
        pixels: (C, H, W) float32 in [0, 1].
        rng: Decides.

    Returns:
        The same, none of it moved.
    """
    pipeline = _pipeline()
    pipeline.set_random_seed(int(rng.integers(2**31)))
    seen = pipeline(image=np.ascontiguousarray(pixels.transpose(1, 2, 0)))["image"]
    return np.ascontiguousarray(np.clip(seen, 0, 1).transpose(2, 0, 1), dtype=np.float32)
