"""Arrays in memory, read like files."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from os import PathLike, fspath
from typing import Any

import numpy as np
from affine import Affine
from numpy.typing import ArrayLike, NDArray
from rasterio.crs import CRS
from rasterio.errors import CRSError
from rasterio.windows import Window

from imatch.core.errors import InputError
from imatch.core.types import BoolArray
from imatch.raster.geocoding_check import misplaced
from imatch.raster.grid import Grid
from imatch.raster.image import is_geocoded
from imatch.raster.info import RasterInfo, fits
from imatch.raster.names import local_files
from imatch.raster.read.bands import select_bands
from imatch.raster.read.mask import open_mask
from imatch.raster.read.source import Source, settings_of
from imatch.raster.sampling.resample import Chunk

_HINT = "pass (H, W), (H, W, C) or (C, H, W)"
#: Values converted to float32 at a time.
_STRIP = 1 << 22


class ArraySource(Source):
    """An array; it is neither copied nor changed.

    Args:
        pixels: (C, H, W) real numbers.
        valid: (H, W) bool.
        info: Description.
        trim_collar: Whether a black collar is missing ground.
    """

    def __init__(
        self, pixels: NDArray[Any], valid: BoolArray, info: RasterInfo, *, trim_collar: bool
    ) -> None:
        self.info = info
        self._pixels = pixels
        self._valid = valid
        self._trim_collar = trim_collar

    def _chunks(
        self, window: Window, factor: float, size: tuple[int, int] | None
    ) -> Iterator[Chunk]:
        part, step = padded_window(window, factor, size, self.info.size)
        pixels = self._means(part, step)
        left, top = part[1].start, part[0].start
        yield Chunk(pixels, Affine.translation(left, top) @ Affine.scale(step))

    def _means(self, part: tuple[slice, slice], step: int) -> NDArray[np.float32]:
        """Means of blocks of a part (rows, columns), see `_block_mean`."""
        return _block_mean(self._pixels[:, *part], self._valid[part], step)


def padded_window(
    window: Window, factor: float, size: tuple[int, int] | None, whole: tuple[int, int]
) -> tuple[tuple[slice, slice], int]:
    """Whole pixels to read for a window, and how many of them to average.

    Args:
        window: The window, may be fractional.
        factor: Native pixels per chunk pixel allowed.
        size: The (width, height) that it is wanted at; None where it is resampled anyway.
        whole: (width, height) of the image.

    Returns:
        Rows and columns, and the side of the blocks of which means are wanted.
    """
    step = max(1, int(factor))
    if size is not None and step > 1:
        exact = (window.width / size[0], window.height / size[1])
        # Whole blocks meet the size asked for exactly; anything else is resampled from finer.
        if exact != (step, step):
            step = max(1, step // 2)
    rim = 4 * step
    if size is not None:
        rim = max(rim, int(2 * max(window.width / size[0], window.height / size[1])))
    left, top = int(window.col_off), int(window.row_off)
    right = int(np.ceil(window.col_off + window.width))
    bottom = int(np.ceil(window.row_off + window.height))
    if size is None or (right - left, bottom - top) != (size[0] * step, size[1] * step):
        left, top = max(0, left - rim), max(0, top - rim)
        right, bottom = min(whole[0], right + rim), min(whole[1], bottom + rim)
    return (slice(top, bottom), slice(left, right)), step


def _block_mean(pixels: NDArray[Any], valid: BoolArray, step: int) -> NDArray[np.float32]:
    """Mean of the valid pixels of each `step` x `step` block, NaN where there are none.

    Blocks that the edge cuts are means of what there is of them, and kept: their pixel reaches over
    the edge.
    """
    bands, height, width = pixels.shape
    rows, columns = -(-height // step), -(-width // step)
    out = np.empty((bands, rows, columns), dtype=np.float32)
    per_strip = max(1, _STRIP // max(1, bands * width * step))
    edges = np.arange(0, width, step)
    for row in range(0, rows, per_strip):
        y = slice(row * step, min(height, (row + per_strip) * step))
        piece = pixels[:, y].astype(np.float32)
        good = valid[y] & np.isfinite(piece).all(axis=0)
        piece[:, ~good] = 0 if step > 1 else np.nan
        if step > 1:
            lines = np.arange(0, piece.shape[1], step)
            total = np.add.reduceat(np.add.reduceat(piece, lines, axis=1), edges, axis=2)
            count = np.add.reduceat(
                np.add.reduceat(good.astype(np.float32), lines, axis=0), edges, axis=1
            )
            with np.errstate(invalid="ignore", divide="ignore"):
                piece = np.asarray(total / count, dtype=np.float32)
        out[:, row : row + piece.shape[1]] = piece
    return out


def array_source(
    pixels: ArrayLike,
    *,
    valid: ArrayLike | None = None,
    transform: Affine | None = None,
    crs: Any = None,
    bands: Sequence[int | str] | None = None,
    nodata: float | None = None,
    mask: str | PathLike[str] | None = None,
) -> Source:
    """Treat an array as an image.

    Args:
        pixels: (H, W), (H, W, C) or (C, H, W) real numbers of any type; of a three-dimensional
            array the shorter of the first and last axis holds the bands. In a masked array masked
            pixels are not valid; NaN and infinities never are.
        valid: (H, W) bool, False where there is no ground to match.
        transform: Corner-based pixel to map transform.
        crs: Anything rasterio takes for a CRS (``"EPSG:32631"``, 32631, a ``CRS``).

        bands: Bands to use, by their numbers from 1; all by default.
        nodata: Value that marks missing ground.
        mask: Ground to ignore (see `open_mask`).

    Raises:
        InputError: The array has another shape or type, its geocoding makes no sense, a band is
            not there, the nodata value cannot occur, or the mask does not fit.

    Examples:
        >>> array_source(np.zeros((20, 30, 3), dtype=np.uint8)).info.size
        (30, 20)
    """
    array, good, _ = bands_first(pixels, nodata=None)
    names = tuple(str(i) for i in range(1, len(array) + 1))
    if bands is not None:
        picked = [i - 1 for i in select_bands(names, bands, subject="array")]
        array, names = array[picked], tuple(names[i] for i in picked)
    count, height, width = array.shape
    if nodata is not None:
        good &= not_marked(array, nodata, "array")
    if valid is not None:
        given = np.asarray(valid)
        if given.shape != good.shape:
            raise InputError(
                f"valid has shape {given.shape}, the image {good.shape}",
                subject="array",
                hint="pass (H, W)",
            )
        good &= given.astype(bool)
    try:
        system = None if crs is None else CRS.from_user_input(crs)
    except CRSError as error:
        raise InputError(
            f"unknown CRS {crs!r}", subject="array", hint="pass one like 'EPSG:32631'"
        ) from error
    place = transform if transform is not None else Affine.identity()
    wrong = misplaced(place, system, (width, height))
    if wrong is not None:
        raise InputError(
            f"its geocoding makes no sense: {wrong}", subject="array", hint="pass another transform"
        )
    info = RasterInfo(
        None,
        width,
        height,
        count,
        (str(array.dtype),) * count,
        names,
        place,
        system,
        nodata,
        "array",
        located_by="geotransform" if is_geocoded(place, system) else None,
    )
    unmarked = not np.ma.isMaskedArray(pixels) and valid is None and nodata is None
    trim = unmarked and count > 1 and array.dtype in (np.uint8, np.uint16)
    source = ArraySource(array, good, info, trim_collar=trim)
    if mask is not None:
        source._masks = (open_mask(mask, Grid(info.transform, info.crs, *info.size)),)
        source.files = local_files([fspath(mask)])
    source.opened_with = settings_of(bands, nodata, mask)
    return source


def bands_first(
    pixels: ArrayLike, nodata: float | None = None
) -> tuple[NDArray[Any], BoolArray, bool]:
    """An array with its bands first, and where it has ground.

    Args:
        pixels: As for `array_source`.
        nodata: Value that marks missing ground.

    Returns:
        (C, H, W) pixels, neither copied nor changed; (H, W) bool, False where a band is masked or
        marked; whether the bands were last.

    Raises:
        InputError: The array has another shape or type, or the nodata value cannot occur.
    """
    array = np.asarray(np.ma.getdata(pixels) if np.ma.isMaskedArray(pixels) else pixels)
    if array.dtype.kind not in "biuf":
        raise InputError(
            f"holds {array.dtype}",
            subject="array",
            hint="pass real numbers, of complex ones the amplitude (abs)",
        )
    if array.ndim not in (2, 3) or 0 in array.shape:
        raise InputError(f"has shape {array.shape}", subject="array", hint=_HINT)
    bands_last = array.ndim == 3 and array.shape[2] < array.shape[0]
    array = _moved(array, bands_last)
    good = np.ones(array.shape[1:], dtype=bool)
    if np.ma.isMaskedArray(pixels):
        good &= ~_moved(np.ma.getmaskarray(pixels), bands_last).any(axis=0)
    if nodata is not None:
        good &= not_marked(array, nodata, "array")
    return array, good, bands_last


def not_marked(pixels: NDArray[Any], nodata: float, name: str) -> BoolArray:
    """Where no band has the value that marks missing ground.

    Args:
        pixels: (C, H, W).
        nodata: The value.
        name: What to call the array.

    Returns:
        (H, W) bool.

    Raises:
        InputError: The value cannot occur.
    """
    if not fits(nodata, pixels.dtype):
        raise InputError(
            f"nodata {nodata:g} cannot occur in {pixels.dtype} pixels",
            subject=name,
            hint="give a value of that type",
        )
    # In the precision of the pixels: no float32 is exactly -3.4e38. NaN never is ground.
    return np.asarray(~(pixels == pixels.dtype.type(nodata)).any(axis=0))


def _moved(array: NDArray[Any], bands_last: bool) -> NDArray[Any]:
    if array.ndim == 2:
        return array[None]
    return np.moveaxis(array, -1, 0) if bands_last else array
