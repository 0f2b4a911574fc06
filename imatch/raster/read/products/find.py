"""Tells which product a folder, archive or file is."""

from __future__ import annotations

from pathlib import Path

from imatch.core.errors import InputError
from imatch.raster.read.products.hls import find_hls
from imatch.raster.read.products.landsat import find_landsat
from imatch.raster.read.products.planet import find_planet
from imatch.raster.read.products.product import Product
from imatch.raster.read.products.sentinel2 import find_sentinel2


def find_product(path: Path) -> Product | None:
    """Finds the bands and masks of an optical product.

    Args:
        path: A folder, archive, metadata file or image.

    Returns:
        The product; None where `path` is a plain file, or none at all.

    Raises:
        InputError: A folder or archive holds no product or several, or lacks what it needs.
    """
    for find in (find_landsat, find_hls, find_planet):
        product = find(path)
        if product is not None:
            return product
    try:
        return find_sentinel2(path)
    except InputError as error:
        if not path.is_dir() or "without" not in error.cause:
            raise
        raise InputError(
            "is a folder without a Sentinel-2 product, nor one of Sentinel-1, Landsat"
            " Collection 2, HLS or PlanetScope",
            subject=path,
            hint="name an image file, or the product's own folder",
        ) from error
