"""Time series in a DataArray: its dates as files to tie together, and the corrected cube."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from imatch.core.errors import ConfigError, InputError, OutputError
from imatch.core.io.files import safe_name
from imatch.pipeline.apply.output_grid import Bounds, output_lattice
from imatch.pipeline.apply.raster import placed
from imatch.pipeline.pair.config import MatchConfig
from imatch.pipeline.registration.geo_correction import GeoCorrection
from imatch.pipeline.stack.result import Stack
from imatch.raster.dataarrays.frame import frame_of, is_data_array
from imatch.raster.dataarrays.source import data_array_source
from imatch.raster.dataarrays.warp import empty_data_array, warp_data_array
from imatch.raster.sampling.interpolation import Resampling
from imatch.workflows.warp import check_resampling, target_info

if TYPE_CHECKING:
    from xarray import DataArray

TIME = "time"
#: Where the times lie as files, in the folder of a stack.
IMAGES = "images"
#: A coordinate of the corrected cube.
STATUS = "status"


def time_names(cube: DataArray) -> list[str]:
    """Names of the times of a cube, as a stack calls its images.

    Raises:
        InputError: It has no dimension ``time``, fewer than two of them, or one twice.
    """
    name = str(cube.name or "DataArray")
    if TIME not in cube.dims:
        raise InputError(
            f"has the dimensions {', '.join(map(str, cube.dims))}, and no {TIME}",
            subject=name,
            hint=f'rename the one that is: cube.rename(…="{TIME}")',
        )
    count = cube.sizes[TIME]
    if count < 2:
        raise InputError(
            f"holds {count} time", subject=name, hint="a stack needs two images or more"
        )
    if TIME not in cube.coords:
        return [f"{TIME}-{index:03}" for index in range(count)]
    names = list(map(_time_name, cube.coords[TIME].to_numpy()))
    twice = next((text for text, times in Counter(names).items() if times > 1), None)
    if twice is not None:
        raise InputError(f"holds the time {twice} twice", subject=name, hint="keep one of them")
    return names


def _time_name(value: Any) -> str:
    if isinstance(value, np.datetime64):
        text = str(np.datetime_as_string(value, "s"))
        return text.removesuffix("T00:00:00").replace(":", "")
    return safe_name(str(value))


def write_times(cube: DataArray, folder: Path, config: MatchConfig) -> list[Path]:
    """Write each time of a cube as a GeoTIFF, block by block.

    Args:
        cube: The cube.
        folder: Where to; made where it is missing. Files that are there are written anew.
        config: Whether a place is needed.

    Raises:
        InputError: It is no time series, or cannot be used as images.
        OutputError: The disk refused.
    """
    names = time_names(cube)
    sources = [
        data_array_source(cube.isel({TIME: index}), placed=config.use_geocoding)
        for index in range(len(names))
    ]
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(error.strerror or str(error), subject=folder) from error
    paths = [folder / f"{name}.tif" for name in names]
    for source, path in zip(sources, paths, strict=True):
        path.unlink(missing_ok=True)
        source.write(path)
    return paths


def warp_cube(
    solved: Stack,
    cube: DataArray,
    *,
    res: float | None = None,
    bounds: Bounds | None = None,
    resampling: Resampling = "cubic",
    nodata: float | None = None,
) -> DataArray:
    """Lay every time of a cube on the reference's pixels: `Stack.warp`, which says how.

    Args:
        solved: The stack.
        cube: The cube.
        res: Side of a pixel in units of the answer's CRS.
        bounds: (left, bottom, right, top) to cover, in the answer's CRS.
        resampling: How to take values between pixels.
        nodata: Value that marks missing ground.

    Raises:
        ConfigError: It is no DataArray, or an option makes no sense.
        InputError: The cube cannot be used, holds a time that the stack does not, or none of its
            times is tied.
    """
    check_resampling(resampling)
    if not is_data_array(cube):
        raise ConfigError(f"is a {type(cube).__name__}", subject="cube", hint="pass a DataArray")
    import xarray

    images = {image.name: image for image in solved.images}
    names = time_names(cube)
    strange = [name for name in names if name not in images]
    if strange:
        raise InputError(
            f"holds the time {strange[0]}, which the stack does not",
            subject=str(cube.name or "DataArray"),
            hint=f"its times are {', '.join(sorted(images))}",
        )
    tied = [index for index, name in enumerate(names) if images[name].registration.accepted]
    if not tied:
        raise InputError("ties none of the images", subject="stack", hint="see Stack.images")
    series = {key: value for key, value in cube.coords.items() if value.dims == (TIME,)}
    bare = cube.drop_vars(list(series))
    parts: dict[int, DataArray] = {}
    lattice = None
    for index in tied:
        mapping = GeoCorrection.of(images[names[index]].registration)
        frame = frame_of(bare.isel({TIME: index}), nodata=nodata, placed=mapping.on_map)
        if not mapping.on_map:
            frame = replace(frame, info=target_info(mapping.target, frame.info))
        if lattice is None:
            lattice = output_lattice(mapping, frame.info, res=res, bounds=bounds)
        parts[index] = warp_data_array(
            frame,
            placed(mapping, lattice),
            mapping.to_pixels(lattice, frame.info),
            nodata=nodata,
            resampling=resampling,
        )
    like = parts[tied[0]]
    whole = xarray.concat(
        [parts[i] if i in parts else empty_data_array(like) for i in range(len(names))],
        TIME,
        join="override",
        compat="override",
        coords="minimal",
    )
    whole = whole.assign_coords(series)
    statuses = [images[name].registration.status for name in names]
    whole = whole.assign_coords({STATUS: (TIME, np.array(statuses))})
    rest = iter(like.dims)
    return whole.transpose(*(dim if dim == TIME else next(rest) for dim in cube.dims))
