"""Description of a raster: size, bands, types, geocoding."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from affine import Affine
from rasterio.crs import CRS

from imatch.core.errors import InputError
from imatch.raster.geodesy import gsd_metres
from imatch.raster.image import is_geocoded


@dataclass(frozen=True)
class RasterInfo:
    """A raster's description, as far as its selected bands are concerned.

    Attributes:
        path: The file or folder; None for arrays, URLs and ``/vsi…`` paths.
        width: Native columns.
        height: Native rows.
        count: Selected bands.
        dtypes: Their types (``"uint16"``).
        band_names: Their names.
        transform: Corner-based pixel to map transform; the identity without geocoding.
        crs: Coordinate reference system, or None.
        nodata: The value that marks missing ground, or None.
        driver: GDAL driver (``"GTiff"``), or ``"array"``.
        name: What to call it in messages and documents: a URL without query and credentials.
        block: (width, height) of the blocks its pixels are stored in; None where that is unknown.
        misplaced: Why the file's own geocoding makes no sense, so that it has none here.
    """

    path: Path | None
    width: int
    height: int
    count: int
    dtypes: tuple[str, ...]
    band_names: tuple[str, ...]
    transform: Affine
    crs: CRS | None
    nodata: float | None
    driver: str
    name: str = "array"
    block: tuple[int, int] | None = None
    misplaced: str | None = None

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) in native pixels."""
        return self.width, self.height

    @property
    def geocoded(self) -> bool:
        """Whether pixels are tied to the ground."""
        return is_geocoded(self.transform, self.crs)

    @property
    def gsd_m(self) -> tuple[float, float] | None:
        """Metres per pixel in x and y at the image's centre; None without geocoding."""
        if self.crs is None or not self.geocoded:
            return None
        return gsd_metres(self.transform, self.crs, self.size)

    def check_place(self) -> None:
        """Refuse a geocoding that makes no sense, before it is missed.

        Raises:
            InputError: It makes none.
        """
        if self.misplaced is not None:
            raise InputError(
                f"its geocoding makes no sense: {self.misplaced}",
                subject=self.name,
                hint="correct it, or pass --no-geocoding where there is one",
            )


def fits(value: float, dtype: np.dtype[Any]) -> bool:
    """Whether a type of pixels can hold a value exactly (float32 as nearly as it can)."""
    if dtype.kind not in "iu":
        return True
    limits = np.iinfo(dtype)
    return bool(limits.min <= value <= limits.max and value == int(value))
