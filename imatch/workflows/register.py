"""Register a whole scene and write it: the target, its registration in any format, a report."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from os import PathLike, fspath
from pathlib import Path
from typing import Any

from imatch.core.errors import ConfigError, OutputError
from imatch.core.io.files import check_output
from imatch.core.progress import Progress, ProgressStages, no_progress
from imatch.export.formats import WriteLog, check_outputs, write_all
from imatch.export.quality.assess import check_report, write_quality
from imatch.pipeline.apply.file import ApplyOptions
from imatch.pipeline.apply.geotransform import apply_geotransform, check_geotransform
from imatch.pipeline.apply.raster import apply_raster, choose_resampling
from imatch.pipeline.pair.match import open_images
from imatch.pipeline.pair.provenance import inputs_of
from imatch.pipeline.registration.geo_correction import GeoCorrection
from imatch.pipeline.registration.result import ImageSummary, Registration
from imatch.pipeline.scene.checkpoint import clear, holds_tiles
from imatch.pipeline.scene.config import SceneConfig, make_scene_config
from imatch.pipeline.scene.register import register
from imatch.raster import open_source
from imatch.raster.names import is_virtual


@dataclass(frozen=True, eq=False)
class RegisteredFiles:
    """A scene's registration, and what became of the files that were to be written.

    Attributes:
        registration: The registration.
        log: The files; ``log.check()`` raises where an export or the report could not be written.
    """

    registration: Registration
    log: WriteLog


def register_files(
    ref: str | PathLike[str],
    tgt: str | PathLike[str],
    out: Path,
    config: SceneConfig | None = None,
    *,
    outputs: Sequence[Path] = (),
    report: Path | None = None,
    options: ApplyOptions | None = None,
    jobs: int | None = None,
    resume: bool = False,
    force: bool = False,
    overwrite: bool = False,
    on_stage: Callable[[str], None] | None = None,
    progress: Progress = no_progress,
    **overrides: Any,
) -> RegisteredFiles:
    """Register a whole scene and write the target on the reference's pixels.

    Tiles that are measured are kept beside `out` until all is done, unless an image is no local
    file: a call that breaks off leaves them there, says so in a note of its exception, and one with
    `resume` goes on with them.

    Args:
        ref: The reference, a path or a URL.
        tgt: The target.
        out: The GeoTIFF to write, if the registration is accepted.
        config: Settings; the defaults when None.
        outputs: Files for the registration itself, the format from the suffix (`FORMATS`).
        report: File for the evidence, ``.html`` or ``.json``.
        options: How `out` is written, and whether its pixels are; the defaults when None.
        jobs: Processes that measure tiles; as many as the machine has cores when None.
        resume: Go on with the tiles that an earlier call left.
        force: Write `out` even if the registration is not ok, or not near enough.
        overwrite: Replace files that exist, and tiles of an earlier call.
        on_stage: Called with what is being done now.
        progress: Shows how far measuring and writing are.
        **overrides: Fields of `SceneConfig` to replace, e.g. ``local="none"``.

    Returns:
        The registration and what became of the files.

    Raises:
        ConfigError: An option makes no sense, or a suffix tells no format.
        InputError: An image cannot be used.
        OutputError: A file is an input, exists, or cannot be written; an earlier call was
            interrupted and neither `resume` nor `overwrite` is set.
        ImatchError: As `imatch.register`.
    """
    ref, tgt = fspath(ref), fspath(tgt)
    settings = make_scene_config(config, **overrides)
    options = replace(options or ApplyOptions(), nodata=settings.tgt_nodata, overwrite=overwrite)
    say = on_stage or (lambda _text: None)
    if Path(tgt).is_dir():
        raise ConfigError(
            "is a folder of many rasters",
            subject=tgt,
            hint="name one of them, and run imatch apply on the folder with the .json result",
        )
    _check_places(out, outputs, report, [Path(ref), Path(tgt)], overwrite=overwrite)
    if options.geotransform_only:
        # Before hours of work: there has to be a geotransform to correct.
        info = open_source(ref, bands=settings.ref_bands, nodata=settings.ref_nodata).info
        check_geotransform(ImageSummary.of(info))
    state = _state_folder(out, ref, tgt, resume=resume, overwrite=overwrite)
    log = WriteLog()
    with _kept_for_later(state):
        with ProgressStages(progress) as bars:

            def begin(text: str) -> None:
                bars.end()
                say(text)

            registration = register(
                ref,
                tgt,
                settings,
                jobs=jobs or os.cpu_count() or 1,
                state=state,
                overwrite=not resume,
                on_stage=begin,
                on_progress=lambda done, total: bars.show("measuring tiles", done, total),
            )
        if registration.transform is not None and (registration.accepted or force):
            # Where this fails the tiles are kept: with `resume` the next attempt costs little.
            log.wrote(out, _write_target(registration, tgt, out, options, progress))
        else:
            log.refused(out)
        write_all(registration, outputs, overwrite=overwrite, log=log, on_stage=say)
        if report is not None:
            say(f"writing {report.name}")
            with log.attempt(report):
                images = open_images(ref, tgt, settings)
                write_quality(registration, *images, report, overwrite=overwrite)
    return RegisteredFiles(registration, log)


def _write_target(
    registration: Registration, tgt: str, out: Path, options: ApplyOptions, progress: Progress
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
    with progress(f"writing {out.name}", 100) as advance:
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


def _check_places(
    out: Path,
    outputs: Sequence[Path],
    report: Path | None,
    inputs: Sequence[Path],
    *,
    overwrite: bool,
) -> None:
    """Checks, before hours of work, that the outputs can be written."""
    check_outputs(outputs, overwrite=overwrite, inputs=inputs)
    if out.suffix.lower() not in (".tif", ".tiff"):
        raise ConfigError("is no .tif", subject=out, hint="GeoTIFF is what is written")
    if report is not None:
        check_report(report)
    seen = {os.path.realpath(path): "is named twice as output" for path in outputs}
    seen |= {os.path.realpath(path): "is also an input" for path in inputs}
    for path in (out, report):
        if path is None:
            continue
        place = os.path.realpath(path)
        if place in seen:
            raise OutputError(seen[place], subject=path, hint="name another file")
        seen[place] = "is named twice as output"
        check_output(path, overwrite=overwrite)


def _state_folder(out: Path, ref: str, tgt: str, *, resume: bool, overwrite: bool) -> Path | None:
    """Returns the folder of finished tiles, beside the output; None for a remote output."""
    if is_virtual(ref) or is_virtual(tgt):
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
