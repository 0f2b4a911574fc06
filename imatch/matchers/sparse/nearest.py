"""Pairing by mutual nearest neighbours in descriptor space."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from imatch.core.types import Features
from imatch.matchers.base import DEFAULTS, MatcherOptions
from imatch.matchers.sparse.base import NO_PAIRS, Pairing, Pairs


class Nearest(Pairing):
    """Pairs descriptors that are each other's nearest.

    Descriptors have unit length, so the cosine tells everything: the squared distance is
    ``2 - 2 cos``.

    Args:
        options: How it runs.
        min_cosine: Least similarity of a pair.
        max_ratio: Lowe's ratio test (2004, section 7.1): most that the distance to the nearest may
            be of the distance to the second nearest. None leaves the test out.
    """

    def __init__(
        self,
        options: MatcherOptions = DEFAULTS,
        *,
        min_cosine: float = -1.0,
        max_ratio: float | None = None,
    ) -> None:
        super().__init__(options)
        self.min_cosine = min_cosine
        self.max_ratio = max_ratio

    def pair(self, f0: Features, f1: Features) -> Pairs:
        """Mutual nearest neighbours that pass the tests.

        The score is ``1 - ratio`` with the ratio test, else the cosine.
        """
        if not len(f0) or not len(f1):
            return NO_PAIRS
        cosine = f0.descriptors @ f1.descriptors.T
        nearest = cosine.argmax(axis=1)
        index = np.arange(len(f0))
        kept = (cosine.argmax(axis=0)[nearest] == index) & (
            cosine[index, nearest] >= self.min_cosine
        )
        scores = cosine[index, nearest]
        if self.max_ratio is not None:
            second = np.full(len(f0), np.inf)
            if len(f1) > 1:
                second = _distance(np.partition(cosine, -2, axis=1)[:, -2])
            ratio = _distance(scores) / np.maximum(second, 1e-12)
            kept &= ratio <= self.max_ratio
            scores = 1.0 - ratio
        return index[kept], nearest[kept], np.clip(scores[kept].astype(np.float64), 0.0, 1.0)


def _distance(cosine: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    """Euclidean distance of two unit vectors."""
    return np.asarray(np.sqrt(np.maximum(2.0 - 2.0 * cosine.astype(np.float64), 0.0)))
