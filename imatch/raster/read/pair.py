"""Reads a pair at working size: on one map grid, or each resized."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from imatch.core.errors import InputError, NoOverlapError
from imatch.raster.common_grid import PixelMap, common_grid
from imatch.raster.fixed.alike import without_marks
from imatch.raster.fixed.collar import band_collars
from imatch.raster.fixed.repeated import true_pixel
from imatch.raster.grid import Grid
from imatch.raster.image import GeoImage
from imatch.raster.info import RasterInfo
from imatch.raster.read.source import Source

#: Working pixels either side of an image needs.
MIN_SIDE_PX = 16
#: Measured pixels that the shorter side keeps, or repeated ones are matched as they are.
_ENOUGH = 64
#: Native pixels a working pixel from which on repeated ones do not matter.
_AVERAGED = 8.0
#: Working pixels to which equal pixels of two files lie one shift apart, and to which that shift is
#: one of whole pixels.
_SHIFTED, _ON_GRID = 0.5, 0.05
#: Sizes within this factor of each other are reduced alike.
_ALIKE = 2.0


@dataclass(frozen=True, eq=False)
class WorkPair:
    """Reference and target at working size, with maps to native pixels.

    Attributes:
        ref: The reference at working resolution.
        tgt: The target at working resolution.
        ref_map: Working to native pixels of the reference.
        tgt_map: Working to native pixels of the target.
        grid: The common grid, or None where pixels serve.
        repeated: Working pixels that a measured pixel fills in both images; 1 in most.
    """

    ref: GeoImage
    tgt: GeoImage
    ref_map: PixelMap
    tgt_map: PixelMap
    grid: Grid | None
    repeated: float = 1.0

    @property
    def geocoded(self) -> bool:
        """Whether both lie on one map grid."""
        return self.grid is not None

    @property
    def same_pixels(self) -> NDArray[np.float64] | None:
        """(2,) from a reference pixel to the target pixel of the same number in its file.

        None where that is not one shift, or less than half of them have such a partner.
        """
        size = np.array(self.ref.size)
        ends = np.array([[0, 0], [1, 0], [0, 1], [1, 1]]) * (size - 1.0)
        moved = self.tgt_map.to_work(self.ref_map.to_native(ends)) - ends
        if not np.abs(moved - moved[0]).max() < _SHIFTED:
            return None
        return None if np.any(np.abs(moved[0]) > size / 2) else np.asarray(moved.mean(axis=0))


def read_pair(
    ref: Source,
    tgt: Source,
    *,
    size: int = 1024,
    margin: float = 0.1,
    use_geocoding: bool = True,
) -> WorkPair:
    """Read two images so that they can be matched.

    When both are geocoded they are rendered on a common grid (`common_grid`). Otherwise each is
    reduced so that its longer side is at most `size`: both to one GSD where both GSDs are known,
    by one factor where their sizes are within a factor of two, each by its own elsewhere.

    Args:
        ref: The reference.
        tgt: The target.
        size: Longest working side in pixels.
        margin: Search margin round the overlap, share of its longer side.
        use_geocoding: False to match by pixels even if both are geocoded.

    Raises:
        InputError: An image has no valid pixels, is too small, or is geocoded without sense.
        NoOverlapError: Both are geocoded and share no (valid) ground.
    """
    if use_geocoding:
        for source in (ref, tgt):
            source.info.check_place()
    pair = _read(ref, tgt, size, margin, use_geocoding)
    factor = _repeated(pair, ref, tgt)
    if factor <= 1:
        return pair
    # No finer than what was measured: the edges of repeated pixels are none of the ground.
    shapes = pair.ref.valid.shape, pair.tgt.valid.shape
    if min(map(min, shapes)) < _ENOUGH * factor:
        return replace(pair, repeated=factor)
    coarser = math.floor(max(map(max, shapes)) / factor)
    return _read(ref, tgt, coarser, margin, use_geocoding)


def _without_collars(source: Source, image: GeoImage) -> GeoImage:
    """The image without collars of single bands, where zero may be one."""
    if source.info.nodata is not None or not set(source.info.dtypes) <= {"uint8", "uint16"}:
        return image
    collar = band_collars(image.pixels, image.valid)
    if not collar.any():
        return image
    valid = image.valid & ~collar
    return replace(image, pixels=np.where(valid, image.pixels, np.float32(0)), valid=valid)


def leave_out_marks(pair: WorkPair) -> WorkPair:
    """Finds what both images show at the same pixels of their files and returns the rest.

    Args:
        pair: As it was read.
    """
    moved = pair.same_pixels
    if pair.repeated > 1 or moved is None or np.abs(moved - np.rint(moved)).max() > _ON_GRID:
        return pair
    ref, tgt = without_marks(pair.ref, pair.tgt, (round(moved[0]), round(moved[1])))
    return replace(pair, ref=ref, tgt=tgt)


def _repeated(pair: WorkPair, ref: Source, tgt: Source) -> float:
    """Working pixels that a measured pixel fills, where both images repeat theirs; else 1."""
    found = []
    for source, pixel_map, image in ((ref, pair.ref_map, pair.ref), (tgt, pair.tgt_map, pair.tgt)):
        middle = np.array([[(side - 1) / 2 for side in image.valid.shape[::-1]]])
        ends = pixel_map.to_native(middle + np.array([[0, 0], [1, 0], [0, 1.0]]))
        native = math.sqrt(abs(float(np.linalg.det(ends[1:] - ends[0]))))
        # Averaged over many pixels, whether some are repeated makes no difference.
        found.append(true_pixel(source) / native if native < _AVERAGED else 1.0)
    return max(found) if min(found) > 1 else 1.0


def _read(ref: Source, tgt: Source, size: int, margin: float, use_geocoding: bool) -> WorkPair:
    if use_geocoding and ref.info.geocoded and tgt.info.geocoded:
        return _on_grid(ref, tgt, size, margin)
    images, maps = [], []
    for source, factor in zip((ref, tgt), _factors(ref.info, tgt.info, size), strict=True):
        w, h = source.info.size
        work = (max(1, round(w / factor)), max(1, round(h / factor)))
        _check_size(source.info, work)
        image = source.read(size=work)
        _check_valid(source.info, image)
        images.append(_without_collars(source, image))
        maps.append(PixelMap.resize((w, h), work))
    return WorkPair(images[0], images[1], maps[0], maps[1], None)


def _on_grid(ref: Source, tgt: Source, size: int, margin: float) -> WorkPair:
    for source in (ref, tgt):
        _check_size(source.info, source.info.size)
    grid = common_grid(ref.info, tgt.info, size=size, margin=margin)
    _check_size(ref.info, (grid.width, grid.height))
    images = []
    for source in (ref, tgt):
        image = source.read_on(grid)
        _check_valid(source.info, image, where=" in the overlap")
        images.append(_without_collars(source, image))
    if not (images[0].valid & images[1].valid).any():
        raise NoOverlapError(
            f"shares no valid ground with {tgt.info.name}, though their frames overlap",
            subject=ref.info.name,
            hint="choose images whose data overlap, or check the masks",
        )
    ref_map, tgt_map = (PixelMap.on_grid(grid, source.info) for source in (ref, tgt))
    return WorkPair(images[0], images[1], ref_map, tgt_map, grid)


def _factors(ref: RasterInfo, tgt: RasterInfo, size: int) -> tuple[float, float]:
    """Native pixels per working pixel of both."""
    longest = np.array([max(ref.size), max(tgt.size)], dtype=float)
    own = np.maximum(1.0, longest / size)
    gsds = ref.gsd_m, tgt.gsd_m
    if gsds[0] is not None and gsds[1] is not None:
        gsd = np.array([np.sqrt(g[0] * g[1]) for g in gsds if g is not None])
        own = (own * gsd).max() / gsd
    elif longest.max() <= _ALIKE * longest.min():
        own[:] = own.max()
    return float(own[0]), float(own[1])


def _check_size(info: RasterInfo, size: tuple[int, int]) -> None:
    if min(size) < MIN_SIDE_PX:
        raise InputError(
            f"is too small to match: {size[0]}x{size[1]} pixels at working resolution",
            subject=info.name,
            hint=f"give at least {MIN_SIDE_PX} pixels on each side",
        )


def _check_valid(info: RasterInfo, image: GeoImage, where: str = "") -> None:
    if not image.valid.any():
        raise InputError(
            f"has no valid pixels{where}",
            subject=info.name,
            hint="check its nodata value and the mask, or choose another band"
            + ("; --product-mask none keeps its clouds" if info.mask is not None else ""),
        )
