"""Applies a registration to a file: raster, vector or product."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeAlias

from imatch.core.errors import ConfigError, InputError
from imatch.core.io.files import safe_name
from imatch.pipeline.apply.geotransform import LIMIT_PX, Inexact, apply_geotransform
from imatch.pipeline.apply.output_grid import Bounds, GridKind
from imatch.pipeline.apply.raster import Choice, apply_raster, choose_resampling
from imatch.pipeline.apply.sentinel2 import apply_safe
from imatch.pipeline.apply.vector import DRIVERS, apply_vector, layer_names
from imatch.pipeline.registration.geo_correction import GeoCorrection
from imatch.raster.gdal import check_file, opened
from imatch.raster.names import container_of, no_image
from imatch.raster.read.products.sentinel2 import find_safe

Kind: TypeAlias = Literal["raster", "vector", "product"]


@dataclass(frozen=True)
class ApplyOptions:
    """Options of writing; see `apply_raster` and `apply_geotransform`.

    Attributes:
        grid: Whose pixel lattice to write rasters on.
        res: Side of a pixel in units of the output's CRS.
        bounds: (left, bottom, right, top) to cover, in the output's CRS.
        resampling: How to take values between pixels, see `choose_resampling`.
        nodata: Value that marks missing ground in rasters, instead of what they say.
        creation: Creation options of GDAL's GTiff driver, or of its COG driver.
        cog: Write cloud-optimised GeoTIFFs.
        max_unpacked: Bytes that a product may take unpacked, see `apply_safe`.
        geotransform_only: Correct the geocoding of rasters and leave their pixels alone.
        inexact: What to do where a geotransform cannot say it.
        overwrite: Whether existing outputs may be replaced.
    """

    grid: GridKind = "reference"
    res: float | None = None
    bounds: Bounds | None = None
    resampling: Choice = "auto"
    nodata: float | None = None
    creation: Mapping[str, str] = field(default_factory=dict)
    cog: bool = False
    max_unpacked: int | None = None
    geotransform_only: bool = False
    inexact: Inexact = "refuse"
    overwrite: bool = False

    @property
    def resampled(self) -> dict[str, Any]:
        """Returns the options that `apply_raster` and `apply_safe` take, by name."""
        own = ("geotransform_only", "inexact")
        return {name: value for name, value in vars(self).items() if name not in own}


#: A file, or as text the name of a part of one (``NETCDF:"two.nc":Band1``).
FileOrPart: TypeAlias = Path | str


def kind_of(path: FileOrPart) -> Kind:
    """Returns the kind of a file by its content: raster, vectors or product.

    Raises:
        InputError: Neither a raster, nor vectors, nor a Sentinel-2 product.
    """
    if container_of(path) is not None:
        return "raster"
    path = Path(path)
    if not path.exists():
        raise InputError("no such file", subject=path, hint="check the path")
    if find_safe(path) is not None:
        return "product"
    check_file(path)
    try:
        with opened(str(path)) as dataset:
            if dataset.count:
                return "raster"
    except InputError as error:
        try:
            layer_names(path)
        except InputError:
            # As an image it is the more likely to have been meant.
            raise error from None
        return "vector"
    if layer_names(path):
        return "vector"
    with opened(str(path)) as dataset:
        raise no_image(dataset, str(path))


def output_name(path: FileOrPart, kind: Kind) -> str:
    """Returns the output's name: a GeoTIFF, vectors in their format, or a folder.

    Examples:
        >>> output_name(Path("scenes/a.jp2"), "raster")
        'a.tif'
    """
    container = container_of(path)
    if container is not None:
        # The file and what of it, in letters that every file system takes.
        before, _, after = str(path).partition(container)
        part = safe_name("_".join([*before.split(":")[1:], *after.split(":")]).strip('"_/'))
        return f"{Path(container).stem}_{part}.tif"
    path = Path(path)
    if kind == "raster":
        return path.with_suffix(".tif").name
    if kind == "vector":
        same = path.suffix.lower() in DRIVERS
        return path.name if same else path.with_suffix(".gpkg").name
    if path.suffix.lower() == ".xml":
        path = path.resolve().parent
    name = path.resolve().name
    name = name.removesuffix(".zip")
    return name if name.upper().endswith(".SAFE") else f"{name}.SAFE"


def output_paths(paths: Sequence[FileOrPart], folder: Path) -> dict[FileOrPart, tuple[Kind, Path]]:
    """The kind and the output of each file that can be used.

    Args:
        paths: The files.
        folder: Where their outputs go.

    Raises:
        ConfigError: Two files would have one output.
    """
    outputs: dict[FileOrPart, tuple[Kind, Path]] = {}
    taken: dict[str, FileOrPart] = {}
    for path in paths:
        try:
            kind = kind_of(path)
        except InputError:
            continue  # It is reported when its turn comes, and does not cost the others.
        name = output_name(path, kind)
        if name in taken and taken[name] != path:
            raise ConfigError(
                f"{taken[name]} and {path} would both be written to {name}",
                subject=folder,
                hint="apply them one at a time, into folders of their own",
            )
        taken[name] = path
        outputs[path] = kind, folder / name
    return outputs


def apply_file(
    mapping: GeoCorrection,
    path: FileOrPart,
    place: Path,
    options: ApplyOptions | None = None,
    *,
    on_progress: Callable[[float], None] | None = None,
) -> tuple[Path, str]:
    """Apply a registration to a raster, vectors or a Sentinel-2 product.

    Args:
        mapping: The registration.
        path: The file or folder.
        place: What is written; of an existing folder what lies in it under the input's name.
        options: How it is written.
        on_progress: Told the share of the work done since it was told last.

    Returns:
        The output, and a remark worth telling the user, or ``""``.

    Raises:
        ImatchError: The file cannot be used, or nothing can be written.
    """
    options = options or ApplyOptions()
    kind = kind_of(path)
    out = place / output_name(path, kind) if place.is_dir() else place
    if kind == "vector":
        count = apply_vector(mapping, Path(path), out, overwrite=options.overwrite)
        return out, f"{count} features"
    if options.geotransform_only:
        if kind == "product":
            raise InputError(
                "is a product, whose metadata has its geocoding too",
                subject=path,
                hint="apply the geotransform to its image files, or resample it",
            )
        error = apply_geotransform(
            mapping,
            path,
            out,
            inexact=options.inexact,
            creation=options.creation,
            cog=options.cog,
            overwrite=options.overwrite,
        )
        by = "by control points" if options.inexact == "gcps" else f"wrong by up to {error:.2g} px"
        return out, f"geotransform only, {by if error > LIMIT_PX else 'exact'}"
    resampled = options.resampled
    bound = resampled.pop("max_unpacked")
    if kind == "product":
        if resampled.pop("nodata") is not None:
            raise ConfigError(
                "is a product, whose format says what marks missing ground",
                subject=path,
                hint="leave --nodata to other rasters",
            )
        counts = apply_safe(
            mapping, path, out, **resampled, max_unpacked=bound, on_progress=on_progress
        )
        return out, (
            f"{counts.rasters} rasters, now GeoTIFF, {counts.vectors} vector masks,"
            f" {counts.copied} files copied"
        )
    chosen = choose_resampling(path, options.resampling)
    resampled["resampling"] = chosen.method
    lattice = apply_raster(mapping, path, out, **resampled, on_progress=on_progress)
    return out, f"{lattice.width} x {lattice.height} pixels, {chosen}"
