"""Ground control points as files of the QGIS Georeferencer and as a GDAL VRT."""

from __future__ import annotations

import os
import warnings
import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from imatch.core.errors import OutputError
from imatch.export.coordinates import gis_xy, reference_xy
from imatch.export.subsample import subsample
from imatch.pipeline.registration.result import Registration
from imatch.raster.names import openable
from imatch.raster.stac.documents import split_name
from imatch.raster.stac.item import single_asset

# gdalwarp solves for thin-plate splines in O(n^3); more points than this only slow it down.
_VRT_LIMIT = 150
# An affine transform, the simplest that gdalwarp fits, has no fewer.
_VRT_LEAST = 3


def write_points(registration: Registration, path: Path) -> None:
    """Writes every tie point for the QGIS Georeferencer, outliers disabled.

    The format is that of ``QgsGCPList::saveGcps`` (QGIS ``src/app/georeferencer/qgsgcplist.cpp``).
    ``mapX, mapY`` lie on the reference. ``sourceX, sourceY`` lie on the target: in its own map
    coordinates when it is geocoded, since QGIS then reads them so
    (``QgsGcpPoint::sourcePoint``), otherwise in pixels with y upwards from the upper left corner,
    so that the centre of the first pixel is (0.5, -0.5). The same holds for a reference without
    geocoding. ``dX, dY`` are predicted minus measured target pixels, y down, as QGIS computes them
    anew from its own transform; zero where no transform was found.
    """
    points = registration.tie_points
    residual = np.where(np.isfinite(points.residual_xy), 0.0 - points.residual_xy, 0.0)
    table = np.column_stack(
        [
            reference_xy(registration),
            gis_xy(registration.target, points.tgt_xy),
            _usable(registration),
            residual,
            np.hypot(residual[:, 0], residual[:, 1]),
        ]
    )
    rows = [
        ",".join(
            str(int(value)) if column == 4 else repr(value) for column, value in enumerate(row)
        )
        for row in table.tolist()
    ]
    header = [f"#CRS: {_wkt(registration)}", "mapX,mapY,sourceX,sourceY,enable,dX,dY,residual"]
    path.write_text("\n".join([*header, *rows]) + "\n", encoding="utf-8")


def write_vrt(registration: Registration, path: Path, *, folder: Path) -> None:
    """Writes a VRT of the target with ground control points on the reference, without its pixels.

    At most 150 tie points that agree are kept, spread over a regular grid, the smallest residual of
    each cell. ``gdalwarp -tps`` or ``-order 1`` makes a registered image of it.

    The tie points themselves carry a local displacement (`Registration.local`): ``-tps`` follows it
    as far as 150 points can, ``-order 1`` gives the global transform alone. ``imatch register`` and
    ``imatch apply`` use all of it.

    Args:
        registration: The result of the match.
        path: Where to write.
        folder: Where the file will finally lie; a target in or under it is named relatively, so
            that both can be moved together.

    Raises:
        OutputError: The reference is not geocoded, there are fewer than three points, or the
            target has no file, or not the one that was matched.
    """
    if registration.tie_points.map_xy is None or registration.reference.crs is None:
        raise OutputError(
            "the reference is not geocoded, so there is no ground to control",
            hint="write .points or .csv, which also hold pixels",
        )
    usable = np.flatnonzero(_usable(registration))
    if len(usable) < _VRT_LEAST:
        raise OutputError(
            f"only {len(usable)} tie points agree and {_VRT_LEAST} are needed "
            f"(status {registration.status}: {registration.reason})",
            hint="write .json or .png to see why",
        )
    _reference_to(registration, path)
    tree = ET.parse(path)  # noqa: S314 - GDAL wrote it a moment ago.
    root = tree.getroot()
    # The target's own geocoding would win over the GCPs.
    for element in list(root):
        if element.tag in ("SRS", "GeoTransform", "GCPList") or element.get("domain") in (
            "RPC",
            "GEOLOCATION",
        ):
            root.remove(element)
    for source in root.iter("SourceFilename"):
        _name_source(source, folder)
    root.insert(0, _gcp_list(registration, usable))
    nodata = registration.provenance.get("config", {}).get("tgt_nodata")
    if nodata is not None:
        for band in root.iter("VRTRasterBand"):
            marked = band.find("NoDataValue")
            marked = ET.SubElement(band, "NoDataValue") if marked is None else marked
            marked.text = repr(float(nodata))
    ET.indent(tree)
    tree.write(path, encoding="utf-8")


