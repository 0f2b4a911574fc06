"""Apply a registration to rasters: onto a grid, or by their geocoding alone."""

from __future__ import annotations

import re
from collections.abc import Callable
from collections.abc import Mapping as Map
from os import PathLike, fspath
from pathlib import PurePath
from typing import Literal, TypeAlias

from imatch._version import __version__
from imatch.pipeline.lattices import Bounds, GridKind, check_overlap, output_lattice
from imatch.pipeline.mapping import Mapping
from imatch.raster import Lattice, open_source
from imatch.raster.kernels import Resampling
from imatch.raster.warp import warp_file

#: ``auto`` takes the nearest pixel of classes and masks, and interpolates measurements.
Choice: TypeAlias = Resampling | Literal["auto"]

# Words in names of products whose numbers are classes or flags: Sentinel-2's SCL and MSK_*, cloud
# masks of several makers, Landsat's QA_PIXEL.
_CLASSES = re.compile(
    r"(?:^|[_\-. ])(?:SCL|MSK|MASKS?|CLD|CLM|CLOUDS?|FMASK|QA|CLASS(?:ES)?|LABELS?)(?=[_\-. ]|$)",
    re.IGNORECASE,
)


def apply_raster(
    mapping: Mapping,
    path: str | PathLike[str],
    out: str | PathLike[str],
    *,
    grid: GridKind = "reference",
    res: float | None = None,
    bounds: Bounds | None = None,
    lattice: Lattice | None = None,
    resampling: Choice = "auto",
    nodata: float | None = None,
    creation: Map[str, str] | None = None,
    cog: bool = False,
    overviews: bool = True,
    overwrite: bool = False,
    on_progress: Callable[[float], None] | None = None,
) -> Lattice:
    """Write a raster as the registration has it: the target, or another product of its scene.

    Args:
        mapping: The registration (`Mapping.of`).
        path: The raster.
        out: The GeoTIFF to write.
        grid: Whose pixel lattice to write on, see `output_lattice`.
        res: Side of a pixel in units of the output's CRS.
        bounds: (left, bottom, right, top) to cover, in the output's CRS.
        lattice: The pixels to write instead of all that.
        resampling: ``auto``, or how to take values between pixels.
        nodata: Value that marks missing ground, where the file does not say.
        creation: Creation options of GDAL's GTiff driver, or of its COG driver.
        cog: Write a cloud-optimised GeoTIFF.
        overviews: Make reduced-resolution levels.
        overwrite: Whether an existing file may be replaced.
        on_progress: Told the share of the work done since it was told last.

    Returns:
        The pixels that were written.

    Raises:
        InputError: The raster cannot be used, or the registration does not apply to it.
        NoOverlapError: None of it lies on the lattice.
        ConfigError: An option makes no sense.
        OutputError: The file cannot be written.
    """
    info = open_source(path).info
    if lattice is None:
        lattice = output_lattice(mapping, info, grid=grid, res=res, bounds=bounds)
    check_overlap(mapping, info, lattice)
    warp_file(
        path,
        out,
        lattice,
        mapping.to_pixels(lattice, info),
        resampling=resampling_of(fspath(path)) if resampling == "auto" else resampling,
        nodata=nodata,
        creation=creation,
        cog=cog,
        overviews=overviews,
        overwrite=overwrite,
        tags=provenance_tags(mapping, fspath(path)),
        on_progress=on_progress,
    )
    return lattice


def resampling_of(name: str) -> Resampling:
    """``nearest`` for a file whose name says that it holds classes or flags, else ``cubic``.

    Palettes tell by themselves: `warp_file` never mixes their colours.

    Example:
        >>> resampling_of("T31TCJ_20180823T105019_SCL_20m.jp2"), resampling_of("scenery_B04.tif")
        ('nearest', 'cubic')
    """
    return "nearest" if _CLASSES.search(PurePath(name).name) else "cubic"


def provenance_tags(mapping: Mapping, name: str) -> dict[str, str]:
    """What a file made by a registration says of its making."""
    reference, target = mapping.reference.path, mapping.target.path
    local = mapping.correction.local
    return {
        "IMATCH_VERSION": __version__,
        "IMATCH_SOURCE": PurePath(name).name,
        "IMATCH_REFERENCE": PurePath(reference).name if reference else "array",
        "IMATCH_TARGET": PurePath(target).name if target else "array",
        "IMATCH_CORRECTION": " ".join(f"{v:.17g}" for v in mapping.correction.matrix.ravel()),
        "IMATCH_LOCAL": "none" if local is None else local.kind,
    }
