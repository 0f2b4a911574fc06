"""Named places as keypoints: centroids of polygons, their vertices, their corners.

Each comes with the standard deviation a person's drawing has. A vertex is as good as the hand and
the pixels were (`label_error_m`); a centroid averages over its vertices, but where the middle of an
irregular clearing lies is a matter of taste that grows with its size.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
import shapely
from affine import Affine
from numpy.typing import NDArray
from rasterio.features import rasterize
from shapely.affinity import affine_transform
from shapely.geometry.base import BaseGeometry

from imatch.core.types import BoolArray
from imatch.datasets.polygons import Outline

Kind: TypeAlias = Literal["centroid", "vertex", "corner"]
# A pixel's own uncertainty: that of a uniform distribution over it.
_PIXEL = 1 / np.sqrt(12)
# How far apart two people put the middle of a shape, as a share of its diameter.
_TASTE = 0.1
# A turn of the boundary that is a corner, degrees.
_CORNER = 30.0


@dataclass(frozen=True)
class Keypoint:
    """A named place on a chip.

    Attributes:
        x: Pixels, the centre of the first being 0.
        y: Likewise.
        sigma: Standard deviation of both, pixels.
        kind: What it is of its polygon.
        date: When the polygon was first seen, ``YYYYMMDD`` or empty.
        polygon: Number of the feature in its file.
    """

    x: float
    y: float
    sigma: float
    kind: Kind
    date: str
    polygon: int


def keypoints_of(
    outlines: Iterable[Outline],
    transform: Affine,
    size: tuple[int, int],
    *,
    error_px: float,
    vertices: bool = False,
    corners: bool = False,
) -> list[Keypoint]:
    """Keypoints of polygons on a chip.

    The centroid serves where it lies in the polygon, else shapely's representative point, which
    always does. Places outside the chip are left out; two neighbouring chips never share one.

    Args:
        outlines: Polygons in the chip's CRS.
        transform: Corner-based pixel to map transform of the chip.
        size: (width, height) of the chip.
        error_px: Standard deviation of a digitised vertex, pixels of the chip.
        vertices: Whether to give the vertices too, thinned to what exceeds that error.
        corners: Whether to give those of them at which the boundary turns by 30 degrees or more.

    Returns:
        Keypoints in the order of the outlines.
    """
    inverse = ~transform
    coefficients = (inverse.a, inverse.b, inverse.d, inverse.e, inverse.c, inverse.f)
    out: list[Keypoint] = []
    for outline in outlines:
        # Corner-based pixels; the half pixel goes where points are made of them.
        shape = affine_transform(outline.shape, coefficients)
        found: list[tuple[Kind, float, float, float]] = [_centroid(shape, error_px)]
        if vertices or corners:
            ring, turns = _ring(shape, error_px)
            spread = float(np.hypot(_PIXEL, error_px))
            for (x, y), turn in zip(ring, turns, strict=True):
                if corners and turn >= _CORNER:
                    found.append(("corner", float(x), float(y), spread))
                elif vertices:
                    found.append(("vertex", float(x), float(y), spread))
        out += [
            Keypoint(x - 0.5, y - 0.5, sigma, kind, outline.date, outline.number)
            for kind, x, y, sigma in found
            if 0 <= x < size[0] and 0 <= y < size[1]
        ]
    return out


def _centroid(shape: BaseGeometry, error_px: float) -> tuple[Kind, float, float, float]:
    point = shape.centroid
    if not shape.contains(point):
        point = shape.representative_point()
    diameter = 2 * np.sqrt(shape.area / np.pi)
    count = max(3, len(shape.exterior.coords) - 1)
    sigma = np.sqrt(_PIXEL**2 + (_TASTE * diameter) ** 2 + error_px**2 / count)
    return "centroid", float(point.x), float(point.y), float(sigma)


def _ring(shape: BaseGeometry, error_px: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Vertices (N, 2) of a thinned outer boundary, and its turn at each, degrees."""
    thinned = shapely.simplify(shape.exterior, error_px)
    ring = shapely.get_coordinates(thinned)[:-1]
    if len(ring) < 3:
        ring = shapely.get_coordinates(shape.exterior)[:-1]
    before, after = ring - np.roll(ring, 1, axis=0), np.roll(ring, -1, axis=0) - ring
    bend = np.arctan2(after[:, 1], after[:, 0]) - np.arctan2(before[:, 1], before[:, 0])
    return ring, np.abs(np.degrees((bend + np.pi) % (2 * np.pi) - np.pi))


def burned(outlines: Iterable[Outline], transform: Affine, size: tuple[int, int]) -> BoolArray:
    """(H, W) bool: pixels that polygons touch."""
    inverse = ~transform
    coefficients = (inverse.a, inverse.b, inverse.d, inverse.e, inverse.c, inverse.f)
    shapes = [affine_transform(outline.shape, coefficients) for outline in outlines]
    if not shapes:
        return np.zeros((size[1], size[0]), dtype=bool)
    image = rasterize(shapes, out_shape=(size[1], size[0]), all_touched=True, dtype="uint8")
    return np.asarray(image > 0)


def appeared_between(outlines: Iterable[Outline], first: str, second: str) -> list[Outline]:
    """Outlines first seen after one date and not after the other, whichever is earlier."""
    if not (first.isdecimal() and second.isdecimal()):
        return []
    # A month stands for all of its days.
    early, late = sorted((first, second))
    return [o for o in outlines if o.date and early < o.date <= late.ljust(8, "9")]
