"""Validates a registration read from a document."""

from __future__ import annotations

import numpy as np
from affine import Affine
from numpy.typing import NDArray
from rasterio._err import CPLE_BaseError
from rasterio.crs import CRS
from rasterio.errors import RasterioError

from imatch.core.errors import InputError
from imatch.pipeline.registration.result import ImageSummary, Registration
from imatch.raster.gdal import session
from imatch.raster.geocoding_check import misplaced

_HINT = "write it anew by imatch match"
# Condition number of a transform's linear part from which it flattens what it maps.
_SINGULAR = 1e8
# How much a transform enlarges at most.
_LARGEST = 1e9
# Pixels that no image is longer than.
_LONGEST = 2**31 - 1


def check_usable(registration: Registration) -> None:
    """Refuse a registration whose transforms lead nowhere, or whose images are none.

    Raises:
        InputError: One of its values makes no sense.
    """
    for name in ("matrix", "map_matrix"):
        matrix = getattr(registration, name)
        if matrix is not None and not _leads_back(matrix):
            raise InputError(f"its {name} is no 3 x 3 matrix that can be inverted", hint=_HINT)
    for name, image in (("reference", registration.reference), ("target", registration.target)):
        _check_image(name, image)


def _leads_back(matrix: NDArray[np.float64]) -> bool:
    """Returns whether a matrix is finite, of a possible scale, and can be inverted."""
    if matrix.shape != (3, 3) or not np.isfinite(matrix).all() or matrix[2, 2] == 0:
        return False
    linear = matrix[:2, :2]
    scale = np.abs(linear).max()
    return bool(1 / _LARGEST < scale < _LARGEST and np.linalg.cond(linear / scale) < _SINGULAR)


def _check_image(name: str, image: ImageSummary) -> None:
    for what, side in (("width", image.width), ("height", image.height)):
        if type(side) is not int or not 0 < side <= _LONGEST:
            raise InputError(f"the {what} of its {name} is {side!r}", hint=_HINT)
    if not (image.path is None or isinstance(image.path, str)):
        raise InputError(f"the path of its {name} is none: {image.path!r}", hint=_HINT)
    crs = None
    if image.crs is not None:
        try:
            with session():
                crs = CRS.from_user_input(image.crs)
        except (RasterioError, CPLE_BaseError, ValueError, TypeError) as error:
            raise InputError(
                f"the CRS of its {name} is unknown: {image.crs!r:.80}", hint=_HINT
            ) from error
    if image.transform is not None:
        try:
            a, b, c, d, e, f = map(float, image.transform)
        except (TypeError, ValueError, OverflowError) as error:
            raise InputError(
                f"the transform of its {name} is no six numbers", hint=_HINT
            ) from error
        wrong = misplaced(Affine(a, b, c, d, e, f), crs, (image.width, image.height))
        if wrong is not None:
            raise InputError(f"the geocoding of its {name} makes no sense: {wrong}", hint=_HINT)
