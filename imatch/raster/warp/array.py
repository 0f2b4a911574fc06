"""Warps arrays onto another grid through any coordinate mapping, as files are warped."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
from numpy.typing import DTypeLike, NDArray
from rasterio.io import DatasetReader
from rasterio.windows import Window

from imatch.core.types import BoolArray
from imatch.raster.sampling.coordinate_grid import Convert, spans
from imatch.raster.sampling.interpolation import Resampling
from imatch.raster.warp.block_plan import Block, BlockMaker, plan_blocks
from imatch.raster.write.profile import plain_profile


@dataclass(frozen=True, eq=False)
class _Bands:
    """An array as `BlockMaker` reads an open file.

    Attributes:
        pixels: (C, H, W).
        valid: (H, W) bool, False where there is no ground.
    """

    pixels: NDArray[Any]
    valid: BoolArray

    @property
    def height(self) -> int:
        return int(self.pixels.shape[1])

    @property
    def width(self) -> int:
        return int(self.pixels.shape[2])

    def read(self, bands: Sequence[int], *, window: Window, out_dtype: DTypeLike) -> NDArray[Any]:
        """Bands of a window, copied."""
        rows, columns = window.toslices()
        return self.pixels[[band - 1 for band in bands], rows, columns].astype(out_dtype)

    def read_masks(self, _band: int, *, window: Window) -> NDArray[np.uint8]:
        """The mask of a window, 255 where there is ground."""
        return np.where(self.valid[window.toslices()], np.uint8(255), np.uint8(0))


def averaging(to_pixels: Convert, size: tuple[int, int], resampling: Resampling) -> tuple[int, int]:
    """Columns and rows of pixels that are averaged into one before an output is interpolated.

    Args:
        to_pixels: (N, 2) output pixels to (N, 2) pixels of what is warped.
        size: (width, height) of the output.
        resampling: Kernel; ``nearest`` averages nothing.
    """
    if resampling == "nearest":
        return 1, 1
    # Halves are averaged: aliasing is worse than a little blur.
    x, y = spans(to_pixels, *size)
    return max(1, int(x + 0.5)), max(1, int(y + 0.5))


def warp_array(
    pixels: NDArray[Any],
    valid: BoolArray,
    window: Window,
    to_pixels: Convert,
    *,
    fill: float | None,
    resampling: Resampling = "cubic",
    factor: tuple[int, int] = (1, 1),
) -> tuple[NDArray[Any], BoolArray]:
    """Take an array's values on a window of another lattice, as `warp_file` does.

    Args:
        pixels: (C, H, W) real numbers.
        valid: (H, W) bool, False where there is no ground; NaN and infinities never are.
        window: What to make of the output, in its pixels.
        to_pixels: (N, 2) pixels of the output to (N, 2) pixels of the array, not finite where
            there is none.
        fill: What marks missing ground in the output, a value that no ground comes to have; None
            for 0 that marks nothing.
        resampling: How to take values between pixels.
        factor: See `averaging`.

    Returns:
        (C, h, w) of the array's type, and (h, w) bool where it has ground.
    """
    count = len(pixels)
    if pixels.dtype.kind == "b":  # Nothing lies between yes and no.
        resampling, factor = "nearest", (1, 1)
    form = plain_profile(count, str(pixels.dtype), missing="mask", nodata=fill, masked=True)
    source = cast("DatasetReader", _Bands(pixels, valid))
    maker = BlockMaker(source, "array", form, to_pixels, resampling, factor)
    width, height = int(window.width), int(window.height)
    out = np.empty((count, height, width), dtype=pixels.dtype)
    ground = np.empty((height, width), dtype=bool)
    blocks = [_moved(block, window) for block in plan_blocks(form, (width, height), factor)]
    for block, (made, known) in maker.in_order(blocks):
        rows, columns = _moved(block, window, back=True).window.toslices()
        out[:, rows, columns] = made
        assert known is not None, "the profile says that there is a mask"
        ground[rows, columns] = known
    return out, ground


def _moved(block: Block, window: Window, *, back: bool = False) -> Block:
    """A block of a window as one of the whole output, or the other way round."""
    sign = -1 if back else 1
    place = block.window
    moved = Window(
        place.col_off + sign * window.col_off,
        place.row_off + sign * window.row_off,
        place.width,
        place.height,
    )
    return Block(moved, block.bands)