def _reference_to(registration: Registration, path: Path) -> None:
    """Has GDAL write a VRT of the target: its bands, types, nodata, masks and colours."""
    import rasterio
    import rasterio.shutil
    from rasterio.errors import NotGeoreferencedWarning, RasterioError

    target = registration.target
    if target.path is None:
        raise OutputError(
            "the target is an array, and a VRT needs a file to point at",
            hint="write .points or .gpkg",
        )
    named = target.path
    if split_name(named) is not None:
        named = single_asset(named) or ""
        if not named:
            raise OutputError(
                f"{target.path} takes its bands from several assets, and a VRT points at one file",
                hint="write .points or .gpkg, or match one asset",
            )
    # An absolute name, lest GDAL take it relative to the temporary folder.
    name = os.path.abspath(named) if Path(named).exists() else openable(named)  # noqa: PTH100
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", NotGeoreferencedWarning)
            with rasterio.open(name) as source:
                found = (source.width, source.height)
                if source.count == 0 or found != (target.width, target.height):
                    raise OutputError(
                        f"GDAL opens {target.path} as {source.count} bands of {found[0]}x{found[1]}"
                        f" pixels, and {target.width}x{target.height} were matched",
                        hint="write .points or .gpkg",
                    )
                rasterio.shutil.copy(source, path, driver="VRT")
    except RasterioError as error:
        raise OutputError(
            f"the target cannot be opened again: {error}", hint="write .points or .gpkg"
        ) from error


def _name_source(source: ET.Element, folder: Path) -> None:
    """Names a local file relative to `folder` if it lies there; leaves archives and URLs alone."""
    text = source.text or ""
    # abspath, not resolve: a link's side-cars lie beside the link.
    home, file = Path(os.path.abspath(folder)), Path(os.path.abspath(text))  # noqa: PTH100
    if file.exists() and file.is_relative_to(home):
        source.text = file.relative_to(home).as_posix()
        source.set("relativeToVRT", "1")


def _gcp_list(registration: Registration, usable: NDArray[np.intp]) -> ET.Element:
    points = registration.tie_points
    residual = points.residual_px[usable]
    chosen = usable[subsample(points.tgt_xy[usable], residual, _VRT_LIMIT)]
    # GDAL counts pixels and lines from the corner of the first pixel.
    corner_based = points.tgt_xy[chosen] + 0.5
    ground = reference_xy(registration)[chosen]
    gcps = ET.Element("GCPList", Projection=_wkt(registration))
    rows = zip(chosen.tolist(), corner_based.tolist(), ground.tolist(), strict=True)
    for index, (pixel, line), (x, y) in rows:
        attributes = {"Pixel": pixel, "Line": line, "X": x, "Y": y}
        ET.SubElement(gcps, "GCP", {"Id": str(index)} | {k: repr(v) for k, v in attributes.items()})
    return gcps


def _usable(registration: Registration) -> NDArray[np.bool_]:
    """Returns (N,) bool: the inliers, none of them without a transform."""
    if registration.transform is None:
        return np.zeros(len(registration.tie_points), dtype=bool)
    return registration.tie_points.inlier


def _wkt(registration: Registration) -> str:
    """Returns the reference's CRS as one line of WKT 2, empty when it has none."""
    from pyproj import CRS
    from pyproj.exceptions import CRSError

    if registration.tie_points.map_xy is None or registration.reference.crs is None:
        return ""
    try:
        return CRS.from_user_input(registration.reference.crs).to_wkt()
    except CRSError as error:
        raise OutputError(f"the reference's CRS is not understood: {error}") from error
