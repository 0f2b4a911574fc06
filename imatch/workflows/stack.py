"""Tie images of one place together and write all that comes of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from os import PathLike
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, TypeAlias, Unpack, cast

from imatch.core.errors import ConfigError, ImatchError, OutputError
from imatch.core.io.files import inside
from imatch.core.progress import ProgressOption, ProgressStages, shown
from imatch.core.settings import check_options
from imatch.export.formats import WriteLog
from imatch.export.stack.files import REGISTERED, check_folder, write_stack
from imatch.export.text import refusal_text
from imatch.matchers.feature_cache import FeatureCache
from imatch.pipeline.apply.output_grid import Bounds, GridKind
from imatch.pipeline.apply.raster import Choice, apply_raster
from imatch.pipeline.pair.config import MatchConfig, MatchOptions, make_config
from imatch.pipeline.registration.geo_correction import GeoCorrection
from imatch.pipeline.stack.pairing import PairChoice
from imatch.pipeline.stack.result import Stack, StackImage
from imatch.pipeline.stack.run import Model, solve_stack
from imatch.raster.dataarrays.frame import is_data_array
from imatch.workflows.cube import IMAGES, write_times
from imatch.workflows.stac_item import check_items, item_path, write_stac

if TYPE_CHECKING:
    from xarray import DataArray

Place: TypeAlias = str | PathLike[str]


def stack(
    images: Sequence[Place] | DataArray,
    out: Place | None = None,
    *,
    config: MatchConfig | None = None,
    reference: Place | None = None,
    pairs: str | PairChoice = "auto",
    joint: Model = "auto",
    warp: bool = False,
    grid: GridKind = "reference",
    res: float | None = None,
    bounds: Bounds | None = None,
    resampling: Choice = "auto",
    creation: Mapping[str, str] | None = None,
    cog: bool = False,
    stac: bool = False,
    jobs: int = 1,
    dask: str | None = None,
    cache: FeatureCache | None = None,
    resume: bool = False,
    overwrite: bool = False,
    command: str = "",
    log: WriteLog | None = None,
    progress: ProgressOption = None,
    **options: Unpack[MatchOptions],
) -> Stack:
    """Tie images of one place together and write the stack, its transforms and a report.

    Where two dates do not match, others lead from one to the other: pairs are matched one by one,
    and all transforms are solved together from them. Pairs run in processes of their own: a script
    calls this below ``if __name__ == "__main__":``.

    Args:
        images: Paths or URLs, two or more; or a DataArray with a dimension ``time``, each of whose
            times is written once as a GeoTIFF, block by block, into ``images/``.
        out: Folder for ``stack.json``, ``transforms/``, ``edges.csv``, ``report.html`` and the
            pairs' results, made where it is missing; None to keep no file.
        config: Settings of the pairs; the defaults when None.
        reference: The image the others are laid on, by its path or name; the most central one when
            None.
        pairs: Which pairs to match: ``all``, ``reference``, ``neighbours:K`` or ``auto``, see
            `PairChoice`.
        joint: Family of the images' maps; ``auto`` takes the simplest that explains the pairs.
        warp: Also write ``registered/NAME.tif`` of every image that is accepted.
        grid: Whose pixel lattice those have, ``reference`` or ``target``: their own.
        res: Side of their pixels in units of their CRS.
        bounds: (left, bottom, right, top) to cover, in their CRS.
        resampling: How to take values between pixels, see `choose_resampling`.
        creation: Creation options of GDAL's GTiff driver, or of its COG driver.
        cog: Write cloud-optimised GeoTIFFs.
        stac: Write a STAC item beside each, ``registered/NAME.json``, with its certificate.
        jobs: Worker processes.
        dask: Run on a Dask cluster: ``local``, or a scheduler's address.
        cache: Where features are kept on disk (`open_cache`), None for nowhere.
        resume: Go on with the stack that the folder holds.
        overwrite: Throw it away.
        command: Command line to remember.
        log: Where to note what became of the images to be written, instead of raising when all is
            done why one could not be.
        progress: True shows how far the work is on a terminal's stderr; a callback is told.
        **options: Fields of `MatchConfig` to replace. Bands, nodata values and masks are the same
            for all images.

    Returns:
        The images, tied as far as they can be, the pairs and the loops. `Stack.warp` gives the
        corrected cube of a DataArray.

    Raises:
        InputError: Fewer than two different images can be read, one is named twice, or the
            reference is none of them.
        ConfigError: An option does not exist or makes no sense.
        OutputError: The folder holds something else, or cannot be used.
        ImatchError: The matcher cannot be loaded.

    Examples:
        >>> import cv2, imatch, numpy as np
        >>> folder = getfixture("tmp_path")
        >>> ground = cv2.resize(np.random.default_rng(0).random((40, 40)), (320, 320)) * 255
        >>> for name, left in (("a.png", 0), ("b.png", 20)):
        ...     _ = cv2.imwrite(str(folder / name), ground[:, left : left + 280])
        >>> solved = imatch.stack([folder / "a.png", folder / "b.png"], matcher="sift")
        >>> [(image.name, image.status) for image in solved.images]
        [('a', 'ok'), ('b', 'ok')]

        Of a DataArray:

        >>> corrected = imatch.stack(cube).warp(cube)  # doctest: +SKIP
    """
    check_options(options, MatchConfig, stack)
    settings = make_config(config, **options)
    if warp and out is None:
        raise ConfigError("needs a folder to write into", subject="warp", hint="pass out")
    check_items(stac, written=warp)
    with ExitStack() as kept:
        if out is None:
            folder = Path(kept.enter_context(TemporaryDirectory(prefix="imatch-")))
        else:
            folder = Path(out)
            check_folder(folder, resume=resume, overwrite=overwrite)
        stages = kept.enter_context(ProgressStages(progress))
        paths: Sequence[Place]
        if is_data_array(images):
            stages.begin("writing the times")
            paths = write_times(images, folder / IMAGES, settings)
        else:
            paths = cast("Sequence[Place]", images)
        solved = solve_stack(
            paths,
            folder,
            settings,
            reference=reference,
            pairs=pairs,
            model=joint,
            jobs=jobs,
            dask=dask,
            cache=cache,
            resume=resume,
            overwrite=overwrite,
            command=command,
            on_round=lambda count: stages.begin("matching", count),
            on_result=lambda _row: stages.advance(1),
        )
        stages.end()
        if out is None:
            return _without_files(solved) if is_data_array(images) else solved
    write_stack(solved, folder)
    told = WriteLog() if log is None else log
    if warp:
        how: dict[str, Any] = {
            "grid": grid,
            "res": res,
            "bounds": bounds,
            "resampling": resampling,
            "creation": creation,
            "cog": cog,
            "nodata": settings.tgt_nodata,
            "overwrite": resume or overwrite,
        }
        _write_images(solved, folder / REGISTERED, how, told, progress, stac=stac)
    if log is None:
        told.check()
    return solved


def _without_files(solved: Stack) -> Stack:
    """The same of images whose files were for a while."""

    def bare(image: StackImage) -> StackImage:
        found = image.registration
        reference, target = (replace(side, path=None) for side in (found.reference, found.target))
        registration = replace(found, reference=reference, target=target)
        return replace(image, path=image.name, registration=registration)

    return replace(solved, images=tuple(map(bare, solved.images)))


def _write_images(
    solved: Stack,
    folder: Path,
    warp: dict[str, Any],
    log: WriteLog,
    progress: ProgressOption,
    *,
    stac: bool,
) -> None:
    """Write every image that is accepted; one that cannot be written does not cost the others."""
    try:
        folder.mkdir(exist_ok=True)
    except OSError as error:
        raise OutputError(error.strerror or str(error), subject=folder) from error
    own_grid = warp["grid"] != "reference" or warp["res"] or warp["bounds"]
    accepted = [image for image in solved.images if image.registration.accepted]
    with shown(progress)("writing", len(accepted)) as advance:
        for image in accepted:
            mapping = GeoCorrection.of(image.registration)
            lattice = None if own_grid else mapping.reference_lattice
            try:
                path = inside(folder, f"{image.name}.tif")
                apply_raster(mapping, image.path, path, lattice=lattice, **warp)
                if stac:
                    item = item_path(path)
                    write_stac(image.registration, path, item, overwrite=warp["overwrite"])
            except ImatchError as error:
                log.failures.append(error)
                log.refused(error)
            advance(1)
    for image in solved.images:
        refused = refusal_text(image.registration)
        if refused is not None:
            if warp["overwrite"]:  # What an earlier run wrote of it does not hold any more.
                path = inside(folder, f"{image.name}.tif")
                for left in (path, item_path(path)):
                    left.unlink(missing_ok=True)
            log.refused(image.name, refused)
