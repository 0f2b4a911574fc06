"""Made ground for tests of geometry: exact at any displacement."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray


def waves(
    seed: int,
    size: tuple[int, int] = (256, 256),
    dx: NDArray[np.float64] | float = 0.0,
    dy: NDArray[np.float64] | float = 0.0,
    noise: float = 0.0,
) -> NDArray[np.float32]:
    """(H, W) sum of sines in [0, 1], sampled where it stood before a displacement.

    Args:
        seed: Of the sines.
        size: (width, height).
        dx: Displacement along x, pixels; (H, W) or one for all.
        dy: The same along y.
        noise: Standard deviation of white noise.
    """
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0 : size[1], 0 : size[0]].astype(np.float64)
    total = np.zeros(x.shape)
    for _ in range(60):
        fx, fy, phase = *rng.uniform(-0.9, 0.9, 2), rng.uniform(0, 6.28)
        total += np.sin(fx * (x - dx) + fy * (y - dy) + phase)
    image = (total / 40 + 1) / 2 + noise * np.random.default_rng(seed + 99).normal(size=x.shape)
    return np.asarray(np.clip(image, 0, 1), dtype=np.float32)


def cells(seed: int, period: float, turn: float, size: int = 256) -> NDArray[np.float32]:
    """(size, size) square fields of random grey, one period wide, turned, with bright edges."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:size, :size].astype(np.float64)
    u = (x * np.cos(turn) + y * np.sin(turn)) / period + 50 + rng.random()
    v = (y * np.cos(turn) - x * np.sin(turn)) / period + 50 + rng.random()
    grey = 0.1 + 0.7 * rng.random((150, 150))
    image = grey[np.floor(v).astype(int), np.floor(u).astype(int)]
    edge = np.minimum.reduce([u % 1, 1 - u % 1, v % 1, 1 - v % 1]) * period < 1.5
    image[edge] = 0.95
    smooth = cv2.GaussianBlur(image, (0, 0), 0.8)
    noisy = smooth + rng.normal(0, 0.015, image.shape)
    return np.asarray(np.clip(noisy, 0, 1), dtype=np.float32)
