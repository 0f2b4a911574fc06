"""Runs a benchmark and writes its report: ``summary.json``, ``summary.md``, ``report.html``."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from os import PathLike
from pathlib import Path
from typing import Any, Unpack

from imatch.benchmark import plots, tables
from imatch.benchmark.gallery import PER_MATCHER, ResultFigure, false_accepts, result_figures, worst
from imatch.benchmark.results import Result
from imatch.benchmark.runner import SUMMARIES, BenchPlan, Run, run_benchmark
from imatch.benchmark.summary import summarise
from imatch.core.io.files import atomic_path
from imatch.core.progress import ProgressOption, shown
from imatch.core.settings import check_options
from imatch.export.html import render
from imatch.pipeline.pair.config import MatchConfig, MatchOptions, make_config


def bench(
    cases: str | PathLike[str],
    matchers: str | Sequence[str],
    out: str | PathLike[str],
    *,
    config: MatchConfig | None = None,
    root: str | PathLike[str] | None = None,
    filters: Sequence[str] = (),
    limit: int | None = None,
    detectors: bool = False,
    jobs: int = 1,
    resume: bool = False,
    overwrite: bool = False,
    command: str = "",
    progress: ProgressOption = None,
    **options: Unpack[MatchOptions],
) -> Run:
    """Run matchers over image pairs whose true transform is known, and write a report.

    The report tells recall, false accepts, calibration, time and memory. Cases run in processes of
    their own: a script calls this below ``if __name__ == "__main__":``.

    Args:
        cases: CSV of the cases (`read_cases`).
        matchers: Name of a matcher, or several names.
        out: Folder for ``results.csv``, ``summary.json``, ``summary.md`` and ``report.html``.
        config: Settings that the matchers share; the defaults when None. A ``size`` that is named
            is kept, otherwise nothing is reduced.
        root: Folder that the image paths start from; that of `cases` when None.
        filters: ``KEY=VALUE``: only cases whose case, source, variant or tag is VALUE.
        limit: At most so many cases, spread evenly over those selected.
        detectors: Measure keypoints too: repeatability, MMA and matching score.
        jobs: Worker processes; more than one take one thread each, which slows each case.
        resume: Go on with the run that the folder holds.
        overwrite: Throw it away.
        command: Command line to remember.
        progress: True shows how many cases are done on a terminal's stderr; a callback is told.
        **options: Fields of `MatchConfig` to replace.

    Returns:
        A row for each case and matcher, and the summary.

    Raises:
        ConfigError: An option does not exist or makes no sense, or no case passes the filters.
        InputError: The table or an image cannot be read.
        OutputError: The folder holds something else, or the disk refused.
        ImatchError: A matcher cannot be loaded.

    Examples:
        >>> import cv2, imatch, numpy as np
        >>> folder = getfixture("tmp_path")
        >>> ground = cv2.resize(np.random.default_rng(0).random((40, 40)), (320, 320)) * 255
        >>> for name, left in (("a.png", 0), ("b.png", 20)):
        ...     _ = cv2.imwrite(str(folder / name), ground[:, left : left + 280])
        >>> from imatch.benchmark.cases import Case, write_cases
        >>> truth = np.array([[1, 0, -20], [0, 1, 0], [0, 0, 1.0]])
        >>> case = Case("shift", "made", "near", "", "a.png", "b.png", np.eye(3), truth)
        >>> write_cases(folder / "cases.csv", [case])
        >>> run = imatch.bench(folder / "cases.csv", "sift", folder / "results")
        >>> [(row.case, row.status) for row in run.results]
        [('shift', 'ok')]
    """
    check_options(options, MatchConfig, bench)
    folder = Path(out)
    plan = BenchPlan.of_table(
        Path(cases),
        [matchers] if isinstance(matchers, str) else matchers,
        root=None if root is None else Path(root),
        filters=filters,
        limit=limit,
        detectors=detectors,
        config=make_config(config, **options),
    )
    with shown(progress)("matching", len(plan.cases) * len(plan.configs)) as advance:
        done = run_benchmark(
            plan,
            folder,
            jobs=jobs,
            resume=resume,
            overwrite=overwrite,
            command=command,
            on_result=lambda _result: advance(1),
        )
    return replace(done, summary=write_report(done, plan, folder))


def write_report(run: Run, plan: BenchPlan, out: Path) -> dict[str, Any]:
    """Writes ``summary.json``, ``summary.md`` and ``report.html``.

    Args:
        run: The results.
        plan: What was to be run.
        out: An existing folder.

    Returns:
        The summary.

    Raises:
        OutputError: The disk refused.
    """
    summary = summarise(run, plan)
    texts = (
        json.dumps(summary, indent=2, ensure_ascii=False, allow_nan=False) + "\n",
        to_markdown(summary),
        to_html(summary, run, plan),
    )
    for name, text in zip(SUMMARIES, texts, strict=True):
        with atomic_path(out / name, overwrite=True) as path:
            path.write_text(text, encoding="utf-8")
    return summary


def to_markdown(summary: dict[str, Any]) -> str:
    """Returns the facts and the tables as Markdown."""
    lines = ["# Benchmark", ""]
    lines += [f"- **{name}**: {value}" for name, value in facts(summary)]
    return (
        "\n".join([*lines, ""])
        + "\n"
        + "\n".join(table.to_markdown() for table in tables.all_tables(summary))
    )


def to_html(summary: dict[str, Any], run: Run, plan: BenchPlan) -> str:
    """Returns the tables, the plots and the galleries as one HTML page."""
    matchers = [config.matcher for config in plan.configs]
    listed = [*tables.all_tables(summary), *filter(None, [tables.errors(summary)])]
    return render(
        "benchmark.html.j2",
        cases=summary["run"]["cases"]["count"],
        matchers=matchers,
        tables={table.title: table for table in listed},
        plots={
            "recall": plots.recall_plot(run.results, matchers),
            "conditions": plots.bars_plot(summary, "robustness", "By condition"),
            "time": plots.time_plot(run.results, matchers),
            "reliability": plots.reliability_plot(summary),
            "tags": plots.bars_plot(summary, "by_tag", "By tag"),
        },
        limit=PER_MATCHER,
        false_accepts=_gallery(run, plan, false_accepts),
        worst=_gallery(run, plan, worst),
        facts=facts(summary),
    )


def facts(summary: dict[str, Any]) -> list[tuple[str, str]]:
    """Returns what a reader needs to judge or repeat the run, as names and texts."""
    run = summary["run"]
    last = run["sittings"][-1] if run["sittings"] else {}
    machine = last.get("machine", {})
    commits = dict.fromkeys(_commit(session.get("commit")) for session in run["sittings"])
    selection = [
        *(f"{key}={value}" for key, values in run.get("filters", {}).items() for value in values),
        *([f"limit {run['limit']}"] if run.get("limit") is not None else []),
    ]
    found = [
        ("Cases", f"{run['cases']['count']} of {run.get('table', 'a table')}"),
        ("Selection", ", ".join(selection) or "all"),
        ("Images under", run["root"]),
        ("Working size", run["size_rule"]),
        ("Commands", "; ".join(f"`{s['command']}`" for s in run["sittings"] if s.get("command"))),
        ("Started", ", ".join(str(session.get("started")) for session in run["sittings"])),
        ("Commit", ", ".join(commits)),
        (
            "Machine",
            f"{machine.get('cpu')}, {machine.get('cores')} cores, {machine.get('memory_gb')} GB",
        ),
        ("Worker processes", str(last.get("jobs"))),
        ("Versions", ", ".join(f"{k} {v}" for k, v in last.get("versions", {}).items())),
        ("Settings", "; ".join(_changed(settings) for settings in run["settings"])),
    ]
    return [(name, text) for name, text in found if text]


def _changed(settings: dict[str, Any]) -> str:
    """Returns a matcher's settings that are not the defaults."""
    from imatch.pipeline.pair.config import MatchConfig

    defaults = MatchConfig().model_dump(mode="json")
    other = [
        f"{key}={value}"
        for key, value in settings.items()
        if key != "matcher" and value != defaults[key]
    ]
    return f"{settings['matcher']} ({', '.join(other) or 'defaults'})"


def _commit(commit: dict[str, Any] | None) -> str:
    if commit is None:
        return "unknown"
    return str(commit["hash"])[:12] + (" with changes" if commit["dirty"] else "")


def _gallery(
    run: Run, plan: BenchPlan, choose: Callable[[Sequence[Result], str], list[Result]]
) -> list[tuple[str, int, list[ResultFigure]]]:
    """Returns of each matcher with such results their number and figures of the first."""
    cases = {case.name: case for case in plan.cases}
    galleries = []
    for config in plan.configs:
        chosen = choose(run.results, config.matcher)
        shots = result_figures(chosen, cases, plan.root, config)
        if shots:
            galleries.append((config.matcher, len(chosen), shots))
    return galleries
