"""Bands of raster files and products, and how GDAL is to read them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape

from rasterio.enums import ColorInterp
from rasterio.io import DatasetReader

from imatch.core.errors import InputError
from imatch.raster.gdal import opened
from imatch.raster.modality import Modality, modality_of_names
from imatch.raster.names import no_image, openable
from imatch.raster.read.bands import band_names, default_bands, select_bands
from imatch.raster.read.overviews import Overview
from imatch.raster.read.products.product import ProductBand
from imatch.raster.read.products.sentinel1 import RadarBand
from imatch.raster.read.products.sentinel2 import is_granule_file

#: GDAL's names of the types that are read as they are.
GDAL_TYPES = {
    "uint8": "Byte",
    "int8": "Int8",
    "uint16": "UInt16",
    "int16": "Int16",
    "uint32": "UInt32",
    "int32": "Int32",
    "uint64": "UInt64",
    "int64": "Int64",
    "float32": "Float32",
    "float64": "Float64",
}
_COLOURS = ("red", "green", "blue")


@dataclass(frozen=True)
class FileBand:
    """A band and where it lives; `nodata` is what we impose, None where the file is believed.

    Of complex numbers the `amplitude` is read; `radar` says what becomes of amplitudes. Numbers are
    multiplied by `scale`, and `offset` is added.
    """

    file: str
    index: int
    name: str
    dtype: str
    nodata: float | None
    palette: bool = False
    amplitude: bool = False
    radar: RadarBand | None = None
    scale: float = 1.0
    offset: float = 0.0


def virtual_document(file: str, level: Overview, bands: Sequence[FileBand]) -> str | None:
    """A VRT document that imposes nodata or expands a palette; None where neither is needed."""
    if not any(band.nodata is not None or band.palette for band in bands):
        return None
    option = "NONE" if level.number is None else f"{level.number} only"
    source = (
        f'<SourceFilename relativeToVRT="0">{escape(openable(file))}</SourceFilename>'
        f'<OpenOptions><OOI key="OVERVIEW_LEVEL">{option}</OOI></OpenOptions>'
    )
    parts = []
    for number, band in enumerate(bands, start=1):
        nodata = "" if band.nodata is None else f"<NoDataValue>{band.nodata!r}</NoDataValue>"
        colour = ""
        if band.palette:
            colour = f"<ColorTableComponent>{_COLOURS.index(band.name) + 1}</ColorTableComponent>"
        kind = "ComplexSource" if band.palette else "SimpleSource"
        parts.append(
            f'<VRTRasterBand dataType="{GDAL_TYPES[band.dtype]}" band="{number}">{nodata}'
            f"<{kind}>{source}<SourceBand>{band.index}</SourceBand>{colour}</{kind}>"
            "</VRTRasterBand>"
        )
    size = f'rasterXSize="{level.width}" rasterYSize="{level.height}"'
    return f"<VRTDataset {size}>{''.join(parts)}</VRTDataset>"


def product_band(band: ProductBand) -> FileBand:
    """Returns a band of an optical product as it is to be read."""
    with opened(band.file) as dataset:
        dtype, stated = dataset.dtypes[band.index - 1], dataset.nodatavals[band.index - 1]
    if (band.scale, band.offset) != (1.0, 0.0):
        dtype = "float32"
    nodata = band.nodata if stated is None else None
    return FileBand(
        band.file, band.index, band.name, dtype, nodata, scale=band.scale, offset=band.offset
    )


def radar_band(band: RadarBand) -> FileBand:
    """Returns a band of a Sentinel-1 product as it is to be read."""
    with opened(band.file) as dataset:
        dtype = dataset.dtypes[0]
    detected = dtype in GDAL_TYPES
    kept = dtype if band.plain and detected else "float32"
    # The format reserves 0 for missing ground.
    return FileBand(band.file, 1, band.name, kept, 0.0, amplitude=not detected, radar=band)


def modality_of_bands(name: str, bands: Sequence[FileBand]) -> Modality | None:
    """Returns what bands and the name of their file tell of the sensor, None where nothing."""
    if all(band.amplitude or band.radar is not None for band in bands):
        return "sar"
    palette = any(band.palette for band in bands)
    return modality_of_names([band.name for band in bands], name, palette=palette)


def bands_of_file(
    file: str, dataset: DatasetReader, wanted: Sequence[int | str] | None
) -> list[FileBand]:
    """Chooses bands of a file that is no product.

    Args:
        file: Its name.
        dataset: The same, open.
        wanted: 1-based indices or names; None for those that are usual.

    Raises:
        InputError: A band is not there, or holds no numbers that can be matched.
    """
    if dataset.count == 0:
        raise no_image(dataset, file)
    names = band_names(dataset)
    if dataset.count == 1 and dataset.colorinterp[0] is ColorInterp.palette:
        indexes = select_bands(_COLOURS, wanted or [1, 2, 3], subject=file)
        return [FileBand(file, 1, _COLOURS[i - 1], "uint8", None, palette=True) for i in indexes]
    indexes = (
        default_bands(dataset) if wanted is None else select_bands(names, wanted, subject=file)
    )
    found = []
    for i in indexes:
        dtype = dataset.dtypes[i - 1]
        if dtype.startswith("complex"):
            found.append(FileBand(file, i, names[i - 1], "float32", None, amplitude=True))
            continue
        if dtype not in GDAL_TYPES:
            raise InputError(
                f"band {i} is of type {dtype}",
                subject=file,
                hint="save it as float32 first",
            )
        imposed: float | None = None
        unmarked = is_unmarked(dataset, i)
        if unmarked and dtype.startswith("float"):
            imposed = float("nan")
        elif unmarked and is_granule_file(file):
            imposed = 0.0
        found.append(FileBand(file, i, names[i - 1], dtype, imposed))
    return found


def is_unmarked(dataset: DatasetReader, index: int) -> bool:
    """Returns whether a band declares neither nodata nor a mask."""
    return [flag.name for flag in dataset.mask_flag_enums[index - 1]] == ["all_valid"]
