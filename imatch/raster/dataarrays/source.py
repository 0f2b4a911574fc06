"""DataArrays read like files: block by block, whether they are in memory or not."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import replace
from os import PathLike, fspath
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from rasterio.windows import Window

from imatch.core.errors import ImatchError, InputError
from imatch.core.types import BoolArray
from imatch.raster.dataarrays.frame import DataArrayFrame, frame_of
from imatch.raster.grid import Grid
from imatch.raster.info import RasterInfo
from imatch.raster.names import local_files
from imatch.raster.read.array_source import ArraySource, not_marked
from imatch.raster.read.bands import select_bands
from imatch.raster.read.mask import open_mask
from imatch.raster.read.source import settings_of
from imatch.raster.write.geotiff import created
from imatch.raster.write.profile import plain_profile

if TYPE_CHECKING:
    from xarray import DataArray

#: Least side of a block that is read at once, pixels; smaller chunks are taken together.
_SIDE = 1024
#: Bytes of blocks that are kept for the next tile.
_KEPT = 1 << 27


class DataArraySource(ArraySource):
    """A DataArray; what is lazy is computed a block at a time, and never whole.

    Args:
        frame: The DataArray and what is known of it.
        picked: Positions of the bands in use, from 0.
        info: Description of those.
    """

    def __init__(self, frame: DataArrayFrame, picked: Sequence[int], info: RasterInfo) -> None:
        self.info = info
        # Chosen, not reshaped: that would load what is lazy.
        single = {dim: 0 for dim in frame.others if frame.array.sizes[dim] == 1}
        array = frame.array.isel(single)
        if array.ndim > 2 and [*picked] != [*range(array.shape[0])]:
            array = array.isel({array.dims[0]: list(picked)})
        self._array = array.variable
        self._dims = frame.y, frame.x
        unmarked = info.nodata is None and info.count > 1
        self._trim_collar = unmarked and array.dtype in (np.uint8, np.uint16)
        chunks = self._array.chunksizes
        self._bounds = [
            _bounds(chunks.get(dim), size)
            for dim, size in zip(self._dims, self._array.shape[-2:], strict=True)
        ]
        self._kept: OrderedDict[tuple[int, int], NDArray[Any]] = OrderedDict()

    def _means(self, part: tuple[slice, slice], step: int) -> NDArray[np.float32]:
        """Means of blocks of a part; each block of the array is read once."""
        rows, columns = (-(-(span.stop - span.start) // step) for span in part)
        total = np.zeros((self.info.count, rows, columns))
        count = np.zeros((rows, columns))
        for down, across in self._blocks(part):
            pixels, good = self._read_block(down, across, part)
            top, left = max(down[0], part[0].start), max(across[0], part[1].start)
            lines, first_row = _cells(top - part[0].start, pixels.shape[1], step)
            edges, first_column = _cells(left - part[1].start, pixels.shape[2], step)
            place = np.s_[
                first_row : first_row + len(lines), first_column : first_column + len(edges)
            ]
            values = np.where(good, pixels, 0).astype(np.float64)
            total[:, *place] += np.add.reduceat(
                np.add.reduceat(values, lines, axis=1), edges, axis=2
            )
            count[place] += np.add.reduceat(
                np.add.reduceat(good.astype(np.float64), lines, axis=0), edges, axis=1
            )
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.asarray(np.where(count > 0, total / count, np.nan), dtype=np.float32)

    def _blocks(
        self, part: tuple[slice, slice]
    ) -> Iterator[tuple[tuple[int, int], tuple[int, int]]]:
        """(first, last) rows and columns of the blocks that a part touches."""
        down, across = (
            [b for b in bounds if b[0] < span.stop and b[1] > span.start]
            for bounds, span in zip(self._bounds, part, strict=True)
        )
        for rows in down:
            for columns in across:
                yield rows, columns

    def _read_block(
        self, rows: tuple[int, int], columns: tuple[int, int], part: tuple[slice, slice]
    ) -> tuple[NDArray[Any], BoolArray]:
        """(C, h, w) of what a part has of a block, and (h, w) bool of its ground."""
        key = rows[0], columns[0]
        if key not in self._kept:
            self._kept[key] = self._compute(rows, columns)
            while len(self._kept) > 1 and sum(b.nbytes for b in self._kept.values()) > _KEPT:
                self._kept.popitem(last=False)
        self._kept.move_to_end(key)
        inner = tuple(
            slice(max(0, span.start - first), min(last, span.stop) - first)
            for span, (first, last) in zip(part, (rows, columns), strict=True)
        )
        pixels = self._kept[key][:, *inner]
        good = np.asarray(np.isfinite(pixels).all(axis=0))
        if self.info.nodata is not None:
            good &= not_marked(pixels, self.info.nodata, self.info.name)
        return pixels, good

    def write(self, path: Path) -> None:
        """Write all of it as a GeoTIFF, block by block.

        Args:
            path: A file that does not exist.

        Raises:
            InputError: What makes a block fails.
            OutputError: The disk refused.
        """
        info = self.info
        kind = np.dtype(info.dtypes[0])
        # GDAL has no type for some of NumPy's.
        kept = {"bool": "uint8", "float16": "float32"}.get(str(kind), str(kind))
        form = plain_profile(
            info.count,
            kept,
            missing="none" if info.nodata is None else "nodata",
            nodata=float("nan") if info.nodata is None and kind.kind == "f" else info.nodata,
            names=info.band_names,
        )
        lattice = Grid(info.transform, info.crs, *info.size)
        with created(path, form, lattice, creation={"COMPRESS": "NONE"}, overviews=False) as put:
            for rows, columns in self._blocks((slice(0, info.height), slice(0, info.width))):
                pixels = self._compute(rows, columns).astype(kept)
                window = Window.from_slices(rows, columns)
                put(window, list(range(1, info.count + 1)), pixels, None)

    def _compute(self, rows: tuple[int, int], columns: tuple[int, int]) -> NDArray[Any]:
        """(C, h, w) of a block.

        Raises:
            InputError: What makes it fails.
        """
        y, x = self._dims
        try:
            block = self._array.isel({y: slice(*rows), x: slice(*columns)}).to_numpy()
        except (ImatchError, MemoryError):
            raise
        except Exception as error:  # Graphs run whatever others wrote.
            told = " ".join(str(error).split()) or type(error).__name__
            raise InputError(
                f"its rows {rows[0]} to {rows[1]} cannot be read ({told})",
                subject=self.info.name,
                hint="see what its own compute() says",
            ) from error
        return np.asarray(block).reshape(self.info.count, *block.shape[-2:])


def data_array_source(
    array: DataArray,
    *,
    bands: Sequence[int | str] | None = None,
    nodata: float | None = None,
    mask: str | PathLike[str] | None = None,
    placed: bool = True,
) -> DataArraySource:
    """Treat a DataArray as an image.

    Args:
        array: The DataArray: x and y, and perhaps bands along one other dimension.
        bands: Bands to use, by their numbers from 1 or names; all by default.
        nodata: Value that marks missing ground, instead of what it says.
        mask: Ground to ignore (see `open_mask`).
        placed: Whether it has to say where it lies.

    Raises:
        ConfigError: rioxarray is not installed.
        InputError: It cannot be used as an image, see `frame_of`.
    """
    frame = frame_of(array, nodata=nodata, placed=placed)
    info, sizes = frame.info, frame.array.sizes
    wide = [dim for dim in frame.others if sizes[dim] > 1]
    if "time" in wide:
        raise InputError(
            f"holds {sizes['time']} times",
            subject=info.name,
            hint="pass one of them, array.isel(time=0), or all to imatch.stack",
        )
    if len(wide) > 1:
        raise InputError(
            f"has more dimensions than bands: {', '.join(map(str, wide))}",
            subject=info.name,
            hint="pass a part of it, chosen by array.isel",
        )
    picked = [*range(info.count)]
    if bands is not None:
        picked = [i - 1 for i in select_bands(info.band_names, bands, subject=info.name)]
    names = tuple(info.band_names[i] for i in picked)
    kept = replace(info, count=len(names), dtypes=info.dtypes[: len(names)], band_names=names)
    source = DataArraySource(frame, picked, kept)
    if mask is not None:
        source._masks = (open_mask(mask, Grid(info.transform, info.crs, *info.size)),)
        source.files = local_files([fspath(mask)])
    source.opened_with = settings_of(bands, nodata, mask)
    return source


def _bounds(chunks: Sequence[int] | None, size: int) -> list[tuple[int, int]]:
    """(first, last) of the blocks along an axis: whole chunks, at least `_SIDE` pixels together."""
    bounds, start, end = list[tuple[int, int]](), 0, 0
    for chunk in chunks or [_SIDE] * (size // _SIDE) + [size % _SIDE]:
        end += chunk
        if end - start >= _SIDE or end == size:
            bounds.append((start, end))
            start = end
    return [(first, last) for first, last in bounds if last > first]


def _cells(start: int, length: int, step: int) -> tuple[NDArray[np.int64], int]:
    """Where the cells of a mean begin in a block, and which cell its first is.

    Args:
        start: First pixel of the block in the part that is read.
        length: Pixels of the block.
        step: Side of a cell.
    """
    first = start // step
    edges = np.arange(first * step, start + length, step) - start
    edges[0] = 0
    return edges, first
