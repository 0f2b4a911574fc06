"""Chips and masks on disk: small GeoTIFFs of 8 or 16 bits, as the sensor's file has them.

A chip opens in any GIS. It is compressed without loss, keeps the file's numbers where these are
unsigned 8- or 16-bit, and says by GDAL's scale and offset how others were put into 16 bits. What
is not valid is masked by GDAL's own internal mask.
"""

from __future__ import annotations

import warnings
from collections import OrderedDict
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import cv2
import numpy as np
import rasterio
from affine import Affine
from numpy.typing import NDArray
from rasterio.crs import CRS
from rasterio.errors import NotGeoreferencedWarning

from imatch.core.errors import InputError, OutputError
from imatch.core.io.files import disk_errors, inside
from imatch.core.types import BoolArray
from imatch.raster.gdal import explained, opened

StoredChip: TypeAlias = "tuple[NDArray[np.uint8] | NDArray[np.uint16], BoolArray]"
"""(C, H, W) stored numbers and (H, W) valid ground."""

_PROFILE = {"driver": "GTiff", "compress": "deflate", "zlevel": 6, "photometric": "minisblack"}


@dataclass(frozen=True)
class Coding:
    """Coding of measurements as whole numbers: ``value = scale * stored + offset``.

    Attributes:
        dtype: ``uint8`` or ``uint16``.
        scale: Units a step.
        offset: The value stored as 0.
    """

    dtype: str
    scale: float = 1.0
    offset: float = 0.0

    @classmethod
    def of(cls, dtypes: tuple[str, ...], low: float, high: float) -> Coding:
        """Returns the coding of a file's types.

        Args:
            dtypes: Types of its bands.
            low: A low value of its pixels, for types that are not unsigned 8 or 16 bits wide.
            high: A high value.
        """
        if set(dtypes) <= {"uint8"}:
            return cls("uint8")
        if set(dtypes) <= {"uint8", "uint16"}:
            return cls("uint16")
        # Room for what lies beyond the percentiles on both sides.
        span = max(high - low, 1e-9)
        return cls("uint16", 2 * span / 65535, low - span / 2)

    def encode(self, pixels: NDArray[np.float32]) -> NDArray[np.uint8] | NDArray[np.uint16]:
        """Codes (C, H, W) measurements as stored numbers, clipped to the type's range."""
        top = np.iinfo(self.dtype).max
        stored = np.rint((pixels.astype(np.float64) - self.offset) / self.scale)
        whole: NDArray[np.uint8] | NDArray[np.uint16] = np.clip(stored, 0, top).astype(self.dtype)
        return whole


def write_chip(
    path: Path,
    stored: NDArray[np.uint8] | NDArray[np.uint16],
    valid: BoolArray,
    *,
    coding: Coding,
    bands: tuple[str, ...],
    transform: Affine | None = None,
    crs: CRS | None = None,
) -> None:
    """Writes a chip; a chip that is there is replaced.

    Args:
        path: A ``.tif``; its folder is made.
        stored: (C, H, W) numbers after `Coding.encode`.
        valid: (H, W) bool.
        coding: What the numbers mean.
        bands: C names.
        transform: Corner-based pixel to map transform, where there is a map.
        crs: Reference system of the map.

    Raises:
        OutputError: The disk refused.
    """
    count, height, width = stored.shape
    profile = _PROFILE | {
        "count": count,
        "height": height,
        "width": width,
        "dtype": coding.dtype,
        "predictor": 2,
    }
    if crs is not None:
        profile |= {"crs": crs, "transform": transform}
    temporary = path.with_name(f".{path.name}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with (
            rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True),
            warnings.catch_warnings(),
        ):
            warnings.simplefilter("ignore", NotGeoreferencedWarning)
            with rasterio.open(temporary, "w", **profile) as out:
                out.write(stored)
                for index, name in enumerate(bands, start=1):
                    out.set_band_description(index, name)
                if (coding.scale, coding.offset) != (1.0, 0.0):
                    out.scales = (coding.scale,) * count
                    out.offsets = (coding.offset,) * count
                if not valid.all():
                    out.write_mask(valid)
        temporary.replace(path)
    except (OSError, rasterio.errors.RasterioError) as error:
        with suppress(OSError):
            temporary.unlink()
        reason = getattr(error, "strerror", None) or str(error)
        raise OutputError(reason, subject=path, hint="is the disk full?") from error


def read_chip(path: Path) -> StoredChip:
    """Reads a chip.

    Returns:
        (C, H, W) stored numbers and (H, W) bool.

    Raises:
        InputError: It is missing or damaged.
    """
    name = str(path)
    hint = "prepare the data set again"
    with opened(name) as dataset, explained(name, "its pixels cannot be read", hint):
        pixels = dataset.read()
        if "per_dataset" in {flag.name for flag in dataset.mask_flag_enums[0]}:
            return pixels, dataset.dataset_mask() > 0
    return pixels, np.ones(pixels.shape[1:], dtype=bool)


class ChipCache:
    """Reads the chips of a data set, and keeps those read last in memory.

    Args:
        folder: The data set's.
        megabytes: How much to keep, in each process.
    """

    def __init__(self, folder: Path, megabytes: float) -> None:
        self._folder = folder
        self._room, self._held = megabytes * 1e6, 0
        self._chips: OrderedDict[str, StoredChip] = OrderedDict()

    def read(self, path: str) -> StoredChip:
        """Reads a chip as `read_chip` does, by its path below the folder."""
        if path in self._chips:
            self._chips.move_to_end(path)
            return self._chips[path]
        chip = read_chip(inside(self._folder, path))
        self._chips[path] = chip
        self._held += chip[0].nbytes + chip[1].nbytes
        while self._held > self._room and len(self._chips) > 1:
            _, (pixels, valid) = self._chips.popitem(last=False)
            self._held -= pixels.nbytes + valid.nbytes
        return chip

    def __getstate__(self) -> dict[str, Any]:
        # Each worker fills its own; sending this one along would only cost time.
        return self.__dict__ | {"_chips": OrderedDict(), "_held": 0}


def save_mask(path: Path, mask: BoolArray) -> None:
    """Writes a mask as a PNG of 0 and 255.

    Raises:
        OutputError: The disk refused.
    """
    _, encoded = cv2.imencode(".png", mask.astype(np.uint8) * 255, [cv2.IMWRITE_PNG_BILEVEL, 1])
    with disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encoded.tobytes())


def load_mask(path: Path) -> BoolArray:
    """Reads a mask.

    Raises:
        InputError: It is missing or damaged.
    """
    image = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE) if path.is_file() else None
    if image is None:
        raise InputError("cannot be read", subject=path, hint="prepare the data set again")
    return np.asarray(image > 0)
