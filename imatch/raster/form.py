"""What a raster file looks like beside its pixels, so that a copy of it can look the same."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

import numpy as np
from rasterio.enums import ColorInterp
from rasterio.io import DatasetReader

from imatch.core.errors import InputError
from imatch.raster.safe import is_granule_file

ColorMap: TypeAlias = Mapping[int, tuple[int, int, int, int]]
Tags: TypeAlias = Mapping[str, str]
#: How missing ground is told from ground: by a value, a mask, an alpha band, or by NaN alone.
Missing: TypeAlias = Literal["nodata", "mask", "alpha", "nan", "none"]

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
class Form:
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

    @property
    def categorical(self) -> bool:
        """Whether pixels are colours of a table, so that between two of them there is nothing."""
        return bool(self.colormaps) or ColorInterp.palette in self.colours


def form_of(dataset: DatasetReader, *, nodata: float | None = None) -> Form:
    """Describe an open file.

    Args:
        dataset: The file.
        nodata: Value that marks missing ground instead of what the file says.

    Raises:
        InputError: It has no bands, or `nodata` cannot occur in it.
    """
    if dataset.count == 0:
        raise InputError("holds no image by itself", subject=dataset.name, hint="name its parts")
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
    return Form(
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
    )


def fits(value: float, dtype: np.dtype[Any]) -> bool:
    """Whether a type of pixels can hold a value exactly (float32 as nearly as it can)."""
    if dtype.kind not in "iu":
        return True
    limits = np.iinfo(dtype)
    return bool(limits.min <= value <= limits.max and value == int(value))


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
    known = [value for value in dataset.nodatavals if value is not None]
    if known and fits(known[0], dtype):
        return "nodata", float(known[0])
    if is_granule_file(dataset.name):
        # The format reserves 0 for missing ground (Sentinel-2 Product Specification, "NODATA").
        return "nodata", 0.0
    return ("nan", float("nan")) if dtype.kind == "f" else ("none", None)


def _tags(dataset: DatasetReader, band: int) -> dict[str | None, dict[str, str]]:
    """Metadata that is still true of a copy on another lattice."""
    found: dict[str | None, dict[str, str]] = {None: dict(dataset.tags(band))}
    for domain in dataset.tag_namespaces(band):
        if domain and domain not in _STALE_DOMAINS and ":" not in domain:
            found[domain] = dict(dataset.tags(band, ns=domain))
    for key in list(found[None]):
        if key.startswith(("STATISTICS_", "OVR_", "RESAMPLING")):
            del found[None][key]
    return found
