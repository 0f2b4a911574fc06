"""Profile of a raster file: type, nodata, masks, colours, scales, tags."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

import numpy as np
from rasterio.enums import ColorInterp
from rasterio.io import DatasetReader

from imatch.core.errors import InputError
from imatch.raster.info import fits
from imatch.raster.names import no_image
from imatch.raster.read.products.sentinel2 import is_granule_file
from imatch.raster.write.classes import class_tables
from imatch.raster.write.free_value import free_value

ColorMap: TypeAlias = Mapping[int, tuple[int, int, int, int]]
Tags: TypeAlias = Mapping[str, str]
#: How missing ground is told from ground: by one value, a mask, an alpha band, in each band by its
#: own value or mask, or by NaN alone.
Missing: TypeAlias = Literal["nodata", "mask", "alpha", "bands", "nan", "none"]

# What a NetCDF file's variable has that describes a grid, and a coordinate that lies on one.
_NETCDF_GRID = {"GeoTransform", "spatial_ref", "crs_wkt", "grid_mapping_name"}
_NETCDF_RANGE = {"actual_range", "valid_range", "valid_min", "valid_max"}
# Items of an ENVI header that say where the pixels lie, and how the old file stored them.
_ENVI_PLACE = {
    "map_info",
    "coordinate_system_string",
    "projection_info",
    "geo_points",
    "pixel_size",
    "rpc_info",
    "x_start",
    "y_start",
    "samples",
    "lines",
}
# Of the old lattice, or of GDAL's own making.
_STALE_DOMAINS = {
    "IMAGE_STRUCTURE",
    "DERIVED_SUBDATASETS",
    "SUBDATASETS",
    "RPC",
    "GEOLOCATION",
    "COLOR_PROFILE",
    "TIFF",
    "JPEG2000",
}


@dataclass(frozen=True)
class RasterProfile:
    """Everything of a raster but its pixels and its place.

    Attributes:
        count: Bands.
        dtype: Type of all bands, the common one where a file mixes them.
        missing: How the file marks missing ground.
        nodata: The value that marks it in a copy, None where a mask or alpha does.
        masked: Whether a copy has a mask of its own: as the file has, or because it marks nothing
            and no integer may be given up to mean "nothing".
        alpha: 1-based alpha band, None without.
        colours: Interpretation of each band.
        colormaps: Colour tables by 1-based band.
        descriptions: Name of each band, or None.
        units: Unit of each band, or None.
        scales: Factor of each band.
        offsets: Offset of each band.
        tags: Metadata by domain, None for the unnamed one.
        band_tags: The same for each band.
        pixelwise: Whether the bands of a pixel are stored together.
        nbits: Bits of a value that are in use, where they are fewer than its type has.
        classes: GDAL's XML of category names and class tables by 1-based band.
    """

    count: int
    dtype: str
    missing: Missing
    nodata: float | None
    masked: bool
    alpha: int | None
    colours: tuple[ColorInterp, ...]
    colormaps: Mapping[int, ColorMap]
    descriptions: tuple[str | None, ...]
    units: tuple[str | None, ...]
    scales: tuple[float, ...]
    offsets: tuple[float, ...]
    tags: Mapping[str | None, Tags] = field(default_factory=dict)
    band_tags: tuple[Mapping[str | None, Tags], ...] = ()
    pixelwise: bool = False
    nbits: int | None = None
    classes: Mapping[int, str] = field(default_factory=dict)

    @property
    def categorical(self) -> bool:
        """Whether pixels are colours of a table, so that between two of them there is nothing."""
        return bool(self.colormaps) or ColorInterp.palette in self.colours


def plain_profile(
    count: int,
    dtype: str,
    *,
    missing: Missing,
    nodata: float | None,
    masked: bool = False,
    names: Sequence[str | None] | None = None,
) -> RasterProfile:
    """The profile of pixels that are no file's.

    Args:
        count: Bands.
        dtype: Their type.
        missing: How missing ground is told.
        nodata: The value that marks it in a copy.
        masked: Whether a copy has a mask.
        names: Name of each band.
    """
    return RasterProfile(
        count,
        dtype,
        missing,
        nodata,
        masked,
        alpha=None,
        colours=(ColorInterp.undefined,) * count,
        colormaps={},
        descriptions=(None,) * count if names is None else tuple(names),
        units=(None,) * count,
        scales=(1.0,) * count,
        offsets=(0.0,) * count,
        pixelwise=True,
    )


def form_of(dataset: DatasetReader, *, nodata: float | None = None) -> RasterProfile:
    """Describe an open file.

    Args:
        dataset: The file.
        nodata: Value that marks missing ground instead of what the file says.

    Raises:
        InputError: It has no bands, `nodata` cannot occur in it, or its bands mark missing ground
            each by its own value and no value is left to mark all of it.
    """
    if dataset.count == 0:
        raise no_image(dataset, dataset.name)
    dtype = np.result_type(*dataset.dtypes)
    if nodata is not None and not fits(nodata, dtype):
        raise InputError(
            f"nodata {nodata:g} cannot occur in {dtype} pixels",
            subject=dataset.name,
            hint="give a value of that type",
        )
    colours = tuple(dataset.colorinterp)
    missing, value = _missing(dataset, dtype, nodata)
    masked = missing == "mask" or (missing == "none" and dtype.kind != "c")
    bands = range(1, dataset.count + 1)
    return RasterProfile(
        dataset.count,
        str(dtype),
        missing,
        value,
        masked,
        colours.index(ColorInterp.alpha) + 1 if ColorInterp.alpha in colours else None,
        colours,
        {i: dataset.colormap(i) for i in bands if colours[i - 1] is ColorInterp.palette},
        tuple(text or None for text in dataset.descriptions),
        tuple(text or None for text in dataset.units),
        tuple(dataset.scales),
        tuple(dataset.offsets),
        _tags(dataset, 0),
        tuple(_tags(dataset, i) for i in bands),
        str(dataset.profile.get("interleave", "band")).lower() == "pixel",
        _nbits(dataset, dtype, value),
        class_tables(dataset),
    )


def _missing(
    dataset: DatasetReader,
    dtype: np.dtype[Any],
    nodata: float | None,
) -> tuple[Missing, float | None]:
    if nodata is not None:
        return "nodata", nodata
    flags = {flag.name for flags in dataset.mask_flag_enums for flag in flags}
    if "alpha" in flags:
        return "alpha", None
    if "per_dataset" in flags:
        return "mask", None
    marks = [_mark(dataset, band, dtype) for band in dataset.indexes]
    if len(set(marks)) > 1 or "mask" in marks:
        declared = [float(mark) for mark in marks if mark not in ("mask", "none")]
        return "bands", free_value(dataset, dtype, declared)
    if marks[0] != "none":
        return "nodata", float(marks[0])
    if is_granule_file(dataset.name):
        # The format reserves 0 for missing ground (Sentinel-2 Product Specification, "NODATA").
        return "nodata", 0.0
    return ("nan", float("nan")) if dtype.kind == "f" else ("none", None)


def _mark(dataset: DatasetReader, band: int, dtype: np.dtype[Any]) -> str:
    """How a band marks missing ground: its nodata value in digits, ``mask`` or ``none``."""
    if not dataset.mask_flag_enums[band - 1]:
        return "mask"
    value = dataset.nodatavals[band - 1]
    if value is None or not fits(value, np.dtype(dataset.dtypes[band - 1])):
        return "none"
    return repr(float(value)) if fits(value, dtype) else "mask"


def _nbits(dataset: DatasetReader, dtype: np.dtype[Any], nodata: float | None) -> int | None:
    """Bits in which a copy can store all bands; None for as many as the type has."""
    if dataset.driver.startswith("JP2"):
        return None  # There it is the sensor's precision, which a copy need not be packed for.
    stored = {dataset.tags(band, ns="IMAGE_STRUCTURE").get("NBITS") for band in dataset.indexes}
    text = stored.pop() if len(stored) == 1 else None
    bits = int(text) if text is not None and text.isdecimal() else 0
    if not 0 < bits < 8 * dtype.itemsize:
        return None
    holds = nodata is None or dtype.kind not in "iu" or 0 <= nodata < 2**bits
    return bits if holds else None


def _tags(dataset: DatasetReader, band: int) -> dict[str | None, dict[str, str]]:
    """Metadata that is still true of a copy on another lattice."""
    found: dict[str | None, dict[str, str]] = {None: dict(dataset.tags(band))}
    for domain in dataset.tag_namespaces(band):
        if domain and domain not in _STALE_DOMAINS and ":" not in domain:
            found[domain] = dict(dataset.tags(band, ns=domain))
    for key in _located(found[None]):
        del found[None][key]
    for key in _ENVI_PLACE & set(found.get("ENVI", ())):
        del found["ENVI"][key]
    return found


def tells_place(dataset: DatasetReader) -> bool:
    """Returns whether metadata repeats the geocoding, which a new one would contradict."""
    return any(
        _located(dataset.tags(band)) or _ENVI_PLACE & set(dataset.tags(band, ns="ENVI"))
        for band in (0, *dataset.indexes)
    )


def _located(tags: Tags) -> set[str]:
    """Returns the metadata keys that are true of the old grid only."""
    # GDAL names attributes of a NetCDF file's variables variable#attribute.
    pairs = {key: key.partition("#") for key in tags}
    grids = {name for name, _, attribute in pairs.values() if attribute in _NETCDF_GRID}
    return {
        key
        for key, (name, _, attribute) in pairs.items()
        if key.startswith(("STATISTICS_", "OVR_", "RESAMPLING"))
        or key == "EXIF_Orientation"
        or (attribute and name in grids)
        or attribute in _NETCDF_RANGE
        or attribute.startswith("geospatial_")
    }
