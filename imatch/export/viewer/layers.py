"""Images of a page as tiles, as fine as a number of bytes allows."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

from imatch.core.types import BoolArray
from imatch.export.html import data_url
from imatch.export.quality.views import Convert, ViewFrame, ViewPair
from imatch.raster import Source, render, stretch_limits
from imatch.raster.grid import Grid
from imatch.raster.image import GeoImage

Floats: TypeAlias = NDArray[np.float64]

#: Longest side at which a whole image is read for a page, pixels.
LONGEST = 3000
#: Side of a tile, pixels.
TILE = 512
# Of WebP, tried in turn. The last before pixels are given up: of two pictures of as many bytes that
# of more and coarser pixels is nearer to the original, from 75 down to 20 (PSNR of scenes of
# 10980 x 10980 pixels), and below 40 fields begin to smear.
_QUALITIES = (80, 62, 40)
#: Quality of what is not shown whole at full resolution.
QUALITY = _QUALITIES[-1]
# How much smaller images are made at most before they are encoded once more.
_LEAST_SCALE = 0.35
# Values further from the middle half than this many times its width are none of the ground's.
_FENCE = 2.5
# Where half of the ground is darker than this, it is brightened until it is not.
_DARK = 0.3
# Below this many pixels along its longer side an image shows nothing.
_LEAST = 48


@dataclass(frozen=True, eq=False)
class LayerImage:
    """An image of a page.

    Attributes:
        frame: Where it lies on the reference.
        pixels: (H, W, 3) uint8.
        valid: (H, W) bool, False where there is no ground.
    """

    frame: ViewFrame
    pixels: NDArray[np.uint8]
    valid: BoolArray

    def resized(self, scale: float) -> LayerImage:
        """Returns it with fewer pixels on the same ground."""
        height, width = self.valid.shape
        step = self.frame.step / scale
        size = (
            max(1, math.floor(self.frame.width * scale + 1e-9)),
            max(1, math.floor(self.frame.height * scale + 1e-9)),
        )
        # What is cut off by whole pixels is less than one of them.
        used = (
            min(width, round(size[0] / scale)),
            min(height, round(size[1] / scale)),
        )
        pixels = cv2.resize(self.pixels[: used[1], : used[0]], size, interpolation=cv2.INTER_AREA)
        valid = cv2.resize(
            self.valid[: used[1], : used[0]].astype(np.uint8), size, interpolation=cv2.INTER_NEAREST
        )
        frame = ViewFrame(self.frame.left, self.frame.top, step, *size)
        return LayerImage(frame, np.asarray(pixels, dtype=np.uint8), valid.astype(bool))

    def source(self, quality: int) -> str:
        """Returns it as a data URL, encoded with a quality of WebP."""
        return data_url(_webp(self.pixels, self.valid, quality), "webp")

    def tiles(self, quality: int) -> list[dict[str, Any]]:
        """Returns its tiles: place on the reference (corner-based pixels) and a data URL."""
        step, found = self.frame.step, []
        height, width = self.valid.shape
        for top in range(0, height, TILE):
            for left in range(0, width, TILE):
                part = (slice(top, top + TILE), slice(left, left + TILE))
                if not self.valid[part].any():
                    continue
                rows, columns = self.valid[part].shape
                found.append(
                    {
                        "x": self.frame.left + left * step,
                        "y": self.frame.top + top * step,
                        "w": columns * step,
                        "h": rows * step,
                        "src": data_url(
                            _webp(self.pixels[part], self.valid[part], quality), "webp"
                        ),
                    }
                )
        return found

    def layer(self, quality: int) -> dict[str, Any]:
        """Returns the layer as the page has it."""
        return {"step": self.frame.step, "tiles": self.tiles(quality)}


class Painter:
    """Paints one image on frames of the reference, all with the stretch of the first.

    Args:
        source: The image.
        lattice: The reference's own grid.
        to_pixels: Pixels of the reference to those of the image.
    """

    def __init__(self, source: Source, lattice: Grid, to_pixels: Convert) -> None:
        self._source, self._lattice, self._to_pixels = source, lattice, to_pixels
        self._limits: Floats | None = None
        self._gamma = 1.0

    def paint(self, frame: ViewFrame) -> LayerImage:
        """Returns the image on a frame."""
        grid = frame.grid(self._lattice)
        image = self._source.read_through(grid, lambda xy: self._to_pixels(frame.to_reference(xy)))
        first = self._limits is None and image.valid.any()
        if first:
            self._limits = _ground_limits(image)
        colours = render(image, 3, limits=self._limits).pixels
        if first:
            # A few clouds would leave the ground in the dark.
            middle = float(np.median(colours[:, image.valid]))
            self._gamma = math.log(_DARK) / math.log(middle) if 0 < middle < _DARK else 1.0
        pixels = np.round(np.moveaxis(colours, 0, 2) ** self._gamma * 255).astype(np.uint8)
        return LayerImage(frame, pixels, image.valid)


def _ground_limits(image: GeoImage) -> Floats:
    """Returns (C, 2) values of each band that become black and white; clouds become white."""
    limits = stretch_limits(image)
    for band, limit in zip(image.pixels, limits, strict=True):
        first, third = np.percentile(band[image.valid], [25, 75])
        reach = _FENCE * (third - first)
        if reach > 0:
            limit[:] = max(limit[0], first - reach), min(limit[1], third + reach)
    return limits


def painters(pair: ViewPair) -> dict[str, Painter]:
    """Returns what paints the reference, the target as it came and, if it was, as registered."""
    lattice = pair.before.reference_lattice
    found = {
        "reference": Painter(pair.ref, lattice, lambda xy: np.asarray(xy, dtype=np.float64)),
        "before": Painter(pair.tgt, lattice, pair.to_target(pair.before)),
    }
    if pair.after is not None:
        found["target"] = Painter(pair.tgt, lattice, pair.to_target(pair.after))
    return found


def fitted(images: Sequence[LayerImage], budget: int) -> list[dict[str, Any]]:
    """Returns layers whose data URLs take together no more than a number of bytes.

    What can be shown at full resolution is, as good as fits; else pixels are given up.

    Args:
        images: Of one resolution, or of resolutions that keep their ratio.
        budget: Bytes; too few for anything still give the smallest layers there are.
    """
    whole = all(image.frame.step <= 1 for image in images)
    for quality in _QUALITIES if whole else (QUALITY,):
        layers = [image.layer(quality) for image in images]
        if (total := bytes_of(layers)) <= budget:
            return layers
    scale, longest = 1.0, max((max(image.valid.shape) for image in images), default=0)
    while total > budget and longest > _LEAST:
        scale *= max(_LEAST_SCALE, 0.96 * math.sqrt(budget / total))
        smaller = [image.resized(scale) for image in images]
        layers = [image.layer(QUALITY) for image in smaller]
        total, longest = bytes_of(layers), max(max(image.valid.shape) for image in smaller)
    return layers


def bytes_of(layers: Sequence[dict[str, Any]]) -> int:
    """Returns how many bytes the data URLs of layers take."""
    return sum(len(tile["src"]) for layer in layers for tile in layer["tiles"])


def _webp(pixels: NDArray[np.uint8], valid: BoolArray, quality: int) -> bytes:
    """Encodes (H, W, 3) RGB as WebP, transparent where there is no ground."""
    image = np.ascontiguousarray(pixels[..., ::-1])
    if not valid.all():
        image = np.dstack([image, np.where(valid, np.uint8(255), np.uint8(0))])
    done, data = cv2.imencode(".webp", image, [cv2.IMWRITE_WEBP_QUALITY, quality])
    assert done, "OpenCV always encodes an 8-bit image"
    return data.tobytes()
