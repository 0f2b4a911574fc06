"""Overviews of a file and the true positions of their pixels.

An overview is usually taken to cover the whole image, each of its pixels the mean of a square of
full-resolution ones. Two kinds do not:

- The resolution levels of a JPEG 2000 file are low-pass wavelet bands. Both wavelets of the
  standard (ISO/IEC 15444-1, annex F) have odd symmetric filters centred on even samples, so pixel
  i of level k lies at full-resolution pixel 2**k * i, not at the middle of its square: read as
  other overviews are, the image slips by up to half a pixel of the level. Here it is accounted for.
- Overviews made by nearest neighbour (the default of ``gdaladdo``) hold pixels from one side of
  each square. They are not used.
"""

from __future__ import annotations

from dataclasses import dataclass

from affine import Affine
from rasterio.enums import MaskFlags
from rasterio.io import DatasetReader

from imatch.raster.gdal import opened


@dataclass(frozen=True)
class Overview:
    """A resolution level of a file.

    Attributes:
        number: GDAL's overview level; None for full resolution.
        width: Columns of the level.
        height: Rows of the level.
        to_native: Corner-based pixel of the level to corner-based pixel of full resolution.
    """

    number: int | None
    width: int
    height: int
    to_native: Affine

    @property
    def factor(self) -> float:
        """How many full-resolution pixels a pixel of the level spans, along the finer axis."""
        return float(min(self.to_native.a, self.to_native.e))


def choose_level(dataset: DatasetReader, file: str, index: int, factor: float) -> Overview:
    """The coarsest trustworthy level that is still as fine as asked.

    Args:
        dataset: The file at full resolution.
        file: What `dataset` was opened from.
        index: 1-based band.
        factor: Full-resolution pixels per pixel wanted.
    """
    width, height = dataset.width, dataset.height
    best = Overview(None, width, height, Affine.identity())
    wavelet = is_wavelet(dataset)
    for number, reduction in enumerate(dataset.overviews(index)):
        if reduction > factor * (1 + 1e-6) or reduction < best.factor:
            continue
        with opened(file, number) as overview:
            w, h = overview.width, overview.height
            nearest = overview.tags(index).get("RESAMPLING", "").upper().startswith("NEAR")
            if nearest or _masking(overview, index) != _masking(dataset, index):
                continue
        if wavelet:
            scale = 2 ** (number + 1)
            to_native = Affine.translation(0.5, 0.5) @ Affine.scale(scale)
            to_native @= Affine.translation(-0.5, -0.5)
        else:
            to_native = Affine.scale(width / w, height / h)
        best = Overview(number, w, h, to_native)
    return best


def is_wavelet(dataset: DatasetReader) -> bool:
    """Whether a file's overviews are JPEG 2000 resolution levels."""
    external = any(name.lower().endswith(".ovr") for name in dataset.files)
    return bool(dataset.driver.startswith("JP2") and not external)


def _masking(dataset: DatasetReader, index: int) -> frozenset[MaskFlags]:
    """Returns how invalid ground is marked; an overview may lack its image's mask."""
    return frozenset(dataset.mask_flag_enums[index - 1])
