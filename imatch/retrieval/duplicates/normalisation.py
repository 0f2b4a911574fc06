"""Normalises framing, size and gain of an image for comparison.

Borders of one colour are cut off, the rest becomes a square of one size; its luminance is stretched
to its own range.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np
from numpy.typing import NDArray

from imatch.core.errors import InputError
from imatch.core.types import BoolArray
from imatch.raster import Source, render
from imatch.retrieval.embedders.hog import HogFeatures

#: Side of the common form, pixels.
SIDE = 128
# Of the blocks that show something or not, and of what is read of a picture, pixels.
_BLOCK, _READ = 16, 320
# A border line varies by less than this from its own median, and no more than this is cut off.
_PLAIN, _MOST = 0.06, 0.3
# Of a frame's line so many pixels are plain: a JPEG rings beside the picture.
_OF_LINE = 0.95
# A block shows something from this deviation.
_SHOWS = 0.02
# What is finer, in pixels of the form, does not survive another's resampling and compression.
_SMOOTH = 1.0


@dataclass(frozen=True, eq=False)
class NormalisedImage:
    """An image with framing, size and gain normalised.

    Attributes:
        bands: (3, SIDE, SIDE) float32 in [0, 1].
        grey: (SIDE, SIDE) float32 luminance in [0, 1].
        valid: (SIDE, SIDE) bool.
        vector: Directions of its edges on a grid (`HogFeatures`), of length 1.
        size: (width, height) of the file in pixels.
    """

    bands: NDArray[np.float32]
    grey: NDArray[np.float32]
    valid: BoolArray
    vector: NDArray[np.float32]
    size: tuple[int, int]

    @cached_property
    def textured(self) -> float:
        """Share of its blocks that show something."""
        return float((_variances(self.grey, self.valid) > _SHOWS**2).mean())


def form_of(source: Source) -> NormalisedImage:
    """Bring a picture to the common form.

    Args:
        source: The picture; of more than three bands the first three count, an alpha band as mask.

    Raises:
        InputError: It cannot be read, or shows one value everywhere.
    """
    width, height = source.info.size
    factor = min(1.0, _READ / max(width, height))
    size = max(1, round(width * factor)), max(1, round(height * factor))
    image = render(source.read(size=size), 3)
    left, top, right, bottom = inner(image.pixels, image.valid)
    pixels = image.pixels[:, top:bottom, left:right]
    valid = image.valid[top:bottom, left:right]
    luma = np.einsum("c,chw->hw", np.array([0.299, 0.587, 0.114], np.float32), pixels)
    ground = luma[valid]
    if not ground.size or np.ptp(ground) < 1e-6:
        raise InputError(
            "shows one value everywhere", subject=source.info.name, hint="leave it out"
        )
    low, high = np.percentile(ground, [1, 99])
    grey = np.clip((luma - low) / max(float(high - low), 1e-6), 0, 1).astype(np.float32)
    square = _square(grey)
    bands = np.stack([_square(np.ascontiguousarray(plane)) for plane in pixels])
    good = _square(valid.astype(np.float32)) > 0.99
    vector = HogFeatures(chip_px=SIDE).embed(square[None, None], good[None])[0]
    return NormalisedImage(bands, square, good, vector, (width, height))


def _square(plane: NDArray[np.float32]) -> NDArray[np.float32]:
    shrinks = min(plane.shape) >= SIDE
    how = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    square = cv2.resize(plane, (SIDE, SIDE), interpolation=how)
    return np.asarray(cv2.GaussianBlur(square, (0, 0), _SMOOTH), dtype=np.float32)


def inner(pixels: NDArray[np.float32], valid: BoolArray) -> tuple[int, int, int, int]:
    """(left, top, right, bottom) of a picture within its frame of one colour and missing ground.

    Args:
        pixels: (C, H, W) in [0, 1].
        valid: (H, W) bool.
    """
    height, width = valid.shape
    plain_rows = _plain(pixels, valid)
    top = _frame(plain_rows, height)
    bottom = height - _frame(plain_rows[::-1], height)
    part = np.s_[top:bottom]
    plain = _plain(pixels[:, part].transpose(0, 2, 1), valid[part].T)
    left = _frame(plain, width)
    right = width - _frame(plain[::-1], width)
    # The lines where frame and picture mix.
    rim = [2 * int(cut > 0) for cut in (left, top, width - right, height - bottom)]
    return left + rim[0], top + rim[1], right - rim[2], bottom - rim[3]


def _plain(pixels: NDArray[np.float32], valid: BoolArray) -> BoolArray:
    """(H,) whether a line shows one colour and missing ground only, but for some pixels."""
    middle = np.median(pixels, axis=2, keepdims=True)
    near = (np.abs(pixels - middle) < _PLAIN).all(axis=0)
    return np.asarray((near | ~valid).mean(axis=1) > _OF_LINE)


def _frame(plain: BoolArray, length: int) -> int:
    """Lines of a frame from this side; a picture that is plain throughout has none."""
    most = int(_MOST * length)
    count = int(np.argmin(plain)) if not plain.all() else length
    return count if count <= most else 0


def _variances(plane: NDArray[np.float32], valid: BoolArray) -> NDArray[np.float32]:
    """(N,) variance of each block of a form; 0 where half of it is no ground."""
    count = SIDE // _BLOCK

    def cells(values: NDArray[np.float32]) -> NDArray[np.float32]:
        return values.reshape(count, _BLOCK, count, _BLOCK).swapaxes(1, 2).reshape(count**2, -1)

    known, values = cells(valid.astype(np.float32)), cells(plane)
    total = np.maximum(known.sum(axis=1), 1)
    mean = (values * known).sum(axis=1) / total
    spread = (((values - mean[:, None]) * known) ** 2).sum(axis=1) / total
    return np.asarray(np.where(known.mean(axis=1) > 0.5, spread, 0), dtype=np.float32)
