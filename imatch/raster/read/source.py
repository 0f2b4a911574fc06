"""Base class of rasters that are read by window, at any resolution, or on a map grid."""

from __future__ import annotations

import math
import os
import resource
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from os import PathLike, fspath
from pathlib import Path
from typing import Literal, TypeAlias

import numpy as np
import scipy
from affine import Affine
from numpy.typing import NDArray
from rasterio.crs import CRS
from rasterio.windows import Window

from imatch.core.errors import InputError
from imatch.core.types import BoolArray
from imatch.raster.common_grid import PixelMap, unwrap_longitude
from imatch.raster.geodesy import apply_affine
from imatch.raster.grid import Grid
from imatch.raster.image import GeoImage
from imatch.raster.info import RasterInfo
from imatch.raster.read.mask import UserMask
from imatch.raster.sampling.coordinate_grid import Convert, positions, spans
from imatch.raster.sampling.interpolation import nearest, sample_bands
from imatch.raster.sampling.resample import Chunk, resample

#: Share of the machine's memory, or of the process's limit, that one image may take.
_MEMORY_SHARE = 0.5
#: Share of the image a black border must fill to be taken for missing ground.
_COLLAR_SHARE = 0.01
#: Native pixels read around what a lattice needs, in pixels of the size they are read at.
_RIM = 4
#: Values of all bands read for a grid: so many, or so many times the grid's pixels.
_MOST_VALUES, _MOST_FINER = 1 << 26, 32


#: Whether masks that come with a product leave ground out.
MaskUse: TypeAlias = Literal["auto", "none"]
#: Bands, nodata value, mask and use of a product's mask asked for, None where the file decides.
Settings: TypeAlias = tuple[tuple[int | str, ...] | None, float | None, str | None, MaskUse | None]
#: What these are called in settings of a pair, behind ``ref_`` and ``tgt_``.
SETTINGS = ("bands", "nodata", "mask", "product_mask")


def settings_of(
    bands: Sequence[int | str] | None,
    nodata: float | None,
    mask: str | PathLike[str] | None,
    product_mask: MaskUse | None = None,
) -> Settings:
    """Returns the settings with which a source was opened, in a form to be compared."""
    # One NaN for all: others differ from themselves.
    return (
        None if bands is None else tuple(bands),
        math.nan if nodata is not None and math.isnan(nodata) else nodata,
        None if mask is None else fspath(mask),
        product_mask,
    )


