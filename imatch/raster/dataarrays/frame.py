"""What a DataArray says of itself: its dimensions, where it lies, what marks missing ground."""

from __future__ import annotations

import math
import sys
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeGuard

import numpy as np
from affine import Affine
from numpy.typing import NDArray
from rasterio.crs import CRS

from imatch.core.errors import InputError
from imatch.core.extras import require_extra
from imatch.raster.geocoding_check import misplaced
from imatch.raster.image import is_geocoded
from imatch.raster.info import RasterInfo, fits

if TYPE_CHECKING:
    from xarray import DataArray

#: Names of (x, y) dimensions that rioxarray does not know without attributes.
_SPATIAL = (("lon", "lat"), ("Longitude", "Latitude"), ("X", "Y"))
#: By how much of a pixel a coordinate may lie beside its place.
_IRREGULAR_PX = 0.02


@dataclass(frozen=True, eq=False)
class DataArrayFrame:
    """A DataArray as an image.

    Attributes:
        array: The DataArray, its last two dimensions those of the image.
        x: Name of the dimension along rows.
        y: Name of the dimension along columns.
        info: Its size, bands and place; the bands are all pixels at one place.
        dims: Its dimensions in the order in which they came.
    """

    array: DataArray
    x: Hashable
    y: Hashable
    info: RasterInfo
    dims: tuple[Hashable, ...]

    @property
    def others(self) -> tuple[Hashable, ...]:
        """The dimensions that are not the image's."""
        return self.array.dims[:-2]


def is_data_array(image: object) -> TypeGuard[DataArray]:
    """Whether something is a DataArray.

    Raises:
        InputError: It is a Dataset, of which nobody knows which variable is meant.
    """
    xarray = sys.modules.get("xarray")
    if xarray is None:
        return False
    if isinstance(image, xarray.Dataset):
        raise InputError(
            "is a Dataset of several variables",
            subject="Dataset",
            hint='pass one of them, or all as bands: dataset.to_dataarray("band")',
        )
    return isinstance(image, xarray.DataArray)


def frame_of(
    array: DataArray, *, nodata: float | None = None, placed: bool = True
) -> DataArrayFrame:
    """Describes a DataArray by its coordinates and attributes, without a look at its pixels.

    The CRS is that of the accessor ``rio``: the ``spatial_ref`` coordinate as rioxarray and odc-geo
    write it, or an attribute ``crs``. The transform follows from the coordinates, and where there
    are none, or the image is rotated, from the ``GeoTransform`` beside the CRS.

    Args:
        array: The DataArray.
        nodata: Value that marks missing ground, instead of what it says.
        placed: Whether it has to say where it lies; else its place is left out.

    Raises:
        ConfigError: rioxarray is not installed.
        InputError: It has no spatial dimensions, no CRS, coordinates that are no lattice, or holds
            no real numbers.
    """
    require_extra("rioxarray", "to understand DataArrays")
    import rioxarray  # noqa: F401 - it makes the accessor.

    name = str(array.name or "DataArray")
    if array.dtype.kind not in "biuf":
        raise InputError(
            f"holds {array.dtype}",
            subject=name,
            hint="pass real numbers, of complex ones the amplitude (abs)",
        )
    (x, y), dims = _spatial(array, name), array.dims
    array = array.transpose(..., y, x)
    height, width = array.shape[-2:]
    if 0 in array.shape:
        raise InputError(f"has shape {array.shape}", subject=name, hint="pass some pixels")
    crs, transform = None, Affine.identity()
    if placed:
        crs, transform = _crs(array, name), _transform(array, x, y, name)
        wrong = misplaced(transform, crs, (width, height))
        if wrong is not None:
            raise InputError(
                f"its geocoding makes no sense: {wrong}", subject=name, hint="check its coordinates"
            )
    marks = _nodata(array) if nodata is None else nodata
    if nodata is not None and not fits(nodata, array.dtype):
        raise InputError(
            f"nodata {nodata:g} cannot occur in {array.dtype} pixels",
            subject=name,
            hint="give a value of that type",
        )
    names = _band_names(array)
    info = RasterInfo(
        None,
        width,
        height,
        len(names),
        (str(array.dtype),) * len(names),
        names,
        transform,
        crs,
        marks,
        "array",
        name,
        located_by="geotransform" if is_geocoded(transform, crs) else None,
    )
    return DataArrayFrame(array, x, y, info, dims)


