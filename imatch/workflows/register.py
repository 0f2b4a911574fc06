"""Register a whole scene and write it: the target, its registration in any format, a report."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from os import PathLike, fspath
from pathlib import Path
from typing import Unpack

from imatch.core.errors import ConfigError, OutputError
from imatch.core.io.files import check_output
from imatch.core.progress import ProgressOption, ProgressStages, shown
from imatch.core.settings import check_options
from imatch.export.formats import WriteLog, check_outputs, write_all
from imatch.export.quality.assess import check_report, write_quality
from imatch.pipeline.apply.displacement import check_displacement, write_displacement
from imatch.pipeline.apply.file import ApplyOptions
from imatch.pipeline.apply.geotransform import Inexact, apply_geotransform, check_geotransform
from imatch.pipeline.apply.output_grid import Bounds, GridKind
from imatch.pipeline.apply.raster import Choice, apply_raster, choose_resampling
from imatch.pipeline.pair.match import Image, open_images
from imatch.pipeline.pair.provenance import inputs_of
from imatch.pipeline.pair.registrar import Asked, Registrar, with_settings
from imatch.pipeline.registration.geo_correction import GeoCorrection
from imatch.pipeline.registration.result import ImageSummary, Registration
from imatch.pipeline.scene.checkpoint import clear, holds_tiles
from imatch.pipeline.scene.config import SceneConfig, SceneOptions, make_scene_config
from imatch.pipeline.scene.register import register_scene
from imatch.raster import Source, open_source
from imatch.raster.decoding import larger_cache
from imatch.raster.gdal import kept_open
from imatch.raster.names import is_known_again
from imatch.raster.stac.item import raster_of
from imatch.workflows.stac_item import check_stac, write_stac

#: Megabytes of decoded blocks that are kept from one stage to the next: a band of 16 bits of both
#: images of 10980 x 10980 pixels, and of their half resolution.
_CACHE_MB = 640


@larger_cache(_CACHE_MB)
@kept_open()
def register(
    ref: Image,
    tgt: Image,
    out: str | PathLike[str] | None = None,
    *,
    config: Asked | None = None,
    outputs: Sequence[str | PathLike[str]] = (),
    report: str | PathLike[str] | None = None,
    stac: str | PathLike[str] | None = None,
    displacement: str | PathLike[str] | None = None,
    grid: GridKind = "reference",
    res: float | None = None,
    bounds: Bounds | None = None,
    resampling: Choice = "auto",
    creation: Mapping[str, str] | None = None,
    cog: bool = False,
    geotransform_only: bool = False,
    inexact: Inexact = "refuse",
    jobs: int = 1,
    resume: bool = False,
    force: bool = False,
    overwrite: bool = False,
    log: WriteLog | None = None,
    progress: ProgressOption = None,
    **options: Unpack[SceneOptions],
) -> Registration:
    """Register a whole scene and, given a place, write the target on the reference's pixels.

    A rough answer comes from the reduced pair, as `imatch.match` gives it. Tie points are then
    measured tile by tile, at one or more levels up to the pixels of the coarser image, each level
    predicted from the one before. Memory does not grow with the scene. Accuracy figures come from
    blocks of tie points that were held out of the global and the local fit.

    With `out`, tiles that are measured are kept beside it until all is done, unless an image is no
    local file: a call that breaks off leaves them there, says so in a note of its exception, and
    one with `resume` goes on with them.

    Args:
        ref: Reference image: a path or URL, an array, a DataArray or a `Source`.
        tgt: Target image; a path or URL where `out` is given.
        out: The GeoTIFF to write if the registration is accepted; None to write nothing.
        config: Settings, or a registrar that was loaded with them; a plain `MatchConfig` lends
            what it has. The defaults when None.
        outputs: Files for the registration itself, as `Registration.save` writes them.
        report: File for the evidence, as `Registration.report` writes it.
        stac: File for the STAC item of `out`, with the certificate in its properties.
        displacement: GeoTIFF for what the registration moves, in metres, see `write_displacement`;
            like `out` it is written of an accepted registration only.
        grid: Whose pixel lattice `out` has, ``reference`` or ``target``.
        res: Side of its pixels in units of its CRS.
        bounds: (left, bottom, right, top) to cover, in its CRS.
        resampling: How to take values between pixels, see `choose_resampling`.
        creation: Creation options of GDAL's GTiff driver, or of its COG driver.
        cog: Write a cloud-optimised GeoTIFF.
        geotransform_only: Correct where the target says it lies, and leave its pixels alone.
        inexact: What to do where a geotransform cannot say it: ``refuse``, ``accept`` or ``gcps``.
        jobs: Threads that measure tiles.
        resume: Go on with the tiles that an earlier call left.
        force: Write `out` and `displacement` even if the registration is not ok, or not near
            enough.
        overwrite: Replace files that exist, and tiles of an earlier call.
        log: Where to note what was written, and what of `outputs` and `report` could not be,
            instead of raising that when all else is done.
        progress: True shows how far the work is on a terminal's stderr; a callback is told.
        **options: Fields of `SceneConfig` to replace, e.g. ``local="none"``.

    Returns:
        The registration. Where the reduced pair has no sure answer, that answer as it is; where the
        tiles do not confirm it, the same made ``uncertain``, with the reason. Then, unless there is
        `force`, nothing is written.

    Raises:
        ConfigError: An option makes no sense.
        InputError: An image cannot be used.
        OutputError: A file is an input, exists, or cannot be written; an earlier call was
            interrupted and neither `resume` nor `overwrite` is set.
        ImatchError: A checkpoint is missing.

    Examples:
        >>> import imatch, numpy as np
        >>> rng = np.random.default_rng(0)
        >>> ground = rng.random((50, 50)).repeat(8, axis=0).repeat(8, axis=1)
        >>> found = imatch.register(ground[:, :380], ground[:, 20:], matcher="phase", window=32)
        >>> found.status, [round(v) for v in found.shift_px]
        ('ok', [-20, 0])
    """
    check_options(options, SceneConfig, register)
    asked = with_settings(config, make_scene_config, **options)
    settings = asked.config if isinstance(asked, Registrar) else asked
    with ProgressStages(progress) as stages:

        def measure(state: Path | None) -> Registration:
            return register_scene(
                ref,
                tgt,
                asked,
                jobs=jobs,
                state=state,
                overwrite=not resume,
                on_stage=stages.begin,
                on_progress=lambda done, total: stages.show("measuring tiles", done, total),
            )

        place, told = None if out is None else Path(out), WriteLog() if log is None else log
        documents, evidence = [*map(Path, outputs)], None if report is None else Path(report)
        item = None if stac is None else Path(stac)
        if item is not None and place is None:
            raise ConfigError("describes the raster, and none is written", subject="stac")
        moved = None if displacement is None else Path(displacement)
        others = [path for path in (place, evidence, moved, item) if path is not None]
        _check_places(documents, others, [_name(ref), _name(tgt)], overwrite=overwrite)
        if place is not None:
            _check_raster(place)
        if evidence is not None:
            check_report(evidence)
            if isinstance(settings.dem, Path):
                open_source(settings.dem)
        if item is not None:
            check_stac(item)
        if moved is not None:
            infos = [source.info for source in open_images(ref, tgt, settings)]
            check_displacement(infos, moved, geocoded=settings.use_geocoding)
        state = None
        if place is not None:
            name = _file(tgt, place)
            how = ApplyOptions(
                grid=grid,
                res=res,
                bounds=bounds,
                resampling=resampling,
                nodata=settings.tgt_nodata,
                creation=creation or {},
                cog=cog,
                geotransform_only=geotransform_only,
                inexact=inexact,
                overwrite=overwrite,
            )
            if geotransform_only:
                # Before hours of work: there has to be a geotransform to correct.
                check_geotransform(ImageSummary.of(open_images(ref, ref, settings)[0].info))
            state = _state_folder(place, _name(ref), name, resume=resume, overwrite=overwrite)
        with _kept_for_later(state):
            registration = measure(state)
            stages.end()
            good = registration.transform is not None and (registration.accepted or force)
            for path in () if good else (place, moved):
                if path is not None:
                    told.refused(path)
            if place is not None and good:
                # Where this fails the tiles are kept: with `resume` the next call costs little.
                told.wrote(place, _write_target(registration, name, place, how, progress))
                if item is not None:
                    with told.attempt(item):
                        write_stac(registration, place, item, overwrite=overwrite)
            if moved is not None and good:
                stages.begin(f"writing {moved.name}")
                with told.attempt(moved):
                    images = open_images(ref, tgt, settings)
                    write_displacement(
                        registration, *images, moved, creation=creation, overwrite=overwrite
                    )
            write_all(registration, documents, overwrite=overwrite, log=told, on_stage=stages.begin)
            if evidence is not None:
                stages.begin(f"writing {evidence.name}")
                with told.attempt(evidence):
                    images = open_images(ref, tgt, settings)
                    write_quality(registration, *images, evidence, overwrite=overwrite)
    if log is None:
        told.check()
    return registration


def _check_raster(path: Path) -> None:
    if path.suffix.lower() not in (".tif", ".tiff"):
        raise ConfigError("is no .tif", subject=path, hint="GeoTIFF is what is written")


def _check_places(
    outputs: Sequence[Path],
    others: Sequence[Path],
    inputs: Sequence[str | None],
    *,
    overwrite: bool,
) -> None:
    """Refuse, before hours of work, what could not be written after them."""
    read = [Path(path) for path in inputs if path is not None]
    check_outputs(outputs, overwrite=overwrite, inputs=read)
    seen = {os.path.realpath(path): "is named twice as output" for path in outputs}
    seen |= {os.path.realpath(path): "is also an input" for path in read}
    for path in others:
        place = os.path.realpath(path)
        if place in seen:
            raise OutputError(seen[place], subject=path, hint="name another file")
        seen[place] = "is named twice as output"
        check_output(path, overwrite=overwrite)


def _name(image: Image) -> str | None:
    """The path or URL of an image; None where it has none."""
    if isinstance(image, str | PathLike):
        return fspath(image)
    return str(image.info.path) if isinstance(image, Source) and image.info.path else None


def _file(tgt: Image, out: Path) -> str:
    """The path or URL of a target that is to be written on other pixels.

    Raises:
        ConfigError: It has none, or is a folder of many.
    """
    name = _name(tgt)
    if name is None:
        raise ConfigError(
            "can be written of a target that is a file",
            subject=out,
            hint="leave it out, and take the pixels of Registration.warp",
        )
    name = fspath(raster_of(name))
    if Path(name).is_dir() or Path(name).suffix.lower() in (".zip", ".tar"):
        kind = "a folder" if Path(name).is_dir() else "an archive"
        raise ConfigError(
            f"is {kind} of many rasters",
            subject=name,
            hint="name one of them, and apply its registration to the others",
        )
    return name


def _write_target(
    registration: Registration,
    tgt: str,
    out: Path,
    options: ApplyOptions,
    progress: ProgressOption,
) -> str:
    """Write the target as the registration has it; what to say of the file."""
    mapping, inputs = GeoCorrection.of(registration), inputs_of(registration)
    if options.geotransform_only:
        error = apply_geotransform(
            mapping,
            tgt,
            out,
            inexact=options.inexact,
            inputs=inputs,
            creation=options.creation,
            cog=options.cog,
            overwrite=options.overwrite,
        )
        return f"its geotransform is right to {error:.2g} px"
    chosen = choose_resampling(tgt, options.resampling)
    with shown(progress)(f"writing {out.name}", 100) as advance:
        grid = apply_raster(
            mapping,
            tgt,
            out,
            grid=options.grid,
            res=options.res,
            bounds=options.bounds,
            resampling=chosen.method,
            nodata=options.nodata,
            creation=options.creation,
            cog=options.cog,
            overwrite=options.overwrite,
            inputs=inputs,
            on_progress=lambda share: advance(100 * share),
        )
    return f"{grid.width}x{grid.height} pixels, {chosen}"


def _state_folder(
    out: Path, ref: str | None, tgt: str, *, resume: bool, overwrite: bool
) -> Path | None:
    """Where finished tiles are kept: beside the output; None for what is no local file."""
    if ref is None or not (is_known_again(ref) and is_known_again(tgt)):
        return None
    folder = out.parent / f".{out.name}.imatch"
    if resume:
        return folder
    if overwrite:
        clear(folder)
    elif folder.exists():
        raise OutputError(
            "an earlier run was interrupted",
            subject=folder,
            hint="pass --resume to go on with it, or --overwrite to begin anew",
        )
    return folder


@contextmanager
def _kept_for_later(state: Path | None) -> Iterator[None]:
    """Keeps the state folder if the block fails, and removes it otherwise."""
    if state is None:
        yield
        return
    try:
        yield
    except (Exception, KeyboardInterrupt) as error:
        if holds_tiles(state):
            error.add_note(
                f"finished tiles are kept in {state}; run again with --resume to use them"
            )
        else:
            clear(state)
        raise
    clear(state)
