"""Plausibility of a geotransform and CRS."""

from __future__ import annotations

import math

import numpy as np
from affine import Affine
from rasterio.crs import CRS

#: Metres a pixel's side has at least and at most: a microscope's, an eighth of the globe.
_SIDES_M = (1e-4, 5e6)
#: Metres from the origin of a map beyond which no projection of the Earth reaches.
_FARTHEST_M = 1e9
#: The longer of a pixel's axes over the shorter at most; where they lie in one line it is infinite.
_SLENDER = 1e5
_METRES_PER_DEGREE = 111_319.5
#: Longitudes run on beyond the antimeridian, hardly twice round.
_TURNS_DEG = 720.0


def misplaced(transform: Affine, crs: CRS | None, size: tuple[int, int]) -> str | None:
    """Returns why a geocoding makes no sense, None if it does.

    Args:
        transform: Corner-based pixel to map transform.
        crs: Its reference system; None for coordinates of an unknown plane, whose unit is unknown.
        size: (width, height) of the image.

    Returns:
        A clause for an error; None where nothing is wrong.

    Examples:
        >>> misplaced(Affine(10, 0, 4e5, 0, -10, 5e6), CRS.from_epsg(32631), (100, 100)) is None
        True
        >>> misplaced(Affine(1e12, 0, 4e5, 0, -1e12, 5e6), CRS.from_epsg(32631), (100, 100))
        'its pixels are 1e+12 m wide'
    """
    if transform == Affine.identity():
        return None
    numbers = tuple(transform)[:6]
    if not all(math.isfinite(number) for number in numbers):
        return "its geotransform holds numbers that are not finite"
    matrix = np.array([[transform.a, transform.b], [transform.d, transform.e]])
    scale = float(np.abs(matrix).max())
    # Divided first: the squares of the least and greatest numbers are none.
    axes = np.linalg.svd(matrix / scale, compute_uv=False) if scale > 1e-300 else np.zeros(2)
    if axes[0] >= axes[1] * _SLENDER:
        return "its geotransform is singular: pixels without an area"
    if crs is None or not (crs.is_geographic or crs.is_projected):
        return None if max(map(abs, numbers)) < 1e30 else "its geotransform lies beyond all numbers"
    unit = _METRES_PER_DEGREE
    if crs.is_projected:
        unit = float(crs.linear_units_factor[1])
    for side in scale * axes * unit:
        if not _SIDES_M[0] <= side <= _SIDES_M[1]:
            return f"its pixels are {side:.3g} m wide"
    return _beyond(transform, crs, size, unit)


def _beyond(transform: Affine, crs: CRS, size: tuple[int, int], unit: float) -> str | None:
    """Describes how an image lies outside the bounds of its CRS; None if it does not."""
    width, height = size
    x, y = transform @ (width / 2, height / 2)
    if crs.is_geographic:
        if abs(y) > 90:
            return f"its middle lies at latitude {y:.6g}"
        return f"its middle lies at longitude {x:.6g}" if abs(x) > _TURNS_DEG else None
    far = max(abs(v) for corner in ((0, 0), size) for v in transform @ corner) * unit
    return f"it lies {far:.3g} m from its map's origin" if far > _FARTHEST_M else None
