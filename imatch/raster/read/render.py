"""Renders pixel values to a matcher's range and channels."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from imatch.core.errors import ConfigError
from imatch.core.types import BoolArray, Rendered
from imatch.raster.image import GeoImage

#: Luma weights of ITU-R BT.601, in red, green, blue order.
_LUMA = np.array([0.299, 0.587, 0.114], dtype=np.float32)


def render(
    image: GeoImage,
    channels: Literal[1, 3],
    *,
    stretch: tuple[float, float] = (1.0, 99.0),
    limits: NDArray[np.float64] | None = None,
    fill: bool = True,
) -> Rendered:
    """Stretch each band over its valid ground and make luminance or RGB of them.

    Seasons, sensors and processing levels change a band's range far more than its pattern; a
    robust stretch of each band by itself removes most of that. Three bands are taken for red,
    green and blue in this order: their luminance has the weights of BT.601. The luminance of any
    other number is the bands' mean. As RGB, one band is repeated, two become (first, second,
    their mean), and of more than three the first three are taken. Invalid pixels take the median
    of the valid ones, so that no-data areas make no edges of their own.

    Args:
        image: What was read.
        channels: 1 for luminance, 3 for RGB.
        stretch: Lower and upper percentile of the valid pixels that become 0 and 1.
        limits: (C, 2) values that become 0 and 1 instead (`stretch_limits` of the whole image), so
            that the parts of an image look alike.
        fill: Whether invalid pixels matter to who looks at them; else they keep their values.

    Raises:
        ConfigError: The percentiles are not ascending within 0 and 100.
    """
    if limits is None:
        limits = stretch_limits(image, stretch)
    used = image.pixels[:3] if channels == 3 else image.pixels
    bands = [_stretched(band, *limit) for band, limit in zip(used, limits, strict=False)]
    if channels == 1:
        weights = _LUMA if len(bands) == 3 else np.full(len(bands), 1 / len(bands), np.float32)
        grey = np.zeros_like(bands[0])
        for weight, band in zip(weights, bands, strict=True):
            grey += weight * band
        pixels = grey[None]
    elif len(bands) == 1:
        pixels = np.repeat(bands[0][None], 3, axis=0)
    elif len(bands) == 2:
        pixels = np.stack([*bands, (bands[0] + bands[1]) / 2])
    else:
        pixels = np.stack(bands)
    pixels = np.clip(pixels, 0, 1)
    return Rendered(_filled(pixels, image.valid) if fill else pixels, image.valid)


def stretch_limits(
    image: GeoImage, stretch: tuple[float, float] = (1.0, 99.0)
) -> NDArray[np.float64]:
    """(C, 2) values of each band that become 0 and 1; equal where a band says nothing.

    Args:
        image: What was read.
        stretch: Lower and upper percentile of the valid pixels.

    Raises:
        ConfigError: The percentiles are not ascending within 0 and 100.
    """
    low, high = stretch
    if not 0 <= low < high <= 100:
        raise ConfigError(
            f"cannot stretch from {low:g} to {high:g} %",
            subject="stretch",
            hint="give two ascending percentiles such as 1 and 99",
        )
    limits = np.zeros((len(image.pixels), 2))
    for limit, band in zip(limits, image.pixels, strict=True):
        ground = band[image.valid]
        if not len(ground):
            continue
        limit[:] = np.percentile(ground, [low, high])
        if not limit[1] > limit[0]:
            # More than the share between the percentiles is one value: what varies is at the ends.
            limit[:] = ground.min(), ground.max()
    return limits


def _stretched(band: NDArray[np.float32], bottom: float, top: float) -> NDArray[np.float32]:
    """(H, W) in [0, 1]; a constant band becomes 0.5 everywhere."""
    if not top > bottom:
        return np.full_like(band, 0.5)
    scaled = (band.astype(np.float64) - bottom) / (top - bottom)
    return np.asarray(np.clip(scaled, 0, 1), dtype=np.float32)


def _filled(pixels: NDArray[np.float32], valid: BoolArray) -> NDArray[np.float32]:
    if valid.all() or not valid.any():
        return pixels
    pixels[:, ~valid] = np.median(pixels[:, valid], axis=1)[:, None]
    return pixels
