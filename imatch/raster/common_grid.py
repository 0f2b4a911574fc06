"""The common map grid of two geocoded images, and the exact way back to native pixels."""

from __future__ import annotations

import numpy as np
import shapely
from affine import Affine
from numpy.typing import ArrayLike, NDArray
from rasterio.crs import CRS
from shapely.geometry import Polygon, box
from shapely.ops import nearest_points

from imatch.core.errors import InputError, NoOverlapError
from imatch.raster.geodesy import (
    affine_matrix,
    apply_affine,
    ground_distance_m,
    reproject_points,
)
from imatch.raster.geolocation.geolocation import Geolocation
from imatch.raster.grid import Grid
from imatch.raster.info import RasterInfo

#: Working pixels an overlap needs on its shorter side, unless the images themselves are as small.
MIN_OVERLAP_PX = 32
#: Working pixels of search margin, at least.
MIN_MARGIN_PX = 16
#: GSDs closer than this are one: two UTM zones scale the same ground by up to 0.1 %.
_SAME_GSD = 1.02
#: Pixels whose sides differ by more are made square on the grid.
_SQUARE = 1.1
_EDGE_POINTS = 64
_HALF = Affine.translation(0.5, 0.5)


class PixelMap:
    """Working pixels to native pixels and back, exact point by point.

    Args:
        work: Corner-based transform of the working pixels.
        native: Corner-based transform of the native pixels.
        work_crs: CRS of `work`; None when both transforms lead into one plane.
        native_crs: CRS of `native`.
        work_near: Longitude of the working image, where its CRS is geographic.
        native_near: Longitude of the native image, where its CRS is geographic.
        work_bend: What bends working pixels into the frame of `work`; None where that is exact.
        native_bend: The same of the native pixels.

    Attributes:
        matrix: (3, 3) working to native pixels; None where no matrix says it.
    """

    def __init__(
        self,
        work: Affine,
        native: Affine,
        work_crs: CRS | None = None,
        native_crs: CRS | None = None,
        *,
        work_near: float | None = None,
        native_near: float | None = None,
        work_bend: Geolocation | None = None,
        native_bend: Geolocation | None = None,
    ) -> None:
        self._work, self._native = work @ _HALF, native @ _HALF
        self._crs = (
            None
            if work_crs is None or native_crs is None or work_crs == native_crs
            else (work_crs, native_crs)
        )
        self._work_near, self._native_near = work_near, native_near
        self._work_bend, self._native_bend = work_bend, native_bend
        self._inverse = ~self._work @ self._native
        self.matrix: NDArray[np.float64] | None = None
        if self._crs is None and work_bend is None and native_bend is None:
            self.matrix = affine_matrix(~self._native @ self._work)

    @classmethod
    def resize(cls, native: tuple[int, int], work: tuple[int, int]) -> PixelMap:
        """The map of a plain resize, between (width, height) sizes."""
        return cls(Affine.scale(native[0] / work[0], native[1] / work[1]), Affine.identity())

    @classmethod
    def on_grid(cls, grid: Grid, info: RasterInfo) -> PixelMap:
        """The map between a common grid and the image rendered on it."""
        native, near = unwrap_longitude(info, grid.crs, grid.centre[0])
        return cls(
            grid.transform,
            native,
            grid.crs,
            info.crs,
            work_near=grid.centre[0] if grid.crs is not None and grid.crs.is_geographic else None,
            native_near=near,
            native_bend=info.geolocation,
        )

    def to_native(self, xy: ArrayLike) -> NDArray[np.float64]:
        """Map (N, 2) working pixels to (N, 2) float64 native pixels."""
        points = _to_affine(self._work_bend, np.asarray(xy, dtype=np.float64).reshape(-1, 2))
        if self._crs is None:
            return _to_native(self._native_bend, apply_affine(~self._native @ self._work, points))
        work_crs, native_crs = self._crs
        mapped = reproject_points(
            apply_affine(self._work, points), work_crs, native_crs, near=self._native_near
        )
        return _to_native(self._native_bend, apply_affine(~self._native, mapped))

    def to_work(self, xy: ArrayLike) -> NDArray[np.float64]:
        """Map (N, 2) native pixels to (N, 2) float64 working pixels."""
        points = _to_affine(self._native_bend, np.asarray(xy, dtype=np.float64).reshape(-1, 2))
        if self._crs is None:
            return _to_native(self._work_bend, apply_affine(self._inverse, points))
        work_crs, native_crs = self._crs
        mapped = reproject_points(
            apply_affine(self._native, points), native_crs, work_crs, near=self._work_near
        )
        return _to_native(self._work_bend, apply_affine(~self._work, mapped))


