"""``imatch batch``: many pairs, here or on a cluster."""

from __future__ import annotations

import os
import re
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from imatch.cli.console import print_json, stdout_console
from imatch.cli.errors import NOT_REGISTERED
from imatch.cli.logs import Verb, is_quiet, note
from imatch.cli.options import (
    config_fields,
    config_options,
    format_option,
    raster_options,
    verbosity_options,
)

if TYPE_CHECKING:
    from imatch.matchers.feature_cache import FeatureCache
    from imatch.pipeline.batch import BatchPair, BatchRun
    from imatch.pipeline.config import MatchConfig

_UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}
_SIZE = re.compile(r"(\d+\.?\d*|\.\d+)\s*([KMGT]?)B?", re.IGNORECASE)
# Failures that are worth a line on the terminal; the report has them all.
_SHOWN = 10


def parse_size(_ctx: click.Context, _param: click.Parameter, value: str | None) -> int | None:
    """``2GB``, ``500M``: bytes, in powers of ten."""
    if value is None:
        return None
    found = _SIZE.fullmatch(value.strip())
    size = round(float(found[1]) * _UNITS[found[2].upper()]) if found else 0
    if size < 1:
        raise click.BadParameter(f"{value!r} is no size such as 500MB or 2GB")
    return size


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
@click.option(
    "--jobs",
    type=click.IntRange(1),
    metavar="N",
    help="Worker processes; more than one take one thread each."
    "  [default: 1; with --dask local one a core]",
)
@click.option(
    "--dask",
    metavar="ADDRESS",
    help="Run on a Dask cluster: local, or a scheduler's address such as tcp://host:8786.",
)
@click.option("--resume", is_flag=True, help="Go on with the run that DIR holds; retry its errors.")
@click.option("--overwrite", is_flag=True, help="Throw away the run that DIR holds.")
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
    help="Write each result in another format too: gpkg, geojson, points, csv, npz, vrt or png;"
    " may be repeated.",
)
@click.option(
    "--register",
    "whole",
    is_flag=True,
    help="Register whole scenes at full resolution and write registered/NAME.tif of each.",
)
@raster_options
@click.option(
    "--cache",
    "cache_folder",
    type=click.Path(path_type=Path),
    envvar="IMATCH_CACHE",
    show_envvar=True,
    metavar="DIR",
    help="Where features are kept between pairs and runs.  [default: the user's cache folder]",
)
@click.option(
    "--cache-size",
    callback=parse_size,
    metavar="SIZE",
    help="What they may take; the least recently used go.  [default: 2GB]",
)
@click.option("--no-cache", is_flag=True, help="Keep no features on disk.")
@format_option
@config_options
@click.option(
    "--config",
    "config_file",
    type=click.Path(path_type=Path),
    help="Settings from a YAML file; options given here override it.",
)
@click.option(
    "-s",
    "--set",
    "settings",
    multiple=True,
    metavar="KEY=VALUE",
    help="One setting of the configuration; may be repeated.",
)
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
    jobs: int | None,
    dask: str | None,
    resume: bool,
    overwrite: bool,
    retries: int,
    timeout: float | None,
    exports: tuple[str, ...],
    whole: bool,
    cache_folder: Path | None,
    cache_size: int | None,
    no_cache: bool,
    fmt: str,
    config_file: Path | None,
    settings: tuple[str, ...],
    grid: str,
    res: float | None,
    bounds: tuple[float, float, float, float] | None,
    resampling: str,
    creation: dict[str, str],
    cog: bool,
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
    from imatch.export.batch_finish import Finishing
    from imatch.export.batch_report import write_report
    from imatch.pipeline.batch import run_batch
    from imatch.pipeline.batch_dask import LOCAL

    if resume and overwrite:
        raise click.UsageError("--resume and --overwrite contradict each other")
    finishing = Finishing.of(exports)
    config = _config(config_file, settings, fields, whole=whole)
    pairs = _pairs(source, targets, pair_by, reference, all_pairs=all_pairs, max_gap=max_gap)
    warp: dict[str, Any] = {
        "grid": grid,
        "res": res,
        "bounds": bounds,
        "resampling": resampling,
        "creation": creation,
        "cog": cog,
    }
    with progress("registering", len(pairs), enabled=not is_quiet()) as advance:
        run = run_batch(
            pairs,
            config,
            out,
            jobs=jobs or ((os.cpu_count() or 1) if dask == LOCAL else 1),
            dask=dask,
            resume=resume,
            overwrite=overwrite,
            retries=retries,
            timeout=timeout,
            cache=None if no_cache else _cache(cache_folder, cache_size),
            warp=warp if whole else None,
            finish=finishing,
            settings={"exports": list(finishing.suffixes)},
            command=shlex.join(["imatch", *sys.argv[1:]]),
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


def _config(
    file: Path | None, settings: tuple[str, ...], fields: dict[str, Any], *, whole: bool
) -> MatchConfig:
    from imatch.pipeline.config import load_config, make_config
    from imatch.pipeline.scene_config import load_scene_config

    load = load_scene_config if whole else load_config
    return make_config(load(file, settings), **config_fields(fields))


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
    from imatch.pipeline.batch_folders import pair_folders, pair_series
    from imatch.pipeline.batch_table import read_pairs

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


def _cache(folder: Path | None, limit: int | None) -> FeatureCache:
    from imatch.matchers.feature_cache import DEFAULT_LIMIT, FeatureCache, default_folder

    return FeatureCache((folder or default_folder()).absolute(), limit or DEFAULT_LIMIT)


def _show(run: BatchRun, summary: dict[str, Any]) -> None:
    """Counts, typical figures, and the first failures."""
    from rich.markup import escape
    from rich.table import Table

    from imatch.export.batch_report import failures, why
    from imatch.export.wording import number

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
            table.add_row(escape(row.name), row.status, escape(why(row)))
        if lost:
            console.print(table)
        if len(lost) > _SHOWN:
            console.print(f"and {len(lost) - _SHOWN} more; see report.html")
