"""The report of a batch: ``summary.json``, ``report.html``, and the summary on a terminal."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from imatch.core.io.files import atomic_path
from imatch.core.io.jsontext import json_values, to_json
from imatch.export.batch import plots
from imatch.export.html import HtmlCell, HtmlTable, render
from imatch.export.text import number
from imatch.pipeline.batch.journal import PREVIEWS, SUMMARIES
from imatch.pipeline.batch.result import OUTCOMES, BatchResult
from imatch.pipeline.batch.run import BatchRun

if TYPE_CHECKING:
    from rich.console import Console

SCHEMA = "imatch.batch/1"
_FIGURES = ("shift_px", "shift_m", "ci95_px", "bound_px", "bound_m", "rmse_px", "rmse_m", "seconds")
_PICTURES = 12
# Failures that are worth a line on the terminal; the page has them all.
_SHOWN = 10


def write_report(run: BatchRun) -> dict[str, Any]:
    """Writes ``summary.json`` and ``report.html`` into the batch's folder.

    Args:
        run: The results.

    Returns:
        The summary.

    Raises:
        OutputError: The disk refused.
    """
    summary = summarise(run)
    for name, text in zip(SUMMARIES, (to_json(summary) + "\n", to_html(run, summary)), strict=True):
        with atomic_path(run.out / name, overwrite=True) as path:
            path.write_text(text, encoding="utf-8")
    return summary


def summarise(run: BatchRun) -> dict[str, Any]:
    """Returns the figures of a batch, JSON-ready, schema ``imatch.batch/1``.

    - ``pairs``, ``registered`` (``ok``, and within the tolerance where one was asked for),
      ``counts`` (by status), ``outside_tolerance``, ``attempts`` beyond the first.
    - ``figures``: median, 90th percentile and largest of what the pairs that are ``ok`` say.
    - ``features``: images whose keypoints were extracted, and that came from the cache.
    - ``failures``: the rows that are not registered, the worst first; ``results``: all rows.
    - ``settings``, ``sessions``: what was asked, and how it was run.
    """
    rows = run.results
    accepted = [row for row in rows if row.status == "ok"]
    return {
        "schema": SCHEMA,
        "folder": str(run.out),
        "pairs": len(rows),
        "registered": sum(row.registered for row in rows),
        "counts": run.counts,
        "outside_tolerance": sum(row.status == "ok" and not row.registered for row in rows),
        "retried": sum(row.attempts > 1 for row in rows),
        "figures": {name: _spread(getattr(row, name) for row in accepted) for name in _FIGURES},
        "features": {
            "extracted": sum(row.extracted for row in rows),
            "from_cache": sum(row.from_cache for row in rows),
        },
        "workers": sorted({row.worker for row in rows if row.worker}),
        "failures": [row.name for row in failures(rows)],
        "results": [_values(row) for row in rows],
        "settings": run.settings,
        "sittings": run.sessions,
    }


def failures(rows: Iterable[BatchResult]) -> list[BatchResult]:
    """Returns the rows that are not registered: errors first, then refusals, in their order."""
    return sorted((row for row in rows if not row.registered), key=lambda row: _rank(row.status))


def failure_reason(row: BatchResult) -> str:
    """Returns why a pair is not registered."""
    if row.status == "ok":
        return f"the tolerance is not met: any place within {_number(row.bound_px)} px at 95%"
    return row.error or row.reason


def to_html(run: BatchRun, summary: dict[str, Any]) -> str:
    """Returns the report as a page: failures, worst pictures, plots and all pairs."""
    rows = run.results
    return render(
        "batch.html.j2",
        rows=rows,
        registered=summary["registered"],
        counts=", ".join(f"{n} {status}" for status, n in reversed(run.counts.items()) if n),
        failures=failures_table(rows),
        shifts=plots.shift_plot(rows),
        accuracy=plots.accuracy_plot(rows),
        previews=_previews(run.out, rows),
        pairs=pairs_table(rows),
        facts=_facts(run, summary),
    )


def pairs_table(rows: Sequence[BatchResult]) -> HtmlTable:
    """Returns the table of every pair's figures."""
    names = (
        ("shift px", "shift_px"),
        ("± px", "ci95_px"),
        ("shift m", "shift_m"),
        ("bound px", "bound_px"),
        ("RMSE px", "rmse_px"),
        ("RMSE m", "rmse_m"),
        ("coverage", "coverage"),
        ("inliers", "n_inliers"),
        ("seconds", "seconds"),
        ("attempts", "attempts"),
    )
    header = ("name", "status", *(title for title, _ in names), "model", "found by")
    note = (
        "Figures in target pixels unless m says metres; bound: any place of the overlap lies"
        " within it at 95 %. A click on a column's name sorts by it."
    )
    made = tuple(
        (
            HtmlCell(row.name),
            HtmlCell(row.status, 1.0 if row.registered else None),
            *(HtmlCell(_number(getattr(row, name))) for _, name in names),
            HtmlCell(row.model),
            HtmlCell(row.found_by),
        )
        for row in rows
    )
    return HtmlTable("Pairs", note, header, made, ("status", "model", "found by"))


