"""Cuts an image into chips for an embedder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from rasterio.windows import Window

from imatch.core.errors import InputError
from imatch.core.types import BoolArray
from imatch.raster import GeoImage, RasterInfo, Source, render, stretch_limits

# Pixel sizes within this share of each other are one: nothing is gained by resampling.
_SAME_GSD = 0.02
#: Chips of one image: more are a mistake in its size.
_MOST_CELLS = 4_000_000


@dataclass(frozen=True)
class ChipWindow:
    """A square of ground that becomes one chip, in native pixels of its image.

    Attributes:
        left: First column.
        top: First row.
        width: Columns of the image in it; fewer than `side` where the image ends before.
        height: Rows of the image in it.
        side: Native pixels that a chip spans.
    """

    left: int
    top: int
    width: int
    height: int
    side: float

    @property
    def window(self) -> Window:
        """The window of pixels to read."""
        return Window(self.left, self.top, self.width, self.height)


@dataclass(frozen=True)
class ChipGrid:
    """Settings of the grid of chips.

    Attributes:
        chip_px: Side of a chip, pixels.
        stride: From one chip to the next as a share of a chip.
        gsd_m: Metres a chip's pixel, for images that say how large theirs are; None takes every
            image at its own resolution.
        levels: How many sizes of chips: each next one spans twice the ground.
        min_valid: Least share of a chip that has to be valid ground.
    """

    chip_px: int
    stride: float = 0.5
    gsd_m: float | None = None
    levels: int = 1
    min_valid: float = 0.5

    def cells(self, info: RasterInfo) -> list[ChipWindow]:
        """All cells of an image: they cover it to its edges, the smallest first.

        An image smaller than a chip is one cell: as large as the image where resolutions are not
        fixed, else filled up with no ground.

        Raises:
            InputError: There would be more of them than an index is for.
        """
        factor = chip_factor(info, self.gsd_m)
        found: list[ChipWindow] = []
        for level in range(self.levels):
            side = self.chip_px * factor * 2**level
            if max(info.size) < side and (level or not _scaled(info, self.gsd_m)):
                # Larger chips of a smaller image would show nothing new.
                if found:
                    break
                side = float(max(info.size))
            found += self._cells(info, side)
        return found

    def _cells(self, info: RasterInfo, side: float) -> list[ChipWindow]:
        across, down = (1 + length / max(self.stride * side, 1.0) for length in info.size)
        if across * down > _MOST_CELLS:
            raise InputError(
                f"would be cut into {across * down:,.0f} chips",
                subject=info.name,
                hint="pass a coarser --gsd, or index a part of it",
            )
        return _cells(info.size, side, self.stride)


def chip_factor(info: RasterInfo, gsd_m: float | None) -> float:
    """Native pixels of an image a chip's pixel.

    Args:
        info: The image.
        gsd_m: Metres a chip's pixel; None for the image's own.
    """
    if gsd_m is None or info.gsd_m is None:
        return 1.0
    factor = gsd_m / float(np.sqrt(info.gsd_m[0] * info.gsd_m[1]))
    return 1.0 if abs(factor - 1) < _SAME_GSD else factor


def _scaled(info: RasterInfo, gsd_m: float | None) -> bool:
    return gsd_m is not None and info.gsd_m is not None


def _cells(size: tuple[int, int], side: float, stride: float) -> list[ChipWindow]:
    whole = max(1, round(side))
    columns, rows = (_starts(length, whole, stride * side) for length in size)
    width, height = min(whole, size[0]), min(whole, size[1])
    return [ChipWindow(x, y, width, height, side) for y in rows for x in columns]


def _starts(length: int, side: int, step: float) -> list[int]:
    """Returns the evenly spaced starts of cells along an axis, at most `step` apart."""
    if length <= side:
        return [0]
    count = int(np.ceil((length - side) / max(step, 1.0))) + 1
    return [int(v) for v in np.rint(np.linspace(0, length - side, count))]


@dataclass(frozen=True, eq=False)
class Chip:
    """Pixels of a chip and its valid ground.

    Attributes:
        pixels: (C, S, S) float32 in [0, 1], each band stretched over the chip's own ground.
        valid: (S, S) bool.
    """

    pixels: NDArray[np.float32]
    valid: BoolArray


def read_chip(source: Source, cell: ChipWindow, chip_px: int, bands: int) -> Chip:
    """Read a cell as a chip; what it lacks of a square is no valid ground.

    Args:
        source: The image.
        cell: Where.
        chip_px: Side of the chip.
        bands: Bands wanted: 1 (luminance), 3 (red, green, blue; a single band thrice), or as many
            as the image has.

    Raises:
        InputError: The pixels cannot be read, or the image has too few bands.
    """
    scale = chip_px / cell.side
    size = tuple(
        min(chip_px, max(1, round(length * scale))) for length in (cell.width, cell.height)
    )
    return render_chip(source.read(cell.window, (size[0], size[1])), bands, chip_px)


def render_chip(image: GeoImage, bands: int, chip_px: int | None = None) -> Chip:
    """Renders an image as a chip for an embedder.

    Args:
        image: What was read.
        bands: As for `read_chip`.
        chip_px: Side of the chip, in whose middle the image is put; None leaves it as it is.

    Raises:
        InputError: It has too few bands.
    """
    count = len(image.pixels)
    if bands in (1, 3):
        seen = render(image, 1 if bands == 1 else 3)
        pixels, valid = seen.pixels, seen.valid
    elif count != bands:
        raise InputError(
            f"has {count} bands, and the embedder wants {bands}",
            subject=image.path,
            hint=f"choose {bands} with --bands",
        )
    else:
        pixels, valid = _stretched(image), image.valid
    return Chip(pixels, valid) if chip_px is None else _framed(pixels, valid, chip_px)


def _stretched(image: GeoImage) -> NDArray[np.float32]:
    low, high = stretch_limits(image).T[:, :, None, None]
    pixels = (image.pixels - low) / np.maximum(high - low, 1e-12)
    out = np.asarray(np.clip(pixels, 0, 1), dtype=np.float32)
    if image.valid.any() and not image.valid.all():
        out[:, ~image.valid] = np.median(out[:, image.valid], axis=1)[:, None]
    return out


def _framed(pixels: NDArray[np.float32], valid: BoolArray, side: int) -> Chip:
    height, width = valid.shape
    if (height, width) == (side, side):
        return Chip(pixels, valid)
    top, left = (side - height) // 2, (side - width) // 2
    # The median makes no contrast of its own.
    middle = np.median(pixels[:, valid], axis=1) if valid.any() else np.full(len(pixels), 0.5)
    out = np.empty((len(pixels), side, side), dtype=np.float32)
    out[:] = middle[:, None, None]
    good = np.zeros((side, side), dtype=bool)
    part = np.s_[top : top + height, left : left + width]
    out[:, *part] = pixels
    good[part] = valid
    return Chip(out, good)


def stacked(chips: Sequence[Chip]) -> tuple[NDArray[np.float32], BoolArray]:
    """(N, C, S, S) pixels and (N, S, S) valid ground of chips of one size."""
    return np.stack([chip.pixels for chip in chips]), np.stack([chip.valid for chip in chips])
