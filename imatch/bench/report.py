"""The report of a benchmark: ``summary.json``, ``summary.md`` and ``report.html``."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from imatch.bench import plots, tables
from imatch.bench.gallery import PER_MATCHER, ResultFigure, false_accepts, result_figures, worst
from imatch.bench.results import Result
from imatch.bench.runner import SUMMARIES, BenchPlan, Run
from imatch.bench.summary import summarise
from imatch.core.io.files import atomic_path
from imatch.export.html import render


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
