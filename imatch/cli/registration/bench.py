"""``imatch bench``: run matchers over cases with known truth."""

from __future__ import annotations

from pathlib import Path

import click

from imatch.cli.console import command_line, print_json, seen, show_tables
from imatch.cli.logs import Verb, note
from imatch.cli.options.common import (
    PATH,
    check_resume,
    format_option,
    jobs_option,
    offline_option,
    output_folder_option,
    resume_option,
    settings_option,
)
from imatch.cli.options.match import config_option, matcher_config, matchers_option


@click.command(cls=Verb)
@click.argument("cases", type=PATH)
@click.option(
    "--root",
    type=PATH,
    metavar="DIR",
    help="Folder that the image paths start from.  [default: that of CASES]",
)
@matchers_option("Which matcher; repeat it to compare several.", required=True)
@output_folder_option(
    "Folder for results.csv, summary.json, summary.md and report.html.", metavar="OUTDIR"
)
@jobs_option("Worker processes; more than one take one thread each, which slows each case.")
@resume_option
@click.option("--overwrite", is_flag=True, help="Throw away the run that OUTDIR holds.")
@click.option(
    "--limit",
    type=click.IntRange(1),
    metavar="N",
    help="Only N cases, spread evenly over those selected.",
)
@click.option(
    "--filter",
    "filters",
    multiple=True,
    metavar="KEY=VALUE",
    help="Only cases whose case, source, variant or tag is VALUE (* for anything); repeat a key to"
    " take several values.",
)
@click.option(
    "--detectors",
    is_flag=True,
    help="Measure keypoints too: repeatability, MMA and matching score of sparse matchers.",
)
@config_option("seed", metavar="N")
@settings_option
@offline_option
@format_option
def bench(
    cases: Path,
    *,
    root: Path | None,
    matchers: tuple[str, ...],
    out: Path,
    jobs: int,
    resume: bool,
    overwrite: bool,
    limit: int | None,
    filters: tuple[str, ...],
    detectors: bool,
    seed: int | None,
    settings: tuple[str, ...],
    offline: bool,
    fmt: str,
) -> None:
    """Run matchers over CASES, a table of image pairs whose true transform is known.

    Writes a row for each case and matcher, and a report with recall, false accepts, calibration,
    time and memory. An interrupted run goes on with --resume.

    \b
    imatch bench cases.csv --root images -m sift -m aliked-lightglue -o results
    imatch bench cases.csv -m sift -o try --filter variant=near --filter 'tag=*snow*' --limit 20
    """  # noqa: D301 - click wants the backspace itself.
    import imatch
    from imatch.benchmark.tables import overview, parts

    check_resume(resume=resume, overwrite=overwrite)
    done = imatch.bench(
        cases,
        matchers,
        out,
        config=matcher_config(None, settings, seed=seed, offline=offline),
        root=root,
        filters=filters,
        limit=limit,
        detectors=detectors,
        jobs=jobs,
        resume=resume,
        overwrite=overwrite,
        command=command_line(),
        progress=seen(),
    )
    if fmt == "json":
        print_json(done.summary)
    else:
        show_tables([overview(done.summary), parts(done.summary, "groups", "Groups")])
    errors = sum(row.status == "error" for row in done.results)
    if errors:
        total = len(done.results)
        note(f"{errors} of {total} could not be run; the column error of results.csv says why")
    note(f"wrote {out / 'report.html'}")
