"""A lattice of pixels to be made: on the map, or in the plane of another image."""

from __future__ import annotations

from dataclasses import dataclass

from affine import Affine
from rasterio.crs import CRS


@dataclass(frozen=True)
class Lattice:
    """Where the pixels of an output lie.

    Attributes:
        transform: Corner-based pixel to map transform; without `crs`, to the reference's own
            coordinates (of a world file or a local grid, else its corner-based pixels).
        crs: Reference system of the map, or None for the reference's own plane.
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
