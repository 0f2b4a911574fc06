"""Finds pixels that a product repeats: coarse bands served on a finer grid."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from rasterio.windows import Window

from imatch.core.types import BoolArray
from imatch.raster.read.source import Source

#: Side of the part that is looked at, native pixels, and the largest factor sought.
_SIDE, _LARGEST = 512, 24
#: Least share of neighbours within a true pixel that are equal, and largest of those across its
#: edge: ground of one value is equal everywhere.
_WITHIN, _ACROSS = 0.98, 0.75
#: Fewer lines tell nothing.
_FEWEST = 4
_ROUNDING = 1e-6


def true_pixel(source: Source) -> int:
    """Finds how many pixels of a raster one measured pixel fills and returns it, 1 in most.

    Nearest-neighbour resampling repeats pixels, as 60 m bands on a 10 m grid. Their edges stand
    on the grid and not on the ground, so that images of it correlate best grid upon grid.

    Args:
        source: The raster; its middle is read at full resolution.

    Returns:
        The factor, along rows or columns, whichever is larger.
    """
    width, height = source.info.size
    w, h = min(width, _SIDE), min(height, _SIDE)
    image = source.read(Window((width - w) // 2, (height - h) // 2, w, h))
    return max(repeats(image.pixels, image.valid), repeats(*_transposed(image.pixels, image.valid)))


def repeats(pixels: NDArray[np.float32], valid: BoolArray) -> int:
    """Finds how many columns in a row are alike and returns it.

    Args:
        pixels: (C, H, W).
        valid: (H, W) pixels that count.

    Returns:
        The width of a block of equal columns; 1 where there is none.
    """
    both = valid[:, 1:] & valid[:, :-1]
    equal = (pixels[:, :, 1:] == pixels[:, :, :-1]).all(axis=0) & both
    counts = both.sum(axis=0)
    share = np.where(counts > 0, equal.sum(axis=0) / np.maximum(counts, 1), np.nan)
    # Within true pixels lie at least half of the columns: few images have so many equal ones.
    known = share[counts > 0]
    if known.sum() < (_WITHIN - _ROUNDING) * (len(known) - (len(share) + 1) // 2):
        return 1
    best, lowest = 1, _ACROSS
    for factor in range(2, min(_LARGEST, (len(share) + 1) // _FEWEST) + 1):
        for phase in range(factor):
            edge = np.arange(len(share)) % factor == phase
            across, within = share[edge], share[~edge]
            if np.isnan(across).all() or np.isnan(within).all():
                continue
            apart = float(np.nanmean(across))
            if float(np.nanmean(within)) >= _WITHIN and apart < lowest:
                best, lowest = factor, apart
    return best


def _transposed(
    pixels: NDArray[np.float32], valid: BoolArray
) -> tuple[NDArray[np.float32], BoolArray]:
    return pixels.transpose(0, 2, 1), valid.T
