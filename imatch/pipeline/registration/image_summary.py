"""Description of an image in a registration."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from affine import Affine
from numpy.typing import NDArray
from rasterio.crs import CRS

from imatch.raster import RasterInfo
from imatch.raster.geodesy import apply_affine
from imatch.raster.geolocation.geolocation import Geolocation
from imatch.raster.image import is_geocoded
from imatch.raster.modality import Modality


@dataclass(frozen=True)
class ImageSummary:
    """Description of the reference or the target.

    Attributes:
        path: The file or `redacted` URL, or None for an array.
        width: Native columns.
        height: Native rows.
        bands: Names of the bands that were matched.
        crs: ``"EPSG:32631"`` or WKT, also of a local (engineering) system; None without.
        transform: The six corner-based affine coefficients (a, b, c, d, e, f) from pixels to `crs`,
            or to a plane that no CRS describes (a world file); None where pixels are all there is.
        gsd_m: (x, y) ground sampling distance in metres, or None where unknown.
        geolocation: What bends pixels into the frame of `transform` where GCPs or RPCs locate the
            image; None where that is exact.
        unlocated: Why GCPs or RPCs that the file has are not used.
        modality: What kind of sensor made it, as was said, or by its names or pixels; None where
            that cannot be told.
    """

    path: str | None
    width: int
    height: int
    bands: tuple[str, ...] = ()
    crs: str | None = None
    transform: tuple[float, ...] | None = None
    gsd_m: tuple[float, float] | None = None
    geolocation: Geolocation | None = None
    unlocated: str | None = None
    modality: Modality | None = None

    @classmethod
    def of(
        cls, info: RasterInfo, gsd_m: float | None = None, modality: Modality | None = None
    ) -> ImageSummary:
        """Describes an open image.

        Args:
            info: The image.
            gsd_m: Metres per pixel where the file does not say.
            modality: What kind of sensor made it; as its names tell when None.
        """
        path = None if info.driver == "array" else info.name
        gsd = info.gsd_m if info.gsd_m is not None or gsd_m is None else (gsd_m, gsd_m)
        return cls(
            str(info.path) if info.path is not None else path,
            info.width,
            info.height,
            info.band_names,
            None if info.crs is None else info.crs.to_string(),
            None if info.transform == Affine.identity() else tuple(info.transform)[:6],
            gsd,
            info.geolocation,
            info.unlocated,
            modality or info.modality,
        )

    @property
    def geocoded(self) -> bool:
        """Whether pixels are tied to the Earth."""
        if self.crs is None or self.transform is None:
            return False
        return is_geocoded(Affine(*self.transform), CRS.from_user_input(self.crs))

    def to_own(self, xy: NDArray[np.float64]) -> NDArray[np.float64]:
        """Converts (N, 2) native pixels to the coordinates of `transform`, pixels without one.

        Pixels are centred, also those that stand for coordinates.
        """
        if self.transform is None:
            return xy
        corner = xy + 0.5
        flat = corner if self.geolocation is None else self.geolocation.to_flat(corner)
        return apply_affine(Affine(*self.transform), flat)

    def to_native(self, xy: NDArray[np.float64]) -> NDArray[np.float64]:
        """The inverse of `to_own`."""
        if self.transform is None:
            return xy
        flat = apply_affine(~Affine(*self.transform), xy)
        corner = flat if self.geolocation is None else self.geolocation.to_native(flat)
        return corner - 0.5

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready form."""
        return {
            "path": self.path,
            "width": self.width,
            "height": self.height,
            "bands": list(self.bands),
            "crs": self.crs,
            "transform": None if self.transform is None else list(self.transform),
            "gsd_m": None if self.gsd_m is None else list(self.gsd_m),
            "geolocation": None if self.geolocation is None else self.geolocation.to_dict(),
            "unlocated": self.unlocated,
            "modality": self.modality,
        }

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> ImageSummary:
        """The inverse of `to_dict`.

        Raises:
            InputError: Its geolocation makes no sense.
        """
        transform, gsd, bend = data["transform"], data["gsd_m"], data.get("geolocation")
        return cls(
            data["path"],
            data["width"],
            data["height"],
            tuple(data["bands"]),
            data["crs"],
            None if transform is None else tuple(transform),
            None if gsd is None else (gsd[0], gsd[1]),
            None if bend is None else Geolocation.from_dict(bend),
            data.get("unlocated"),
            data.get("modality"),
        )
