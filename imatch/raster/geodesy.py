"""Reprojection of points, and ground metres per map unit."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import pyproj
from affine import Affine
from numpy.typing import ArrayLike, NDArray
from pyproj import Geod, Transformer
from pyproj.exceptions import ProjError
from rasterio._err import CPLE_BaseError
from rasterio.crs import CRS
from rasterio.errors import RasterioError
from rasterio.warp import transform as _transform

from imatch.raster.gdal import session

WGS84 = CRS.from_epsg(4326)
_GEOD = Geod(ellps="WGS84")
#: Bodies whose radius differs by more than this are not the Earth.
_EARTH = 0.01
#: A projection that stretches lengths by more than this does not give metres on the ground.
_NOMINAL = 0.01


def affine_matrix(transform: Affine) -> NDArray[np.float64]:
    """The (3, 3) matrix of an affine transform."""
    return np.array(transform, dtype=np.float64).reshape(3, 3)


def apply_affine(transform: Affine, xy: ArrayLike) -> NDArray[np.float64]:
    """Map (N, 2) points by an affine transform."""
    points = np.asarray(xy, dtype=np.float64).reshape(-1, 2)
    matrix = affine_matrix(transform)
    # Written out: BLAS raises spurious floating-point flags, which numpy reports as warnings.
    x, y = points[:, 0], points[:, 1]
    (a, b, c), (d, e, f) = matrix[0], matrix[1]
    # A place without an image is infinite, and times zero that is no number: as it should be.
    with np.errstate(invalid="ignore"):
        return np.column_stack([a * x + b * y + c, d * x + e * y + f])


def fitted_affine(pixels: NDArray[np.float64], coordinates: NDArray[np.float64]) -> Affine:
    """The least-squares affine transform from (N, 2) points to (N, 2) others."""
    middle, centre, size = pixels.mean(axis=0), coordinates.mean(axis=0), pixels.std(axis=0)
    rows = np.column_stack([(pixels - middle) / size, np.ones(len(pixels))])
    found = np.linalg.lstsq(rows, coordinates - centre, rcond=None)[0]
    (a, d), (b, e), (c, f) = found
    # Numbers that only rounding keeps from zero would make a rotated raster of a plain one.
    tiny = 1e-11 * max(abs(a), abs(b), abs(d), abs(e))
    b, d = (0.0 if abs(v) < tiny else v for v in (b, d))
    local = Affine(a, b, c + centre[0], d, e, f + centre[1])
    return local @ Affine.scale(*(1 / size)) @ Affine.translation(*-middle)


def reproject_points(
    xy: ArrayLike, source: CRS, target: CRS, *, near: float | None = None
) -> NDArray[np.float64]:
    """Map (N, 2) coordinates from one CRS to another, exactly, point by point.

    GDAL's own transformer is used, the one that also warps the pixels, so that both agree.

    Args:
        xy: (N, 2) map coordinates (longitude first).
        source: Their CRS.
        target: The CRS wanted.
        near: Longitude (in the target's units) round which geographic results are wrapped, so
            that a place beyond the antimeridian stays beside its neighbours.

    Returns:
        (N, 2) float64; not finite where a point has no image.
    """
    points = np.asarray(xy, dtype=np.float64).reshape(-1, 2)
    if source != target and len(points):
        out = np.full_like(points, np.inf)
        usable = np.isfinite(points).all(axis=1)
        if usable.any():
            out[usable] = _reproject(points[usable], source, target)
        points = out
    if near is not None and target.is_geographic:
        turn = 360.0
        points = points.copy()
        finite = np.isfinite(points[:, 0])
        points[finite, 0] -= turn * np.round((points[finite, 0] - near) / turn)
    return points


def _reproject(points: NDArray[np.float64], source: CRS, target: CRS) -> NDArray[np.float64]:
    """(N, 2) finite coordinates in another CRS; inf where a point has no image."""
    try:
        with session():
            xs, ys, *_ = _transform(source, target, points[:, 0], points[:, 1])
        return np.column_stack([xs, ys])
    except (RasterioError, CPLE_BaseError):
        # One point without an image costs rasterio all of them.
        pass
    try:
        there = Transformer.from_crs(source.to_wkt(), target.to_wkt(), always_xy=True)
    except ProjError:
        return np.full_like(points, np.inf)
    return np.column_stack(there.transform(points[:, 0], points[:, 1], errcheck=False))


def gsd_metres(transform: Affine, crs: CRS, size: tuple[int, int]) -> tuple[float, float] | None:
    """Ground length of a pixel's sides at the centre of an image.

    Projected systems give their nominal length (10 m for a Sentinel-2 pixel in UTM) unless their
    scale at that place is off by more than 1 %, as Web Mercator's is away from the equator; then,
    and for geographic systems, the geodesic is measured: on WGS 84, or on the ellipsoid of another
    body (Moon, Mars).

    Args:
        transform: Corner-based pixel to map transform.
        crs: Its reference system.
        size: (width, height) of the image in pixels.

    Returns:
        Metres per pixel in x (along a row) and y (along a column); None where the place has no
        longitude and latitude.
    """
    centre = np.array([size[0] / 2, size[1] / 2])
    steps = np.array([[0, 0], [1, 0], [0, 1]])
    corners = apply_affine(transform, centre + steps)
    base, geod = _ellipsoid(crs.to_wkt())
    lon, lat = reproject_points(corners, crs, base).T
    nominal = None
    if crs.is_projected:
        metres = float(crs.linear_units_factor[1])
        nominal = np.hypot(*(corners[1:] - corners[0]).T) * metres
    if not (np.isfinite(lon).all() and np.isfinite(lat).all()):
        return None if nominal is None else (float(nominal[0]), float(nominal[1]))
    sides = np.array(geod.inv(lon[[0, 0]], lat[[0, 0]], lon[1:], lat[1:])[2])
    if nominal is not None and np.all(np.abs(sides / nominal - 1) <= _NOMINAL):
        sides = nominal
    return float(sides[0]), float(sides[1])


def ground_distance_m(a: ArrayLike, b: ArrayLike, crs: CRS) -> float:
    """Geodesic distance in metres between two map positions; NaN where it cannot be told."""
    base, geod = _ellipsoid(crs.to_wkt())
    lon, lat = reproject_points([np.asarray(a), np.asarray(b)], crs, base).T
    if not (np.isfinite(lon).all() and np.isfinite(lat).all()):
        return float("nan")
    return float(geod.inv(lon[0], lat[0], lon[1], lat[1])[2])


@lru_cache(maxsize=64)
def _ellipsoid(wkt: str) -> tuple[CRS, Geod]:
    """Returns a CRS's geographic system and its ellipsoid, of whatever body it describes."""
    base = pyproj.CRS.from_wkt(wkt).geodetic_crs
    if base is None or base.ellipsoid is None:
        return WGS84, _GEOD
    body = base.ellipsoid
    if abs(body.semi_major_metre / _GEOD.a - 1) <= _EARTH:
        return WGS84, _GEOD
    geod = Geod(a=body.semi_major_metre, b=body.semi_minor_metre)
    return CRS.from_wkt(base.to_wkt()), geod
