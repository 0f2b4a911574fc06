from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from imatch.core.types import Matches

Scene = Callable[..., Matches]


@pytest.fixture
def scene() -> Scene:
    """Matches of a known transform with noise and outliers over a 512 x 400 reference."""

    def make(
        matrix: NDArray[np.float64],
        inliers: int = 200,
        outliers: int = 100,
        noise: float = 0.4,
        seed: int = 0,
        box: tuple[float, float, float, float] = (0, 0, 511, 399),
    ) -> Matches:
        rng = np.random.default_rng(seed)
        x0, y0, x1, y1 = box
        ref = rng.uniform((x0, y0), (x1, y1), (inliers, 2))
        homogeneous = np.column_stack([ref, np.ones(inliers)]) @ matrix.T
        tgt = homogeneous[:, :2] / homogeneous[:, 2:] + rng.normal(0, noise, (inliers, 2))
        wrong_ref = rng.uniform((0, 0), (511, 399), (outliers, 2))
        wrong_tgt = rng.uniform((0, 0), (511, 399), (outliers, 2))
        order = rng.permutation(inliers + outliers)
        return Matches(
            np.concatenate([ref, wrong_ref])[order],
            np.concatenate([tgt, wrong_tgt])[order],
            rng.uniform(0, 1, inliers + outliers),
        )

    return make