class Source(ABC):
    """A raster that is read piece by piece, at the resolution asked for.

    Invalid ground is what the file marks as such (nodata, mask band, alpha band), what is not a
    finite number, and what the user's mask and that of a product cover. Images of several 8- or
    16-bit unsigned bands that mark nothing also lose a black collar: pixels that are 0 in all bands
    and connected to the edge, where they make up more than 1 % of what is read (Sentinel-2
    true-colour images have such a collar and do not say so). Black water or shadow inside the image
    stays.

    Attributes:
        info: What is known of the selected bands.
        opened_with: The bands, the nodata value, the mask and the use of a product's mask that were
            asked for.
        files: Local files that its pixels and its mask come from; none of an array.
        remote: URLs and ``/vsi…`` paths of such files on other hosts.
    """

    info: RasterInfo
    opened_with: Settings = (None, None, None, None)
    files: tuple[Path, ...] = ()
    remote: tuple[str, ...] = ()
    _masks: tuple[UserMask, ...] = ()
    _trim_collar: bool = False
    #: How much finer than asked a chunk is read when it still has to be resampled.
    _oversampling: float = 2.0

    def lacks_level(self, factor: float) -> bool:  # noqa: ARG002
        """Whether every pixel has to be decoded for what is read so many times reduced."""
        return False

    @abstractmethod
    def _chunks(
        self, window: Window, factor: float, size: tuple[int, int] | None
    ) -> Iterator[Chunk]:
        """Read a window of native pixels, band group by band group in band order.

        Args:
            window: Inside the image; may be fractional.
            factor: Native pixels per chunk pixel allowed.
            size: If given, the (width, height) the window is wanted at: a chunk that meets it
                exactly needs no resampling, so do so where it is exact.

        Yields:
            Chunks whose transform leads to native pixels (corner-based).
        """

    def read(self, window: Window | None = None, size: tuple[int, int] | None = None) -> GeoImage:
        """Read a part of the image, averaged down to a size.

        Args:
            window: Part in native pixels, may be fractional; None for all.
            size: (width, height) to return; None for native resolution.

        Returns:
            The pixels, with the transform of their own lattice.

        Raises:
            InputError: The window lies outside, or pixels cannot be read.
        """
        if window is None:
            window = Window(0, 0, self.info.width, self.info.height)
        x, y, w, h = window.col_off, window.row_off, window.width, window.height
        slack = 1e-6
        if not (
            min(w, h) > 0
            and min(x, y) >= -slack
            and x + w <= self.info.width + slack
            and y + h <= self.info.height + slack
        ):
            raise InputError(
                f"window {(x, y, w, h)} is not within its {self.info.width}x{self.info.height} "
                "pixels",
                subject=self.info.name,
                hint="ask for a part of the image",
            )
        if size is None:
            size = (max(1, round(w)), max(1, round(h)))
        self._check_memory(size)
        to_native = Affine.translation(x, y) @ Affine.scale(w / size[0], h / size[1])
        factor = max(1.0, min(w / size[0], h / size[1]))
        parts = [resample(chunk, to_native, size) for chunk in self._chunks(window, factor, size)]
        return self._finish(parts, self.info.transform @ to_native, self.info.crs)

    def read_on(self, grid: Grid) -> GeoImage:
        """Render the image on a map grid, whatever its own CRS, orientation and GSD.

        Ground the image does not cover comes back invalid.

        Args:
            grid: The lattice wanted.

        Raises:
            InputError: The image is not geocoded, or pixels cannot be read.
        """
        self.info.check_place()
        if not self.info.geocoded:
            raise InputError(
                "is not geocoded", subject=self.info.name, hint="match by pixels instead"
            )
        size = (grid.width, grid.height)
        self._check_memory(size)
        if self.info.geolocation is not None:
            return self.read_through(grid, PixelMap.on_grid(grid, self.info).to_native)
        window, factor = self._window_of(grid)
        parts: list[NDArray[np.float32]] = []
        if window is not None:
            native, _ = unwrap_longitude(self.info, grid.crs, grid.centre[0])
            parts = [
                self._on_map(Chunk(chunk.pixels, native @ chunk.transform), grid)
                for chunk in self._chunks(window, max(1.0, factor / self._oversampling), None)
            ]
        if not parts:
            parts = [np.full((self.info.count, size[1], size[0]), np.nan, dtype=np.float32)]
        return self._finish(parts, grid.transform, grid.crs)

    def read_through(self, lattice: Grid, to_pixels: Convert) -> GeoImage:
        """Render the image on a lattice that fits into memory, through any mapping.

        Where the lattice is coarser than the image, this is read averaged down to it; what is left
        to do is a cubic interpolation.

        Args:
            lattice: The pixels wanted.
            to_pixels: (N, 2) pixels of the lattice to (N, 2) native pixels, not finite where there
                is none.

        Returns:
            The image on the lattice; invalid where the nearest native pixel is, or outside.

        Raises:
            InputError: Pixels cannot be read.
        """
        width, height = lattice.size
        info = self.info
        pixels = np.zeros((info.count, height, width), dtype=np.float32)
        valid = np.zeros((height, width), dtype=bool)
        where = positions(to_pixels, 0, 0, width, height)
        x = where.x.astype(np.float64) + where.origin[0]
        y = where.y.astype(np.float64) + where.origin[1]
        inside = (x >= -0.5) & (x <= info.width - 0.5) & (y >= -0.5) & (y <= info.height - 0.5)
        if inside.any():
            factor = np.maximum(1.0, spans(to_pixels, width, height))
            ends = np.array(
                [[x[inside].min(), y[inside].min()], [x[inside].max(), y[inside].max()]]
            )
            low = np.maximum(0, np.floor(ends[0] - _RIM * factor)).astype(int)
            high = np.minimum(info.size, np.ceil(ends[1] + _RIM * factor) + 1).astype(int)
            size = np.maximum(1, np.round((high - low) / factor)).astype(int)
            part = self.read(Window(*low, *(high - low)), (int(size[0]), int(size[1])))
            scale = size / (high - low)
            column, row = (
                np.where(inside, (place + 0.5 - start) * step - 0.5, 0).astype(np.float32)
                for place, start, step in zip((x, y), low, scale, strict=True)
            )
            valid = np.asarray(inside & nearest(part.valid, column, row))
            known = [part.valid] * info.count
            taken = sample_bands(list(part.pixels), known, column, row, "cubic")
            for values, out in zip(taken, pixels, strict=True):
                out[valid] = values[valid]
        return GeoImage(pixels, valid, lattice.transform, lattice.crs, info.band_names, info.path)

    def _on_map(self, chunk: Chunk, grid: Grid) -> NDArray[np.float32]:
        """(C, H, W) of a chunk whose transform leads to its map, rendered on a grid."""
        size, crs = (grid.width, grid.height), self.info.crs
        out = resample(chunk, grid.transform, size, source=crs, target=grid.crs)
        if crs is None or not crs.is_geographic or crs == grid.crs:
            return out
        # GDAL looks for each place between -180 and 180 degrees; a chunk that reaches over the
        # antimeridian has the rest of its ground a turn away.
        width = chunk.pixels.shape[2]
        ends = apply_affine(chunk.transform, [(0, 0), (width, 0)])[:, 0]
        for turn, beyond in ((360.0, ends.min() < -180), (-360.0, ends.max() > 180)):
            if beyond:
                turned = Chunk(chunk.pixels, Affine.translation(turn, 0) @ chunk.transform)
                other = resample(turned, grid.transform, size, source=crs, target=grid.crs)
                out = np.where(np.isnan(out), other, out)
        return out

    def _window_of(self, grid: Grid) -> tuple[Window | None, float]:
        """Native pixels a grid needs, and how many of them one of its pixels spans."""
        to_native = PixelMap.on_grid(grid, self.info).to_native
        # A lattice rather than the border: a pole or a bend may lie inside.
        x = np.linspace(-0.5, grid.width - 0.5, 33)
        y = np.linspace(-0.5, grid.height - 0.5, 33)
        points = np.stack(np.meshgrid(x, y), axis=-1).reshape(-1, 2)
        native, right, below = (to_native(points + step) + 0.5 for step in ((0, 0), (1, 0), (0, 1)))
        across, down = right - native, below - native
        good = np.isfinite(native).all(axis=1) & np.isfinite(across + down).all(axis=1)
        if not good.any():
            return None, 1.0
        spans = np.linalg.norm(np.stack([across[good], down[good]]), axis=-1)
        pad = 4 * float(spans.max()) + 2
        size = np.array(self.info.size)
        low = np.clip(np.floor(native[good].min(axis=0) - pad), 0, size)
        high = np.clip(np.ceil(native[good].max(axis=0) + pad), 0, size)
        if (high - low).min() < 1:
            return None, 1.0
        # The finest place decides, unless all else would be read so much finer than needed.
        most = max(_MOST_VALUES, _MOST_FINER * grid.width * grid.height) / self.info.count
        least = self._oversampling * float(np.sqrt(np.prod(high - low) / most))
        return Window(*low, *(high - low)), max(float(spans.min()), least)

    def _check_memory(self, size: tuple[int, int]) -> None:
        """Refuses an image that the machine cannot hold: its pixels twice, and masks."""
        needed = size[0] * size[1] * (self.info.count * 9.0 + 2)
        there = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        limit, _ = resource.getrlimit(resource.RLIMIT_AS)
        if limit != resource.RLIM_INFINITY:
            there = min(there, limit)
        if needed > _MEMORY_SHARE * there:
            raise InputError(
                f"an image of {size[0]} x {size[1]} pixels would take {needed / 2**30:,.1f} GiB of"
                " memory",
                subject=self.info.name,
                hint="read a part of it, or all of it at a smaller size",
            )

    def _finish(
        self, parts: list[NDArray[np.float32]], transform: Affine, crs: CRS | None
    ) -> GeoImage:
        """Stack the bands and make everything that invalidates ground one mask."""
        pixels = parts[0] if len(parts) == 1 else np.concatenate(parts)
        valid: BoolArray = np.asarray(np.isfinite(pixels).all(axis=0))
        if self._trim_collar:
            valid &= ~_collar(pixels, valid)
        height, width = valid.shape
        frame = crs if self.info.geocoded else None
        for mask in self._masks:
            valid &= ~mask.ignored(transform, frame, (width, height))
        pixels[:, ~valid] = 0
        return GeoImage(pixels, valid, transform, crs, self.info.band_names, self.info.path)


def _collar(pixels: NDArray[np.float32], valid: BoolArray) -> BoolArray:
    """(H, W) bool: a black border that was not marked as missing."""
    nothing = np.zeros_like(valid)
    black = valid & (pixels == 0).all(axis=0)
    if black.mean() <= _COLLAR_SHARE:
        return nothing
    # Ground already known to be missing (outside the image on a grid) is edge as well.
    labels, _ = scipy.ndimage.label(black | ~valid)
    edge = np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]])
    collar = np.isin(labels, np.setdiff1d(edge, [0])) & black
    if collar.mean() <= _COLLAR_SHARE:
        return nothing
    # Pixels beside it are mixed with black by the averaging.
    return np.asarray(scipy.ndimage.binary_dilation(collar, iterations=1) & valid)
