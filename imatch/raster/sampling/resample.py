"""Resamples pixels from one grid to another on reading."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from affine import Affine
from numpy.typing import NDArray
from rasterio.crs import CRS
from rasterio.enums import Resampling
from rasterio.io import MemoryFile
from rasterio.vrt import WarpedVRT
from rasterio.warp import reproject

from imatch.raster.gdal import session
from imatch.raster.geodesy import apply_affine, reproject_points

# GDAL takes the identity transform for "none", and an affine warp without a CRS for an error: a
# plain metric system, and a lattice that is not the identity, stand in where pixels serve.
_PLANE = CRS.from_epsg(3857)
_FRAME = Affine(10.0, 0.0, 1000.0, 0.0, -10.0, 1000.0)
#: Largest error in pixels GDAL may make in interpolating between exactly mapped points.
_TOLERANCE_PX = 0.001


@dataclass(frozen=True, eq=False)
class Chunk:
    """Pixels as read, before they meet the lattice asked for.

    Attributes:
        pixels: (C, h, w) float32, NaN where not valid.
        transform: Corner-based pixel of the chunk to the same frame as the destination's.
    """

    pixels: NDArray[np.float32]
    transform: Affine


def resample(
    chunk: Chunk,
    transform: Affine,
    size: tuple[int, int],
    *,
    source: CRS | None = None,
    target: CRS | None = None,
) -> NDArray[np.float32]:
    """Put a chunk on another lattice.

    Cubic near equal pixel sizes, linear otherwise; GDAL widens both kernels when it reduces.

    Args:
        chunk: What was read; equal to or at most a few times finer than the destination.
        transform: Corner-based transform of the destination.
        size: (width, height) of the destination.
        source: CRS of the chunk; None for the same plane as the destination.
        target: CRS of the destination.

    Returns:
        (C, H, W) float32, NaN where there is nothing valid.
    """
    width, height = size
    bands, h, w = chunk.pixels.shape
    if source is None or target is None or source == target:
        # Relative to the destination's pixels: the numbers stay small, so nothing is rounded away.
        relative = ~transform @ chunk.transform
        if (w, h) == size and relative.almost_equals(Affine.identity(), 1e-9):
            return chunk.pixels
        source, target = _PLANE, _PLANE
        src_transform, dst_transform = _FRAME @ relative, _FRAME
    else:
        src_transform, dst_transform = chunk.transform, transform
    scales = _scales(src_transform, source, dst_transform, target, size)
    near = min(scales) >= 0.75 and max(scales) <= 1.5
    # A WarpedVRT rather than `reproject`, which interpolates positions to an eighth of a pixel
    # whatever it is told: measured from UTM to Web Mercator, a slip of 0.08 px.
    with session(), MemoryFile() as memory:
        with memory.open(
            driver="GTiff",
            width=w,
            height=h,
            count=bands,
            dtype="float32",
            transform=src_transform,
            crs=source,
            nodata=np.nan,
        ) as dataset:
            dataset.write(chunk.pixels)
        with (
            memory.open() as dataset,
            WarpedVRT(
                dataset,
                crs=target,
                transform=dst_transform,
                width=width,
                height=height,
                nodata=np.nan,
                resampling=Resampling.cubic if near else Resampling.bilinear,
                tolerance=_TOLERANCE_PX,
                # GDAL would guess them from the extents, wrongly where one reaches over the other,
                # and a kernel of the wrong width moves things by some hundredths of a pixel.
                XSCALE=scales[0],
                YSCALE=scales[1],
            ) as warped,
        ):
            return np.asarray(warped.read(out_dtype="float32"))


def _scales(
    src_transform: Affine, source: CRS, dst_transform: Affine, target: CRS, size: tuple[int, int]
) -> tuple[float, float]:
    """Destination pixels per source pixel along the source's x and y, mid-destination."""
    steps = np.array([[0, 0], [1, 0], [0, 1]]) + np.array(size) / 2
    mapped = reproject_points(apply_affine(dst_transform, steps), target, source)
    there = apply_affine(~src_transform, mapped)
    jacobian = np.column_stack([there[1] - there[0], there[2] - there[0]])
    if not np.isfinite(jacobian).all() or np.linalg.det(jacobian) == 0:
        return 1.0, 1.0
    x, y = np.linalg.norm(np.linalg.inv(jacobian), axis=0)
    return float(x), float(y)


def resample_mask(
    mask: NDArray[np.uint8],
    mask_transform: Affine,
    transform: Affine,
    size: tuple[int, int],
    *,
    source: CRS | None = None,
    target: CRS | None = None,
) -> NDArray[np.bool_]:
    """Put a mask on another lattice by nearest neighbour; outside of it nothing is marked.

    Args:
        mask: (h, w) uint8, nonzero where marked.
        mask_transform: Its corner-based transform.
        transform: Corner-based transform of the destination.
        size: (width, height) of the destination.
        source: CRS of the mask; None for the same plane as the destination.
        target: CRS of the destination.

    Returns:
        (H, W) bool, True where marked.
    """
    if source is None or target is None or source == target:
        source, target = _PLANE, _PLANE
        mask_transform, transform = _FRAME @ (~transform @ mask_transform), _FRAME
    out = np.zeros((size[1], size[0]), dtype=np.uint8)
    with session():
        reproject(
            mask,
            out,
            src_transform=mask_transform,
            src_crs=source,
            dst_transform=transform,
            dst_crs=target,
            resampling=Resampling.nearest,
        )
    return np.asarray(out != 0)
