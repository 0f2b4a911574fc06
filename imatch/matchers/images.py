"""Prepares images for a matcher: bands, range, invalid ground, size."""

from __future__ import annotations

from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from imatch.core.errors import MatcherError
from imatch.core.types import BoolArray, Rendered

MIN_SIDE = 16
"""Shortest side in pixels that is matched at all: two windows of the smallest detector."""

_LUMA = np.array([0.299, 0.587, 0.114], dtype=np.float32)
_ACCEPTED = "expected (H, W), (C, H, W) or (1, C, H, W) with 1 or 3 bands"


def as_rendered(image: Any, valid: Any | None = None) -> Rendered:
    """An array or tensor as a rendered image.

    Args:
        image: (H, W), (C, H, W) or (1, C, H, W) with C 1 or 3; floats in [0, 1] or uint8.
        valid: (H, W) bool, or None for valid everywhere.

    Raises:
        MatcherError: Another shape, type or range.
    """
    pixels = _as_array(image)
    if pixels.ndim == 4 and pixels.shape[0] == 1:
        pixels = pixels[0]
    if pixels.ndim == 2:
        pixels = pixels[None]
    if pixels.ndim != 3 or pixels.shape[0] not in (1, 3) or 0 in pixels.shape:
        hint = "move the bands to the front" if pixels.shape[-1] in (1, 3) else None
        raise MatcherError(
            f"an image of shape {tuple(np.shape(image))}: {_ACCEPTED}", subject="image", hint=hint
        )
    floats = _as_floats(pixels)
    mask = np.ones(pixels.shape[1:], dtype=bool) if valid is None else _as_array(valid)
    if mask.shape != pixels.shape[1:]:
        raise MatcherError(
            f"a mask of shape {mask.shape} does not fit an image of {pixels.shape[1:]}",
            subject="valid",
        )
    return Rendered(floats, mask.astype(bool))


def _as_array(data: Any) -> NDArray[Any]:
    # Tensors are recognised by what they do, so that arrays can be matched without importing torch.
    if hasattr(data, "detach"):
        data = data.detach().cpu()
        if data.is_floating_point():
            data = data.float()
    return np.asarray(data)


def _as_floats(pixels: NDArray[Any]) -> NDArray[np.float32]:
    if pixels.dtype == np.uint8:
        return pixels.astype(np.float32) / np.float32(255)
    hint = "stretch it to floats in [0, 1] first, or use imatch.match, which does"
    if not np.issubdtype(pixels.dtype, np.floating):
        raise MatcherError(f"pixels of type {pixels.dtype}", subject="image", hint=hint)
    floats = pixels.astype(np.float32)
    finite = floats[np.isfinite(floats)]
    # A hair outside is rounding from a resize, not another range.
    if finite.size and (finite.min() < -0.01 or finite.max() > 1.01):
        raise MatcherError(
            f"pixel values from {finite.min():g} to {finite.max():g}", subject="image", hint=hint
        )
    return floats


def prepare(image: Rendered, channels: Literal[1, 3], guard: int) -> Rendered:
    """Convert bands, fill invalid ground, and draw the guard band around it.

    Args:
        image: Any rendered image; non-finite pixels count as invalid.
        channels: Bands wanted.
        guard: Width in pixels of the band along invalid ground to be excluded as well.

    Returns:
        Pixels within [0, 1] everywhere, (channels, H, W), invalid ones copied from the nearest
        valid pixel so that there is no step at the border; ``valid`` without the guard band.
    """
    valid = image.valid & np.isfinite(image.pixels).all(axis=0)
    pixels = convert_bands(image.pixels, channels)
    if valid.all() or not valid.any():
        return Rendered(np.clip(np.nan_to_num(pixels), 0, 1), valid)
    # Labels name the nearest valid pixel: one label per zero pixel of the array given.
    distance_in, labels = cv2.distanceTransformWithLabels(
        (~valid).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_5, labelType=cv2.DIST_LABEL_PIXEL
    )
    del distance_in
    source = np.zeros(int(labels.max()) + 1, dtype=np.int64)
    source[labels[valid]] = np.flatnonzero(valid)
    filled = pixels.reshape(len(pixels), -1)[:, source[labels]].reshape(pixels.shape)
    away = cv2.distanceTransform(valid.astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_5)
    return Rendered(np.clip(filled, 0, 1).astype(np.float32), np.asarray(away > guard))


def convert_bands(pixels: NDArray[np.float32], channels: Literal[1, 3]) -> NDArray[np.float32]:
    """(1|3, H, W) to (channels, H, W): luminance after ITU-R BT.601, or the grey band thrice."""
    if len(pixels) == channels:
        return pixels
    if channels == 3:
        return np.repeat(pixels, 3, axis=0)
    return np.asarray(np.tensordot(_LUMA, pixels, axes=1)[None], dtype=np.float32)


def has_content(image: Rendered) -> bool:
    """Whether there is anything to match: large enough, and valid ground of more than one value."""
    if min(image.size) < MIN_SIDE or not image.valid.any():
        return False
    ground = image.pixels[:, image.valid]
    return bool((ground.max(axis=1) - ground.min(axis=1)).max() > 1e-4)


def pad_to_multiple(
    pixels: NDArray[np.float32], multiple: int, minimum: int = 0
) -> NDArray[np.float32]:
    """Continue the last column and row to the right and below, which moves no pixel.

    Args:
        pixels: (C, H, W).
        multiple: Both sides become multiples of this.
        minimum: Both sides become at least this.
    """
    sides = [max(-(-n // multiple) * multiple, minimum) - n for n in pixels.shape[1:]]
    return np.pad(pixels, ((0, 0), (0, sides[0]), (0, sides[1])), mode="edge")


def as_bytes(pixels: NDArray[np.float32]) -> NDArray[np.uint8]:
    """(1, H, W) in [0, 1] to (H, W) uint8, rounded."""
    return np.asarray(np.rint(pixels[0] * 255), dtype=np.uint8)


def valid_at(valid: BoolArray, xy: NDArray[np.floating[Any]]) -> BoolArray:
    """(N,) whether the pixel nearest to each point (N, 2) is inside the image and valid."""
    height, width = valid.shape
    column, row = np.rint(np.nan_to_num(xy, nan=-1, posinf=-1, neginf=-1)).astype(np.int64).T
    inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
    inside[inside] = valid[row[inside], column[inside]]
    return np.asarray(inside, dtype=bool)
