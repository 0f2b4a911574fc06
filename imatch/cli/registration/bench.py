"""``imatch bench``: run matchers over cases with known truth."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from imatch.cli.console import command_line, print_json, stdout_console
from imatch.cli.logs import Verb, is_quiet, note
from imatch.cli.options.common import (
    format_option,
    offline_option,
    resume_option,
    settings_option,
    verbosity_options,
)
from imatch.cli.options.match import may_fetch
from imatch.cli.options.values import complete_matcher, known_matchers

if TYPE_CHECKING:
    from imatch.export.html import HtmlTable


@click.command(cls=Verb)
@click.argument("cases", type=click.Path(path_type=Path))
@click.option(
    "--root",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Folder that the image paths start from.  [default: that of CASES]",
)
@click.option(
    "-m",
    "--matcher",
    "matchers",
    metavar="NAME",
    multiple=True,
    required=True,
    callback=known_matchers,
    shell_complete=complete_matcher,
    help="Which matcher; repeat it to compare several.",
)
@click.option(
    "-o",
    "--output",
    "out",
    type=click.Path(path_type=Path),
    required=True,
    metavar="OUTDIR",
    help="Folder for results.csv, summary.json, summary.md and report.html.",
)
@click.option(
    "--jobs",
    type=click.IntRange(1),
    default=1,
    show_default=True,
    metavar="N",
    help="Worker processes; more than one take one thread each, which slows each case.",
)
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
@click.option("--seed", type=int, metavar="N", help="Seed of everything random.  [default: 0]")
@settings_option
@offline_option
@format_option
@verbosity_options
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
    from imatch.bench.cases import parse_filters, read_cases, select_cases
    from imatch.bench.report import write_report
    from imatch.bench.runner import BenchPlan, run_benchmark
    from imatch.bench.tables import overview, parts
    from imatch.core.progress import progress
    from imatch.pipeline.pair.config import load_config, make_config

    if resume and overwrite:
        raise click.UsageError("--resume and --overwrite contradict each other")
    chosen = parse_filters(filters)
    selected = select_cases(read_cases(cases), chosen, limit)
    given: dict[str, Any] = {} if seed is None else {"seed": seed}
    base = load_config(None, settings)
    given["fetch"] = may_fetch(base, offline=offline)
    configs = tuple(make_config(base, **given, matcher=name) for name in dict.fromkeys(matchers))
    plan = BenchPlan(
        tuple(selected),
        cases.parent if root is None else root,
        configs,
        # A size asked for is kept; otherwise nothing is reduced.
        fit_size="size" not in base.model_fields_set,
        detectors=detectors,
        origin=(
            ("table", str(cases)),
            ("filters", {key: list(values) for key, values in chosen.items()}),
            ("limit", limit),
        ),
    )
    total = len(plan.cases) * len(configs)
    with progress("matching", total, enabled=not is_quiet()) as advance:
        done = run_benchmark(
            plan,
            out,
            jobs=jobs,
            resume=resume,
            overwrite=overwrite,
            command=command_line(),
            on_result=lambda _result: advance(1),
        )
    summary = write_report(done, plan, out)
    if fmt == "json":
        print_json(summary)
    else:
        _print([overview(summary), parts(summary, "groups", "Groups")])
    errors = sum(row.status == "error" for row in done.results)
    if errors:
        note(f"{errors} of {total} could not be run; the column error of results.csv says why")
    note(f"wrote {out / 'report.html'}")


def _print(tables: list[HtmlTable | None]) -> None:
    from rich.markup import escape
    from rich.table import Table

    with stdout_console() as console:
        for table in tables:
            if table is None:
                continue
            printed = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
            for index, name in enumerate(table.header):
                printed.add_column(escape(name), justify="right" if index else "left")
            for row in table.rows:
                printed.add_row(*(escape(cell.text) for cell in row))
            console.print(f"[bold]{escape(table.title)}[/]")
            console.print(f"[dim]{escape(table.note)}[/]")
            console.print(printed)
            console.print()