def _to_affine(bend: Geolocation | None, xy: NDArray[np.float64]) -> NDArray[np.float64]:
    """Native pixels, by their centres, in the affine frame."""
    return xy if bend is None else bend.to_flat(xy + 0.5) - 0.5


def _to_native(bend: Geolocation | None, xy: NDArray[np.float64]) -> NDArray[np.float64]:
    """Pixels of the affine frame, by their centres, as native ones."""
    return xy if bend is None else bend.to_native(xy + 0.5) - 0.5


def unwrap_longitude(info: RasterInfo, crs: CRS, longitude: float) -> tuple[Affine, float | None]:
    """An image's affine transform, turned by 360 degrees where that brings it beside a grid.

    Only where both use one geographic CRS: elsewhere the transformation between the systems takes
    care of it.

    Returns:
        The transform, and the longitude of the image's middle (None unless geographic).
    """
    if info.crs is None or not info.crs.is_geographic:
        return info.transform, None
    near = (info.transform @ (info.width / 2, info.height / 2))[0]
    if info.crs != crs:
        return info.transform, near
    turn = 360.0 * round((longitude - near) / 360.0)
    return Affine.translation(turn, 0) @ info.transform, near + turn


def common_grid(ref: RasterInfo, tgt: RasterInfo, *, size: int, margin: float) -> Grid:
    """The grid on which two geocoded images are compared.

    It has the reference's CRS and orientation (a rotated or south-up reference gives a rotated or
    south-up grid) and the coarser of the two GSDs, coarsened further so that neither side exceeds
    `size`. It covers the overlap of both footprints and a search margin round it, as far as there
    are pixels of either image. Pixels that are far from square on the ground, as in a geographic
    CRS away from the equator, are made square.

    Args:
        ref: The reference.
        tgt: The target.
        size: Longest side allowed, working pixels.
        margin: Search margin on each side as a share of the overlap's longer side; at least
            `MIN_MARGIN_PX` working pixels.

    Raises:
        InputError: One of them is not geocoded.
        NoOverlapError: They share no ground, or too little of it.
    """
    for info in (ref, tgt):
        if not info.geocoded or info.crs is None:
            raise InputError("is not geocoded", subject=info.name, hint="match by pixels instead")
    assert ref.crs is not None
    unit, common = _units(ref)
    # Everything below is in the reference's native pixels, corner-based, divided by `unit`.
    frame = ref.transform @ Affine.scale(*unit)
    ref_shape = box(0, 0, ref.width / unit[0], ref.height / unit[1])
    if ref.geolocation is not None:
        ref_shape, _ = _footprint(ref, frame, ref)
    tgt_shape, tgt_scale = _footprint(tgt, frame, ref)
    if tgt_scale > common * _SAME_GSD:
        common = tgt_scale
    overlap = ref_shape.intersection(tgt_shape)
    if overlap.is_empty or overlap.area == 0:
        raise _no_overlap(ref, tgt, ref_shape, tgt_shape, frame)

    left, top, right, bottom = overlap.bounds
    longer, shorter = max(right - left, bottom - top), min(right - left, bottom - top)
    union = ref_shape.union(tgt_shape).bounds
    scale = common
    for _ in range(3):  # the margin has a floor in working pixels, whose size the margin decides
        pad = max(margin * longer, MIN_MARGIN_PX * scale)
        # On whole reference pixels, so that at the reference's GSD it is copied, not resampled.
        low = np.floor(np.maximum([left - pad, top - pad], union[:2]))
        high = np.ceil(np.minimum([right + pad, bottom + pad], union[2:]))
        scale = max(common, float((high - low).max()) / size)
    smallest = min(ref.width / unit[0], ref.height / unit[1], *_sides(tgt, tgt_scale)) / scale
    if shorter / scale < min(MIN_OVERLAP_PX, smallest / 2):
        raise NoOverlapError(
            f"its overlap with {tgt.name} is only {shorter / scale:.0f} working pixels wide",
            subject=ref.name,
            hint="choose images that share more ground, or a larger working size",
        )
    width, height = np.maximum(1, np.ceil((high - low) / scale - 1e-9)).astype(int)
    transform = frame @ Affine.translation(*low) @ Affine.scale(scale)
    return Grid(transform, ref.crs, int(width), int(height))


