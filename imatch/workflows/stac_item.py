"""Writes registered rasters as STAC items, with their certificates."""

from __future__ import annotations

import json
import os
from datetime import UTC, date, datetime, time
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from rasterio.crs import CRS
from rasterio.io import DatasetReader

from imatch._version import __version__
from imatch.core.errors import ConfigError, OutputError
from imatch.core.extras import require_extra
from imatch.core.io.files import atomic_path
from imatch.core.io.jsontext import to_json
from imatch.core.redaction import redacted
from imatch.pipeline.registration.result import Registration
from imatch.raster.dates import acquisition_date
from imatch.raster.gdal import opened
from imatch.raster.geodesy import apply_affine, gsd_metres, reproject_points
from imatch.raster.stac.documents import split_name
from imatch.raster.stac.item import find_item

EXTENSIONS = (
    "https://stac-extensions.github.io/projection/v2.0.0/schema.json",
    "https://stac-extensions.github.io/raster/v2.0.0/schema.json",
    "https://stac-extensions.github.io/processing/v1.1.0/schema.json",
)
_COG = "image/tiff; application=geotiff; profile=cloud-optimized"
_TIFF = "image/tiff; application=geotiff"
#: Points along each side of a footprint: sides are straight on the map, and bent in degrees.
_PER_SIDE = 8
_WGS84 = CRS.from_epsg(4326)


def check_stac(path: Path) -> None:
    """Checks, before hours of work, that an item can be written.

    Raises:
        ConfigError: pystac is not installed.
        OutputError: The file is no ``.json``.
    """
    require_extra("pystac", "STAC items are written by it")
    if path.suffix.lower() not in (".json", ".geojson"):
        raise OutputError("is no .json", subject=path, hint="a STAC item is a JSON file")


def check_items(asked: bool, *, written: bool = True) -> None:
    """Checks, before hours of work, that an item can be written beside each raster.

    Args:
        asked: Whether any are to be.
        written: Whether rasters are written at all.

    Raises:
        ConfigError: pystac is not installed, or there are no rasters.
    """
    if asked and not written:
        raise ConfigError("describes the rasters, and none are written", subject="stac")
    if asked:
        require_extra("pystac", "STAC items are written by it")


def item_path(raster: Path) -> Path:
    """Returns where the item of a raster lies beside it."""
    return raster.with_suffix(".json")


def write_stac(
    registration: Registration, raster: Path, path: Path, *, overwrite: bool = False
) -> None:
    """Writes the STAC item of a registered raster.

    It has the fields of the projection, raster and processing extensions; what the registration
    says of itself stands in properties that begin with ``imatch:``.

    Args:
        registration: What the raster was written by.
        raster: The registered raster.
        path: The item, a ``.json``; it names the raster as seen from its own folder.
        overwrite: Whether an existing file may be replaced.

    Raises:
        ConfigError: pystac is not installed.
        OutputError: The raster is not geocoded, nothing tells when its image was taken, or the
            place refuses.
    """
    check_stac(path)
    import pystac

    with opened(str(raster)) as dataset:
        if dataset.crs is None:
            raise OutputError(
                "is not geocoded, and a STAC item has to say where it lies", subject=raster
            )
        day = _day(registration.target.path or str(raster), dataset)
        ring = _footprint(dataset)
        fields, about = _projection(dataset), _asset_fields(dataset)
        is_cog = dataset.tags(ns="IMAGE_STRUCTURE").get("LAYOUT") == "COG"
    if day is None:
        raise OutputError(
            "nothing tells when its image was taken, and a STAC item has to say so",
            subject=path,
            hint="put the date into the target's name, as 20180812",
        )
    item = pystac.Item(
        raster.stem,
        {"type": "Polygon", "coordinates": [ring.tolist()]},
        [*ring.min(axis=0).tolist(), *ring.max(axis=0).tolist()],
        datetime.combine(day, time(), UTC),
        {**fields, **_processing(registration), **_certificate(registration)},
        stac_extensions=list(EXTENSIONS),
    )
    href = os.path.relpath(raster.absolute(), path.absolute().parent)
    item.add_asset(
        "data",
        pystac.Asset(
            Path(href).as_posix(),
            title="the registered image",
            media_type=_COG if is_cog else _TIFF,
            roles=["data"],
            extra_fields=about,
        ),
    )
    for image in (registration.target, registration.reference):
        if image.path is not None and (split := split_name(image.path)) is not None:
            item.add_link(pystac.Link("derived_from", redacted(split[0]), "application/geo+json"))
    document = item.to_dict(include_self_link=False, transform_hrefs=False)
    with atomic_path(path, overwrite=overwrite) as temporary:
        temporary.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")


