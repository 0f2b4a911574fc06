"""Reading rasters: files, masks, common grids, rendering for matchers."""

from imatch.raster.common_grid import PixelMap, common_grid
from imatch.raster.grid import Grid
from imatch.raster.image import GeoImage
from imatch.raster.info import RasterInfo
from imatch.raster.read.array_source import array_source
from imatch.raster.read.file_source import open_source
from imatch.raster.read.mask import PolygonMask, RasterMask, UserMask, open_mask
from imatch.raster.read.pair import WorkPair, leave_out_marks, read_pair
from imatch.raster.read.render import render, stretch_limits
from imatch.raster.read.source import Source

__all__ = [
    "GeoImage",
    "Grid",
    "PixelMap",
    "PolygonMask",
    "RasterInfo",
    "RasterMask",
    "Source",
    "UserMask",
    "WorkPair",
    "array_source",
    "common_grid",
    "leave_out_marks",
    "open_mask",
    "open_source",
    "read_pair",
    "render",
    "stretch_limits",
]
