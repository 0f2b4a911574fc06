"""Reads a user's own tie points from the files that GIS programs and imatch itself write."""

from __future__ import annotations

import csv
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray
from rasterio.crs import CRS
from rasterio.errors import CRSError

from imatch.core.errors import InputError
from imatch.core.io.fingerprint import Fingerprint
from imatch.core.types import BoolArray, Matches
from imatch.pipeline.registration.image_summary import ImageSummary
from imatch.pipeline.registration.io import read_registration
from imatch.raster import RasterInfo, Source, WorkPair
from imatch.raster.geodesy import reproject_points
from imatch.raster.vectors import reading_vectors

if TYPE_CHECKING:
    from geopandas import GeoDataFrame

Floats: TypeAlias = NDArray[np.float64]

#: Fewer say nothing of how a target lies: two fit any similarity exactly.
LEAST_POINTS = 3
#: Suffixes of the files that are read.
SUFFIXES = (".points", ".csv", ".geojson", ".gpkg", ".json", ".npz")
# Columns by their names in small letters without underscores; pixels come first, as the exact ones.
_REF_PIXEL, _REF_MAP = ("refx", "refy"), ("mapx", "mapy")
_TGT_PIXEL = ("tgtx", "tgty")
# QGIS called the second what it calls the first since 3.26.
_TGT_OWN = (("sourcex", "sourcey"), ("pixelx", "pixely"))
_SWITCHES = ("enable", "enabled", "inlier", "keep", "use")
_OFF = {"0", "false", "no", "off", "f", "n"}
_CRS_LINE = re.compile(r"^#\s*CRS:\s*(.*)$", re.IGNORECASE)
_LAYER = "tie_points"
_LOST = {"off": "are switched off", "outside": "lie outside the images"}


@dataclass(frozen=True, eq=False)
class Coordinates:
    """Coordinates of points on one image.

    Attributes:
        xy: (N, 2).
        pixel: Whether they are native pixels, the centre of the first being (0, 0).
        crs: Of map coordinates; None for the image's own.
    """

    xy: Floats
    pixel: bool
    crs: CRS | None = None

    def on(self, info: RasterInfo) -> Floats:
        """Returns (N, 2) native pixels of an image; NaN where there are none."""
        if self.pixel:
            return self.xy
        if self.crs is not None and info.crs is not None and self.crs != info.crs:
            xy = reproject_points(self.xy, self.crs, info.crs)
            return ImageSummary.of(info).to_native(xy)
        # Where an image has no geocoding, or a program did not use it, GIS programs count rows
        # upwards from the upper left corner.
        laid = np.column_stack([self.xy[:, 0] - 0.5, -self.xy[:, 1] - 0.5])
        summary = ImageSummary.of(info)
        if summary.transform is None:
            return laid
        native = summary.to_native(self.xy)
        return laid if inside(laid, info).sum() > inside(native, info).sum() else native


@dataclass(frozen=True, eq=False)
class PointsTable:
    """The rows of a points file.

    Attributes:
        ref: Positions on the reference.
        tgt: Positions on the target.
        on: (N,) bool, False of points that are switched off.
    """

    ref: Coordinates
    tgt: Coordinates
    on: BoolArray


@dataclass(frozen=True, eq=False)
class OwnPoints:
    """A user's tie points on a pair of images.

    Attributes:
        ref_xy: (N, 2) native reference pixels.
        tgt_xy: (N, 2) native target pixels.
        record: Where they come from and how many were left out, JSON-ready.
    """

    ref_xy: Floats
    tgt_xy: Floats
    record: dict[str, Any] = field(default_factory=dict)

    def matches(self, pair: WorkPair) -> Matches:
        """Returns them in working pixels, all as good as can be."""
        ref, tgt = pair.ref_map.to_work(self.ref_xy), pair.tgt_map.to_work(self.tgt_xy)
        return Matches(ref, tgt, np.ones(len(ref)))


