"""Lay an array of the target's scene on the reference's pixels."""

from __future__ import annotations

from typing import Any

import numpy as np
from affine import Affine
from numpy.typing import NDArray
from rasterio.crs import CRS
from rasterio.windows import Window

from imatch.core.errors import ConfigError, InputError
from imatch.pipeline.apply.output_grid import Bounds, GridKind, check_overlap, output_lattice
from imatch.pipeline.registration.image_summary import ImageSummary
from imatch.pipeline.registration.result import Registration
from imatch.raster import RasterInfo
from imatch.raster.read.array_source import bands_first
from imatch.raster.sampling.interpolation import RESAMPLINGS, Resampling
from imatch.raster.warp.array import averaging, warp_array
from imatch.workflows.apply import usable


def warp(
    registration: Registration,
    image: Any,
    *,
    grid: GridKind = "reference",
    res: float | None = None,
    bounds: Bounds | None = None,
    resampling: Resampling = "cubic",
    nodata: float | None = None,
    force: bool = False,
) -> Any:
    """Lay an image on the reference's pixels: `Registration.warp`, which says how.

    Args:
        registration: The registration.
        image: A numpy array.
        grid: Whose pixel lattice the answer has.
        res: Side of a pixel in units of the answer's CRS.
        bounds: (left, bottom, right, top) to cover, in the answer's CRS.
        resampling: How to take values between pixels.
        nodata: Value that marks missing ground.
        force: Apply a registration that is not ok, or not near enough.

    Returns:
        The same kind of image.

    Raises:
        InputError: The image cannot be used, or the registration is not to be applied.
        ConfigError: An option makes no sense.
    """
    if resampling not in RESAMPLINGS:
        raise ConfigError(
            f"is no resampling: {resampling}",
            subject="resampling",
            hint=f"it is one of {', '.join(RESAMPLINGS)}",
        )
    mapping = usable(registration, force=force)
    pixels, valid, bands_last = bands_first(image, nodata)
    info = frame_of(mapping.target, pixels)
    lattice = output_lattice(mapping, info, grid=grid, res=res, bounds=bounds)
    check_overlap(mapping, info, lattice)
    to_pixels = mapping.to_pixels(lattice, info)
    fill = float("nan") if nodata is None and pixels.dtype.kind == "f" else nodata
    warped, ground = warp_array(
        pixels,
        valid,
        Window(0, 0, *lattice.size),
        to_pixels,
        fill=fill,
        resampling=resampling,
        factor=averaging(to_pixels, lattice.size, resampling),
    )
    out = warped
    if np.ma.isMaskedArray(image) or fill is None:
        out = np.ma.masked_array(warped, np.broadcast_to(~ground, warped.shape), fill_value=fill)
    if np.ndim(image) == 2:
        return out[0]
    return np.moveaxis(out, 0, -1) if bands_last else out


def frame_of(target: ImageSummary, pixels: NDArray[Any]) -> RasterInfo:
    """Describes an array that shows what the target of a registration shows.

    Args:
        target: The target.
        pixels: (C, H, W).

    Raises:
        InputError: It has another size.
    """
    count, height, width = pixels.shape
    if (width, height) != (target.width, target.height):
        raise InputError(
            f"has {width}x{height} pixels, the target {target.width}x{target.height}",
            subject="array",
            hint="pass an array of the target's pixels, or a DataArray that says where it lies",
        )
    return RasterInfo(
        None,
        width,
        height,
        count,
        (str(pixels.dtype),) * count,
        tuple(str(band) for band in range(1, count + 1)),
        Affine.identity() if target.transform is None else Affine(*target.transform),
        None if target.crs is None else CRS.from_user_input(target.crs),
        None,
        "array",
        geolocation=target.geolocation,
    )