def _units(ref: RasterInfo) -> tuple[tuple[float, float], float]:
    """Reference pixels per grid unit in x and y, and the reference's GSD in such units."""
    gsd = ref.gsd_m
    if gsd is None or max(gsd) / min(gsd) <= _SQUARE:
        return (1.0, 1.0), 1.0
    return (max(gsd) / gsd[0], max(gsd) / gsd[1]), 1.0


def _sides(info: RasterInfo, scale: float) -> tuple[float, float]:
    return info.width * scale, info.height * scale


def _footprint(tgt: RasterInfo, frame: Affine, ref: RasterInfo) -> tuple[Polygon, float]:
    """The target's outline in the reference's frame, and its pixel size there."""
    assert ref.crs is not None
    assert tgt.crs is not None
    ref_lon = (ref.transform @ (ref.width / 2, ref.height / 2))[0]
    native, tgt_lon = unwrap_longitude(tgt, ref.crs, ref_lon)
    near = ref_lon if ref.crs.is_geographic else None
    w, h = tgt.width, tgt.height
    t = np.linspace(0, 1, _EDGE_POINTS, endpoint=False)
    zero, one = np.zeros_like(t), np.ones_like(t)
    ring = np.concatenate(
        [np.stack(edge, axis=1) for edge in ((t, zero), (one, t), (1 - t, one), (zero, 1 - t))]
    ) * (w, h)
    inside = np.array([(x, y) for x in (0.25, 0.5, 0.75) for y in (0.25, 0.5, 0.75)]) * (w, h)

    def to_frame(pixels: NDArray[np.float64]) -> NDArray[np.float64]:
        bend = tgt.geolocation
        mapped = apply_affine(native, pixels if bend is None else bend.to_flat(pixels))
        there = reproject_points(mapped, tgt.crs, ref.crs, near=near)
        # Projections answer beyond their domain too; only what finds its way back is believed.
        back = apply_affine(~native, reproject_points(there, ref.crs, tgt.crs, near=tgt_lon))
        back = back if bend is None else bend.to_native(back)
        there[~(np.abs(back - pixels) < 0.01).all(axis=1)] = np.nan
        return apply_affine(~frame, there)

    outline = to_frame(ring)
    outline = outline[np.isfinite(outline).all(axis=1)]
    steps = [to_frame(inside + step) for step in ((0, 0), (1, 0), (0, 1))]
    across, down = steps[1] - steps[0], steps[2] - steps[0]
    areas = np.abs(across[:, 0] * down[:, 1] - across[:, 1] * down[:, 0])
    areas = areas[np.isfinite(areas)]
    if len(outline) < 3 or not len(areas):
        return Polygon(), 1.0
    return shapely.make_valid(Polygon(outline)), float(np.sqrt(np.median(areas)))


def _no_overlap(
    ref: RasterInfo, tgt: RasterInfo, ref_shape: Polygon, tgt_shape: Polygon, frame: Affine
) -> NoOverlapError:
    """The error that says by how far two images miss each other."""
    assert ref.crs is not None
    miss = float("nan")
    if not tgt_shape.is_empty:
        a, b = nearest_points(ref_shape, tgt_shape)
        miss = ground_distance_m(frame @ (a.x, a.y), frame @ (b.x, b.y), ref.crs)
    if np.isfinite(miss):
        # Three digits: the nearest points are sought on the map, not on the ellipsoid.
        far = f"{float(f'{miss / 1000:.3g}'):,g} km" if miss >= 1000 else f"{miss:.0f} m"
        cause = f"shares no ground with {tgt.name}: they miss each other by {far}"
    else:
        cause = f"shares no ground with {tgt.name}, which its CRS cannot even reach"
    return NoOverlapError(
        cause,
        subject=ref.name,
        hint="choose images of one place, or pass --no-geocoding if theirs is wrong",
    )
