"""Applies a registration to a raster by warping it onto a grid."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatch
from os import PathLike, fspath
from pathlib import PurePath
from typing import Literal, TypeAlias

from affine import Affine
from rasterio.enums import ColorInterp

from imatch._version import __version__
from imatch.core.io.fingerprint import Fingerprint
from imatch.core.redaction import get_logger, redacted
from imatch.pipeline.apply.output_grid import Bounds, GridKind, check_overlap, output_lattice
from imatch.pipeline.registration.geo_correction import GeoCorrection
from imatch.raster import Grid
from imatch.raster.gdal import opened
from imatch.raster.read.file_source import raster_info
from imatch.raster.read.products.sentinel2 import is_granule_file
from imatch.raster.sampling.interpolation import Resampling
from imatch.raster.stac.item import raster_of
from imatch.raster.warp.warp import warp_file
from imatch.raster.write.classes import class_evidence

#: ``auto`` takes the nearest pixel of classes and masks, and interpolates measurements.
Method: TypeAlias = Resampling | Literal["auto"]
#: One method for all files, or one for each pattern of file names; the last that fits counts.
Choice: TypeAlias = Method | Mapping[str, Method]

_LOG = get_logger(__name__)

# Words in names of products whose numbers are classes or flags: Sentinel-2's SCL and MSK_*, cloud
# masks of several makers, Landsat's QA_PIXEL.
_CLASSES = re.compile(
    r"(?:^|[_\-. ])(?:SCL|MSK|MASKS?|CLD|CLM|CLOUDS?|FMASK|QA|CLASS(?:ES)?|LABELS?)(?=[_\-. ]|$)",
    re.IGNORECASE,
)


def apply_raster(
    mapping: GeoCorrection,
    path: str | PathLike[str],
    out: str | PathLike[str],
    *,
    grid: GridKind = "reference",
    res: float | None = None,
    bounds: Bounds | None = None,
    lattice: Grid | None = None,
    resampling: Choice = "auto",
    nodata: float | None = None,
    creation: Mapping[str, str] | None = None,
    cog: bool = False,
    overviews: bool = True,
    overwrite: bool = False,
    inputs: Sequence[Fingerprint] = (),
    on_progress: Callable[[float], None] | None = None,
) -> Grid:
    """Write a raster as the registration has it: the target, or another product of its scene.

    Args:
        mapping: The registration (`GeoCorrection.of`).
        path: The raster.
        out: The GeoTIFF to write.
        grid: Whose pixel lattice to write on, see `output_lattice`.
        res: Side of a pixel in units of the output's CRS.
        bounds: (left, bottom, right, top) to cover, in the output's CRS.
        lattice: The pixels to write instead of all that.
        resampling: How to take values between pixels, see `choose_resampling`.
        nodata: Value that marks missing ground, instead of what the file says.
        creation: Creation options of GDAL's GTiff driver, or of its COG driver.
        cog: Write a cloud-optimised GeoTIFF.
        overviews: Make reduced-resolution levels.
        overwrite: Whether an existing file may be replaced.
        inputs: Files that must still be the same when all is read (`inputs_of`).
        on_progress: Told the share of the work done since it was told last.

    Returns:
        The pixels that were written.

    Raises:
        InputError: The raster cannot be used, or the registration does not apply to it.
        NoOverlapError: None of it lies on the lattice.
        ConfigError: An option makes no sense.
        OutputError: The file cannot be written.
    """
    path = raster_of(path)
    info = raster_info(path, nodata=nodata, dem=mapping.dem)
    if lattice is None:
        lattice = output_lattice(mapping, info, grid=grid, res=res, bounds=bounds)
    check_overlap(mapping, info, lattice)
    warp_file(
        path,
        out,
        placed(mapping, lattice),
        mapping.to_pixels(lattice, info),
        resampling=choose_resampling(path, resampling).method,
        nodata=nodata,
        creation=creation,
        cog=cog,
        overviews=overviews,
        overwrite=overwrite,
        tags=provenance_tags(mapping, fspath(path)),
        inputs=inputs,
        on_progress=on_progress,
    )
    return lattice


@dataclass(frozen=True)
class ChosenResampling:
    """Resampling chosen for a raster, and the reason.

    Attributes:
        method: How values between pixels are taken.
        reason: What decided, empty where the user or nothing special did.
    """

    method: Resampling
    reason: str = ""

    def __str__(self) -> str:
        return f"{self.method}: {self.reason}" if self.reason else self.method


def choose_resampling(path: str | PathLike[str], wanted: Choice = "auto") -> ChosenResampling:
    """Decides how to resample a raster, by what is wanted, its name and its content.

    With ``auto`` the nearest pixel is taken of classes and flags, which a name (SCL, QA_PIXEL,
    fmask), a colour table, category names or few distinct whole numbers give away; anything else
    is interpolated by cubic convolution.

    Args:
        path: The raster.
        wanted: A method, or methods by pattern of file names.

    Raises:
        InputError: The raster cannot be read.
    """
    name = fspath(path)
    if not isinstance(wanted, str):
        fitting = [how for glob, how in wanted.items() if fnmatch(PurePath(name).name, glob)]
        wanted = fitting[-1] if fitting else "auto"
    if wanted != "auto":
        return ChosenResampling(wanted)
    if named_as_classes(name):
        return ChosenResampling("nearest", "classes or flags by its name")
    if is_granule_file(name):
        return ChosenResampling("cubic")
    with opened(name) as dataset:
        classes, evidence = class_evidence(dataset, name)
        colours = dataset.colorinterp
    measured = [
        band
        for band, colour in enumerate(colours, start=1)
        if band not in classes and colour is not ColorInterp.alpha
    ]
    if classes and not measured:
        return ChosenResampling("nearest", f"classes by {evidence}")
    if classes:
        _LOG.warning(
            "%s: band %s looks like classes (%s) and is interpolated as the others are; pass"
            " --resampling nearest, or save it in a file of its own",
            name,
            ", ".join(map(str, classes)),
            evidence,
        )
    return ChosenResampling("cubic")


def named_as_classes(name: str) -> bool:
    """Whether a file's name says that it holds classes or flags.

    Examples:
        >>> named_as_classes("T31TCJ_20180823T105019_SCL_20m.jp2"), named_as_classes("a_B04.tif")
        (True, False)
    """
    return _CLASSES.search(PurePath(name).name) is not None


def placed(mapping: GeoCorrection, lattice: Grid) -> Grid:
    """Returns the grid as a file stores it: with the reference's local CRS, or not geocoded.

    Args:
        mapping: The registration.
        lattice: Pixels to write (`output_lattice`).
    """
    if lattice.crs is not None:
        return lattice
    if mapping.reference.transform is None:
        # Its coordinates are pixels of the reference, which mean nothing to other programs.
        return replace(lattice, transform=Affine.identity())
    return replace(lattice, crs=mapping.written_crs)


def provenance_tags(mapping: GeoCorrection, name: str) -> dict[str, str]:
    """Returns the tags that tell a file's origin: the registration and its inputs."""
    reference, target = mapping.reference.path, mapping.target.path
    local = mapping.correction.local
    return {
        "IMATCH_VERSION": __version__,
        "IMATCH_SOURCE": PurePath(redacted(name)).name,
        "IMATCH_REFERENCE": PurePath(reference).name if reference else "array",
        "IMATCH_TARGET": PurePath(target).name if target else "array",
        "IMATCH_CORRECTION": " ".join(f"{v:.17g}" for v in mapping.correction.matrix.ravel()),
        "IMATCH_LOCAL": "none" if local is None else local.kind,
    }
