"""A lattice of pixels to be made: on the map, or in the plane of another image's pixels."""

from __future__ import annotations

from dataclasses import dataclass

from affine import Affine
from rasterio.crs import CRS


@dataclass(frozen=True)
class Lattice:
    """Where the pixels of an output lie.

    Attributes:
        transform: Corner-based pixel to map transform; without `crs`, to the corner-based pixels
            of the reference.
        crs: Reference system of the map, or None for the plane of the reference's pixels.
        width: Columns.
        height: Rows.
    """

    transform: Affine
    crs: CRS | None
    width: int
    height: int

    @property
    def size(self) -> tuple[int, int]:
        """(width, height)."""
        return self.width, self.height
