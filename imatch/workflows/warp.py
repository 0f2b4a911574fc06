"""Lay an array or a DataArray of the target's scene on the reference's pixels."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from affine import Affine
from rasterio.crs import CRS
from rasterio.windows import Window

from imatch.core.errors import ConfigError, InputError
from imatch.pipeline.apply.output_grid import Bounds, GridKind, check_overlap, output_lattice
from imatch.pipeline.apply.raster import placed
from imatch.pipeline.registration.image_summary import ImageSummary
from imatch.pipeline.registration.result import Registration
from imatch.raster import RasterInfo
from imatch.raster.dataarrays.frame import frame_of, is_data_array
from imatch.raster.dataarrays.warp import warp_data_array
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
        image: A numpy array or a DataArray.
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
    check_resampling(resampling)
    mapping = usable(registration, force=force)
    if is_data_array(image):
        frame = frame_of(image, nodata=nodata, placed=mapping.on_map)
        if not mapping.on_map:
            frame = replace(frame, info=target_info(mapping.target, frame.info))
        lattice = output_lattice(mapping, frame.info, grid=grid, res=res, bounds=bounds)
        check_overlap(mapping, frame.info, lattice)
        to_pixels = mapping.to_pixels(lattice, frame.info)
        lattice = placed(mapping, lattice)
        return warp_data_array(frame, lattice, to_pixels, nodata=nodata, resampling=resampling)
    pixels, valid, bands_last = bands_first(image, nodata)
    count, height, width = pixels.shape
    names = tuple(str(band) for band in range(1, count + 1))
    info = target_info(
        mapping.target,
        RasterInfo(
            None,
            width,
            height,
            count,
            (str(pixels.dtype),) * count,
            names,
            Affine.identity(),
            None,
            nodata,
            "array",
        ),
    )
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


def check_resampling(resampling: str) -> None:
    """Refuses what is no kernel.

    Raises:
        ConfigError: It is none.
    """
    if resampling not in RESAMPLINGS:
        raise ConfigError(
            f"is no resampling: {resampling}",
            subject="resampling",
            hint=f"it is one of {', '.join(RESAMPLINGS)}",
        )


def target_info(target: ImageSummary, image: RasterInfo) -> RasterInfo:
    """Describes an image that shows what the target of a registration shows.

    Args:
        target: The target.
        image: What is known of the image, but for its place.

    Raises:
        InputError: It has another size.
    """
    if image.size != (target.width, target.height):
        raise InputError(
            f"has {image.width}x{image.height} pixels, the target {target.width}x{target.height}",
            subject=image.name,
            hint="pass an image of the target's pixels, or a DataArray that says where it lies",
        )
    return replace(
        image,
        transform=Affine.identity() if target.transform is None else Affine(*target.transform),
        crs=None if target.crs is None else CRS.from_user_input(target.crs),
        geolocation=target.geolocation,
    )
