"""Polygons from a vector file, mended or dropped, each counted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import shapely
from rasterio.crs import CRS
from shapely.geometry.base import BaseGeometry

from imatch.core.errors import InputError
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
    """What became of the features of vector files.

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
    """Read the polygons of a vector file in the CRS of the images.

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
    """The polygons in a geometry; slivers that mending leaves as lines and points are no loss."""
    if shape.geom_type == "Polygon":
        return [shape]
    return [part for piece in getattr(shape, "geoms", ()) for part in _polygonal(piece)]


def _date(value: Any) -> str:
    """``YYYYMMDD`` of whatever a column holds, empty for none."""
    import pandas

    if value is None or value == "" or value is pandas.NaT:
        return ""
    text = str(int(value)) if isinstance(value, int | float) and value == value else str(value)
    if text.isdecimal() and len(text) == 8:
        return text
    stamp = pandas.to_datetime(text, errors="coerce", utc=True)
    return str(stamp.strftime("%Y%m%d")) if isinstance(stamp, pandas.Timestamp) else ""


def reaching(outlines: Sequence[Outline], bounds: tuple[float, float, float, float]) -> list[int]:
    """Positions of the outlines whose bounds reach into a box of the same CRS."""
    if not outlines:
        return []
    boxes = shapely.bounds(np.array([outline.shape for outline in outlines], dtype=object))
    left, bottom, right, top = bounds
    reach = (
        (boxes[:, 0] < right) & (boxes[:, 2] > left) & (boxes[:, 1] < top) & (boxes[:, 3] > bottom)
    )
    return [int(i) for i in np.flatnonzero(reach)]


def within(outlines: Sequence[Outline], bounds: tuple[float, float, float, float]) -> list[Outline]:
    """The outlines whose bounds reach into a box of the same CRS."""
    return [outlines[i] for i in reaching(outlines, bounds)]