def read_points(
    given: Path | Sequence[Sequence[float]], sources: tuple[Source, Source]
) -> OwnPoints:
    """Reads tie points and returns those that are switched on and lie on both images.

    Args:
        given: A file (`SUFFIXES`), or rows of native pixels (reference x, y, target x, y).
        sources: Reference and target.

    Raises:
        InputError: The file cannot be read or lacks columns, or fewer than three points are left.
    """
    infos = sources[0].info, sources[1].info
    if isinstance(given, Path):
        subject, table = str(given), _read(given)
        record: dict[str, Any] = Fingerprint.of(given).to_dict()
    else:
        values = np.asarray(given, dtype=np.float64).reshape(-1, 4)
        subject, on = "points", np.ones(len(values), dtype=bool)
        table = PointsTable(
            Coordinates(values[:, :2], pixel=True), Coordinates(values[:, 2:], pixel=True), on
        )
        record = {}
    on = table.on
    ref, tgt = (
        place.on(info)[on] for place, info in zip((table.ref, table.tgt), infos, strict=True)
    )
    there = inside(ref, infos[0]) & inside(tgt, infos[1])
    counts = {"rows": len(on), "off": int((~on).sum()), "outside": int((~there).sum())}
    left = int(there.sum())
    if left < LEAST_POINTS:
        lost = [f"{counts[name]} {text}" for name, text in _LOST.items() if counts[name]]
        raise InputError(
            f"has {left or 'no'} usable point{'s' * (left != 1)}, {LEAST_POINTS} are needed"
            + (f": of its {len(on)}, {' and '.join(lost)}" if lost else ""),
            subject=subject,
            hint="are they of these two images, and in the CRS that the file names?"
            if counts["outside"]
            else "add some",
        )
    return OwnPoints(ref[there], tgt[there], {**record, **counts, "used": left})


def inside(xy: Floats, info: RasterInfo) -> BoolArray:
    """Returns (N,) bool: which native pixels lie on an image."""
    with np.errstate(invalid="ignore"):
        low, high = (xy >= -0.5).all(axis=1), (xy <= np.array(info.size) - 0.5).all(axis=1)
    return np.asarray(low & high)


def _read(path: Path) -> PointsTable:
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise InputError(
            f"holds no tie points by its suffix {suffix!r}",
            subject=path,
            hint=f"the files that are read end in {', '.join(SUFFIXES)}",
        )
    if not path.is_file():
        raise InputError("does not exist", subject=path, hint="check the path")
    if suffix in (".points", ".csv"):
        return _of_text(path)
    if suffix in (".geojson", ".gpkg"):
        return _of_layer(path)
    if suffix == ".npz":
        return _of_arrays(path)
    points = read_registration(path).tie_points
    return PointsTable(
        Coordinates(points.ref_xy, pixel=True),
        Coordinates(points.tgt_xy, pixel=True),
        points.inlier,
    )


def _of_arrays(path: Path) -> PointsTable:
    try:
        with path.open("rb") as file, np.load(file) as arrays:
            on = arrays["inlier"].astype(bool)
            ref, tgt = (arrays[name].reshape(len(on), 2) for name in ("ref_xy", "tgt_xy"))
        return PointsTable(Coordinates(ref, pixel=True), Coordinates(tgt, pixel=True), on)
    except (OSError, ValueError, KeyError, BadZipFile) as error:
        raise InputError(
            f"is no tie points file of imatch ({error})", subject=path, hint="write it anew"
        ) from error


def _of_text(path: Path) -> PointsTable:
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        cause = error.strerror if isinstance(error, OSError) else "is not text in UTF-8"
        raise InputError(cause or str(error), subject=path) from error
    crs, named = None, [line for line in lines if line.startswith("#")]
    for found in filter(None, map(_CRS_LINE.match, named)):
        crs = _crs(found[1].strip(), path)
    rows = [line for line in lines if line.strip() and not line.startswith("#")]
    if not rows:
        raise InputError(
            "is empty", subject=path, hint="it needs a header and a row for each point"
        )
    separator = max(",;\t", key=rows[0].count)
    header, *cells = list(csv.reader(rows, delimiter=separator))
    columns: dict[str, list[str]] = {
        _plain(name): [row[index].strip() if index < len(row) else "" for row in cells]
        for index, name in enumerate(header)
    }
    number = {name: _numbers(columns, name, path) for name in _wanted(columns)}
    return PointsTable(
        _first(number, path, "reference", pixel=_REF_PIXEL, own=(_REF_MAP,), crs=crs),
        _first(number, path, "target", pixel=_TGT_PIXEL, own=_TGT_OWN),
        _switched_on(columns, len(cells)),
    )


