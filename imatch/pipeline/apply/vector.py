"""Applies a registration to vector layers."""

from __future__ import annotations

import warnings
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import pyogrio
import shapely
from numpy.typing import NDArray
from pyogrio.errors import DataSourceError
from rasterio.crs import CRS

from imatch.core.errors import InputError, OutputError
from imatch.core.io.files import atomic_path
from imatch.pipeline.registration.geo_correction import GeoCorrection
from imatch.raster.gdal import check_file, in_words
from imatch.raster.geodesy import apply_affine, reproject_points
from imatch.raster.vectors import reading_vectors

#: Formats that can be written, by suffix.
DRIVERS = {
    ".gpkg": "GPKG",
    ".geojson": "GeoJSON",
    ".json": "GeoJSON",
    ".shp": "ESRI Shapefile",
    ".fgb": "FlatGeobuf",
}
# Straight lines may leave the curve they ought to become by so much of a reference pixel.
_SAG_PX = 0.05
_LATTICE = 129
_POLYGONS = (3, 6)
# Vertices that curved sides may be given.
_MOST_VERTICES = 10**7


def apply_vector(
    mapping: GeoCorrection,
    path: str | PathLike[str],
    out: str | PathLike[str],
    *,
    overwrite: bool = False,
) -> int:
    """Write the layers of a vector file where the registration has their ground.

    The CRS, attributes and heights are kept. Long segments get more vertices where the correction
    bends, and polygons that it would make invalid are mended. Where the registration is one of
    pixels, coordinates are the target's pixels, the centre of the first being (0, 0); they become
    those of the reference, or its map coordinates where it has a map.

    Args:
        mapping: The registration.
        path: GeoPackage, GeoJSON, shapefile, FlatGeobuf, GML... with one layer or several.
        out: The file to write; its suffix, one of `DRIVERS`, is the format.
        overwrite: Whether an existing file may be replaced.

    Returns:
        How many features were written.

    Raises:
        InputError: The file cannot be read, or the registration does not apply to it.
        OutputError: The file cannot be written, or its format cannot hold what there is.
    """
    path, out = Path(path), Path(out)
    driver = DRIVERS.get(out.suffix.lower())
    if driver is None:
        raise OutputError(
            f"no vector format has the suffix {out.suffix!r}",
            subject=out,
            hint=f"choose one of {', '.join(DRIVERS)}",
        )
    check_file(path)
    if out.exists() and out.samefile(path):
        raise OutputError("is the file to be read", subject=out, hint="choose another place")
    layers = layer_names(path)
    if len(layers) > 1 and driver != "GPKG":
        raise OutputError(
            f"{path.name} holds {len(layers)} layers, {out.suffix} one",
            subject=out,
            hint="write a .gpkg",
        )
    written = 0
    with atomic_path(out, overwrite=overwrite) as temporary:
        for layer in layers:
            table = _moved(mapping, _read(path, layer), path, layer, to_geojson=driver == "GeoJSON")
            _write(table, temporary, driver, layer if driver == "GPKG" else None, out)
            written += len(table)
    return written


def layer_names(path: Path) -> list[str]:
    """The layers of a vector file; none where it is no such file.

    Raises:
        InputError: It holds none, or is no vector file.
    """
    with reading_vectors(path, "cannot be read as vectors"):
        names = [str(name) for name, _ in pyogrio.list_layers(path)]
    if not names:
        raise InputError("holds no layer", subject=path, hint="check the file")
    return names


def _read(path: Path, layer: str) -> Any:
    """A GeoDataFrame, or a DataFrame of a table without shapes."""
    import geopandas  # Slow to import, and rasters do without.

    with reading_vectors(path, f"its layer {layer} cannot be read"):
        table = pyogrio.read_dataframe(path, layer=layer)
        info = pyogrio.read_info(path, layer=layer)
    for name, dtype in zip(info["fields"], info["dtypes"], strict=True):
        # Whole numbers of which some are missing would come back as floating-point numbers.
        if np.dtype(dtype).kind in "iu" and table[name].dtype.kind == "f":
            table[name] = table[name].astype(f"Int{8 * np.dtype(dtype).itemsize}")
    if info["driver"] == "GeoJSON" and isinstance(table, geopandas.GeoDataFrame):
        table.attrs["geojson"] = True
    return table


def _moved(mapping: GeoCorrection, table: Any, path: Path, layer: str, *, to_geojson: bool) -> Any:
    import geopandas

    if not isinstance(table, geopandas.GeoDataFrame):
        return table
    crs = None if table.crs is None else CRS.from_wkt(table.crs.to_wkt())
    in_pixels = not mapping.on_map and not mapping.target.geocoded
    if in_pixels and table.attrs.get("geojson"):
        # GeoJSON has no way of saying that its coordinates are no degrees.
        crs = None
    shapes = np.asarray(table.geometry.array)
    try:
        convert = mapping.to_truth(crs)
    except InputError as error:
        raise InputError(error.cause, subject=f"{path} ({layer})", hint=error.hint) from error
    with reading_vectors(path, f"shapes of its layer {layer} cannot be moved"):
        if len(shapes):
            longest = _longest_segment(mapping, convert, crs, shapes)
            if np.nansum(shapely.length(shapes)) / longest > _MOST_VERTICES:
                raise InputError(
                    "some of its shapes reach far beyond the images",
                    subject=f"{path} ({layer})",
                    hint="clip it to the ground of the images",
                )
            shapes = shapely.segmentize(shapes, longest)
        moved = _transformed(shapes, convert)
    lost = ~np.isfinite(shapely.get_coordinates(moved)).all()
    if lost:
        raise InputError(
            "some of its shapes have no place on the corrected map",
            subject=f"{path} ({layer})",
            hint="clip it to the ground of the images",
        )
    result = table.set_geometry(geopandas.GeoSeries(moved, index=table.index))
    after = mapping.moves_to(crs)
    result = result.set_crs(None if after is None else after.to_wkt(), allow_override=True)
    if crs is not None and after == crs:
        result = result.set_crs(table.crs, allow_override=True)
    if to_geojson and crs is None and after is not None:
        return result.to_crs("EPSG:4326")
    return result


