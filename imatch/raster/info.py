"""Description of a raster: size, bands, types, geocoding."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
from affine import Affine
from numpy.typing import NDArray
from rasterio.crs import CRS

from imatch.core.errors import InputError
from imatch.raster.geodesy import apply_affine, gsd_metres
from imatch.raster.geolocation.geolocation import Geolocation
from imatch.raster.image import is_geocoded
from imatch.raster.modality import Modality


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
        transform: Corner-based pixel to map transform; the identity without geocoding, and with a
            `geolocation` the affine frame that fits best.
        crs: Coordinate reference system, or None.
        nodata: The value that marks missing ground, or None.
        driver: GDAL driver (``"GTiff"``), or ``"array"``.
        name: What to call it in messages and documents: a URL without query and credentials.
        block: (width, height) of the blocks its pixels are stored in; None where that is unknown.
        misplaced: Why the file's own geocoding makes no sense, so that it has none here.
        geolocation: What bends pixels into the frame of `transform`, where GCPs or RPCs locate
            them; None where that is exact.
        located_by: What geocodes it, in words (``"144 GCPs"``); None where nothing does.
        unlocated: Why GCPs or RPCs that the file has are not used.
        modality: What names, a palette or the kind of product tell of the sensor; None where they
            tell nothing.
        taken: The day it was taken, where a catalogue says; None elsewhere.
        mask: Which mask of its product leaves out what (``"SCL (clouds)"``), or why none does; None
            where it is no product.
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
    geolocation: Geolocation | None = None
    located_by: str | None = None
    unlocated: str | None = None
    modality: Modality | None = None
    mask: str | None = None
    taken: date | None = None

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

    def to_map(self, xy: NDArray[np.float64]) -> NDArray[np.float64]:
        """Map (N, 2) native pixels to map coordinates, NaN where there are none."""
        corner = xy + 0.5
        flat = corner if self.geolocation is None else self.geolocation.to_flat(corner)
        return apply_affine(self.transform, flat)

    def check_place(self) -> None:
        """Raises an error for a geocoding that makes no sense.

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
