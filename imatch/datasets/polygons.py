"""Polygons from vector files, mended or dropped, and the keypoints that they give.

Keypoints are named places: centroids of polygons, their vertices, their corners. Each comes with
the standard deviation a person's drawing has. A vertex is as good as the hand and the pixels were
(`label_error_m`); a centroid averages over its vertices, but where the middle of an irregular
clearing lies is a matter of taste that grows with its size.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
import shapely
from affine import Affine
from numpy.typing import NDArray
from rasterio.crs import CRS
from rasterio.features import rasterize
from shapely.affinity import affine_transform
from shapely.geometry.base import BaseGeometry

from imatch.core.errors import InputError
from imatch.core.types import BoolArray
from imatch.raster.gdal import check_file
from imatch.raster.vectors import reading_vectors

# Names under which a polygon may say when it was seen, in order of preference.
_DATES = ("img_date", "date", "datetime", "acquired", "acquisition_date", "image_date", "year")


@dataclass(frozen=True)
class Outline:
    """One polygon.

    Attributes:
        shape: A shapely Polygon, valid and not empty.
        date: ``YYYYMMDD`` of the image it was seen on; empty where unknown.
        number: Which feature of the file it comes from.
    """

    shape: BaseGeometry
    date: str
    number: int


@dataclass
class Tally:
    """Counts of what became of the features of vector files.

    Attributes:
        features: In the files.
        polygons: Used, the parts of a multi-polygon counted one by one.
        parts: Polygons that came out of multi-polygons.
        mended: Invalid geometries that could be mended.
        empty: Features without a geometry, or with an empty one.
        dropped: Geometries that are no polygons, or that no mending makes one.
        outside: Polygons beyond all images.
        undated: Polygons that do not say when they were seen.
    """

    features: int = 0
    polygons: int = 0
    parts: int = 0
    mended: int = 0
    empty: int = 0
    dropped: int = 0
    outside: int = 0
    undated: int = 0
    files: list[str] = field(default_factory=list)


def read_polygons(path: Path, crs: CRS, tally: Tally) -> list[Outline]:
    """Reads the polygons of a vector file in the CRS of the images.

    Multi-polygons fall into their parts. Invalid geometries (self-intersections) are mended, and
    dropped where nothing polygonal comes of it.

    Args:
        path: GeoJSON, GeoPackage, shapefile…; one that names no CRS is taken to have the images'.
        crs: Reference system wanted.
        tally: Counts, added to.

    Raises:
        InputError: The file cannot be read or holds no polygon at all.
    """
    import geopandas
    import pyproj

    check_file(path)
    with reading_vectors(path, "cannot be read as polygons"):
        frame = geopandas.read_file(path)
    if "geometry" not in frame or not len(frame):
        raise InputError("holds no polygons", subject=path, hint="give one with polygons")
    wanted = pyproj.CRS.from_wkt(crs.to_wkt())
    shapes = frame.geometry
    with reading_vectors(path, "its shapes have no place in the images' CRS"):
        shapes = shapes.set_crs(wanted) if shapes.crs is None else shapes.to_crs(wanted)
    column = next((name for name in _DATES if name in frame.columns), None)
    dates = [""] * len(frame) if column is None else [_date(value) for value in frame[column]]
    out: list[Outline] = []
    for number, (shape, date) in enumerate(zip(shapes, dates, strict=True)):
        out += [Outline(part, date, number) for part in _parts(shape, tally)]
    if not out:
        raise InputError(
            f"none of its {len(frame)} features is a polygon",
            subject=path,
            hint="give one with polygons",
        )
    tally.files.append(str(path))
    tally.undated += sum(not outline.date for outline in out)
    return out


def _parts(shape: BaseGeometry | None, tally: Tally) -> list[BaseGeometry]:
    tally.features += 1
    if shape is None or shape.is_empty:
        tally.empty += 1
        return []
    if not np.isfinite(shape.bounds).all():
        # What another CRS cannot reach.
        tally.outside += 1
        return []
    mended = not shape.is_valid
    if mended:
        shape = shapely.make_valid(shape)
    parts = [part for part in _polygonal(shape) if part.area > 0]
    if not parts:
        tally.dropped += 1
        return []
    tally.mended += mended
    tally.polygons += len(parts)
    tally.parts += len(parts) if len(parts) > 1 else 0
    return parts


def _polygonal(shape: BaseGeometry) -> list[BaseGeometry]:
    """Takes the polygons out of a geometry; lines and points left by mending are no loss."""
    if shape.geom_type == "Polygon":
        return [shape]
    return [part for piece in getattr(shape, "geoms", ()) for part in _polygonal(piece)]


def _date(value: Any) -> str:
    """Returns ``YYYYMMDD`` of whatever a column holds, empty for none."""
    import pandas

    if value is None or value == "" or value is pandas.NaT:
        return ""
    text = str(int(value)) if isinstance(value, int | float) and value == value else str(value)
    if text.isdecimal() and len(text) == 8:
        return text
    stamp = pandas.to_datetime(text, errors="coerce", utc=True)
    return str(stamp.strftime("%Y%m%d")) if isinstance(stamp, pandas.Timestamp) else ""


def indices_within(
    outlines: Sequence[Outline], bounds: tuple[float, float, float, float]
) -> list[int]:
    """Finds the positions of outlines whose bounds reach into a box of the same CRS."""
    if not outlines:
        return []
    boxes = shapely.bounds(np.array([outline.shape for outline in outlines], dtype=object))
    left, bottom, right, top = bounds
    reach = (
        (boxes[:, 0] < right) & (boxes[:, 2] > left) & (boxes[:, 1] < top) & (boxes[:, 3] > bottom)
    )
    return [int(i) for i in np.flatnonzero(reach)]


def within(outlines: Sequence[Outline], bounds: tuple[float, float, float, float]) -> list[Outline]:
    """Returns the outlines whose bounds reach into a box of the same CRS."""
    return [outlines[i] for i in indices_within(outlines, bounds)]


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
    """Returns the keypoints of polygons on a chip.

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
    """Returns (N, 2) vertices of a thinned outer boundary, and its turn at each, degrees."""
    thinned = shapely.simplify(shape.exterior, error_px)
    ring = shapely.get_coordinates(thinned)[:-1]
    if len(ring) < 3:
        ring = shapely.get_coordinates(shape.exterior)[:-1]
    before, after = ring - np.roll(ring, 1, axis=0), np.roll(ring, -1, axis=0) - ring
    bend = np.arctan2(after[:, 1], after[:, 0]) - np.arctan2(before[:, 1], before[:, 0])
    return ring, np.abs(np.degrees((bend + np.pi) % (2 * np.pi) - np.pi))


def rasterized(outlines: Iterable[Outline], transform: Affine, size: tuple[int, int]) -> BoolArray:
    """Rasterizes polygons: (H, W) bool, pixels that they touch."""
    inverse = ~transform
    coefficients = (inverse.a, inverse.b, inverse.d, inverse.e, inverse.c, inverse.f)
    shapes = [affine_transform(outline.shape, coefficients) for outline in outlines]
    if not shapes:
        return np.zeros((size[1], size[0]), dtype=bool)
    image = rasterize(shapes, out_shape=(size[1], size[0]), all_touched=True, dtype="uint8")
    return np.asarray(image > 0)


def appeared_between(outlines: Iterable[Outline], first: str, second: str) -> list[Outline]:
    """Returns outlines first seen after one date and not after the other."""
    if not (first.isdecimal() and second.isdecimal()):
        return []
    # A month stands for all of its days.
    early, late = sorted((first, second))
    return [o for o in outlines if o.date and early < o.date <= late.ljust(8, "9")]
