"""Apply a registration to files of the target's scene."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from os import PathLike
from pathlib import Path
from typing import Any, TypeAlias

from imatch.core.errors import ConfigError, ImatchError, InputError
from imatch.core.progress import ProgressOption, shown
from imatch.export.text import refusal_text
from imatch.pipeline.apply.file import ApplyOptions, apply_file
from imatch.pipeline.apply.files import Applied, apply_files
from imatch.pipeline.apply.geotransform import Inexact, check_geotransform
from imatch.pipeline.apply.output_grid import Bounds, GridKind
from imatch.pipeline.apply.raster import Choice
from imatch.pipeline.registration.geo_correction import GeoCorrection
from imatch.pipeline.registration.io import read_registration
from imatch.pipeline.registration.result import Registration
from imatch.workflows.stac_item import check_items, item_path, write_stac

Place: TypeAlias = str | PathLike[str]


def apply(
    registration: Registration | Place,
    files: Place | Sequence[Place],
    out: Place,
    *,
    grid: GridKind = "reference",
    res: float | None = None,
    bounds: Bounds | None = None,
    resampling: Choice = "auto",
    nodata: float | None = None,
    creation: Mapping[str, str] | None = None,
    cog: bool = False,
    geotransform_only: bool = False,
    inexact: Inexact = "refuse",
    max_unpacked: int | None = None,
    stac: bool = False,
    force: bool = False,
    overwrite: bool = False,
    jobs: int = 1,
    on_file: Callable[[Applied], None] | None = None,
    progress: ProgressOption = None,
) -> list[Applied]:
    """Apply a registration to rasters, vectors and products of the target's scene.

    Rasters of any pixel size are put on the reference's lattice as GeoTIFF, vectors move with them
    and keep their format, and a Sentinel-2 product (``.SAFE`` folder or zip) is written whole. One
    file that cannot be done does not cost the others theirs.

    Args:
        registration: The registration, or the ``.json`` file that holds it.
        files: One file or several; a part of one as ``NETCDF:"two.nc":Band1``.
        out: Folder for the outputs, which keep their files' names; made where it is missing.
        grid: Whose pixel lattice rasters are written on, ``reference`` or ``target``: their own.
        res: Side of a pixel in units of the output's CRS.
        bounds: (left, bottom, right, top) to cover, in the output's CRS.
        resampling: How to take values between pixels, see `choose_resampling`.
        nodata: Value that marks missing ground in rasters, instead of what they say.
        creation: Creation options of GDAL's GTiff driver, or of its COG driver.
        cog: Write cloud-optimised GeoTIFFs.
        geotransform_only: Correct where rasters say they lie, and leave their pixels alone.
        inexact: What to do where a geotransform cannot say it: ``refuse``, ``accept`` or ``gcps``.
        max_unpacked: Bytes that a product may take unpacked, see `apply_safe`.
        stac: Write a STAC item beside each GeoTIFF, ``NAME.json``, with the certificate in its
            properties.
        force: Apply a registration that is not ok, or not near enough.
        overwrite: Replace files that exist.
        jobs: Files at a time; each takes two threads. With more than one a script needs the usual
            ``if __name__ == "__main__"``.
        on_file: Called with what became of each file, when it is done.
        progress: True shows how far the work is on a terminal's stderr; a callback is told.

    Returns:
        What became of each file, as they were done.

    Raises:
        InputError: The registration is not to be applied, or has no transform.
        ConfigError: Options contradict each other, or two files would have one output.
        ImatchError: Files could not be done, after the others: their errors are its notes.

    Examples:
        >>> import cv2, imatch, numpy as np
        >>> ground = cv2.resize(np.random.default_rng(0).random((40, 40)), (320, 320))
        >>> found = imatch.match(ground[:, :280], ground[:, 20:300], matcher="sift")
        >>> folder = getfixture("tmp_path")
        >>> _ = cv2.imwrite(str(folder / "b.png"), (255 * ground[:, 20:300]).astype(np.uint8))
        >>> [done.out.name for done in imatch.apply(found, folder / "b.png", folder / "out")]
        ['b.tif']
    """
    if geotransform_only and nodata is not None:
        raise ConfigError(
            "has no meaning with geotransform_only, which leaves the pixels as they are",
            subject="nodata",
        )
    options = ApplyOptions(
        grid=grid,
        res=res,
        bounds=bounds,
        resampling=resampling,
        nodata=nodata,
        creation=creation or {},
        cog=cog,
        max_unpacked=max_unpacked,
        geotransform_only=geotransform_only,
        inexact=inexact,
        overwrite=overwrite,
    )
    check_items(stac)
    mapping = usable(registration, force=force)
    paths = [files] if isinstance(files, str | PathLike) else [*files]
    done, failed = list[Applied](), list[ImatchError]()
    label = f"{len(paths)} files" if len(paths) > 1 else Path(paths[0]).name
    with shown(progress)(label, 100 * len(paths)) as advance:
        for applied in apply_files(
            mapping,
            [path if isinstance(path, str) else Path(path) for path in paths],
            Path(out),
            options,
            jobs=jobs,
            on_progress=lambda share: advance(100 * share),
        ):
            told = applied
            if applied.error is not None:
                failed.append(applied.error)
            elif stac and applied.out is not None and applied.out.suffix == ".tif":
                try:
                    told = _with_item(registration, applied, applied.out, overwrite=overwrite)
                except ImatchError as refusal:
                    failed.append(refusal)
            done.append(told)
            if on_file is not None:
                on_file(told)
    if len(failed) == 1:
        raise failed[0]
    if failed:
        error = ImatchError(f"{len(failed)} of {len(paths)} files could not be done", subject=out)
        for failure in failed:
            error.add_note(str(failure))
        raise error
    return done


def _with_item(
    registration: Registration | Place, applied: Applied, raster: Path, *, overwrite: bool
) -> Applied:
    """Write the STAC item of a raster beside it; what became of the file, the item named."""
    if not isinstance(registration, Registration):
        registration = read_registration(registration)
    item = item_path(raster)
    write_stac(registration, raster, item, overwrite=overwrite)
    return replace(
        applied, remark=f"{applied.remark}; {item.name}" if applied.remark else item.name
    )


def apply_one(
    registration: Registration,
    path: Place,
    out: Place,
    *,
    force: bool,
    progress: ProgressOption,
    **options: Any,
) -> Path:
    """Apply a registration to one file: `Registration.apply`, which says what the arguments are.

    Returns:
        What was written.
    """
    mapping, place = usable(registration, force=force), Path(out)
    name = path if isinstance(path, str) else Path(path)
    if options["geotransform_only"]:
        check_geotransform(mapping.reference)
    with shown(progress)(Path(path).name, 100) as advance:
        written, _ = apply_file(
            mapping,
            name,
            place,
            ApplyOptions(**options),
            on_progress=lambda share: advance(100 * share),
        )
    return written


def usable(registration: Registration | Place, *, force: bool = False) -> GeoCorrection:
    """The mapping of a registration that may be applied.

    Args:
        registration: The registration, or the ``.json`` file that holds it.
        force: Take one that is not ok, or not near enough, as long as it has a transform.

    Raises:
        InputError: It cannot be read, is not to be applied, or has no transform.
    """
    subject = None if isinstance(registration, Registration) else registration
    if not isinstance(registration, Registration):
        registration = read_registration(registration)
    if not (registration.accepted or force):
        raise InputError(
            f"the registration is not to be applied, {refusal_text(registration)}",
            subject=subject,
            hint="pass force=True to apply it nevertheless",
        )
    try:
        return GeoCorrection.of(registration)
    except ImatchError as error:
        raise type(error)(error.cause, subject=subject, hint=error.hint) from error
