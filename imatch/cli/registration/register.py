"""``imatch register``: the target put on the reference, whole and at full resolution."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from imatch.cli.console import refusal, status_line
from imatch.cli.errors import NOT_REGISTERED
from imatch.cli.logs import Verb, is_quiet, note
from imatch.cli.options.common import format_option, overwrite_option, verbosity_options
from imatch.cli.options.match import chosen_scene_config, config_options
from imatch.cli.options.raster import in_place_options, raster_fields, raster_options
from imatch.cli.registration.match import show, write_all
from imatch.core.errors import ConfigError, ImatchError, OutputError
from imatch.export.formats import FORMATS

if TYPE_CHECKING:
    from imatch.pipeline.apply.geotransform import Inexact
    from imatch.pipeline.registration.result import Registration
    from imatch.pipeline.scene.config import SceneConfig

LOCAL = ("auto", "none", "polynomial2", "polynomial3", "spline", "tps")


@click.command(cls=Verb)
@click.argument("ref", metavar="REFERENCE")
@click.argument("tgt", metavar="TARGET")
@click.argument("out", metavar="OUT.tif", type=click.Path(path_type=Path))
@click.option(
    "-o",
    "--output",
    "outputs",
    type=click.Path(path_type=Path),
    multiple=True,
    help="A file to write beside OUT.tif; may be repeated. The suffix is the format:"
    f" {' '.join(FORMATS)}",
)
@click.option(
    "--plot", type=click.Path(path_type=Path), metavar="FILE.png", help="Draw the result."
)
@click.option(
    "--report",
    type=click.Path(path_type=Path),
    metavar="FILE.html",
    help="The evidence, before and after: a page, or its figures as .json.",
)
@raster_options
@in_place_options
@click.option(
    "--local",
    type=click.Choice(LOCAL),
    help="Smooth displacement on top of the global transform; auto takes the best family where it"
    " predicts held-out tie points better than none.  [default: auto]",
)
@click.option(
    "--spacing",
    type=float,
    metavar="PX",
    help="Distance of tie points in pixels of the reference.  [default: about 3000 tie points]",
)
@click.option(
    "--jobs",
    type=click.IntRange(1),
    metavar="N",
    help="Processes that measure tiles.  [default: as many as the machine has cores]",
)
@click.option("--resume", is_flag=True, help="Go on where an interrupted run broke off.")
@click.option(
    "--force", is_flag=True, help="Write OUT.tif even if the answer is not ok or not near enough."
)
@overwrite_option
@format_option
@config_options
@verbosity_options
def register(
    ref: str,
    tgt: str,
    out: Path,
    *,
    outputs: tuple[Path, ...],
    plot: Path | None,
    report: Path | None,
    geotransform_only: bool,
    inexact: Inexact,
    jobs: int | None,
    resume: bool,
    force: bool,
    overwrite: bool,
    fmt: str,
    **fields: Any,
) -> None:
    """Register the TARGET image to the REFERENCE image and write it as OUT.tif.

    Finds the rough answer on reduced images, measures tie points at full resolution tile by tile,
    bends the transform where that predicts held-out tie points better, and writes the target on the
    reference's pixels. Exits with 3, and writes no OUT.tif unless there is --force, if the answer
    is uncertain, if there is none, or if it does not meet the --tolerance.

    An interrupted run keeps the tiles it has measured beside OUT.tif; --resume goes on with them.

    \b
    imatch register august.tif november.tif november_registered.tif
    imatch register a.jp2 b.jp2 out.tif --cog --co COMPRESS=ZSTD -o result.json --report report.html
    imatch register a.tif b.tif out.tif --geotransform-only --local none --tolerance 0.5px
    """  # noqa: D301 - click wants the backspace itself.
    from imatch.pipeline.scene.register import register as register_scene

    if plot is not None:
        if plot.suffix.lower() != ".png":
            raise ConfigError("--plot draws a .png", subject=plot)
        outputs = (*outputs, plot)
    rasters = raster_fields(fields)
    write = _Writer(tgt, out, rasters, geotransform_only, inexact, overwrite)
    config = chosen_scene_config(fields)
    _check_places(out, outputs, report, [Path(ref), Path(tgt)], overwrite=overwrite)
    if geotransform_only:
        _check_reference(ref, config)
    state = _state_folder(out, ref, tgt, resume=resume, overwrite=overwrite)

    with _kept_for_later(state):
        with status_line(enabled=not is_quiet()) as on_stage, _Bar(on_stage) as bar:
            registration = register_scene(
                ref,
                tgt,
                config,
                jobs=jobs or os.cpu_count() or 1,
                state=state,
                overwrite=not resume,
                on_stage=bar.say,
                on_progress=bar.show,
            )
        refused = refusal(registration)
        said: list[str] = [f"not written: {out}"]
        failure: ImatchError | None = None
        if registration.transform is not None and (refused is None or force):
            said, failure = write(registration, config)
        if failure is not None:
            # The tie points are found; with --resume the next attempt costs little.
            raise failure
        with status_line(enabled=not is_quiet()) as on_stage:
            more, unwritten = write_all(
                registration, outputs, overwrite=overwrite, on_stage=on_stage
            )
            said, failure = said + more, unwritten
            if report is not None:
                on_stage(f"writing {report.name}")
                more, lacking = _report(registration, config, report, (ref, tgt), overwrite)
                said, failure = said + more, failure or lacking
    show(registration, fmt)
    for line in said:
        note(line)
    if failure is not None:
        raise failure
    if refused is not None:
        click.get_current_context().exit(NOT_REGISTERED)


class _Writer:
    """Writes the target as a registration has it."""

    def __init__(
        self,
        tgt: str,
        out: Path,
        rasters: dict[str, Any],
        geotransform_only: bool,
        inexact: Inexact,
        overwrite: bool,
    ) -> None:
        self._tgt, self._out, self._rasters = tgt, out, rasters
        self._in_place, self._inexact, self._overwrite = geotransform_only, inexact, overwrite
        resampled = {"grid": "reference", "res": None, "bounds": None, "resampling": "auto"}
        given = [name for name, default in resampled.items() if rasters[name] != default]
        if geotransform_only and given:
            raise click.UsageError(
                f"--geotransform-only leaves the pixels as they are, so --{given[0]} has no meaning"
            )
        if Path(tgt).is_dir():
            raise ConfigError(
                "is a folder of many rasters",
                subject=tgt,
                hint="name one of them, and run imatch apply on the folder with the .json result",
            )

    def __call__(
        self, registration: Registration, config: SceneConfig
    ) -> tuple[list[str], ImatchError | None]:
        """Write the raster; what to tell the user of it, and why it could not be done."""
        try:
            return [self._write(registration, config)], None
        except ImatchError as error:
            return [], error

    def _write(self, registration: Registration, config: SceneConfig) -> str:
        from imatch.core.progress import progress
        from imatch.pipeline.apply.geotransform import apply_geotransform
        from imatch.pipeline.apply.raster import apply_raster, choose_resampling
        from imatch.pipeline.pair.provenance import inputs_of
        from imatch.pipeline.registration.geo_correction import GeoCorrection

        mapping, out = GeoCorrection.of(registration), self._out
        if self._in_place:
            error = apply_geotransform(
                mapping,
                self._tgt,
                out,
                inexact=self._inexact,
                inputs=inputs_of(registration),
                creation=self._rasters["creation"],
                cog=self._rasters["cog"],
                overwrite=self._overwrite,
            )
            return f"wrote {out} (its geotransform is right to {error:.2g} px)"
        chosen = choose_resampling(self._tgt, self._rasters["resampling"])
        with progress(f"writing {out.name}", total=100, enabled=not is_quiet()) as advance:
            lattice = apply_raster(
                mapping,
                self._tgt,
                out,
                **{**self._rasters, "resampling": chosen.method},
                nodata=config.tgt_nodata,
                inputs=inputs_of(registration),
                overwrite=self._overwrite,
                on_progress=lambda share: advance(100 * share),
            )
        return f"wrote {out} ({lattice.width}x{lattice.height} pixels, {chosen})"


def _report(
    registration: Registration,
    config: SceneConfig,
    path: Path,
    images: tuple[str, str],
    overwrite: bool,
) -> tuple[list[str], ImatchError | None]:
    """Write the evidence; what to tell the user of it, and why it could not be done."""
    from imatch.export.quality.assess import write_quality
    from imatch.raster import open_source

    try:
        ref = open_source(
            images[0], bands=config.ref_bands, nodata=config.ref_nodata, mask=config.ref_mask
        )
        tgt = open_source(
            images[1], bands=config.tgt_bands, nodata=config.tgt_nodata, mask=config.tgt_mask
        )
        write_quality(registration, ref, tgt, path, overwrite=overwrite)
    except ImatchError as error:
        return [], error
    return [f"wrote {path}"], None


def _check_places(
    out: Path,
    outputs: Sequence[Path],
    report: Path | None,
    inputs: Sequence[Path],
    *,
    overwrite: bool,
) -> None:
    """Refuse, before hours of work, what could not be written after them."""
    from imatch.core.io.files import check_output
    from imatch.export import check_outputs

    check_outputs(outputs, overwrite=overwrite, inputs=inputs)
    if out.suffix.lower() not in (".tif", ".tiff"):
        raise ConfigError("is no .tif", subject=out, hint="GeoTIFF is what is written")
    if report is not None and report.suffix.lower() not in (".html", ".htm", ".json"):
        raise ConfigError("is no .html or .json", subject=report, hint="name the report so")
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


def _check_reference(ref: str, config: SceneConfig) -> None:
    """Refuse, before hours of work, to correct a geotransform that there will not be."""
    from imatch.pipeline.apply.geotransform import check_geotransform
    from imatch.pipeline.registration.result import ImageSummary
    from imatch.raster import open_source

    info = open_source(ref, bands=config.ref_bands, nodata=config.ref_nodata).info
    check_geotransform(ImageSummary.of(info))


def _state_folder(out: Path, ref: str, tgt: str, *, resume: bool, overwrite: bool) -> Path | None:
    """Where finished tiles are kept: beside the output; None for what is no local file."""
    from imatch.pipeline.scene.checkpoint import clear
    from imatch.raster.names import is_virtual

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
    """Keep the state where the block ends early, say so, and clear it away where it ends well."""
    from imatch.pipeline.scene.checkpoint import clear, holds_tiles

    if state is None:
        yield
        return
    try:
        yield
    except (Exception, KeyboardInterrupt):
        if holds_tiles(state):
            note(f"finished tiles are kept in {state}; run again with --resume to use them")
        else:
            clear(state)
        raise
    clear(state)


class _Bar:
    """The progress of tiles below the line that says what is being done.

    Args:
        on_stage: Shows that line.
    """

    def __init__(self, on_stage: Callable[[str], None]) -> None:
        self._say, self._shown, self._done = on_stage, ExitStack(), 0
        self._advance: Callable[[float], None] | None = None

    def __enter__(self) -> _Bar:
        return self

    def __exit__(self, *_: object) -> None:
        self._shown.close()

    def say(self, text: str) -> None:
        """Show what is being done, in place of the bar."""
        self._shown.close()
        self._advance = None
        self._say(text)

    def show(self, done: int, total: int) -> None:
        """Show how many tiles are done."""
        from imatch.core.progress import progress

        if self._advance is None:
            bar = progress("measuring tiles", total, enabled=not is_quiet())
            self._advance, self._done = self._shown.enter_context(bar), 0
        self._advance(done - self._done)
        self._done = done
