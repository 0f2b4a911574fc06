"""Reading rasters: files, masks, common grids, rendering for matchers."""

from imatch.raster.grid import Lattice
from imatch.raster.image import GeoImage
from imatch.raster.info import RasterInfo
from imatch.raster.read.array_source import array_source
from imatch.raster.read.file_source import open_source
from imatch.raster.read.mask import MaskFrame, PolygonMask, RasterMask, UserMask, open_mask
from imatch.raster.read.pair import WorkPair, read_pair
from imatch.raster.read.render import render, stretch_limits
from imatch.raster.read.source import Source
from imatch.raster.warp.common_grid import Grid, PixelMap, common_grid

__all__ = [
    "GeoImage",
    "Grid",
    "Lattice",
    "MaskFrame",
    "PixelMap",
    "PolygonMask",
    "RasterInfo",
    "RasterMask",
    "Source",
    "UserMask",
    "WorkPair",
    "array_source",
    "common_grid",
    "open_mask",
    "open_source",
    "read_pair",
    "render",
    "stretch_limits",
]
