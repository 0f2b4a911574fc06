"""Shares of images in the systematic errors of their pairs."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.linalg import splu

from imatch.core.types import BoolArray
from imatch.geometry.adjustment.network import Edge

# Weight of images having equal shares, against that of a pair.
_FAINT = 1e-3


def systematic_variances(
    count: int, edges: Sequence[Edge], use: BoolArray, scale: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Shares the systematic variance of pairs out among their images and returns each image's.

    An image whose edges season and sun have moved lies off in all its pairs alike, so the variance
    of a pair is the sum of its two images'. They follow by least squares from all pairs; where
    these leave it open (in a chain, say) both images of a pair have the same.

    Args:
        count: Number of images, n.
        edges: Pairs.
        use: (M,) bool, those that count.
        scale: (n,) length of a unit of each frame in the reference's.

    Returns:
        (n, 2) along x and y in the reference's frame; 0 for an image that no pair in use touches.
    """
    rows = [int(index) for index in np.flatnonzero(use)]
    found = np.zeros((count, 2))
    if not rows:
        return found
    pairs = np.array([(edges[i].a, edges[i].b) for i in rows])
    stated = np.array([edges[i].systematic for i in rows]) * scale[pairs[:, 1], None] ** 2
    nodes, place = np.unique(pairs, return_inverse=True)
    ends, n = np.asarray(place).reshape(-1, 2), len(nodes)
    ones = np.ones(len(rows))
    usual = stated.mean(axis=0) / 2
    normal = coo_array(
        (
            np.concatenate([ones] * 4 + [np.full(n, _FAINT)]),
            (
                np.concatenate([ends[:, 0], ends[:, 1], ends[:, 0], ends[:, 1], np.arange(n)]),
                np.concatenate([ends[:, 0], ends[:, 1], ends[:, 1], ends[:, 0], np.arange(n)]),
            ),
        ),
        shape=(n, n),
    )
    right = np.full((n, 2), _FAINT) * usual
    for side in (0, 1):
        np.add.at(right, ends[:, side], stated)
    found[nodes] = np.maximum(splu(normal.tocsc()).solve(right), 0.0)
    return found