def failures_table(rows: Sequence[BatchResult]) -> HtmlTable:
    """Returns the pairs that are not registered and why, the worst first."""
    made = tuple(
        tuple(
            HtmlCell(text)
            for text in (row.name, row.status, str(row.attempts), failure_reason(row))
        )
        for row in failures(rows)
    )
    note = "Errors are tried again with `--resume`; a refusal is an answer."
    return HtmlTable("Not registered", note, ("name", "status", "attempts", "why"), made)


def _previews(out: Path, rows: Sequence[BatchResult]) -> list[tuple[BatchResult, str, bytes]]:
    """Returns the least certain pairs that have a preview, with their bound and the JPEG."""

    def doubt(row: BatchResult) -> tuple[int, float]:
        return _rank(row.status), -row.bound_px if math.isfinite(row.bound_px) else -math.inf

    found: list[tuple[BatchResult, str, bytes]] = []
    for row in sorted(rows, key=doubt):
        path = out / PREVIEWS / f"{row.name}.jpg"
        if row.status != "error" and path.is_file():
            bound = _number(row.bound_px) if row.registered else ""
            found.append((row, bound, path.read_bytes()))
            if len(found) == _PICTURES:
                break
    return found


def _facts(run: BatchRun, summary: dict[str, Any]) -> list[tuple[str, str]]:
    from imatch.pipeline.scene.config import SceneConfig

    defaults = SceneConfig().model_dump(mode="json")
    changed = [
        f"{name}={value}"
        for name, value in run.settings.items()
        if value != defaults.get(name) and value not in ([], {})
    ]
    last = run.sessions[-1] if run.sessions else {}
    features = summary["features"]
    engine = str(last.get("engine"))
    if "jobs" in last:
        engine += f", {last['jobs']} job{'s' * (last['jobs'] != 1)}"
    found = [
        ("Folder", summary["folder"]),
        ("Settings", ", ".join(changed) or "the defaults"),
        ("Commands", "; ".join(f"`{s['command']}`" for s in run.sessions if s.get("command"))),
        ("Started", ", ".join(str(session.get("started")) for session in run.sessions)),
        ("Engine", engine),
        ("Workers", str(len(summary["workers"]))),
        (
            "Features",
            f"{features['extracted']} images extracted, {features['from_cache']} from the cache",
        ),
        ("Versions", ", ".join(f"{k} {v}" for k, v in last.get("versions", {}).items())),
    ]
    return [(name, text) for name, text in found if text]


def _values(row: BatchResult) -> dict[str, Any]:
    """Returns the columns of a row, None for what is unknown."""
    values: dict[str, Any] = json_values(asdict(row))
    return values


def _spread(values: Iterable[float]) -> dict[str, float | None]:
    known = np.array([value for value in values if math.isfinite(value)])
    if not len(known):
        return {"median": None, "p90": None, "max": None}
    return {
        "median": float(np.median(known)),
        "p90": float(np.percentile(known, 90)),
        "max": float(known.max()),
    }


def _number(value: float | int) -> str:
    if isinstance(value, int):
        return str(value)
    return number(value) if math.isfinite(value) else "–"


def _rank(status: str) -> int:
    known: tuple[str, ...] = OUTCOMES
    return known.index(status) if status in known else 0


def print_batch(run: BatchRun, summary: dict[str, Any], console: Console) -> None:
    """Prints counts, typical figures, and the first failures."""
    from rich.markup import escape
    from rich.table import Table

    counts = ", ".join(f"{n} {status}" for status, n in reversed(run.counts.items()) if n)
    lost = failures(run.results)
    console.print(f"[bold]{summary['registered']} of {len(run.results)}[/] registered ({counts})")
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
