"""Spatially even subsampling of points."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray


def subsample(xy: NDArray[np.float64], cost: NDArray[np.float64], limit: int) -> NDArray[np.intp]:
    """Selects at most `limit` points, spread over the area that all of them cover.

    The points' bounding box is cut into at most `limit` nearly square cells, and the point of least
    cost stands for each.

    Args:
        xy: (N, 2) coordinates.
        cost: (N,) lower is better; NaN is worst.
        limit: The most points wanted, at least 1.

    Returns:
        (M,) indices into `xy`, ascending, M <= `limit`; all of them when there are few enough.

    Examples:
        >>> subsample(np.array([[0.0, 0], [1, 0], [9, 0]]), np.array([2.0, 1, 3]), 2)
        array([1, 2])
    """
    if len(xy) <= limit:
        return np.arange(len(xy))
    low = xy.min(axis=0)
    width, height = np.maximum(xy.max(axis=0) - low, 1e-9)
    columns = min(limit, max(1, round(math.sqrt(limit * width / height))))
    rows = max(1, limit // columns)
    shape = np.array([columns, rows])
    cell = np.minimum(((xy - low) / [width, height] * shape).astype(int), shape - 1)
    label = cell[:, 1] * columns + cell[:, 0]
    best_first = np.lexsort((cost, label))
    _, first = np.unique(label[best_first], return_index=True)
    return np.sort(best_first[first])
