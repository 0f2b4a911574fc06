"""User masks: ground to ignore, drawn as polygons or given as a raster."""

from __future__ import annotations

from dataclasses import dataclass
from os import PathLike, fspath
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from affine import Affine
from numpy.typing import ArrayLike, NDArray
from rasterio.crs import CRS
from rasterio.features import rasterize

from imatch.core.errors import InputError
from imatch.core.types import BoolArray
from imatch.raster.gdal import check_extent, check_file, opened, reading
from imatch.raster.geocoding_check import misplaced
from imatch.raster.geodesy import apply_affine, reproject_points
from imatch.raster.geolocation.geolocation import Geolocation
from imatch.raster.grid import Grid
from imatch.raster.image import is_geocoded
from imatch.raster.names import is_virtual
from imatch.raster.sampling.coordinate_grid import positions
from imatch.raster.sampling.resample import resample_mask
from imatch.raster.vectors import reading_vectors

_VECTOR = {".geojson", ".json", ".gpkg", ".shp", ".fgb", ".kml", ".gml", ".parquet"}
#: A raster mask is read no larger than this on its longer side.
_LONGEST = 8192
# Points along each side of a grid that are looked up on another.
_SAMPLES = 33
#: Map units or pixels from the origin at which there is nothing.
_BEYOND = 1e12


class UserMask(Protocol):
    """Ground to ignore."""

    def ignored(self, transform: Affine, crs: CRS | None, size: tuple[int, int]) -> BoolArray:
        """Burn the mask on a lattice.

        Args:
            transform: Corner-based pixel to map (or image frame) transform of the lattice.
            crs: CRS of `transform`; None for the frame of the image the mask belongs to.
            size: (width, height).

        Returns:
            (H, W) bool, True where ground is to be ignored.
        """
        ...


@dataclass(frozen=True, eq=False)
class RasterMask:
    """A raster whose nonzero pixels are ignored.

    Attributes:
        pixels: (h, w) uint8.
        transform: Corner-based pixel to map transform.
        crs: Its CRS, None for the image's frame.
        placed: Whether its own geocoding places it, and not the image's pixels.
    """

    pixels: NDArray[np.uint8]
    transform: Affine
    crs: CRS | None
    placed: bool = True

    def ignored(self, transform: Affine, crs: CRS | None, size: tuple[int, int]) -> BoolArray:
        """See `UserMask.ignored`."""
        return resample_mask(
            self.pixels, self.transform, transform, size, source=self.crs, target=crs
        )


@dataclass(frozen=True, eq=False)
class PolygonMask:
    """Polygons whose inside, and every pixel they touch, is ignored.

    Attributes:
        shapes: A geopandas GeoSeries, with the CRS of the image (None for its frame).
    """

    shapes: Any

    def ignored(self, transform: Affine, crs: CRS | None, size: tuple[int, int]) -> BoolArray:
        """See `UserMask.ignored`."""
        shapes = self.shapes
        if crs is not None and shapes.crs is not None and shapes.crs != crs:
            shapes = shapes.to_crs(crs.to_wkt())
        shapes = [shape for shape in shapes if shape is not None and not shape.is_empty]
        if not shapes:
            return np.zeros((size[1], size[0]), dtype=bool)
        # In the lattice's own pixels: rasterize refuses rotated and south-up transforms.
        inverse = ~transform
        coefficients = (inverse.a, inverse.b, inverse.d, inverse.e, inverse.c, inverse.f)
        from shapely.affinity import affine_transform

        local = [affine_transform(shape, coefficients) for shape in shapes]
        burned = rasterize(
            local, out_shape=(size[1], size[0]), all_touched=True, dtype="uint8", fill=0
        )
        return np.asarray(burned != 0)


@dataclass(frozen=True, eq=False)
class BentMask:
    """The mask of an image whose pixels are bent into the frame of its transform.

    Attributes:
        inner: The mask on the map.
        frame: The image, by its affine frame.
        bend: What bends its pixels into that.
    """

    inner: UserMask
    frame: Grid
    bend: Geolocation

    def ignored(self, transform: Affine, crs: CRS | None, size: tuple[int, int]) -> BoolArray:
        """Burn the mask on a lattice of native pixels.

        Args:
            transform: Corner-based transform of the lattice to the image's affine frame and on to
                its map, without the bend.
            crs: CRS of the map.
            size: (width, height).
        """
        native = ~self.frame.transform @ transform

        def to_flat(xy: ArrayLike) -> NDArray[np.float64]:
            corner = apply_affine(native, np.asarray(xy, dtype=np.float64) + 0.5)
            return apply_affine(~native, self.bend.to_flat(corner)) - 0.5

        # Burnt on the same lattice of flat pixels, as far as the bend reaches, and looked up there.
        where = positions(to_flat, 0, 0, *size)
        bounds = where.bounds()
        if bounds is None:
            return np.zeros((size[1], size[0]), dtype=bool)
        left, top = (int(np.floor(v)) - 1 for v in bounds[:2])
        right, bottom = (int(np.ceil(v)) + 2 for v in bounds[2:])
        burnt = self.inner.ignored(
            transform @ Affine.translation(left, top), crs, (right - left, bottom - top)
        )
        x, y = (
            np.rint(np.where(np.isfinite(place), place + start, low)).astype(int) - low
            for place, start, low in zip((where.x, where.y), where.origin, (left, top), strict=True)
        )
        return np.asarray(burnt[y, x])


