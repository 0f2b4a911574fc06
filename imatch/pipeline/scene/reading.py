"""Reads reference and target of a scene piece by piece."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from affine import Affine
from numpy.typing import NDArray
from rasterio.windows import Window

from imatch.core.types import BoolArray, Rendered
from imatch.pipeline.scene.tiles import TileTask
from imatch.raster import GeoImage, Source, render

# Target pixels read beyond what is needed: the reach of the resampling, and some.
_MARGIN = 8


@dataclass(frozen=True, eq=False)
class ImageSide:
    """Reference or target of a scene, with its stretch.

    Attributes:
        source: Where its pixels come from.
        limits: (C, 2) values of each band that become 0 and 1, the same for all tiles.
    """

    source: Source
    limits: NDArray[np.float64]

    def rendered(
        self, pixels: NDArray[np.float32], valid: BoolArray, *, fill: bool = True
    ) -> Rendered:
        """Pixels of this image, stretched as the whole image is (`imatch.raster.render`)."""
        names = tuple(str(number) for number in range(len(pixels)))
        image = GeoImage(pixels, valid, Affine.identity(), None, names)
        return render(image, 1 if len(pixels) == 1 else 3, limits=self.limits, fill=fill)


@dataclass(frozen=True, eq=False)
class TargetPart:
    """A piece of the target as it was read.

    Attributes:
        pixels: (C, H, W) float32.
        valid: (H, W) bool.
        scale: (2,) native pixels per pixel read.
        shift: (2,) native pixel position of the first pixel's corner.
    """

    pixels: NDArray[np.float32]
    valid: BoolArray
    scale: NDArray[np.float64]
    shift: NDArray[np.float64]

    def from_native(self, xy: NDArray[np.float64]) -> NDArray[np.float64]:
        """Map (N, 2) native target pixels to pixels of the part."""
        return np.asarray((xy + 0.5 - self.shift) / self.scale - 0.5)


def read_target(source: Source, task: TileTask) -> TargetPart | None:
    """Reads what the target shows of a tile, reduced to about the pixels of the level.

    Args:
        source: The target.
        task: The tile.

    Returns:
        None where the target shows nothing of it.

    Raises:
        InputError: It cannot be read there.
    """
    x, y = task.origin
    width, height = task.size
    ends = np.linspace(0, 1, 9)
    lattice = np.stack(np.meshgrid(x + width * ends, y + height * ends), axis=-1).reshape(-1, 2)
    there = task.mapping.apply(lattice)
    turns = task.mapping.jacobian(lattice)
    # Native pixels that a step of one level pixel crosses along either axis of the target.
    steps = np.median(np.hypot(turns[:, :, 0], turns[:, :, 1]), axis=0)
    scale = np.maximum(1, np.floor(steps + 0.25)).astype(int)
    size = np.array(source.info.size)
    low = np.floor((there.min(axis=0) + 0.5) / scale - _MARGIN).astype(int) * scale
    high = np.ceil((there.max(axis=0) + 0.5) / scale + _MARGIN).astype(int) * scale
    # Whole pixels of the reduced image, so that each is the plain mean of a block.
    low, high = np.maximum(low, 0), np.minimum(high, size // scale * scale)
    if (high - low < 4 * scale).any():
        return None
    span = high - low
    wanted = int(span[0] // scale[0]), int(span[1] // scale[1])
    image = source.read(Window(*low.tolist(), *span.tolist()), wanted)
    pixels = image.pixels
    if not image.valid.any():
        return None
    if not image.valid.all():
        # The resampling reaches over the rim of missing ground: let it find nothing strange there.
        pixels[:, ~image.valid] = np.median(pixels[:, image.valid], axis=1)[:, None]
    return TargetPart(pixels, image.valid, scale.astype(np.float64), low.astype(np.float64))
