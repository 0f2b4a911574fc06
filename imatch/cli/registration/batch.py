"""``imatch batch``: many pairs, here or on a cluster."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from imatch.cli.console import command_line, print_json, stdout_console
from imatch.cli.errors import NOT_REGISTERED
from imatch.cli.logs import Verb, is_quiet, note
from imatch.cli.options.common import format_option, verbosity_options
from imatch.cli.options.match import chosen_config, chosen_scene_config, config_options
from imatch.cli.options.raster import raster_fields, raster_options
from imatch.cli.options.run import chosen_run, run_options
from imatch.export.formats import FORMATS

if TYPE_CHECKING:
    from imatch.pipeline.batch.run import BatchPair, BatchRun

# Failures that are worth a line on the terminal; the report has them all.
_SHOWN = 10
# The document is written anyway.
_EXPORTS = [suffix.lstrip(".") for suffix in FORMATS if suffix != ".json"]


@click.command(cls=Verb)
@click.argument("source", metavar="PAIRS.csv|FOLDER", type=click.Path(path_type=Path))
@click.argument("targets", metavar="[TARGETS]", type=click.Path(path_type=Path), required=False)
@click.option(
    "-o",
    "--output",
    "out",
    type=click.Path(path_type=Path),
    required=True,
    metavar="DIR",
    help="Folder for results/, results.csv, summary.json and report.html.",
)
@click.option(
    "--pair-by",
    type=click.Choice(["name", "order", "date"]),
    help="How the images of two folders go together.  [default: name]",
)
@click.option(
    "--reference",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Of one folder: register all its other images to this one.",
)
@click.option("--all-pairs", is_flag=True, help="Of one folder: register every two images.")
@click.option(
    "--max-gap",
    type=click.IntRange(0),
    metavar="DAYS",
    help="Only pairs whose dates, in their names, lie no further apart.",
)
@run_options
@click.option(
    "--retries",
    type=click.IntRange(0),
    default=1,
    show_default=True,
    metavar="N",
    help="How often to begin a pair anew whose worker was killed or crashed.",
)
@click.option(
    "--timeout",
    type=click.FloatRange(0, min_open=True),
    metavar="S",
    help="Give a pair up after so many seconds.",
)
@click.option(
    "--export",
    "exports",
    multiple=True,
    metavar="FORMAT",
    help=f"Write each result in another format too: {', '.join(_EXPORTS[:-1])} or {_EXPORTS[-1]};"
    " may be repeated.",
)
@click.option(
    "--register",
    "whole",
    is_flag=True,
    help="Register whole scenes at full resolution and write registered/NAME.tif of each that is ok"
    " and meets the --tolerance.",
)
@raster_options
@format_option
@config_options
@verbosity_options
def batch(
    source: Path,
    targets: Path | None,
    *,
    out: Path,
    pair_by: str | None,
    reference: Path | None,
    all_pairs: bool,
    max_gap: int | None,
    retries: int,
    timeout: float | None,
    exports: tuple[str, ...],
    whole: bool,
    fmt: str,
    **fields: Any,
) -> None:
    """Register many pairs of images; one that fails never stops the others.

    PAIRS.csv has the columns reference, target, perhaps name, and settings of single pairs
    (ref_bands, tgt_mask, matcher...); its paths start from its own folder. Two folders are paired
    by their files' names. One folder is a time series: with --reference or --all-pairs.

    Exits with 1 if a pair could not be run, else with 3 if one is not registered.

    \b
    imatch batch pairs.csv -o out --jobs 4 --export gpkg
    imatch batch summer/ winter/ -o out --pair-by date --max-gap 5
    imatch batch series/ -o out --reference series/2018-08-12.tif --register --co COMPRESS=ZSTD
    imatch batch series/ -o out --all-pairs --max-gap 60 --dask tcp://host:8786 --resume
    """  # noqa: D301 - click wants the backspace itself.
    from imatch.core.progress import progress
    from imatch.export.batch.report import write_report
    from imatch.export.batch.writer import ResultWriter
    from imatch.pipeline.batch.run import run_batch

    finishing = ResultWriter.of(exports)
    rasters, options = raster_fields(fields), chosen_run(fields)
    config = chosen_scene_config(fields) if whole else chosen_config(fields)
    pairs = _pairs(source, targets, pair_by, reference, all_pairs=all_pairs, max_gap=max_gap)
    with progress("registering", len(pairs), enabled=not is_quiet()) as advance:
        run = run_batch(
            pairs,
            config,
            out,
            **vars(options),
            retries=retries,
            timeout=timeout,
            warp=rasters if whole else None,
            finish=finishing,
            settings={"exports": list(finishing.suffixes)},
            command=command_line(),
            on_result=lambda _row: advance(1),
        )
    summary = write_report(run)
    if fmt == "json":
        print_json(summary)
    else:
        _show(run, summary)
    note(f"wrote {out / 'report.html'}")
    if summary["counts"]["error"]:
        click.get_current_context().exit(1)
    if summary["registered"] < len(run.results):
        click.get_current_context().exit(NOT_REGISTERED)


def _pairs(
    source: Path,
    targets: Path | None,
    pair_by: str | None,
    reference: Path | None,
    *,
    all_pairs: bool,
    max_gap: int | None,
) -> list[BatchPair]:
    """The pairs that the arguments describe, if they go together."""
    from imatch.pipeline.batch.folders import pair_folders, pair_series
    from imatch.pipeline.batch.table import read_pairs

    series = reference is not None or all_pairs
    if targets is not None:
        if series:
            raise click.UsageError("--reference and --all-pairs take one folder")
        if max_gap is not None and pair_by != "date":
            raise click.UsageError("with two folders --max-gap goes with --pair-by date")
        return pair_folders(source, targets, pair_by or "name", max_gap)  # type: ignore[arg-type]
    if pair_by is not None:
        raise click.UsageError("--pair-by takes two folders")
    if source.is_dir():
        if reference is not None and all_pairs:
            raise click.UsageError("--reference and --all-pairs contradict each other")
        if not series:
            raise click.UsageError(
                "one folder needs --reference FILE or --all-pairs; or name a second folder"
            )
        return pair_series(source, reference, max_gap)
    if series or max_gap is not None:
        raise click.UsageError("--reference, --all-pairs and --max-gap take a folder")
    return read_pairs(source)


def _show(run: BatchRun, summary: dict[str, Any]) -> None:
    """Counts, typical figures, and the first failures."""
    from rich.markup import escape
    from rich.table import Table

    from imatch.export.batch.report import failure_reason, failures
    from imatch.export.text import number

    counts = ", ".join(f"{n} {status}" for status, n in reversed(run.counts.items()) if n)
    lost = failures(run.results)
    with stdout_console() as console:
        console.print(
            f"[bold]{summary['registered']} of {len(run.results)}[/] registered ({counts})"
        )
        for name, label in (("bound_px", "95 % bound"), ("rmse_px", "RMSE")):
            spread = summary["figures"][name]
            if spread["median"] is not None:
                median, most = number(spread["median"]), number(spread["max"])
                console.print(f"{label}: median {median} px, at most {most} px")
        table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), show_header=False)
        for row in lost[:_SHOWN]:
            table.add_row(escape(row.name), row.status, escape(failure_reason(row)))
        if lost:
            console.print(table)
        if len(lost) > _SHOWN:
            console.print(f"and {len(lost) - _SHOWN} more; see report.html")
