"""Warps rasters onto another grid through any coordinate mapping."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from os import PathLike, fspath
from pathlib import Path

import numpy as np

from imatch.core.errors import InputError
from imatch.core.io.fingerprint import Fingerprint, check_unchanged, fingerprints
from imatch.raster.gdal import opened
from imatch.raster.grid import Grid
from imatch.raster.names import local_files, openable
from imatch.raster.sampling.coordinate_grid import Convert, spans
from imatch.raster.sampling.interpolation import Resampling
from imatch.raster.warp.block_plan import BlockMaker, plan_blocks
from imatch.raster.write.geotiff import check_apart, created
from imatch.raster.write.profile import form_of


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
