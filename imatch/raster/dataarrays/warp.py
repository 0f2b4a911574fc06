"""Lays DataArrays on another grid, lazily where they are lazy."""

from __future__ import annotations

from collections.abc import Hashable
from functools import partial
from importlib import import_module
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
from affine import Affine
from numpy.typing import ArrayLike, NDArray
from rasterio.windows import Window

from imatch.raster.dataarrays.frame import DataArrayFrame
from imatch.raster.grid import Grid
from imatch.raster.read.array_source import not_marked
from imatch.raster.sampling.coordinate_grid import Convert
from imatch.raster.sampling.interpolation import REACH, Resampling
from imatch.raster.warp.array import averaging, warp_array

if TYPE_CHECKING:
    from xarray import DataArray

#: Side of the blocks of a lazy answer, pixels, and nodes along each at which its place is found.
_SIDE, _NODES = 1024, 17
#: Pixels read around what a block needs: maps bend between nodes.
_RIM = 16


def warp_data_array(
    frame: DataArrayFrame,
    lattice: Grid,
    to_pixels: Convert,
    *,
    nodata: float | None = None,
    resampling: Resampling = "cubic",
) -> DataArray:
    """Take a DataArray's values on another lattice.

    Args:
        frame: The DataArray.
        lattice: The pixels wanted.
        to_pixels: (N, 2) of them to (N, 2) pixels of the DataArray, not finite where there is none.
        nodata: Value that marks missing ground; what it says itself when None.
        resampling: How to take values between pixels.

    Returns:
        A DataArray of the same type, dimensions, bands and attributes, with the coordinates and the
        CRS of the lattice. In dask arrays blocks are made when they are computed.
    """
    array, info = frame.array, frame.info
    marks = info.nodata if nodata is None else nodata
    fill = _fill(array.dtype) if marks is None else marks
    work = partial(
        _warp_part,
        to_pixels=to_pixels,
        marks=marks,
        fill=fill,
        resampling=resampling,
        factor=averaging(to_pixels, lattice.size, resampling),
    )
    shape = (*array.shape[:-2], lattice.height, lattice.width)
    if array.chunks is None:
        pixels = np.asarray(array.to_numpy()).reshape(-1, info.height, info.width)
        warped: Any = work(pixels, (0, 0), Window(0, 0, *lattice.size))
    else:
        warped = _lazily(array.data.reshape(-1, info.height, info.width), lattice, work)
    return _placed(frame, warped.reshape(shape), lattice, fill)


def empty_data_array(like: DataArray) -> DataArray:
    """A DataArray like another that shows no ground; lazy where that is."""
    import xarray

    nodata = like.rio.nodata
    return xarray.full_like(like, _fill(like.dtype) if nodata is None else nodata)


def _fill(kind: np.dtype[Any]) -> float:
    """What marks missing ground where nothing is said, as rioxarray has it."""
    if kind.kind == "f":
        return float("nan")
    if kind.kind == "b":
        return 0
    limits = np.iinfo(kind)
    return limits.max if kind.kind == "u" else limits.min


def _warp_part(
    pixels: NDArray[Any],
    origin: tuple[int, int],
    window: Window,
    *,
    to_pixels: Convert,
    marks: float | None,
    fill: float,
    resampling: Resampling,
    factor: tuple[int, int],
) -> NDArray[Any]:
    """Make a window of the answer, (C, h, w), each band with missing ground of its own.

    Args:
        pixels: (C, H, W) of the DataArray, all it needs.
        origin: Column and row of their first pixel.
        window: The window.
        to_pixels: As for `warp_data_array`.
        marks: What marks missing ground.
        fill: What does in the answer.
        resampling: How to take values between pixels.
        factor: See `averaging`.
    """

    def convert(xy: ArrayLike) -> NDArray[np.float64]:
        return to_pixels(xy) - origin

    out = np.empty((len(pixels), int(window.height), int(window.width)), dtype=pixels.dtype)
    for band, made in zip(pixels, out, strict=True):
        valid = np.ones(band.shape, dtype=bool)
        if marks is not None:
            valid = not_marked(band[None], marks, "DataArray")
        made[...] = warp_array(
            band[None],
            valid,
            window,
            convert,
            fill=fill,
            resampling=resampling,
            factor=factor,
        )[0][0]
    return out