def _spatial(array: DataArray, name: str) -> tuple[Hashable, Hashable]:
    from rioxarray.exceptions import MissingSpatialDimensionError

    try:
        return array.rio.x_dim, array.rio.y_dim
    except MissingSpatialDimensionError as error:
        for x, y in _SPATIAL:
            if x in array.dims and y in array.dims:
                return x, y
        raise InputError(
            f"has the dimensions {', '.join(map(str, array.dims))}, and none that are x and y",
            subject=name,
            hint='name them: array.rio.set_spatial_dims("…", "…")',
        ) from error


def _crs(array: DataArray, name: str) -> CRS:
    from pyproj.exceptions import CRSError as ProjCRSError
    from rasterio.errors import CRSError

    try:
        crs: CRS | None = array.rio.crs
    except (CRSError, ProjCRSError) as error:
        raise InputError(
            f"its CRS is not understood ({error})",
            subject=name,
            hint='write another: array.rio.write_crs("EPSG:32631")',
        ) from error
    if crs is None:
        raise InputError(
            "has no CRS",
            subject=name,
            hint='write one, array.rio.write_crs("EPSG:32631"), or pass use_geocoding=False to'
            " compare pixels",
        )
    return crs


def _transform(array: DataArray, x: Hashable, y: Hashable, name: str) -> Affine:
    stored = _stored_transform(array)
    if stored is not None and (stored.b or stored.d):
        return stored  # Coordinates along the axes do not say how it is turned.
    if not (x in array.coords and y in array.coords):
        if stored is None:
            raise InputError(
                f"has no coordinates {x} and {y}",
                subject=name,
                hint="assign them, or write a transform: array.rio.write_transform(…)",
            )
        return stored
    left, across = _axis(array, x, None if stored is None else stored.a, name)
    top, down = _axis(array, y, None if stored is None else stored.e, name)
    if across < 0:
        raise InputError(
            f"its coordinates {x} descend: it is mirrored",
            subject=name,
            hint=f'turn it round: array.sortby("{x}")',
        )
    return Affine(across, 0, left - across / 2, 0, down, top - down / 2)


def _stored_transform(array: DataArray) -> Affine | None:
    """What stands beside the CRS, which may be of a larger image that this was cut from."""
    mapping = array.coords.get(array.rio.grid_mapping)
    text = None if mapping is None else mapping.attrs.get("GeoTransform")
    if text is None:
        return None
    try:
        return Affine.from_gdal(*map(float, str(text).split()))
    except (TypeError, ValueError):
        return None


def _axis(array: DataArray, dim: Hashable, stored: float | None, name: str) -> tuple[float, float]:
    """The first coordinate of an axis, and the step from one to the next."""
    coordinate = array.coords[dim]
    if coordinate.dims != (dim,) or coordinate.dtype.kind not in "iuf":
        raise InputError(
            f"its coordinates {dim} are no numbers along one axis",
            subject=name,
            hint="lay it on a regular grid first",
        )
    values: NDArray[np.float64] = coordinate.to_numpy().astype(np.float64)
    if len(values) == 1:
        if stored is None:
            raise InputError(
                f"has one pixel along {dim}, of unknown size", subject=name, hint="pass more of it"
            )
        return float(values[0]), stored
    step = float(values[-1] - values[0]) / (len(values) - 1)
    away = np.abs(values - (values[0] + step * np.arange(len(values))))
    # Coordinates of 32 bits are rounded.
    rounded = np.finfo(coordinate.dtype).eps if coordinate.dtype.kind == "f" else 0.0
    allowed = _IRREGULAR_PX * abs(step) + 2 * rounded * float(np.abs(values).max())
    if not (step and away.max() <= allowed):
        raise InputError(
            f"its coordinates {dim} are irregular",
            subject=name,
            hint="lay it on a regular grid first (array.rio.reproject, array.interp)",
        )
    return float(values[0]), step


def _nodata(array: DataArray) -> float | None:
    """The value that marks missing ground; None where NaN alone does."""
    value = array.rio.nodata
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return None
    number = float(value)
    return None if math.isnan(number) or not fits(number, array.dtype) else number


def _band_names(array: DataArray) -> tuple[str, ...]:
    """A name for each pixel at one place: what the coordinates say, else numbers from 1."""
    sizes: Sequence[int] = array.shape[:-2]
    count = math.prod(sizes)
    long_names: Any = array.attrs.get("long_name")
    if isinstance(long_names, list | tuple) and len(long_names) == count:
        return tuple(map(str, long_names))
    (*dims,) = (dim for dim, size in zip(array.dims[:-2], sizes, strict=True) if size > 1)
    if len(dims) == 1 and dims[0] in array.coords:
        return tuple(str(value) for value in array.coords[dims[0]].to_numpy().tolist())
    return tuple(map(str, range(1, count + 1)))
