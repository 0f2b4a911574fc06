"""Detects class rasters and copies their colour tables and category names."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import rasterio.shutil
from rasterio.enums import ColorInterp
from rasterio.io import DatasetReader, MemoryFile

from imatch.core.errors import InputError
from imatch.raster.read.samples import LEAST, Sample, sampled

#: More distinct whole numbers than this are measurements.
_MOST_CLASSES = 32
_NO_XML = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]")


def class_evidence(dataset: DatasetReader, name: str) -> tuple[list[int], str]:
    """Finds the bands of a raster whose numbers name classes.

    Args:
        dataset: The raster.
        name: What to call it in errors.

    Returns:
        1-based bands, and what gives them away: a colour table, category names, or few distinct
        whole numbers.

    Raises:
        InputError: Pixels cannot be read.
    """
    tables = class_tables(dataset)
    found: list[int] = []
    causes: dict[str, None] = {}
    for band in dataset.indexes:
        if dataset.colorinterp[band - 1] is ColorInterp.palette:
            cause = "a colour table"
        elif band in tables:
            cause = "category names"
        elif (
            dataset.colorinterp[band - 1] is ColorInterp.alpha
            or np.dtype(dataset.dtypes[band - 1]).kind not in "iuf"
        ):
            continue
        else:
            count = count_classes(sampled(dataset, name, band))
            if count is None:
                continue
            cause = f"{count} distinct whole numbers"
        found.append(band)
        causes[cause] = None
    return found, ", ".join(causes)


def count_classes(samples: Sequence[Sample]) -> int | None:
    """Counts the distinct values of a band whose numbers name classes; None for measurements.

    Classes are few whole numbers. Few whole numbers can also be a measurement of little contrast:
    then they leave no gaps between them, and either neighbours never differ by more than one (a
    surface in whole metres) or they mostly differ (noise).

    Args:
        samples: Windows of the band (`sampled`).

    Examples:
        >>> labels = np.repeat([[10, 20, 80]], 64, axis=1).repeat(64, axis=0)
        >>> count_classes([(labels, np.ones(labels.shape, dtype=bool))])
        3
    """
    values = np.concatenate([pixels[valid] for pixels, valid in samples])
    if len(values) < LEAST or values.dtype.kind not in "iuf":
        return None
    if len(np.unique(values[: 2 * _MOST_CLASSES**2])) > _MOST_CLASSES:
        return None  # As most are; the rest need not be looked at.
    if not (np.isfinite(values).all() and (values == np.rint(values)).all()):
        return None
    distinct = np.unique(values)
    if not 2 <= len(distinct) <= _MOST_CLASSES:
        return None
    if len(distinct) >= 4 and distinct[-1] - distinct[0] + 1 == len(distinct):
        steps = [np.abs(np.diff(pixels.astype(np.float64), axis=1)) for pixels, _ in samples]
        flat = np.concatenate([step.ravel() for step in steps])
        if not len(flat) or (flat <= 1).mean() > 0.999:
            return None
        if len(distinct) >= 8 and (flat == 0).mean() < 0.5:
            return None
    return len(distinct)


def class_tables(dataset: DatasetReader) -> dict[int, str]:
    """Reads category names and class tables (raster attribute tables) of an open raster.

    Returns:
        GDAL's XML elements, one text for each 1-based band that has any.
    """
    # Rasterio has no call for them, but a VRT of the raster repeats them.
    with MemoryFile(ext=".vrt") as memory:
        # By name: to copy an open dataset is to lose all blocks that were decoded of it.
        rasterio.shutil.copy(dataset.name, memory.name, driver="VRT")
        # It repeats what tags hold, control characters included, of which XML knows none.
        text = _NO_XML.sub("", bytes(memory.read()).decode("utf-8", "replace"))
    try:
        root = ET.fromstring(text)  # noqa: S314 - GDAL wrote it a moment ago.
    except ET.ParseError as error:
        raise InputError(
            f"its description cannot be read ({error})", subject=dataset.name, hint="get it again"
        ) from error
    tables = {}
    for band in root.iter("VRTRasterBand"):
        elements = [
            element
            for element in band
            if element.tag == "CategoryNames"
            # The others are histograms.
            or (
                element.tag == "GDALRasterAttributeTable" and element.get("tableType") == "thematic"
            )
        ]
        if elements:
            tables[int(band.get("band", "0"))] = "".join(
                ET.tostring(element, encoding="unicode") for element in elements
            )
    return tables


def write_class_tables(path: Path, tables: Mapping[int, str]) -> None:
    """Writes what `class_tables` read into the side-car of a raster (``.aux.xml``).

    Args:
        path: The raster, closed.
        tables: XML by 1-based band; nothing is written where there are none.
    """
    if not tables:
        return
    side = path.with_name(f"{path.name}.aux.xml")
    root = ET.parse(side).getroot() if side.exists() else ET.Element("PAMDataset")  # noqa: S314
    for band, text in tables.items():
        place = root.find(f"PAMRasterBand[@band='{band}']")
        if place is None:
            place = ET.SubElement(root, "PAMRasterBand", band=str(band))
        place.extend(ET.fromstring(f"<tables>{text}</tables>"))  # noqa: S314 - GDAL's, see above.
    ET.ElementTree(root).write(side, encoding="unicode")
