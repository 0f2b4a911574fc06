"""Chooses the output grid: aligned with the reference's pixels, or the file's own."""

from __future__ import annotations

from typing import Literal, TypeAlias

import numpy as np
from affine import Affine

from imatch.core.errors import ConfigError, InputError, NoOverlapError
from imatch.pipeline.registration.geo_correction import GeoCorrection
from imatch.raster.geodesy import apply_affine
from imatch.raster.grid import Grid
from imatch.raster.info import RasterInfo
from imatch.raster.sampling.coordinate_grid import spans

GridKind: TypeAlias = Literal["reference", "target"]
Bounds: TypeAlias = tuple[float, float, float, float]

#: Pixel sizes whose ratio is a whole number but for this share have it exactly.
_WHOLE = 0.02
#: Pixels: what is so near to a whole number is one.
_SLACK = 1e-6
#: Outputs longer than this are a mistake in --res or --bounds, not a wish.
_LONGEST = 1_000_000


def output_lattice(
    mapping: GeoCorrection,
    info: RasterInfo,
    *,
    grid: GridKind = "reference",
    res: float | None = None,
    bounds: Bounds | None = None,
) -> Grid:
    """The pixels on which to write a raster.

    On the reference's grid the lattice has its CRS, orientation and first corner and covers its
    frame, in pixels as large as the file's own: products of 10, 20 and 60 m lie on one another,
    and one with the reference's pixel size has its very grid. On the target's grid the lattice is
    the file's own, onto which its content is moved.

    Args:
        mapping: The registration.
        info: The raster to be written.
        grid: Whose grid.
        res: Side of a pixel in units of the lattice's CRS (of the reference's plane, without one),
            instead of the file's.
        bounds: (left, bottom, right, top) in that CRS to cover, in whole pixels of the lattice.

    Raises:
        InputError: The grid wanted does not exist.
        ConfigError: The size or the bounds make no sense.
    """
    if grid == "target":
        lattice = _own_grid(mapping, info)
    else:
        lattice = _scaled(mapping.reference_lattice, _ratio(mapping, info))
    if res is not None:
        t = lattice.transform
        lattice = _scaled(lattice, res / float(np.hypot(t.a, t.d)), res / float(np.hypot(t.b, t.e)))
    if bounds is not None:
        lattice = _cropped(lattice, bounds)
    if max(lattice.size) > _LONGEST:
        raise ConfigError(
            f"would make {lattice.width:,} x {lattice.height:,} pixels",
            subject="--res or --bounds",
            hint=f"give them in units of {_units(lattice)}",
        )
    return lattice


def check_overlap(mapping: GeoCorrection, info: RasterInfo, lattice: Grid) -> None:
    """Make sure that some of a raster falls on a lattice.

    Raises:
        NoOverlapError: Nothing does.
    """
    on_raster = mapping.to_pixels(lattice, info)(_spread(lattice.size, 65))
    there = lattice.transform
    if lattice.crs == mapping.crs:
        # A raster much smaller than the lattice slips through its meshes.
        on_map = mapping.to_map(info)(_spread(info.size, 17))
        on_lattice = apply_affine(~there, on_map) - 0.5
    else:
        on_lattice = np.zeros((0, 2))
    if not (_within(on_raster, info.size) or _within(on_lattice, lattice.size)):
        raise NoOverlapError(
            "none of it lies on the grid to be written",
            subject=info.name,
            hint="pass --grid target to keep its own, or other --bounds",
        )


def _own_grid(mapping: GeoCorrection, info: RasterInfo) -> Grid:
    if not mapping.reference.geocoded:
        raise InputError(
            "has no place in a pixel plane", subject=info.name, hint="pass --grid reference"
        )
    if not info.geocoded:
        raise InputError("is not geocoded", subject=info.name, hint="pass --grid reference")
    return Grid(info.transform, info.crs, info.width, info.height)


def _ratio(mapping: GeoCorrection, info: RasterInfo) -> float:
    """Returns the length of a pixel of the file in reference pixels."""
    if not mapping.on_map and not (info.geocoded and mapping.target.geocoded):
        # Pixels of the target's frame: the target itself goes on the reference's very grid.
        return _whole(mapping.target.width / info.width)
    lattice = mapping.reference_lattice
    bent = info.geolocation is not None or mapping.reference.geolocation is not None
    if info.crs == mapping.crs and not bent:
        own, other = info.transform.determinant, lattice.transform.determinant
        return _whole(float(np.sqrt(abs(own / other))), _SLACK)
    across, down = spans(mapping.to_pixels(lattice, info), *lattice.size)
    span = float(np.sqrt(across * down))
    if not (np.isfinite(span) and span > 0):
        raise InputError(
            "its geocoding gives its pixels no size on the reference",
            subject=info.name,
            hint="check its CRS and its geotransform (gdalinfo)",
        )
    measured = 1 / span
    crs = mapping.crs
    if crs is not None and info.crs is not None and crs.is_projected and info.crs.is_projected:
        # Between two zones a pixel keeps its nominal size, though scale varies by parts in 1000.
        unit = info.crs.linear_units_factor[1] / crs.linear_units_factor[1]
        nominal = np.sqrt(abs(info.transform.determinant / lattice.transform.determinant)) * unit
        if abs(nominal / measured - 1) <= _WHOLE:
            return _whole(float(nominal))
    whole = _whole(measured)
    return whole if whole != measured else float(f"{measured:.3g}")


def _whole(ratio: float, slack: float = _WHOLE) -> float:
    """Rounds a ratio that is nearly a whole number, or one over such."""
    for value, back in ((ratio, lambda n: float(n)), (1 / ratio, lambda n: 1 / n)):
        nearest = round(value)
        if nearest >= 1 and abs(value / nearest - 1) <= slack:
            return back(nearest)
    return ratio


def _scaled(lattice: Grid, x: float, y: float | None = None) -> Grid:
    """The same frame in pixels `x` and `y` times as large, its last ones perhaps beyond it."""
    y = x if y is None else y
    width, height = (
        max(1, int(np.ceil(side / step - _SLACK)))
        for side, step in zip(lattice.size, (x, y), strict=True)
    )
    return Grid(lattice.transform @ Affine.scale(x, y), lattice.crs, width, height)


def _cropped(lattice: Grid, bounds: Bounds) -> Grid:
    """The pixels of an endless lattice that cover a rectangle of the map."""
    left, bottom, right, top = bounds
    corners = [(left, bottom), (left, top), (right, top), (right, bottom)]
    pixels = apply_affine(~lattice.transform, corners)
    low = np.floor(pixels.min(axis=0) + _SLACK)
    high = np.ceil(pixels.max(axis=0) - _SLACK)
    width, height = np.maximum(1, high - low).astype(int)
    transform = lattice.transform @ Affine.translation(*low)
    return Grid(transform, lattice.crs, int(width), int(height))


def _units(lattice: Grid) -> str:
    if lattice.crs is None:
        return "the reference's own coordinates"
    return "degrees" if lattice.crs.is_geographic else str(lattice.crs.linear_units)


def _spread(size: tuple[int, int], count: int) -> np.ndarray:
    x, y = (np.linspace(-0.5, side - 0.5, count) for side in size)
    return np.stack(np.meshgrid(x, y), axis=-1).reshape(-1, 2)


def _within(xy: np.ndarray, size: tuple[int, int]) -> bool:
    inside = (xy >= -0.5) & (xy <= np.array(size) - 0.5)
    return bool(inside.all(axis=1).any())
