"""Per-image z-scores of similarities.

What two whole images have in common, as snow on either, makes every chip of one like every chip of
the other, and crowds out the place that is looked for. Measured in standard deviations above the
mean of its own image a chip counts for what it alone shows (a z-score, as the scores of several
sources are brought together in data fusion).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

FEWEST = 8
"""Images of fewer chips have no crowd of their own: they are taken together."""


def image_zscore(
    similarity: NDArray[np.floating], image: NDArray[np.integer], fewest: int = FEWEST
) -> NDArray[np.float64]:
    """Similarities in standard deviations above the mean of the chip's image.

    Args:
        similarity: (N, Q) of chips to queries; NaN where it is not to count.
        image: (N,) which image each chip is of.
        fewest: Images of fewer chips are taken together.

    Returns:
        (N, Q); 0 where a whole image is equally alike.

    Example:
        >>> similarity = np.array([[0.9], [0.8], [0.9], [0.3], [0.2], [0.1]])
        >>> image_zscore(similarity, np.array([0, 0, 0, 1, 1, 1]), fewest=2)[:, 0].round(1).tolist()
        [0.7, -1.4, 0.7, 1.2, 0.0, -1.2]
    """
    values = np.asarray(similarity, dtype=np.float64)
    _, group, count = np.unique(image, return_inverse=True, return_counts=True)
    group = np.where(count[group] < fewest, len(count), group)
    found = np.zeros_like(values)
    for one in np.unique(group):
        own = group == one
        part = values[own]
        spread = np.nanstd(part, axis=0)
        with np.errstate(invalid="ignore", divide="ignore"):
            score = (part - np.nanmean(part, axis=0)) / spread
        found[own] = np.where(spread > 1e-9, score, np.where(np.isnan(part), np.nan, 0.0))
    return found
