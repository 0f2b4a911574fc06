"""An image in memory, with its valid ground and its place on the map."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from affine import Affine
from numpy.typing import NDArray
from rasterio.crs import CRS

from imatch.core.types import BoolArray


@dataclass(frozen=True, eq=False)
class GeoImage:
    """Pixels as they were read, at whatever resolution was asked for.

    Attributes:
        pixels: (C, H, W) float32 in the file's own units; 0 where not valid.
        valid: (H, W) bool, False where there is no ground to match.
        transform: Corner-based pixel to map transform of these pixels (not of the file); where
            there is no CRS, to the file's own pixels.
        crs: Coordinate reference system of `transform`, or None.
        bands: C names.
        path: The file, or None for an array.
    """

    pixels: NDArray[np.float32]
    valid: BoolArray
    transform: Affine
    crs: CRS | None
    bands: tuple[str, ...]
    path: Path | None = None

    def __post_init__(self) -> None:
        if self.pixels.ndim != 3 or self.pixels.shape[0] != len(self.bands):
            raise ValueError(f"pixels {self.pixels.shape} do not fit bands {self.bands}")
        if self.valid.shape != self.pixels.shape[1:]:
            raise ValueError(f"valid {self.valid.shape} does not fit pixels {self.pixels.shape}")

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) in pixels."""
        return int(self.pixels.shape[2]), int(self.pixels.shape[1])

    @property
    def geocoded(self) -> bool:
        """Whether pixels are tied to the ground."""
        return is_geocoded(self.transform, self.crs)


def is_geocoded(transform: Affine, crs: CRS | None) -> bool:
    """Whether a transform and a CRS together place pixels on the Earth.

    Args:
        transform: Corner-based pixel to map transform.
        crs: Its reference system, or None; a local (engineering) one places nothing.
    """
    if crs is None or not (crs.is_projected or crs.is_geographic):
        return False
    return bool(transform != Affine.identity() and transform.determinant != 0)
