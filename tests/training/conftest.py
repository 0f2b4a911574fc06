from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from imatch.training.sample import PairSample

MakePair = Callable[..., PairSample]


def texture(size: int, seed: int, bands: int = 1) -> NDArray[np.float32]:
    """(bands, size, size) smooth random ground with structure at several scales."""
    rng = np.random.default_rng(seed)
    total = np.zeros((bands, size, size), np.float32)
    for cells in (4, 12, 30):
        for band in range(bands):
            knots = rng.random((cells, cells)).astype(np.float32)
            total[band] += cv2.resize(knots, (size, size), interpolation=cv2.INTER_CUBIC)
    low, high = total.min(), total.max()
    return np.asarray((total - low) / (high - low), dtype=np.float32)


@pytest.fixture
def make_pair() -> MakePair:
    """A pair of one texture, darker on the second date and shifted by whole pixels."""

    def make(
        size: int = 64, seed: int = 0, bands: int = 1, shift: tuple[int, int] = (0, 0)
    ) -> PairSample:
        x, y = shift
        ground = texture(size + 16, seed, bands)
        a = np.ascontiguousarray(ground[:, 8 : 8 + size, 8 : 8 + size])
        b = np.ascontiguousarray(ground[:, 8 - y : 8 - y + size, 8 - x : 8 - x + size])
        valid = np.ones((size, size), bool)
        return PairSample(
            a,
            (0.8 * b + 0.1).astype(np.float32),
            valid,
            valid.copy(),
            np.array([[1, 0, x], [0, 1, y], [0, 0, 1.0]]),
            0.1,
            ~valid,
            np.array([[20.5, 30.25], [40.0, 12.0]], np.float32),
            np.array([1.0, 2.0], np.float32),
            place=f"place {seed}",
            dates=("2020-06-01", "2020-12-01"),
            source="texture",
        )

    return make