def _of_layer(path: Path) -> PointsTable:
    import pyogrio

    with reading_vectors(path, "its points cannot be read"):
        layers = [str(name) for name, kind in pyogrio.list_layers(path) if kind is not None]
        if not layers:
            raise InputError(
                "has no layer with shapes, only tables", subject=path, hint="give points or lines"
            )
        name = _LAYER if _LAYER in layers else layers[0]
        frame: GeoDataFrame = pyogrio.read_dataframe(path, layer=name)
        # GIS programs like to save points as multipoints of one.
        frame = frame[~(frame.geometry.is_empty | frame.geometry.isna())].explode(ignore_index=True)
        kinds = set(frame.geom_type)
    crs = None if frame.crs is None else _crs(frame.crs.to_wkt(), path)
    columns = {_plain(name): frame[name].tolist() for name in frame.columns if name != "geometry"}
    on = _switched_on(columns, len(frame))
    if kinds <= {"LineString"} and len(frame):
        # Lines lead from where the target's geocoding has a place to where it is.
        ends = [np.asarray(line.coords)[[0, -1], :2] for line in frame.geometry]
        start, end = np.stack(ends, axis=1)
        return PointsTable(Coordinates(end, False, crs), Coordinates(start, False, crs), on)
    if not kinds <= {"Point"}:
        raise InputError(
            f"its layer {name} holds {', '.join(sorted(kinds))}, no points",
            subject=path,
            hint="give points with tgt_x and tgt_y, or lines from wrong places to true ones",
        )
    number = {name: _numbers(columns, name, path) for name in _wanted(columns)}
    # A point that was moved in a GIS has a new place and the old columns.
    xy = frame.geometry.get_coordinates().to_numpy(dtype=np.float64).reshape(-1, 2)
    target = _first(number, path, "target", pixel=_TGT_PIXEL, own=_TGT_OWN)
    return PointsTable(Coordinates(xy, False, crs), target, on)


def _first(
    columns: Mapping[str, Floats],
    path: Path,
    side: str,
    *,
    pixel: tuple[str, str],
    own: Sequence[tuple[str, str]],
    crs: CRS | None = None,
) -> Coordinates:
    """Returns the coordinates that the columns give of one image."""
    for names in (pixel, *own):
        if all(name in columns for name in names):
            xy = np.column_stack([columns[name] for name in names])
            return Coordinates(xy, names == pixel, None if names == pixel else crs)
    wanted = (
        "ref_x, ref_y or mapX, mapY" if side == "reference" else "tgt_x, tgt_y or sourceX, sourceY"
    )
    raise InputError(
        f"lacks the columns of the {side}: {wanted}",
        subject=path,
        hint="imatch match -o FILE writes files that are read",
    )


def _wanted(columns: Mapping[str, Any]) -> list[str]:
    known = (_REF_PIXEL, _REF_MAP, _TGT_PIXEL, *_TGT_OWN)
    return [name for pair in known for name in pair if name in columns]


def _numbers(columns: Mapping[str, Sequence[Any]], name: str, path: Path) -> Floats:
    values = np.empty(len(columns[name]))
    for index, text in enumerate(columns[name]):
        try:
            values[index] = float(text)
        except (TypeError, ValueError):
            values[index] = np.nan
        if not np.isfinite(values[index]):
            raise InputError(
                f"its {index + 1}. point has no number in {name}: {str(text)!r}",
                subject=path,
                hint="correct it, or take the row out",
            )
    return values


def _switched_on(columns: Mapping[str, Sequence[Any]], count: int) -> BoolArray:
    on = np.ones(count, dtype=bool)
    for name in _SWITCHES:
        if name in columns:
            on &= [str(value).strip().lower() not in _OFF for value in columns[name]]
    return on


def _crs(text: str, path: Path) -> CRS | None:
    if not text:
        return None
    try:
        crs = CRS.from_user_input(text)
    except CRSError as error:
        raise InputError(
            "its CRS is not understood", subject=path, hint="write it as EPSG:32631 or WKT"
        ) from error
    # What QGIS and GeoPackage write of a layer without one.
    return None if "undefined" in text.lower().partition("[")[2][:40].lower() else crs


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", str(name).lower())
