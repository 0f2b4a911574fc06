"""Warps rasters onto another grid through any coordinate mapping."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from os import PathLike, fspath
from pathlib import Path

import numpy as np
from rasterio.windows import Window

from imatch.core.errors import InputError
from imatch.core.io.fingerprint import Fingerprint, check_unchanged, fingerprints
from imatch.raster.gdal import opened
from imatch.raster.grid import Grid
from imatch.raster.image import GeoImage
from imatch.raster.names import local_files, openable
from imatch.raster.read.source import Source
from imatch.raster.warp.block_plan import BlockMaker, plan_blocks
from imatch.raster.warp.coordinate_grid import Convert, positions, spans
from imatch.raster.warp.interpolation import Resampling, nearest, sample
from imatch.raster.write.geotiff import check_apart, created
from imatch.raster.write.profile import form_of

#: Source pixels read around what a lattice needs, in pixels of the size it is read at.
_RIM = 4


def render_through(source: Source, lattice: Grid, to_pixels: Convert) -> GeoImage:
    """Render an image on a lattice that fits into memory, through any mapping.

    Where the lattice is coarser than the source, this is read averaged down to it; what is left to
    do is a cubic interpolation.

    Args:
        source: What to read.
        lattice: The pixels wanted.
        to_pixels: (N, 2) pixels of the lattice to (N, 2) native pixels of the source, not finite
            where there is none.

    Returns:
        The image on the lattice; invalid where the nearest pixel of the source is, or outside.

    Raises:
        InputError: Pixels of the source cannot be read.
    """
    width, height = lattice.size
    pixels = np.zeros((source.info.count, height, width), dtype=np.float32)
    valid = np.zeros((height, width), dtype=bool)
    where = positions(to_pixels, 0, 0, width, height)
    x = where.x.astype(np.float64) + where.origin[0]
    y = where.y.astype(np.float64) + where.origin[1]
    inside = (x >= -0.5) & (x <= source.info.width - 0.5)
    inside &= (y >= -0.5) & (y <= source.info.height - 0.5)
    if inside.any():
        factor = np.maximum(1.0, spans(to_pixels, width, height))
        ends = np.array([[x[inside].min(), y[inside].min()], [x[inside].max(), y[inside].max()]])
        low = np.maximum(0, np.floor(ends[0] - _RIM * factor)).astype(int)
        high = np.minimum(source.info.size, np.ceil(ends[1] + _RIM * factor) + 1).astype(int)
        size = np.maximum(1, np.round((high - low) / factor)).astype(int)
        part = source.read(Window(*low, *(high - low)), (int(size[0]), int(size[1])))
        scale = size / (high - low)
        column, row = (
            np.where(inside, (place + 0.5 - start) * step - 0.5, 0).astype(np.float32)
            for place, start, step in zip((x, y), low, scale, strict=True)
        )
        valid = inside & nearest(part.valid, column, row)
        for band, out in zip(part.pixels, pixels, strict=True):
            out[valid] = sample(band, part.valid, column, row, "cubic")[valid]
    info = source.info
    return GeoImage(pixels, valid, lattice.transform, lattice.crs, info.band_names, info.path)


def warp_file(
    path: str | PathLike[str],
    out: str | PathLike[str],
    lattice: Grid,
    to_pixels: Convert,
    *,
    resampling: Resampling = "cubic",
    nodata: float | None = None,
    creation: Mapping[str, str] | None = None,
    cog: bool = False,
    overviews: bool = True,
    overwrite: bool = False,
    tags: Mapping[str, str] | None = None,
    inputs: Sequence[Fingerprint] = (),
    on_progress: Callable[[float], None] | None = None,
) -> None:
    """Write all bands of a raster on another lattice, block by block in constant memory.

    What the file says beside its pixels is kept: types, nodata value, mask or alpha, colour
    interpretation and table, names, units, scales, offsets and tags. A file that marks no missing
    ground gets an internal mask (NaN where its numbers are floating-point), so that no value of
    its own comes to mean "nothing". Where the lattice is coarser than the file by half or more,
    blocks of pixels are averaged first, unless the nearest is asked for.

    Positions are interpolated between nodes to within 0.005 px. ``cubic`` is the cubic convolution
    that GDAL uses too (a = -0.5); ``lanczos`` is OpenCV's, with 8 x 8 pixels, whose positions are
    rounded to 1/32 px.

    Args:
        path: The raster: a file, or as a string also a URL or a ``/vsi...`` path.
        out: The GeoTIFF to write.
        lattice: Its pixels.
        to_pixels: (N, 2) pixels of the lattice to (N, 2) native pixels of the raster, not finite
            where there is none. Called from several threads.
        resampling: How to take values between pixels; palettes are always taken from the nearest.
        nodata: Value that marks missing ground, instead of what the file says.
        creation: Creation options of GDAL's GTiff (COG) driver.
        cog: Write a cloud-optimised GeoTIFF.
        overviews: Make reduced-resolution levels, averaged unless the nearest is asked for.
        overwrite: Whether an existing file may be replaced.
        tags: Metadata to add to the file's own.
        inputs: Files that must still be the same when all is read; besides, the raster's own.
        on_progress: Told the share of the work each block was; the shares add up to 1.

    Raises:
        InputError: The raster cannot be read, has changed meanwhile, or holds complex numbers that
            are to be interpolated.
        ConfigError: A creation option does not work.
        OutputError: The file cannot be written; nothing is left of it.
    """
    out, name = Path(out), fspath(path)
    check_apart(path, out)
    with opened(name) as dataset:
        read = (*inputs, *fingerprints(local_files([openable(name), *dataset.files])))
        form = form_of(dataset, nodata=nodata)
        if form.categorical:
            resampling = "nearest"
        if np.dtype(form.dtype).kind == "c" and resampling != "nearest":
            raise InputError(
                f"holds complex numbers ({form.dtype})",
                subject=name,
                hint="pass --resampling nearest, or save its amplitude as float32 first",
            )
        scale = (1.0, 1.0) if resampling == "nearest" else spans(to_pixels, *lattice.size)
        # Halves are averaged: aliasing is worse than a little blur.
        factor = max(1, int(scale[0] + 0.5)), max(1, int(scale[1] + 0.5))
        maker = BlockMaker(dataset, name, form, to_pixels, resampling, factor)
        blocks = plan_blocks(form, lattice.size, factor)
        with created(
            out,
            form,
            lattice,
            tags=tags,
            creation=creation,
            cog=cog,
            overviews=overviews,
            overwrite=overwrite,
            classes=resampling == "nearest",
        ) as put:
            for block, made in maker.in_order(blocks):
                put(block.window, list(block.bands), *made)
                if on_progress is not None:
                    on_progress(1 / len(blocks))
            check_unchanged(read)
