"""What kind of sensor made an image, or that it is a map: by names, palette and pixels."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Literal, TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

from imatch.core.types import BoolArray
from imatch.raster.image import GeoImage

Modality: TypeAlias = Literal["optical", "sar", "ir", "map"]
"""Visible light; synthetic-aperture radar; infrared, near or thermal; a drawn map."""

# What radar products call their bands (polarisations) and files, and what others call infrared.
_RADAR_BAND = re.compile(r"(?:^|[^a-z])(?:vv|vh|hh|hv)(?:$|[^a-z])", re.IGNORECASE)
_RADAR_FILE = re.compile(
    r"(?:^|[/\\])s1[a-d][-_](?:iw|ew|wv|sm|s[1-6])\d?[-_](?:grd|slc)", re.IGNORECASE
)
_INFRARED_BAND = re.compile(
    r"^(?:nir\w*|swir\w*|t?ir|tirs?\w*|lwir\w*|mwir\w*|thermal\w*|b0?8a?|b1[12])(?:$|\W)",
    re.IGNORECASE,
)
# Least pixels at which pixels are asked.
_LEAST = 1024
# Pixels whose neighbours differ by less than this share of the contrast are flat. A map is flat in
# so much of itself, in so many colours of a sixteenth of the range, of which the second and third
# fill so much; and most of what is not flat is faint beside its lines. Of 110 maps of training
# pairs all are told; of 700 other images of them 17 are taken for maps, 10 of these overviews of
# continents with a plain sea.
_FLAT, _FLAT_SHARE, _LEVELS, _SECOND, _THIRD = 0.012, 0.2, 3, 0.03, 0.015
_FAINT = 0.35
# Speckle multiplies: even where the ground is plain the brightness varies by much of itself, more
# than its finest detail explains (`_speckle_odds`). Of 100 radar images of training pairs 96 are
# told; of 278 single optical bands 6 are taken for radar, of 110 noisy ones of SRIF 109.
# Detail beyond the most is that of speckle itself, as fine as the pixels.
_OF_CONTRAST, _OF_DETAIL, _OFFSET, _MOST_DETAIL = 3.86, -2.13, 0.45, 0.06
_GREY = 0.02
# By how much the odds of speckle in a grey image exceed those in one of colours where it is another
# sensor's, though resampling has smoothed it. Of 100 radar images of training pairs, turned and
# scaled, 14 seem optical by themselves and 2 beside their optical images, too; of 153 single bands
# beside the colours of another date 29 are taken for another sensor's.
_BESIDE = 1.5


def modality_of(
    asked: Modality | Literal["auto"], known: Modality | None, image: GeoImage
) -> Modality | None:
    """What kind of sensor made an image: as is asked, else as its names tell, else its pixels.

    Args:
        asked: What the user says.
        known: What names and palette tell (`RasterInfo.modality`).
        image: The image.
    """
    if asked != "auto":
        return asked
    return known or modality_of_pixels(image)


def modality_of_names(bands: Sequence[str], name: str, *, palette: bool) -> Modality | None:
    """What names and palette tell of an image, or None.

    Args:
        bands: Names of its bands.
        name: Path or name of the file.
        palette: Whether its colours are those of a palette.

    Returns:
        ``sar``, ``ir`` or ``map`` where that is sure; never ``optical``, which no name is needed
        for.
    """
    if palette:
        return "map"
    if _RADAR_FILE.search(name) or (bands and all(_RADAR_BAND.search(band) for band in bands)):
        return "sar"
    if bands and all(_INFRARED_BAND.match(band) for band in bands):
        return "ir"
    return None


def modality_of_pixels(image: GeoImage) -> Modality | None:
    """What the pixels of an image tell of its sensor.

    Args:
        image: The image, of at least 1024 valid pixels.

    Returns:
        ``map``, ``sar`` where a grey image is speckled as radar is (some noisy optical ones are,
        too), else ``optical``; None where there are too few pixels to tell.
    """
    inner = _inner(image)
    if inner.sum() < _LEAST:
        return None
    bands = _bands(image.pixels, image.valid)
    if not bands:
        return None
    grey = np.asarray(np.mean(bands, axis=0), dtype=np.float32)
    if _drawn(bands, grey, inner):
        return "map"
    if _coloured(bands, image.valid):
        return "optical"
    return "sar" if _speckle_odds(image, inner) > 0 else "optical"


def of_two_sensors(ref: GeoImage, tgt: GeoImage) -> bool:
    """Whether of two images that both seem optical one is in colours, the other grey and speckled.

    Args:
        ref: One.
        tgt: The other.
    """
    # Asked of every pair, and colours are as well told by one pixel in sixteen.
    few = [(image.pixels[:, ::4, ::4], image.valid[::4, ::4]) for image in (ref, tgt)]
    if not all(valid.any() for _, valid in few):
        return False
    coloured = [_coloured(_bands(pixels, valid), valid) for pixels, valid in few]
    if coloured[0] == coloured[1]:
        return False
    inner = [_inner(image) for image in (ref, tgt)]
    if min(int(seen.sum()) for seen in inner) < _LEAST:
        return False
    one, other = (_speckle_odds(*each) for each in zip((ref, tgt), inner, strict=True))
    return (other - one if coloured[0] else one - other) > _BESIDE


def _inner(image: GeoImage) -> BoolArray:
    """Valid pixels that are not next to others."""
    valid = image.valid.astype(np.uint8)
    return np.asarray(cv2.erode(valid, np.ones((9, 9), np.uint8), borderValue=1) > 0)


def _bands(pixels: NDArray[np.float32], valid: BoolArray) -> list[NDArray[np.float32]]:
    """Up to three bands whose contrast goes from 0 to 1; none where one has no contrast."""
    scaled = [_scaled(band, valid) for band in pixels[:3]]
    bands = [band for band in scaled if band is not None]
    return bands if len(bands) == len(scaled) else []


def _coloured(bands: list[NDArray[np.float32]], valid: BoolArray) -> bool:
    apart = [float(np.abs(band - bands[0])[valid].mean()) for band in bands]
    return max(apart, default=0.0) > _GREY


def _scaled(band: NDArray[np.float32], valid: BoolArray) -> NDArray[np.float32] | None:
    """A band whose contrast goes from 0 to 1; None where it has none."""
    low, high = np.percentile(band[valid], (1, 99))
    if not high > low:
        return None
    return np.asarray((band - low) / (high - low), dtype=np.float32)


def _drawn(bands: list[NDArray[np.float32]], grey: NDArray[np.float32], inner: BoolArray) -> bool:
    """Whether an image consists of flat areas of several colours and lines between them."""
    cell = np.ones((3, 3), np.uint8)
    flat = inner & (cv2.dilate(grey, cell) - cv2.erode(grey, cell) <= _FLAT)
    if flat.sum() < _FLAT_SHARE * inner.sum():
        return False
    codes = np.zeros(int(flat.sum()), dtype=np.int64)
    for band in bands:
        codes = 17 * codes + np.floor(16 * np.clip(band[flat], 0, 1)).astype(np.int64)
    shares = np.sort(np.unique(codes, return_counts=True)[1])[::-1] / inner.sum()
    levels = int((shares > _THIRD).sum())
    if levels < _LEVELS or shares[1] < _SECOND:
        return False
    slope = np.hypot(cv2.Scharr(grey, cv2.CV_32F, 1, 0), cv2.Scharr(grey, cv2.CV_32F, 0, 1))[inner]
    return bool(np.median(slope) < _FAINT * slope.mean())


def _speckle_odds(image: GeoImage, inner: BoolArray) -> float:
    """Log-odds that the plainest tenth of an image varies as speckle does."""
    plane, valid = np.asarray(image.pixels[:3].mean(axis=0), dtype=np.float32), image.valid
    low, high = np.percentile(plane[valid], (1, 99))
    floor = 1e-3 * (high - low)
    plane = plane - min(0.0, float(low))
    mean = cv2.blur(plane, (7, 7))
    spread = np.sqrt(np.maximum(cv2.blur(plane * plane, (7, 7)) - mean * mean, 0))
    contrast = float(np.quantile((spread / np.maximum(mean, floor))[inner], 0.1))
    kernel = np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]], np.float32)
    around = np.maximum(cv2.GaussianBlur(plane, (0, 0), 3), floor)
    # Noise as Immerkær measures it (1996), against the brightness around it.
    detail = float(np.median(np.abs(cv2.filter2D(plane, cv2.CV_32F, kernel) / around)[inner])) / 6
    odds = (
        _OF_CONTRAST * np.log(max(contrast, 0.01))
        + _OF_DETAIL * np.log(np.clip(detail, 1e-3, _MOST_DETAIL))
        + _OFFSET
    )
    return float(odds)
