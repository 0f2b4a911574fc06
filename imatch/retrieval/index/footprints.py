"""Footprints of indexed chips in longitude and latitude."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import shapely
from affine import Affine
from numpy.typing import NDArray
from rasterio.crs import CRS

from imatch.core.errors import ImatchError
from imatch.core.io.files import atomic_path
from imatch.raster.geodesy import WGS84, apply_affine, reproject_points
from imatch.retrieval.index.store import IndexedImage

if TYPE_CHECKING:
    from geopandas import GeoDataFrame


# Corners and the middles of the edges, clockwise from the upper left: edges bend between CRSs.
_RING = np.array([(0, 0), (0.5, 0), (1, 0), (1, 0.5), (1, 1), (0.5, 1), (0, 1), (0, 0.5)])


def outlines(image: IndexedImage, cells: NDArray[np.float64]) -> NDArray[np.float64] | None:
    """Outlines of an image's cells.

    Args:
        image: The image.
        cells: (N, 5) left, top, width, height and side.

    Returns:
        (N, 8, 2) longitude and latitude (WGS 84), beside each other across the antimeridian; None
        without geocoding or where a point has no longitude.
    """
    if image.crs is None or image.transform is None:
        return None
    pixels = cells[:, None, :2] + _RING[None] * cells[:, None, 2:4]
    transform, crs = Affine(*image.transform), CRS.from_user_input(image.crs)
    xy = apply_affine(transform, pixels.reshape(-1, 2))
    near = None
    middle = apply_affine(transform, [(image.width / 2, image.height / 2)])
    centre = reproject_points(middle, crs, WGS84)[0, 0]
    if np.isfinite(centre):
        near = float(centre)
    coordinates = reproject_points(xy, crs, WGS84, near=near)
    return coordinates.reshape(-1, len(_RING), 2) if np.isfinite(coordinates).all() else None


def footprints(images: Collection[IndexedImage], cells: NDArray[np.float64]) -> GeoDataFrame:
    """All chips of an index: row, image, window in pixels, and outline.

    Args:
        images: The images, in the order of their rows, which leave none out.
        cells: (N, 5) left, top, width, height and side of each row.

    Returns:
        A frame in WGS 84; chips without geocoding have no geometry.
    """
    import pandas as pd
    from geopandas import GeoDataFrame

    geometry = np.full(len(cells), None, dtype=object)
    for image in images:
        rows = slice(image.first, image.first + image.count)
        geometry[rows] = polygons(image, cells[rows])
    names = [image.path for image in images for _ in range(image.count)]
    table = pd.DataFrame(
        {
            "row": np.arange(len(cells)),
            "image": pd.Series(names, dtype="string"),
            **{
                name: cells[:, i].astype(np.int32)
                for i, name in enumerate(("left", "top", "width", "height"))
            },
        }
    )
    return GeoDataFrame(table, geometry=geometry, crs="OGC:CRS84")


def polygons(image: IndexedImage, cells: NDArray[np.float64]) -> NDArray[np.object_]:
    """Returns the `outlines` of an image's cells as polygons; None where there are none."""
    rings = outlines(image, cells)
    if rings is None:
        return np.full(len(cells), None, dtype=object)
    return np.asarray(shapely.polygons(rings))


def write_footprints(
    path: Path, images: Collection[IndexedImage], cells: NDArray[np.float64]
) -> None:
    """Write `footprints` as GeoParquet.

    Raises:
        ImatchError: pyarrow is not installed.
        OutputError: The disk refused.
    """
    try:
        with atomic_path(path, overwrite=True) as temporary:
            footprints(images, cells).to_parquet(temporary, index=False)
    except ImportError as error:
        raise ImatchError(
            "is not installed", subject="pyarrow", hint="run pip install 'imatch[retrieval]'"
        ) from error
