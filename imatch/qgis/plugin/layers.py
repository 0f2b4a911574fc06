"""Layers of QGIS as the files that imatch reads."""

from __future__ import annotations

from typing import Any

from osgeo import gdal
from qgis.core import QgsMapLayer, QgsProcessingException, QgsProviderRegistry

_SAVE_RASTER = "save it to a file first (Export > Save As)"
_SAVE_VECTOR = "save it to a file first (Export > Save Features As)"
#: Providers whose layers are files that GDAL reads, by the type of layer.
_FILES = {"gdal": _SAVE_RASTER, "ogr": _SAVE_VECTOR}


def layer_path(layer: Any) -> str:
    """The file of a layer.

    Args:
        layer: A raster or vector layer.

    Returns:
        A path, or a name that GDAL opens, as ``NETCDF:"a.nc":red``.

    Raises:
        QgsProcessingException: It is no file that another program can read.
    """
    name, provider = layer.name(), layer.providerType()
    if provider == "memory":
        raise QgsProcessingException(f"{name}: is a temporary layer in memory; {_SAVE_VECTOR}")
    if provider not in _FILES:
        save = _SAVE_VECTOR if layer.type() == QgsMapLayer.VectorLayer else _SAVE_RASTER
        raise QgsProcessingException(f"{name}: comes from {provider}, and is no file; {save}")
    if not layer.isValid():
        raise QgsProcessingException(f"{name}: its file is missing or damaged; {layer.source()}")
    parts = QgsProviderRegistry.instance().decodeUri(provider, layer.source())
    path = str(parts.get("path") or layer.source())
    if provider == "gdal" and parts.get("layerName"):
        path = layer.source().partition("|option:")[0]  # A part of a file, by GDAL's name.
    if "/vsimem/" in path:
        raise QgsProcessingException(f"{name}: lies in QGIS's memory; {_FILES[provider]}")
    return path


def layer_part(layer: Any) -> str:
    """What follows the path of a file to name one of its vector layers: ``|layername=roads``."""
    parts = QgsProviderRegistry.instance().decodeUri(layer.providerType(), layer.source())
    name = parts.get("layerName") if layer.providerType() == "ogr" else None
    return f"|layername={name}" if name else ""


def image_path(layer: Any, *, placed: bool) -> str:
    """The file of a raster layer that is to be registered.

    Args:
        layer: The layer.
        placed: Whether it has to say where it lies.

    Raises:
        QgsProcessingException: As `layer_path`; it has no CRS; or QGIS was told another than the
            file says, which imatch would not know of.
    """
    path, name = layer_path(layer), layer.name()
    if layer.dataProvider() is None:
        return path
    own, shown = layer.dataProvider().crs(), layer.crs()
    mend = "write it into the file (Raster > Projections > Assign Projection)"
    if placed and own.isValid() and shown.isValid() and own != shown:
        raise QgsProcessingException(
            f"{name}: its file says {own.authid()}, the layer {shown.authid()}; {mend}"
        )
    if placed and not own.isValid() and not _located(path):
        raise QgsProcessingException(
            f"{name}: has no CRS; {mend}, or tick 'Ignore where the files say they lie'"
        )
    return path


def _located(path: str) -> bool:
    """Whether control points or RPCs locate a raster that has no CRS of its own."""
    # Whether GDAL raises is for others in this process to say.
    try:
        dataset = gdal.Open(path)
    except RuntimeError:
        return False
    return dataset is not None and bool(dataset.GetGCPCount() or dataset.GetMetadata("RPC"))
