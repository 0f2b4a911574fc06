"""Applies a registration by correcting the geotransform; pixels are copied."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from os import PathLike, fspath
from typing import Literal, TypeAlias

import numpy as np
from affine import Affine
from numpy.typing import NDArray
from rasterio.control import GroundControlPoint
from rasterio.crs import CRS

from imatch.core.errors import InputError
from imatch.core.io.fingerprint import Fingerprint
from imatch.pipeline.apply.raster import choose_resampling, provenance_tags
from imatch.pipeline.registration.geo_correction import GeoCorrection
from imatch.pipeline.registration.result import ImageSummary
from imatch.raster import Grid, RasterInfo
from imatch.raster.common_grid import unwrap_longitude
from imatch.raster.geodesy import apply_affine, fitted_affine, reproject_points
from imatch.raster.read.file_source import raster_info
from imatch.raster.warp.set_geotransform import set_geotransform

#: What to do where six numbers cannot say where the pixels lie.
Inexact: TypeAlias = Literal["refuse", "accept", "gcps"]

#: Largest error of a geotransform that is not worth a word, pixels.
LIMIT_PX = 0.1
_GCPS = 15
# No coordinate lies further out: damaged CRSs lead beyond what can be computed with.
_FARTHEST = 1e12
# A pixel's area as a share of its longer side's square, below which it is a line or a point.
_FLAT = 1e-9


def apply_geotransform(
    mapping: GeoCorrection,
    path: str | PathLike[str],
    out: str | PathLike[str],
    *,
    limit_px: float = LIMIT_PX,
    inexact: Inexact = "refuse",
    creation: Mapping[str, str] | None = None,
    cog: bool = False,
    overwrite: bool = False,
    inputs: Sequence[Fingerprint] = (),
) -> float:
    """Copy a raster with its geocoding corrected and its pixels untouched.

    Within one CRS an affine correction is exact. A homography, a local deformation or a second
    CRS is not affine: then the best six numbers leave an error. A raster without geocoding gets
    one in the reference's CRS, or in its local coordinates.

    Args:
        mapping: The registration.
        path: The target or another product of its scene.
        out: The GeoTIFF to write.
        limit_px: Largest error allowed anywhere, pixels of the raster.
        inexact: Beyond it: ``refuse``, ``accept`` the error, or write ground control points
            (``gcps``) instead of a transform, for software that warps by them.
        creation: Creation options of GDAL's GTiff driver, or of its COG driver.
        cog: Write a cloud-optimised GeoTIFF.
        overwrite: Whether an existing file may be replaced.
        inputs: Files that must still be the same when all is read (`inputs_of`).

    Returns:
        The largest error of the transform in pixels, also where control points took its place.

    Raises:
        InputError: The raster cannot be used, the reference has no coordinates, or the error is
            too large.
        ConfigError: A creation option does not work.
        OutputError: The file cannot be written.
    """
    info = raster_info(path, dem=mapping.dem)
    transform, crs, error = corrected_transform(mapping, info)
    gcps: list[GroundControlPoint] = []
    if error > limit_px and inexact == "refuse":
        raise InputError(
            f"a geotransform would be wrong by up to {error:.2g} px: the correction is curved",
            subject=info.name,
            hint="resample it instead, write control points, or accept the error"
            " (--inexact gcps|accept)",
        )
    if error > limit_px and inexact == "gcps":
        gcps = _control_points(mapping, info, crs)
    set_geotransform(
        path,
        out,
        Grid(transform, crs, info.width, info.height),
        gcps=gcps,
        creation=creation,
        cog=cog,
        overwrite=overwrite,
        inputs=inputs,
        tags=provenance_tags(mapping, fspath(path)),
        classes=choose_resampling(path).method == "nearest",
    )
    return error


def check_geotransform(reference: ImageSummary) -> None:
    """Makes sure that a reference has coordinates which a geotransform can lead to.

    Raises:
        InputError: Its pixels are all it has.
    """
    if reference.transform is None:
        raise InputError(
            "the reference is not geocoded, so there is no geotransform to give",
            subject=reference.path,
            hint="resample onto the reference's pixels instead (without --geotransform-only)",
        )


def corrected_transform(
    mapping: GeoCorrection, info: RasterInfo
) -> tuple[Affine, CRS | None, float]:
    """The geotransform that puts a raster where it truly lies, in its own CRS if it has one.

    Returns:
        The corner-based transform, its CRS (None in the plane of a world file), and its largest
        error in pixels of the raster.

    Raises:
        InputError: The reference has no coordinates, or the registration does not apply.
    """
    check_geotransform(mapping.reference)
    crs = info.crs if info.geocoded and mapping.crs is not None else mapping.written_crs
    pixels = _lattice(info, 33)
    true = _true_coordinates(mapping, info, crs, pixels)
    correction = mapping.correction
    affine = correction.local is None and not correction.matrix[2, :2].any()
    if (
        affine
        and mapping.on_map
        and crs is not None
        and crs == mapping.crs
        and not crs.is_geographic
        and info.geolocation is None
    ):
        own, _ = unwrap_longitude(info, crs, 0.0)
        transform = ~Affine(*correction.matrix[:2].ravel()) @ own
    else:
        transform = fitted_affine(pixels + 0.5, true)
    sizes = np.hypot(transform.a, transform.d), np.hypot(transform.b, transform.e)
    if not abs(transform.determinant) > _FLAT * max(sizes) ** 2:
        raise InputError(
            "its CRS gives its pixels no size on the map",
            subject=info.name,
            hint="check its CRS and its geotransform (gdalinfo)",
        )
    off = apply_affine(~transform, true) - 0.5 - pixels
    return transform, crs, float(np.hypot(off[:, 0], off[:, 1]).max())


def _control_points(
    mapping: GeoCorrection, info: RasterInfo, crs: CRS | None
) -> list[GroundControlPoint]:
    pixels = _lattice(info, _GCPS)
    coordinates = _true_coordinates(mapping, info, crs, pixels)
    return [
        GroundControlPoint(row=float(y + 0.5), col=float(x + 0.5), x=float(east), y=float(north))
        for (x, y), (east, north) in zip(pixels, coordinates, strict=True)
    ]


def _true_coordinates(
    mapping: GeoCorrection, info: RasterInfo, crs: CRS | None, pixels: NDArray[np.float64]
) -> NDArray[np.float64]:
    """(N, 2) coordinates at which native pixels truly lie."""
    coordinates = mapping.to_map(info)(pixels)
    if mapping.crs is not None and crs is not None:
        near = None
        if crs.is_geographic and info.geocoded:
            near = float((info.transform @ (info.width / 2, info.height / 2))[0])
        coordinates = reproject_points(coordinates, mapping.crs, crs, near=near)
    if not (np.abs(coordinates) < _FARTHEST).all():
        raise InputError(
            "part of it has no place on the corrected map",
            subject=info.name,
            hint="resample it onto the reference's grid instead",
        )
    return coordinates


def _lattice(info: RasterInfo, count: int) -> NDArray[np.float64]:
    """(N, 2) pixel positions from corner to corner."""
    x, y = (np.linspace(-0.5, side - 0.5, count) for side in info.size)
    return np.stack(np.meshgrid(x, y), axis=-1).reshape(-1, 2)