def _transformed(shapes: NDArray[Any], convert: Any) -> NDArray[Any]:
    """Shapes with every vertex moved; heights stay, and valid polygons stay valid."""

    def with_height(xyz: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.column_stack([convert(xyz[:, :2]), xyz[:, 2:]])

    moved = np.array(shapes, dtype=object)
    high = shapely.has_z(shapes)
    if (~high).any():
        moved[~high] = shapely.transform(moved[~high], convert)
    if high.any():
        moved[high] = shapely.transform(moved[high], with_height, include_z=True)
    areal = np.isin(shapely.get_type_id(moved), _POLYGONS)
    broken = areal & shapely.is_valid(shapes) & ~shapely.is_valid(moved)
    for index in np.nonzero(broken)[0]:
        mended = shapely.make_valid(moved[index])
        parts = shapely.get_parts(shapely.get_parts(mended))
        parts = parts[np.isin(shapely.get_type_id(parts), _POLYGONS)]
        moved[index] = shapely.union_all(parts) if len(parts) else mended
    return moved


def _longest_segment(
    mapping: GeoCorrection, convert: Any, crs: CRS | None, shapes: NDArray[Any]
) -> float:
    """Returns the longest straight segment that the correction does not bend visibly.

    A chord of length L strays from a curve of second derivative k by at most k L**2 / 8.
    """
    left, bottom, right, top = shapely.total_bounds(shapes)
    pixel, frame = _reference_in(mapping, crs)
    if frame is not None:
        left, bottom = max(left, frame[0]), max(bottom, frame[1])
        right, top = min(right, frame[2]), min(top, frame[3])
    if not (left < right or bottom < top):
        return float("inf")
    x, y = np.linspace(left, right, _LATTICE), np.linspace(bottom, top, _LATTICE)
    coordinates = np.stack(np.meshgrid(x, y), axis=-1)
    field = convert(coordinates.reshape(-1, 2)).reshape(coordinates.shape) - coordinates
    bend = 0.0
    for axis, side in ((1, right - left), (0, top - bottom)):
        step = side / (_LATTICE - 1)
        if step > 0:
            second = np.diff(field, 2, axis=axis) / step**2
            bend = max(bend, float(np.nanmax(np.abs(np.nan_to_num(second, posinf=0, neginf=0)))))
    mixed = np.diff(np.diff(field, axis=0), axis=1)
    steps = (right - left) * (top - bottom) / (_LATTICE - 1) ** 2
    if steps > 0:
        bend = max(bend, float(np.nanmax(np.abs(mixed))) / steps)
    # What rounding alone makes of a straight field.
    if bend * max(right - left, top - bottom) ** 2 / 8 <= _SAG_PX * pixel:
        return float("inf")
    return float(np.sqrt(8 * _SAG_PX * pixel / bend))


def _reference_in(
    mapping: GeoCorrection, crs: CRS | None
) -> tuple[float, tuple[float, float, float, float] | None]:
    """Length of a reference pixel among moved shapes, and the reference's frame among given ones.

    Args:
        mapping: The registration.
        crs: CRS of the shapes; None for target pixels, whose frame is not known.
    """
    lattice, system = mapping.reference_lattice, mapping.crs
    if crs is None or system is None:
        return float(np.hypot(lattice.transform.a, lattice.transform.d)), None
    w, h = lattice.size
    x, y = np.meshgrid(np.linspace(-0.1 * w, 1.1 * w, 9), np.linspace(-0.1 * h, 1.1 * h, 9))
    pixels = np.column_stack([x.ravel(), y.ravel()])
    pixels = np.concatenate([pixels, [[w / 2, h / 2], [w / 2 + 1, h / 2]]])
    there = reproject_points(apply_affine(lattice.transform, pixels), system, crs)
    pixel = float(np.hypot(*(there[-1] - there[-2])))
    low, high = there[:-2].min(axis=0), there[:-2].max(axis=0)
    if not np.isfinite([pixel, *low, *high]).all():
        return float("inf"), None
    return pixel, (float(low[0]), float(low[1]), float(high[0]), float(high[1]))


def _write(table: Any, path: Path, driver: str, layer: str | None, out: Path) -> None:
    try:
        with warnings.catch_warnings():
            # That pixels have no CRS, and that a format has no type for some attribute.
            warnings.simplefilter("ignore")
            pyogrio.write_dataframe(table, path, layer=layer, driver=driver)
    except (DataSourceError, OSError, ValueError, RuntimeError) as error:
        raise OutputError(
            f"cannot be written ({in_words(str(error), str(path))})",
            subject=out,
            hint="choose another place or format; nothing was written",
        ) from error
