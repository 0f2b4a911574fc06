"""Writes the displacement of a registration as a raster in metres."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from affine import Affine
from numpy.typing import ArrayLike, NDArray
from rasterio.windows import Window

from imatch.core.errors import ConfigError, OutputError
from imatch.pipeline.apply.raster import provenance_tags
from imatch.pipeline.registration.geo_correction import GeoCorrection
from imatch.pipeline.registration.result import ImageSummary, Registration
from imatch.raster import Grid, RasterInfo, Source
from imatch.raster.geodesy import apply_affine
from imatch.raster.write.geotiff import created
from imatch.raster.write.profile import plain_profile

#: Longest side of the raster, pixels: a displacement is smooth, and nothing is lost.
LONGEST = 2048
#: What the bands hold.
BANDS = ("east", "north", "bound of 95 % for any place")
# Rows for which one number tells how many metres a degree measures.
_ROWS = 256


def check_displacement(infos: Sequence[RasterInfo], path: Path, *, geocoded: bool) -> None:
    """Refuses, before any work is done, a displacement that could not be told in metres.

    Args:
        infos: Reference and target.
        path: The raster to write.
        geocoded: Whether the geocoding of both is used.

    Raises:
        ConfigError: It is no .tif, or the images are not both geocoded in metres.
    """
    if path.suffix.lower() not in (".tif", ".tiff"):
        raise ConfigError("is no .tif", subject=path, hint="GeoTIFF is what is written")
    if not geocoded or any(info.gsd_m is None for info in infos):
        raise ConfigError(
            "a displacement in metres is told of two geocoded images only",
            subject=path,
            hint="leave it out, or leave out --no-geocoding",
        )


def write_displacement(
    registration: Registration,
    ref: Source,
    tgt: Source,
    out: Path,
    *,
    creation: Mapping[str, str] | None = None,
    overwrite: bool = False,
) -> Grid:
    """Writes how far the target's geocoding lies off, as a cloud-optimised GeoTIFF.

    It lies on the reference's pixels, or so many of them together that its longer side has at most
    `LONGEST`. The bands (float32) hold where the target has a place minus where it is, eastwards
    and northwards in metres, as `Registration.shift_m` does; and the 95 % bound of the certificate
    in metres, NaN where there is none. Its mask is where both images show ground.

    Args:
        registration: The registration, of two geocoded images.
        ref: The reference.
        tgt: The target.
        out: The GeoTIFF.
        creation: Creation options of GDAL's COG driver.
        overwrite: Whether an existing file may be replaced.

    Returns:
        Its pixels.

    Raises:
        InputError: There is no transform, or an image cannot be read.
        OutputError: The images are not both geocoded, or the file cannot be written.
    """
    mapping = GeoCorrection.of(registration)
    if not mapping.on_map:
        raise OutputError(
            "a displacement in metres is told of two geocoded images only", subject=out
        )
    whole = mapping.reference_lattice
    factor = max(1, math.ceil(max(whole.size) / LONGEST))
    columns, rows = (math.ceil(side / factor) for side in whole.size)
    grid = Grid(whole.transform @ Affine.scale(factor), whole.crs, columns, rows)
    profile = plain_profile(len(BANDS), "float32", missing="mask", nodata=None, masked=True)
    profile = replace(profile, descriptions=BANDS, units=("m",) * len(BANDS))
    bound = registration.certificate.corner_ci95_m
    target = registration.target.path or "array"
    with created(
        out,
        profile,
        grid,
        tags=provenance_tags(mapping, target),
        creation=creation,
        cog=True,
        overwrite=overwrite,
    ) as put:
        for top in range(0, rows, _ROWS):
            strip = Grid(
                grid.transform @ Affine.translation(0, top),
                grid.crs,
                columns,
                min(_ROWS, rows - top),
            )
            moved = _displacement(mapping, strip)
            to_target = mapping.to_pixels(strip, tgt.info)
            valid = ref.read_through(strip, _to_reference(registration.reference, strip)).valid
            valid &= tgt.read_through(strip, to_target).valid
            valid &= np.isfinite(moved).all(axis=0)
            held = np.full(valid.shape, np.nan if bound is None else bound)
            pixels = np.stack([*moved, held]).astype(np.float32)
            pixels[:, ~valid] = np.nan
            put(Window(0, top, columns, strip.height), [1, 2, 3], pixels, valid)
    return grid


def _displacement(mapping: GeoCorrection, grid: Grid) -> NDArray[np.float64]:
    """(2, H, W) metres eastwards and northwards, at each pixel of a grid."""
    x, y = np.meshgrid(np.arange(grid.width) + 0.5, np.arange(grid.height) + 0.5)
    true = apply_affine(grid.transform, np.column_stack([x.ravel(), y.ravel()]))
    moved = mapping.correction.apply(true) - true
    metres = grid.metres_per_unit or (np.nan, np.nan)
    return np.asarray((moved * metres).T.reshape(2, grid.height, grid.width))


def _to_reference(
    reference: ImageSummary, grid: Grid
) -> Callable[[ArrayLike], NDArray[np.float64]]:
    """From pixels of a grid on the reference's map to those of the reference."""

    def convert(xy: ArrayLike) -> NDArray[np.float64]:
        points = np.asarray(xy, dtype=np.float64).reshape(-1, 2)
        return reference.to_native(apply_affine(grid.transform, points + 0.5))

    return convert
