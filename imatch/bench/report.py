"""One HTML file that shows a benchmark, with nothing to load from elsewhere."""

from __future__ import annotations

import base64
import json
from html import escape
from pathlib import Path
from typing import Any

from imatch.bench import plots, tables
from imatch.bench.gallery import PER_MATCHER, Picture, false_accepts, pictures, worst
from imatch.bench.runner import SUMMARIES, BenchPlan, Run
from imatch.bench.summary import summarise
from imatch.core.io.files import atomic_path
from imatch.export.html import definitions, image, page, table_html


def write_report(run: Run, plan: BenchPlan, out: Path) -> dict[str, Any]:
    """Write ``summary.json``, ``summary.md`` and ``report.html``.

    Args:
        run: What came of the benchmark.
        plan: What was run.
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
    """The tables and what made them, as Markdown."""
    lines = ["# Benchmark", ""]
    lines += [f"- **{name}**: {value}" for name, value in facts(summary)]
    return (
        "\n".join([*lines, ""])
        + "\n"
        + "\n".join(table.to_markdown() for table in tables.all_tables(summary))
    )


def to_html(summary: dict[str, Any], run: Run, plan: BenchPlan) -> str:
    """The tables, the plots and the galleries as one HTML document."""
    matchers = [config.matcher for config in plan.configs]
    made = {table.title: table for table in tables.all_tables(summary)}
    sections: list[tuple[str, str]] = []

    def add(title: str, *parts: str | None) -> None:
        body = "".join(part for part in parts if part)
        if body:
            sections.append((title, body))

    def table(title: str) -> str | None:
        return table_html(made[title]) if title in made else None

    bars = [
        plots.bars_plot(summary, key, title)
        for key, title in (("robustness", "By condition"), ("by_tag", "By tag"))
    ]
    add("Matchers", table("Matchers"))
    add("Recall", _svg(plots.recall_plot(run.results, matchers), "Recall by error threshold"))
    add("Groups", table("Groups"))
    add(
        "Seasonal robustness card",
        table("Seasonal robustness card"),
        _svg(bars[0], "Recall by condition"),
    )
    add("Area under the recall curve", table("Area under the recall curve"))
    add("Error and time", _svg(plots.time_plot(run.results, matchers), "Error against time"))
    add(
        "Do the stated intervals hold?",
        table("Do the stated intervals hold?"),
        _svg(plots.reliability_plot(summary), "Reliability diagram"),
    )
    add("By source", table("By source"))
    add("By variant", table("By variant"))
    add("By tag", table("By tag"), _svg(bars[1], "Recall by tag"))
    add("Stages", table("Stages"))
    add("Keypoints", table("Keypoints"))
    add("False accepts", *_gallery(run, plan, "false accept"))
    add("Worst accepted answers", *_gallery(run, plan, "answer"))
    add("Cases that no matcher got right", table("Cases that no matcher got right"))
    add("Cases that could not be run", _errors(summary))
    add("How these numbers were made", definitions(facts(summary)))

    cases = summary["run"]["cases"]["count"]
    headline = f"{cases} cases, {len(matchers)} matcher{'s' if len(matchers) != 1 else ''}"
    return page(
        f"imatch benchmark: {headline}", "Benchmark", f"{headline}: {', '.join(matchers)}", sections
    )


def facts(summary: dict[str, Any]) -> list[tuple[str, str]]:
    """What to know of a run to judge or repeat it, as names and texts."""
    run = summary["run"]
    last = run["sittings"][-1] if run["sittings"] else {}
    machine = last.get("machine", {})
    commits = dict.fromkeys(_commit(sitting.get("commit")) for sitting in run["sittings"])
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
        ("Started", ", ".join(str(sitting.get("started")) for sitting in run["sittings"])),
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
    """A matcher's settings, those left alone unsaid."""
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


def _svg(text: str | None, alt: str) -> str | None:
    return None if text is None else image(text.encode(), "svg+xml", alt)


def _gallery(run: Run, plan: BenchPlan, kind: str) -> list[str]:
    """Pictures of each matcher's false accepts or worst accepted answers."""
    cases = {case.name: case for case in plan.cases}
    choose = false_accepts if kind == "false accept" else worst
    parts = []
    for config in plan.configs:
        chosen = choose(run.results, config.matcher)
        shots = pictures(chosen, cases, plan.root, config)
        if not shots:
            continue
        more = f" (the worst {PER_MATCHER} of {len(chosen)})" if len(chosen) > PER_MATCHER else ""
        parts.append(
            f"<h3>{escape(config.matcher)}{more}</h3>"
            f'<div class="gallery">{"".join(_shot(shot) for shot in shots)}</div>'
        )
    if not parts:
        none = "None." if kind == "false accept" else "None over 1 px."
        return [f'<p class="note">{none}</p>']
    legend = (
        "Checkerboards: a detail of the reference in grey, the target in blue, brought there"
        " by the transform."
    )
    return [f'<p class="note">{legend}</p>', *parts]


def _shot(shot: Picture) -> str:
    result = shot.result
    images = "".join(
        f'<figure><img loading="lazy" alt="{escape(title)}" '
        f'src="data:image/jpeg;base64,{base64.b64encode(data).decode()}">'
        f"<figcaption>{escape(title)}</figcaption></figure>"
        for title, data in shot.panels
    )
    error = "two different places" if not result.positive else f"{result.score_px:.1f} px off"
    facts = f"{result.source} {result.variant} {result.tag}".strip()
    return (
        f'<div class="shot"><p><b>{escape(result.case)}</b> {error} '
        f'<span class="faint">{escape(facts)}; {escape(result.model)}, {result.n_inliers} of '
        f"{result.n_matches} matches</span></p><div>{images}</div></div>"
    )


def _errors(summary: dict[str, Any]) -> str:
    rows = [
        f"<tr><td>{escape(item['case'])}</td><td>{escape(name)}</td>"
        f"<td>{escape(item['error'])}</td></tr>"
        for name, figures in summary["matchers"].items()
        for item in figures["errors"]
    ]
    if not rows:
        return ""
    return (
        '<div class="scroll"><table class="words"><thead><tr><th>case</th><th>matcher</th>'
        f"<th>error</th></tr></thead><tbody>{''.join(rows)}</tbody></table></div>"
    )
