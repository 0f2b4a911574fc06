"""Copies a raster with another geotransform."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from os import PathLike, fspath
from pathlib import Path

import rasterio
from rasterio.control import GroundControlPoint
from rasterio.io import DatasetReader

from imatch.core.io.files import atomic_path
from imatch.core.io.fingerprint import Fingerprint, check_unchanged, fingerprints
from imatch.raster.gdal import opened, reading
from imatch.raster.grid import Grid
from imatch.raster.names import is_virtual, local_files, openable
from imatch.raster.warp.block_plan import plan_blocks
from imatch.raster.write.geotiff import check_apart, created, drop_sidecars, writing
from imatch.raster.write.profile import form_of, tells_place

# Beside a GeoTIFF: what belongs to its pixels, not to its place.
_SIDECARS = {".ovr", ".msk"}


def set_geotransform(
    path: str | PathLike[str],
    out: str | PathLike[str],
    lattice: Grid,
    *,
    gcps: Sequence[GroundControlPoint] = (),
    creation: Mapping[str, str] | None = None,
    cog: bool = False,
    overwrite: bool = False,
    tags: Mapping[str, str] | None = None,
    classes: bool = False,
    inputs: Sequence[Fingerprint] = (),
) -> None:
    """Copy a raster as it is, onto other ground.

    A GeoTIFF is copied byte for byte, its compression and overviews with it, before its geocoding
    is replaced. Anything else, and what is to have other creation options, is written anew with
    the same pixels, compressed without loss.

    Args:
        path: The raster: a file, or as a string also a URL or a ``/vsi...`` path.
        out: The GeoTIFF to write.
        lattice: Where its pixels lie; of the raster's size.
        gcps: Ground control points in the lattice's CRS to write instead of its transform.
        creation: Creation options of GDAL's GTiff (COG) driver.
        cog: Write a cloud-optimised GeoTIFF.
        overwrite: Whether an existing file may be replaced.
        tags: Metadata to add to the file's own.
        classes: Whether there is nothing between two values, for reduced levels that are made anew.
        inputs: Files that must still be the same when all is read; besides, the raster's own.

    Raises:
        InputError: The raster cannot be read, or has changed meanwhile.
        ConfigError: A creation option does not work.
        OutputError: The file cannot be written.
    """
    out, name = Path(out), fspath(path)
    check_apart(path, out)
    with opened(name) as dataset:
        read = (*inputs, *fingerprints(local_files([openable(name), *dataset.files])))
        form = form_of(dataset)
        files = [Path(file) for file in dataset.files] if _plain(dataset) else []
        if gcps or cog or creation or is_virtual(path) or not files:
            # Not a mask for what marks nothing, as another lattice would need it: no pixel moves.
            nodata = form.nodata if form.missing == "bands" else dataset.nodata
            form = replace(form, masked=form.missing == "mask", nodata=nodata)
            with created(
                out,
                form,
                lattice,
                tags=tags,
                gcps=gcps,
                creation=creation,
                cog=cog,
                overwrite=overwrite,
                classes=classes,
            ) as put:
                for block in plan_blocks(form, lattice.size, (1, 1)):
                    where, bands = block.window, list(block.bands)
                    with reading(name):
                        pixels = dataset.read(bands, window=where, out_dtype=form.dtype)
                        mask = dataset.read_masks(1, window=where) != 0 if form.masked else None
                        if form.missing == "bands":
                            pixels[dataset.read_masks(bands, window=where) == 0] = nodata
                    put(where, bands, pixels, mask)
                check_unchanged(read)
            return
    with atomic_path(out, overwrite=overwrite) as temporary, writing(out):
        for file in files:
            suffix = "" if file == files[0] else file.suffix
            shutil.copyfile(file, temporary.with_name(temporary.name + suffix))
        drop_sidecars(out)
        with rasterio.open(temporary, "r+", IGNORE_COG_LAYOUT_BREAK="YES") as copy:
            copy.transform = lattice.transform
            if lattice.crs is not None:
                copy.crs = lattice.crs
            copy.update_tags(**(tags or {}))
        check_unchanged(read)


def _plain(dataset: DatasetReader) -> bool:
    """Whether nothing but the head of a GeoTIFF says where it lies."""
    return bool(
        dataset.driver == "GTiff"
        and not dataset.gcps[0]
        and dataset.rpcs is None
        and not tells_place(dataset)
        and dataset.name == dataset.files[0]
        and all(Path(file).suffix.lower() in _SIDECARS for file in dataset.files[1:])
    )