def _lazily(data: Any, lattice: Grid, work: Any) -> Any:
    """A dask array of the answer, block by block of (C, H, W).

    Args:
        data: (C, H, W) dask array.
        lattice: The pixels wanted.
        work: `_warp_part` with its options.
    """
    from dask.delayed import delayed

    da: Any = import_module("dask.array")

    height, width = data.shape[1:]
    bands = np.cumsum((0, *data.chunks[0])).tolist()
    layers = []
    for first, last in pairwise(bands):
        lines = []
        for y in range(0, lattice.height, _SIDE):
            line = []
            for x in range(0, lattice.width, _SIDE):
                size = min(_SIDE, lattice.width - x), min(_SIDE, lattice.height - y)
                window = Window(x, y, *size)
                shape = (last - first, size[1], size[0])
                part = _needed(window, work.keywords, (width, height))
                if part is None:
                    line.append(da.full(shape, work.keywords["fill"], dtype=data.dtype))
                    continue
                rows, columns = part
                block = delayed(work)(
                    data[first:last, rows, columns], (columns.start, rows.start), window
                )
                line.append(da.from_delayed(block, shape, dtype=data.dtype))
            lines.append(line)
        layers.append(lines)
    return da.block(layers)


def _needed(
    window: Window, options: dict[str, Any], size: tuple[int, int]
) -> tuple[slice, slice] | None:
    """Rows and columns of the DataArray that a window of the answer needs; None for none."""
    x = np.linspace(window.col_off, window.col_off + window.width - 1, _NODES)
    y = np.linspace(window.row_off, window.row_off + window.height - 1, _NODES)
    places = options["to_pixels"](np.stack(np.meshgrid(x, y), axis=-1).reshape(-1, 2))
    places = places[np.isfinite(places).all(axis=1)]
    if not len(places):
        return None
    parts = []
    for values, side, cell in zip(places.T, size, options["factor"], strict=True):
        low, high = float(values.min()), float(values.max())
        # Between two nodes a map may bend by a share of their distance.
        rim = _RIM + (REACH[options["resampling"]] + 1) * cell + (high - low) / _NODES
        first = max(0, int(np.floor(low - rim))) // cell * cell
        last = min(side, int(np.ceil(high + rim)) + 1)
        if last <= first:
            return None
        parts.append(slice(first, last))
    columns, rows = parts
    return rows, columns


def _placed(frame: DataArrayFrame, pixels: Any, lattice: Grid, fill: float) -> DataArray:
    """The answer with the names, coordinates and attributes that it should have."""
    import xarray

    array, transform, crs = frame.array, lattice.transform, lattice.crs
    names: tuple[Hashable, Hashable] = (frame.y, frame.x)
    if crs is not None and crs != frame.info.crs:
        names = ("latitude", "longitude") if crs.is_geographic else ("y", "x")
    kept = {
        name: coordinate
        for name, coordinate in array.coords.items()
        if not {frame.x, frame.y} & set(coordinate.dims) and name != array.rio.grid_mapping
    }
    if not (transform.b or transform.d):
        columns, rows = np.arange(lattice.width) + 0.5, np.arange(lattice.height) + 0.5
        kept[names[0]] = xarray.Variable(names[0], transform.f + transform.e * rows)
        kept[names[1]] = xarray.Variable(names[1], transform.c + transform.a * columns)
    attrs = {k: v for k, v in array.attrs.items() if k not in ("transform", "crs", "grid_mapping")}
    warped: DataArray = xarray.DataArray(
        pixels, coords=kept, dims=(*frame.others, *names), attrs=attrs
    )
    warped.name = array.name  # It would be that of the graph.
    renamed = {frame.y: names[0], frame.x: names[1]}
    warped = warped.transpose(*(renamed.get(dim, dim) for dim in frame.dims))
    warped = warped.rio.set_spatial_dims(names[1], names[0])
    if array.rio.encoded_nodata is None:
        warped = warped.rio.write_nodata(fill)
        if "nodata" in attrs:  # As odc-geo has it.
            warped.attrs["nodata"] = fill
    else:
        warped.encoding["_FillValue"] = array.encoding["_FillValue"]
    if crs is None and transform == Affine.identity():
        return warped
    if crs is not None:
        warped = warped.rio.write_crs(crs)
    placed: DataArray = warped.rio.write_transform(transform)
    return placed
