"""A grid of pixels: on the map, or in the plane of another image."""

from __future__ import annotations

from dataclasses import dataclass

from affine import Affine
from rasterio.crs import CRS

from imatch.raster.geodesy import apply_affine, gsd_metres
from imatch.raster.image import is_geocoded


@dataclass(frozen=True)
class Grid:
    """Where the pixels of an image lie.

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

    @property
    def geocoded(self) -> bool:
        """Whether map coordinates mean anything here."""
        return is_geocoded(self.transform, self.crs)

    @property
    def gsd_m(self) -> tuple[float, float] | None:
        """Metres per pixel in x and y at the centre."""
        return gsd_metres(self.transform, self.crs, (self.width, self.height))

    @property
    def metres_per_unit(self) -> tuple[float, float] | None:
        """Ground metres per map unit eastwards and northwards at the centre."""
        step = abs(self.transform.determinant) ** 0.5
        metres = gsd_metres(Affine.translation(*self.centre) @ Affine.scale(step), self.crs, (0, 0))
        return None if metres is None else (metres[0] / step, metres[1] / step)

    @property
    def bounds(self) -> tuple[float, float, float, float]:
        """(left, bottom, right, top) of its corners, map units."""
        w, h = self.width, self.height
        x, y = apply_affine(self.transform, [(0, 0), (w, 0), (w, h), (0, h)]).T
        return float(x.min()), float(y.min()), float(x.max()), float(y.max())

    @property
    def centre(self) -> tuple[float, float]:
        """Returns the map coordinates of the centre."""
        x, y = self.transform @ (self.width / 2, self.height / 2)
        return float(x), float(y)
