"""Tie points as GIS layers: GeoJSON and GeoPackage."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from imatch.core.errors import OutputError
from imatch.core.io.jsontext import to_json
from imatch.export.coordinates import geocoded_xy, reference_xy
from imatch.export.tables import columns
from imatch.pipeline.registration.result import Registration

if TYPE_CHECKING:
    from geopandas import GeoDataFrame

# A tenth of a millimetre on the ground; RFC 7946, section 11.2, finds 6 places enough.
_DEGREE_PLACES = 9


def write_geojson(registration: Registration, path: Path) -> None:
    """Writes the tie points as a GeoJSON FeatureCollection (RFC 7946).

    Positions are WGS 84 longitude and latitude. A reference without geocoding has none, so its
    positions are pixels as QGIS lays them, ``(x + 0.5, -(y + 0.5))``; the member
    ``imatch.coordinates`` says which. ``imatch`` also carries the figures of the JSON document.

    Raises:
        OutputError: The reference's CRS cannot be related to WGS 84 (another planet).
    """
    from pyproj.exceptions import ProjError

    frame = tie_point_frame(registration)
    if frame.crs is not None:
        try:
            frame = frame.to_crs("OGC:CRS84")
        except ProjError as error:
            raise OutputError(
                f"the reference's CRS has no way to longitude and latitude: {error}",
                hint="write a .gpkg, which keeps the CRS",
            ) from error
        coordinates = "WGS 84 longitude, latitude"
    elif registration.tie_points.map_xy is not None:
        coordinates = "reference map coordinates in an unknown CRS"
    else:
        coordinates = "reference pixels: x + 0.5, -(y + 0.5), where (x, y) is a pixel's centre"
    document = _without_tie_points(registration)
    xy = np.round(frame.geometry.get_coordinates().to_numpy(), _DEGREE_PLACES)
    # Arrow-fast writers would do, but they know no foreign members.
    collection = {
        "type": "FeatureCollection",
        "imatch": {"coordinates": coordinates, **_strict(document)},
        "features": [
            {
                "type": "Feature",
                "id": int(row["id"]),
                "geometry": {"type": "Point", "coordinates": position}
                if np.isfinite(position).all()
                else None,
                "properties": _strict(row),
            }
            for row, position in zip(
                frame.drop(columns="geometry").to_dict("records"), xy.tolist(), strict=True
            )
        ],
    }
    with path.open("w", encoding="utf-8") as file:
        json.dump(collection, file, ensure_ascii=False, allow_nan=False)


def write_geopackage(registration: Registration, path: Path) -> None:
    """Writes tie points and shift vectors as GeoPackage layers in the reference's CRS.

    Layer ``tie_points`` holds the columns of `imatch.export.tables.columns`. Layer
    ``shift_vectors``, present when both images are geocoded, has a line for each tie point from
    where the target's geocoding puts it to where it is on the reference, drawn to scale, with its
    components ``dx``, ``dy`` and ``length`` in units of the CRS. Without geocoding, positions are
    pixels as QGIS lays them, ``(x + 0.5, -(y + 0.5))``, and the CRS is undefined.

    The metadata of the file holds the JSON document without its tie points under ``imatch``.

    Raises:
        OutputError: GDAL or PROJ refused.
    """
    import pyogrio
    from pyogrio.errors import DataLayerError, DataSourceError

    layers = {"tie_points": (tie_point_frame(registration), "Point")}
    vectors = _shift_vectors(registration)
    metadata = {"imatch": to_json(_without_tie_points(registration))}
    if vectors is not None:
        layers["shift_vectors"] = (vectors, "LineString")
    try:
        for name, (frame, geometry) in layers.items():
            with warnings.catch_warnings():
                # No CRS is what a reference without geocoding has; nothing to warn of.
                warnings.filterwarnings("ignore", "'crs' was not provided")
                pyogrio.write_dataframe(
                    frame,
                    path,
                    layer=name,
                    driver="GPKG",
                    geometry_type=geometry,
                    dataset_metadata=metadata,
                )
    except (DataSourceError, DataLayerError) as error:
        raise OutputError(f"GDAL could not write it: {error}") from error


def _without_tie_points(registration: Registration) -> dict[str, Any]:
    document = registration.to_dict()
    del document["tie_points"]
    return document


def tie_point_frame(registration: Registration) -> GeoDataFrame:
    """Returns the tie points with the columns of `imatch.export.tables.columns`.

    Raises:
        OutputError: The reference's CRS is not understood.
    """
    return _frame(registration, columns(registration), _points(reference_xy(registration)))


def _shift_vectors(registration: Registration) -> GeoDataFrame | None:
    import shapely

    claimed = geocoded_xy(registration)
    if claimed is None:
        return None
    shift = reference_xy(registration) - claimed
    known = columns(registration)
    table: dict[str, NDArray[Any]] = {
        "id": known["id"],
        "dx": shift[:, 0],
        "dy": shift[:, 1],
        "length": np.hypot(shift[:, 0], shift[:, 1]),
        "score": known["score"],
        "inlier": known["inlier"],
        "check": known["check"],
    }
    lines = shapely.linestrings(np.stack([claimed, reference_xy(registration)], axis=1))
    return _frame(registration, table, lines)


def _points(xy: NDArray[np.float64]) -> NDArray[Any]:
    import shapely

    return np.asarray(shapely.points(xy))


def _frame(
    registration: Registration, table: dict[str, NDArray[Any]], geometry: NDArray[Any]
) -> GeoDataFrame:
    from geopandas import GeoDataFrame
    from pyproj.exceptions import CRSError

    try:
        crs = None if registration.tie_points.map_xy is None else registration.reference.crs
        return GeoDataFrame(table, geometry=geometry, crs=crs)
    except CRSError as error:
        raise OutputError(f"the reference's CRS is not understood: {error}") from error


def _strict(values: Any) -> Any:
    """Converts to types of JSON; NaN becomes None."""
    return json.loads(to_json(values))