def open_mask(
    path: str | PathLike[str], frame: Grid, *, bend: Geolocation | None = None
) -> UserMask:
    """Read a mask of clouds, changed ground or anything else to ignore.

    A geocoded raster is placed by its geocoding; one without must have the image's size. Polygons
    are reprojected to the image; where the image is not geocoded, or the file names no CRS, their
    coordinates are the image's own: pixels (x, y), the centre of the first pixel being (0, 0), or
    map units.

    Args:
        path: GeoJSON, GeoPackage, shapefile, FlatGeobuf, KML… or any raster.
        frame: The image it belongs to.
        bend: What bends the image's pixels into `frame`, where GCPs or RPCs locate it.

    Raises:
        InputError: It cannot be read, or does not fit the image.
    """
    name = fspath(path)
    if not is_virtual(path):
        check_file(Path(path))
    if Path(name).suffix.lower() in _VECTOR:
        polygons = _open_polygons(name, frame)
        return polygons if bend is None else BentMask(polygons, frame, bend)
    found = _open_raster(name, frame)
    # One with the image's pixels lies where they do, bent or not.
    return BentMask(found, frame, bend) if bend is not None and found.placed else found


def _open_polygons(name: str, frame: Grid) -> PolygonMask:
    import geopandas
    import shapely

    with reading_vectors(name, "cannot be read as polygons"):
        shapes = geopandas.read_file(name).geometry
    if not shapes.geom_type.dropna().isin(["Polygon", "MultiPolygon", "GeometryCollection"]).all():
        raise InputError(
            "holds other shapes than polygons", subject=name, hint="give polygons to ignore"
        )
    if not frame.geocoded:
        # To the corner-based frame of the image, whose own transform may be a world file's.
        shapes = shapes.set_crs(None, allow_override=True).translate(0.5, 0.5)
        t = frame.transform
        shapes = shapes.affine_transform([t.a, t.b, t.d, t.e, t.c, t.f])
    elif shapes.crs is None:
        shapes = shapes.set_crs(frame.crs.to_wkt() if frame.crs is not None else None)
    else:
        assert frame.crs is not None
        with reading_vectors(name, "its shapes have no place in the image's CRS"):
            shapes = shapes.to_crs(frame.crs.to_wkt())
    coordinates = shapely.get_coordinates(shapes.dropna().array)
    if not (np.abs(coordinates) < _BEYOND).all():  # NaN neither.
        raise InputError(
            "some of its shapes lie where the image's map does not reach",
            subject=name,
            hint="check their coordinates and CRS, or clip them to the ground of the image",
        )
    return PolygonMask(shapes)


def _open_raster(name: str, frame: Grid) -> RasterMask:
    with opened(name) as dataset:
        size = (dataset.width, dataset.height)
        wrong = misplaced(dataset.transform, dataset.crs, size)
        if wrong is not None and frame.geocoded:
            raise InputError(
                f"its geocoding makes no sense: {wrong}", subject=name, hint="correct it"
            )
        geocoded = wrong is None and is_geocoded(dataset.transform, dataset.crs)
        if not (geocoded and frame.geocoded) and size != frame.size:
            raise InputError(
                f"has {size[0]}x{size[1]} pixels where its image has "
                f"{frame.size[0]}x{frame.size[1]}",
                subject=name,
                hint="give the mask geocoding or the image's size",
            )
        shrink = max(1.0, max(size) / _LONGEST)
        shape = max(1, round(size[1] / shrink)), max(1, round(size[0] / shrink))
        check_extent(size[0] * size[1], name, "save it coarser")
        with reading(name):
            pixels = dataset.read(1, out_shape=shape, masked=True).filled(0) != 0
        base, crs = (
            (dataset.transform, dataset.crs)
            if geocoded and frame.geocoded
            else (frame.transform, frame.crs if frame.geocoded else None)
        )
    if geocoded and frame.geocoded and not _touch(Grid(base, crs, *size), frame):
        raise InputError(
            "lies nowhere on its image, by its CRS and geotransform",
            subject=name,
            hint="correct its geocoding, or give the mask of this image",
        )
    transform = base @ Affine.scale(size[0] / shape[1], size[1] / shape[0])
    return RasterMask(pixels.astype(np.uint8), transform, crs, geocoded and frame.geocoded)


def _touch(one: Grid, other: Grid) -> bool:
    """Returns whether two grids share ground, as seen at some points of each; True if unsure."""
    share = np.linspace(0, 1, _SAMPLES)
    unit = np.stack(np.meshgrid(share, share), axis=-1).reshape(-1, 2)
    for seen, grid in ((one, other), (other, one)):
        places = apply_affine(grid.transform, unit * grid.size)
        if seen.crs is not None and grid.crs is not None and seen.crs != grid.crs:
            places = reproject_points(places, grid.crs, seen.crs)
        pixels = apply_affine(~seen.transform, places)
        if not np.isfinite(pixels).any() or ((pixels >= 0) & (pixels <= seen.size)).all(1).any():
            return True
    return False
