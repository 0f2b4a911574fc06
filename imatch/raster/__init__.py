"""Reading rasters: files, masks, common grids, rendering for matchers."""

from imatch.raster.arrays import array_source
from imatch.raster.files import open_source
from imatch.raster.grid import Grid, PixelMap, common_grid
from imatch.raster.image import GeoImage
from imatch.raster.info import RasterInfo
from imatch.raster.lattice import Lattice
from imatch.raster.mask import MaskFrame, PolygonMask, RasterMask, UserMask, open_mask
from imatch.raster.pair import WorkPair, read_pair
from imatch.raster.render import render, stretch_limits
from imatch.raster.source import Source

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