def _day(name: str, dataset: DatasetReader) -> date | None:
    """When the registered image was taken, as its catalogue, its name or its tags tell."""
    product = find_item(name)
    if product is not None:
        return product.taken
    return acquisition_date(name) or acquisition_date(dataset.name, dataset.tags())


def _footprint(dataset: DatasetReader) -> np.ndarray[Any, np.dtype[np.float64]]:
    """(N, 2) longitudes and latitudes round a raster, closed, counterclockwise."""
    share = np.linspace(0, 1, _PER_SIDE, endpoint=False)
    zeros, ones = np.zeros_like(share), np.ones_like(share)
    sides = ((zeros, share), (share, ones), (ones, 1 - share), (1 - share, zeros))
    unit = np.concatenate([np.stack(side, axis=1) for side in sides])
    corners = apply_affine(dataset.transform, unit * [dataset.width, dataset.height])
    ring = reproject_points(corners, dataset.crs, _WGS84)
    ring = np.round(np.concatenate([ring, ring[:1]]), 7)
    x, y = ring.T
    clockwise = float(np.sum((x[1:] - x[:-1]) * (y[1:] + y[:-1]))) > 0
    return np.asarray(ring[::-1] if clockwise else ring)


def _projection(dataset: DatasetReader) -> dict[str, Any]:
    code = dataset.crs.to_authority()
    where = (
        {"proj:code": ":".join(code)}
        if code is not None
        else {"proj:code": None, "proj:wkt2": dataset.crs.to_wkt()}
    )
    return {
        **where,
        "proj:shape": [dataset.height, dataset.width],
        "proj:transform": [*dataset.transform][:6],
        "proj:bbox": list(dataset.bounds),
    }


def _asset_fields(dataset: DatasetReader) -> dict[str, Any]:
    gsd = gsd_metres(dataset.transform, dataset.crs, (dataset.width, dataset.height))
    size = {} if gsd is None else {"raster:spatial_resolution": float(np.sqrt(gsd[0] * gsd[1]))}
    bands = []
    for i, (name, kind, nodata) in enumerate(
        zip(dataset.descriptions, dataset.dtypes, dataset.nodatavals, strict=True), start=1
    ):
        none = {} if nodata is None else {"nodata": "nan" if np.isnan(nodata) else nodata}
        bands.append({"name": name or f"{i}", "data_type": kind, **none, **size})
    return {"bands": bands, "raster:sampling": "area"} | (
        {} if gsd is None else {"gsd": round(float(np.sqrt(gsd[0] * gsd[1])), 6)}
    )


def _processing(registration: Registration) -> dict[str, Any]:
    reference = redacted(registration.reference.path or "an array")
    return {
        "processing:software": {"imatch": __version__, "rasterio": rasterio.__version__},
        "processing:lineage": f"Registered to {Path(reference).name} by imatch",
    }


def _certificate(registration: Registration) -> dict[str, Any]:
    document = json.loads(to_json(registration.to_dict()))
    names = (
        *("status", "reason", "matcher", "shift_px", "shift_m", "rmse_px", "rmse_m"),
        *("ce90_px", "ce90_m", "coverage", "certificate"),
    )
    found = {f"imatch:{name}": document[name] for name in names if document.get(name) is not None}
    reference = registration.reference.path
    return found | ({} if reference is None else {"imatch:reference": redacted(reference)})
