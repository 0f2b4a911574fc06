"""Interpolation (nearest, bilinear, cubic, Lanczos) with missing pixels.

OpenCV's own cubic interpolation (a = -0.75) does not keep a slope a slope, and it looks kernels up
in steps of 1/32 pixel: together they displace what they draw by up to 0.05 px. Its bilinear one
is exact in 32-bit numbers, and nine bilinear samples make one of a cubic convolution: the two
inner taps of a row have one sign and are fetched as one, between them (C. Sigg and M. Hadwiger,
"Fast third-order texture filtering", GPU Gems 2, chapter 20).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal, TypeAlias, get_args

import cv2
import numpy as np
from numpy.typing import NDArray

from imatch.core.types import BoolArray

Resampling: TypeAlias = Literal["nearest", "bilinear", "cubic", "lanczos"]
RESAMPLINGS: tuple[Resampling, ...] = get_args(Resampling)

#: Pixels each kernel reaches from the nearest one, and the rim to read around a block.
REACH: dict[Resampling, int] = {"nearest": 0, "bilinear": 1, "cubic": 2, "lanczos": 4}
#: Positions worked on at a time.
_STRIP = 1 << 16
#: Exact halves fall on one side in spite of rounding: on the pixel to the right and below.
_NUDGE = np.float32(1 / 1024)


def sample(
    pixels: NDArray[Any],
    valid: BoolArray | None,
    x: NDArray[np.float32],
    y: NDArray[np.float32],
    resampling: Resampling,
) -> NDArray[Any]:
    """Take values at positions of an image; beyond it, its edge goes on for ever.

    Near missing ground the kernels would mix in what marks it. There the valid ones of the four
    pixels around a position are weighted bilinearly.

    Args:
        pixels: (H, W) real numbers; float32 or float64 unless `resampling` is ``nearest``.
        valid: (H, W) bool, False where `pixels` holds no ground; None where all is valid.
        x: (h, w) float32 columns; finite.
        y: (h, w) float32 rows; finite.
        resampling: Kernel.

    Returns:
        (h, w) of the type of `pixels`. Where the nearest pixel is not valid the value means
        nothing (see `nearest`).
    """
    if resampling == "nearest":
        return nearest(pixels, x, y)
    if valid is None or valid.all():
        return _interpolated(pixels, x, y, resampling)
    ground = np.where(valid, pixels, 0).astype(pixels.dtype)
    values = _linear(ground, x, y)
    weight = _linear(valid.astype(pixels.dtype), x, y)
    # Four pixels share the weight: the nearest, if valid, has a quarter of it at least.
    values /= np.maximum(weight, weight.dtype.type(0.125))
    if resampling == "bilinear":
        return values
    side = 2 * REACH[resampling] + 1
    touched = cv2.dilate((~valid).astype(np.uint8), np.ones((side, side), np.uint8))
    clear = nearest(touched, x, y) == 0
    if clear.any():
        values = np.where(clear, _interpolated(ground, x, y, resampling), values)
    return values


def sample_bands(
    bands: Sequence[NDArray[Any]],
    valid: Sequence[BoolArray | None],
    x: NDArray[np.float32],
    y: NDArray[np.float32],
    resampling: Resampling,
) -> list[NDArray[Any]]:
    """Take values of several bands at the same positions, as `sample` does of one.

    Bands without missing ground share the weights of the cubic kernel.

    Args:
        bands: (H, W) each, of one type.
        valid: Of each band, as for `sample`.
        x: As for `sample`.
        y: As for `sample`.
        resampling: Kernel.

    Returns:
        (h, w) of each band.
    """
    together = [
        resampling == "cubic" and band.dtype == np.float32 and (ground is None or ground.all())
        for band, ground in zip(bands, valid, strict=True)
    ]
    made = iter(
        _cubic([band for band, chosen in zip(bands, together, strict=True) if chosen], x, y)
    )
    return [
        next(made) if chosen else sample(band, ground, x, y, resampling)
        for band, ground, chosen in zip(bands, valid, together, strict=True)
    ]


def nearest(pixels: NDArray[Any], x: NDArray[np.float32], y: NDArray[np.float32]) -> NDArray[Any]:
    """The (h, w) pixels nearest to positions, of any type."""
    height, width = pixels.shape
    half = np.float32(0.5) + _NUDGE
    column = np.clip(np.floor(x + half).astype(np.int32), 0, width - 1)
    row = np.clip(np.floor(y + half).astype(np.int32), 0, height - 1)
    return np.asarray(np.take(pixels, row * np.int32(width) + column))


def averaged(
    pixels: NDArray[Any], valid: BoolArray | None, factor: tuple[int, int]
) -> tuple[NDArray[Any], BoolArray | None]:
    """Means of the valid pixels of each block, to read a source coarser without aliasing.

    Args:
        pixels: (H, W) float32 or float64.
        valid: (H, W) bool; None where all is valid.
        factor: Columns and rows of a block; blocks that the edge cuts are means of what there is.

    Returns:
        The means, and where there is any: None where everywhere.
    """
    height, width = pixels.shape
    fx, fy = factor
    columns, rows = -(-width // fx), -(-height // fy)
    ragged = (columns * fx, rows * fy) != (width, height)
    if valid is None and not ragged:
        return np.asarray(cv2.resize(pixels, (columns, rows), interpolation=cv2.INTER_AREA)), None
    weight = np.zeros((rows * fy, columns * fx), dtype=np.float32)
    weight[:height, :width] = 1 if valid is None else valid
    padded = np.zeros(weight.shape, dtype=pixels.dtype)
    padded[:height, :width] = pixels if valid is None else np.where(valid, pixels, 0)
    share = cv2.resize(weight, (columns, rows), interpolation=cv2.INTER_AREA)
    mean = cv2.resize(padded, (columns, rows), interpolation=cv2.INTER_AREA)
    found = np.asarray(share > 0)
    mean = np.asarray(mean / np.where(found, share, 1)).astype(pixels.dtype)
    return mean, None if found.all() else found


def _interpolated(
    pixels: NDArray[Any], x: NDArray[np.float32], y: NDArray[np.float32], resampling: Resampling
) -> NDArray[Any]:
    if resampling == "cubic":
        if pixels.dtype != np.float32:
            return _weighted_taps(pixels, x, y, _cubic_weights)
        return _cubic([pixels], x, y)[0]
    if resampling == "lanczos":
        return np.asarray(
            cv2.remap(pixels, x, y, cv2.INTER_LANCZOS4, borderMode=cv2.BORDER_REPLICATE)
        )
    return _linear(pixels, x, y)


def _linear(pixels: NDArray[Any], x: NDArray[np.float32], y: NDArray[np.float32]) -> NDArray[Any]:
    if pixels.dtype != np.float32:
        return _weighted_taps(pixels, x, y, _linear_weights)
    return np.asarray(cv2.remap(pixels, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE))


def _cubic(
    bands: Sequence[NDArray[np.float32]], x: NDArray[np.float32], y: NDArray[np.float32]
) -> list[NDArray[np.float32]]:
    """Cubic convolution with a = -0.5 (R. Keys, 1981), the one that GDAL calls cubic."""
    out = [np.zeros(x.shape, dtype=np.float32) for _ in bands]
    for strip in _strips(x.shape) if bands else []:
        columns, rows = _cubic_taps(x[strip]), _cubic_taps(y[strip])
        for row, down in rows:
            for column, across in columns:
                weight = across * down
                for band, total in zip(bands, out, strict=True):
                    # One pass over the memory, where a product and a sum would be two.
                    cv2.accumulateProduct(_linear(band, column, row), weight, total[strip])
    return out


def _cubic_taps(
    place: NDArray[np.float32],
) -> list[tuple[NDArray[np.float32], NDArray[np.float32]]]:
    """Returns (positions, weights) of cubic taps along an axis, the inner two made one."""
    whole = np.floor(place)
    first, second, third, last = _cubic_weights(place - whole)
    inner = second + third
    return [(whole - 1, first), (whole + third / inner, inner), (whole + 2, last)]


def _weighted_taps(
    pixels: NDArray[Any],
    x: NDArray[np.float32],
    y: NDArray[np.float32],
    weights: Callable[[NDArray[Any]], list[NDArray[Any]]],
) -> NDArray[Any]:
    """Sums weighted taps in the precision of the pixels; OpenCV rounds positions of 64 bits."""
    height, width = pixels.shape
    flat = np.ascontiguousarray(pixels).reshape(-1)
    out = np.zeros(x.shape, dtype=pixels.dtype)
    for strip in _strips(x.shape):
        left, top = np.floor(x[strip]), np.floor(y[strip])
        across = weights((x[strip] - left).astype(pixels.dtype))
        down = weights((y[strip] - top).astype(pixels.dtype))
        first = 1 - len(across) // 2
        columns = [
            np.clip(left.astype(np.int64) + tap, 0, width - 1)
            for tap in range(first, first + len(across))
        ]
        for tap, weight in enumerate(down, start=first):
            row = np.clip(top.astype(np.int64) + tap, 0, height - 1) * width
            line = sum(
                share * np.take(flat, row + column)
                for column, share in zip(columns, across, strict=True)
            )
            out[strip] += weight * line
    return out


def _linear_weights(t: NDArray[Any]) -> list[NDArray[Any]]:
    return [1 - t, t]


def _cubic_weights(t: NDArray[Any]) -> list[NDArray[Any]]:
    """Shares of the pixels at -1, 0, 1 and 2 in a position `t` beyond the one at 0."""
    first = t * (t * (1 - t / 2) - 0.5)
    third = t * (0.5 + t * (2 - 1.5 * t))
    last = t * t * (t - 1) / 2
    # The second is the rest, so that they add up to 1.
    return [first, 1 - first - third - last, third, last]


def _strips(shape: tuple[int, ...]) -> list[slice]:
    """Yields strips of lines whose weights fit into the processor's cache: twice as fast."""
    lines = max(1, _STRIP // shape[1])
    return [slice(top, top + lines) for top in range(0, shape[0], lines)]
