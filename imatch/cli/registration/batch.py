"""``imatch batch``: many pairs, here or on a cluster."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from imatch.cli.console import command_line, print_json, seen, stdout_console
from imatch.cli.errors import NOT_REGISTERED
from imatch.cli.logs import Verb, note
from imatch.cli.options.common import format_option, number_option, output_folder_option
from imatch.cli.options.match import chosen_config, chosen_scene_config, config_options
from imatch.cli.options.raster import items_option, raster_fields, raster_options
from imatch.cli.options.run import chosen_run, run_options
from imatch.export.formats import EXPORTS

if TYPE_CHECKING:
    from imatch.pipeline.batch.folders import PairBy


@click.command(cls=Verb)
@click.argument("source", metavar="PAIRS.csv|FOLDER|COLLECTION")
@click.argument("targets", metavar="[TARGETS]", required=False)
@output_folder_option("Folder for results/, results.csv, summary.json and report.html.")
@click.option(
    "--pair-by",
    type=click.Choice(["name", "order", "date"]),
    help="How the images of two folders go together.  [default: name]",
)
@click.option(
    "--reference",
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
@number_option(
    "--retries",
    click.IntRange(0),
    1,
    "N",
    "How often to begin a pair anew whose worker was killed or crashed.",
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
    help=f"Write each result in another format too: {', '.join(EXPORTS[:-1])} or {EXPORTS[-1]};"
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
@items_option
@format_option
@config_options
def batch(
    source: str,
    targets: str | None,
    *,
    out: Path,
    pair_by: PairBy | None,
    reference: str | None,
    all_pairs: bool,
    max_gap: int | None,
    retries: int,
    timeout: float | None,
    exports: tuple[str, ...],
    whole: bool,
    stac: bool,
    fmt: str,
    **fields: Any,
) -> None:
    """Register many pairs of images; one that fails never stops the others.

    PAIRS.csv has the columns reference, target, perhaps name, and settings of single pairs
    (ref_bands, tgt_mask, matcher...); its paths start from its own folder. Two folders are paired
    by their files' names. One folder is a time series: with --reference or --all-pairs. A STAC
    collection stands for a folder.

    Exits with 1 if a pair could not be run, else with 3 if one is not registered.

    \b
    imatch batch pairs.csv -o out --jobs 4 --export gpkg
    imatch batch summer/ winter/ -o out --pair-by date --max-gap 5
    imatch batch series/ -o out --reference series/2018-08-12.tif --register --co COMPRESS=ZSTD
    imatch batch series/ -o out --all-pairs --max-gap 60 --dask tcp://host:8786 --resume
    """  # noqa: D301 - click wants the backspace itself.
    import imatch
    from imatch.export import WriteLog
    from imatch.export.batch.report import print_batch

    rasters, options, log = raster_fields(fields), chosen_run(fields), WriteLog()
    run = imatch.batch(
        source,
        out,
        targets=targets,
        pair_by=pair_by,
        reference=reference,
        all_pairs=all_pairs,
        max_gap=max_gap,
        config=chosen_scene_config(fields) if whole else chosen_config(fields),
        exports=exports,
        register=whole,
        **rasters,
        stac=stac,
        **vars(options),
        retries=retries,
        timeout=timeout,
        command=command_line(),
        log=log,
        progress=seen(),
    )
    if fmt == "json":
        print_json(run.summary)
    else:
        with stdout_console() as console:
            print_batch(run, run.summary, console)
    for line in (f"wrote {out / 'report.html'}", *log.lines):
        note(line)
    log.check()
    if run.summary["counts"]["error"]:
        click.get_current_context().exit(1)
    if run.summary["registered"] < len(run.results):
        click.get_current_context().exit(NOT_REGISTERED)
