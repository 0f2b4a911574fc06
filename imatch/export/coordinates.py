"""Coordinates in which GIS programs show pixels and tie points."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from imatch.core.errors import OutputError
from imatch.pipeline.registration.result import ImageSummary, Registration


def gis_xy(image: ImageSummary, xy: NDArray[np.float64]) -> NDArray[np.float64]:
    """Converts pixels of an image to the coordinates at which a GIS shows them.

    An image lies where its transform has it, in a CRS or not. One without any is laid by QGIS with
    its upper left corner in the origin, one unit a pixel and y upwards, so that its rows have
    negative y.

    Args:
        image: The image.
        xy: (N, 2) native pixels, the centre of the first is (0, 0).

    Returns:
        (N, 2) map coordinates.

    Examples:
        >>> gis_xy(ImageSummary(None, 9, 9), np.array([[0.0, 0.0]]))
        array([[ 0.5, -0.5]])
    """
    if image.transform is not None:
        return image.to_own(xy)
    return np.column_stack([xy[:, 0] + 0.5, -xy[:, 1] - 0.5])


def reference_xy(registration: Registration) -> NDArray[np.float64]:
    """Returns the (N, 2) coordinates at which a GIS shows the tie points over the reference."""
    points = registration.tie_points
    if points.map_xy is not None:
        return points.map_xy
    return gis_xy(registration.reference, points.ref_xy)


def geocoded_xy(registration: Registration) -> NDArray[np.float64] | None:
    """Returns where the target's own geocoding puts the tie points.

    Args:
        registration: The result of the match.

    Returns:
        (N, 2) in the reference's CRS, or None unless both images are geocoded.

    Raises:
        OutputError: The two CRSs cannot be related.
    """
    from pyproj import CRS, Transformer
    from pyproj.exceptions import ProjError

    reference, target = registration.reference, registration.target
    if registration.tie_points.map_xy is None or not target.geocoded:
        return None
    if reference.crs is None or target.crs is None:
        return None
    xy = gis_xy(target, registration.tie_points.tgt_xy)
    try:
        source, destination = CRS.from_user_input(target.crs), CRS.from_user_input(reference.crs)
        if source == destination:
            return xy
        convert = Transformer.from_crs(source, destination, always_xy=True)
        return np.column_stack(convert.transform(xy[:, 0], xy[:, 1]))
    except ProjError as error:
        raise OutputError(f"the images' CRSs cannot be related: {error}") from error
