"""Rasters on another lattice, through any mapping of its pixels into theirs."""

from __future__ import annotations

import numpy as np
from rasterio.windows import Window

from imatch.raster.image import GeoImage
from imatch.raster.kernels import nearest, sample
from imatch.raster.lattice import Lattice
from imatch.raster.positions import Convert, positions, spans
from imatch.raster.source import Source

#: Source pixels read around what a lattice needs, in pixels of the size it is read at.
_RIM = 4


def render_through(source: Source, lattice: Lattice, to_pixels: Convert) -> GeoImage:
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
