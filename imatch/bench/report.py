"""One HTML file that shows a benchmark, with nothing to load from elsewhere."""

from __future__ import annotations

import base64
import json
import re
from html import escape
from pathlib import Path
from typing import Any

from imatch.bench import plots, tables
from imatch.bench.gallery import PER_MATCHER, Picture, false_accepts, pictures, worst
from imatch.bench.runner import SUMMARIES, Plan, Run
from imatch.bench.summary import summarise
from imatch.core.files import atomic_path

_STYLE = """
:root { --ink: #1d2329; --faint: #67717c; --line: #e3e6ea; --accent: #0072b2; }
* { box-sizing: border-box; }
body { margin: 0; font: 15px/1.5 system-ui, -apple-system, "Segoe UI", "DejaVu Sans", sans-serif;
  color: var(--ink); background: #f6f7f9; }
main { max-width: 1320px; margin: 0 auto; padding: 28px 24px 64px; }
h1 { font-size: 26px; margin: 0 0 4px; letter-spacing: -0.01em; }
h2 { font-size: 18px; margin: 0 0 6px; }
h3 { font-size: 15px; margin: 18px 0 8px; }
p { margin: 4px 0 12px; } p.note, figcaption, .faint { color: var(--faint); font-size: 13px; }
nav { margin: 14px 0 20px; display: flex; flex-wrap: wrap; gap: 6px 14px; font-size: 13.5px; }
a { color: var(--accent); text-decoration: none; } a:hover { text-decoration: underline; }
section { background: white; border: 1px solid var(--line); border-radius: 10px;
  padding: 18px 20px; margin: 0 0 18px; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-size: 13px; font-variant-numeric: tabular-nums; }
th, td { padding: 5px 9px; text-align: right; white-space: nowrap;
  border-bottom: 1px solid var(--line); }
th { color: var(--faint); font-weight: 600; } tr:last-child td { border-bottom: 0; }
th:first-child, td:first-child, table.words th, table.words td { text-align: left; }
table.words td { white-space: normal; }
img { max-width: 100%; height: auto; display: block; }
.gallery { display: grid; gap: 16px;
  grid-template-columns: repeat(auto-fill, minmax(min(540px, 100%), 1fr)); }
.shot { border: 1px solid var(--line); border-radius: 8px; padding: 10px; }
.shot > div { display: grid; grid-template-columns: repeat(4, 1fr); gap: 6px; }
.shot img { width: 100%; border-radius: 3px; } figure { margin: 0; }
section > figure { margin-top: 16px; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: 2px 16px; margin: 0;
  font-size: 13.5px; } dt { color: var(--faint); } dd { margin: 0; overflow-wrap: anywhere; }
code { font-size: 12.5px; }
@media print { body { background: white; } section { break-inside: avoid; border: 0; } }
"""


def write_report(run: Run, plan: Plan, out: Path) -> dict[str, Any]:
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


def to_html(summary: dict[str, Any], run: Run, plan: Plan) -> str:
    """The tables, the plots and the galleries as one HTML document."""
    matchers = [config.matcher for config in plan.configs]
    made = {table.title: table for table in tables.all_tables(summary)}
    sections: list[tuple[str, str]] = []

    def add(title: str, *parts: str | None) -> None:
        body = "".join(part for part in parts if part)
        if body:
            sections.append((title, body))

    def table(title: str) -> str | None:
        return _table(made[title]) if title in made else None

    bars = [
        plots.bars_plot(summary, key, title)
        for key, title in (("robustness", "By condition"), ("by_tag", "By tag"))
    ]
    add("Matchers", table("Matchers"))
    add("Recall", _figure(plots.recall_plot(run.results, matchers), "Recall by error threshold"))
    add("Groups", table("Groups"))
    add(
        "Seasonal robustness card",
        table("Seasonal robustness card"),
        _figure(bars[0], "Recall by condition"),
    )
    add("Area under the recall curve", table("Area under the recall curve"))
    add("Error and time", _figure(plots.time_plot(run.results, matchers), "Error against time"))
    add(
        "Do the stated intervals hold?",
        table("Do the stated intervals hold?"),
        _figure(plots.reliability_plot(summary), "Reliability diagram"),
    )
    add("By source", table("By source"))
    add("By variant", table("By variant"))
    add("By tag", table("By tag"), _figure(bars[1], "Recall by tag"))
    add("Stages", table("Stages"))
    add("Keypoints", table("Keypoints"))
    add("False accepts", *_gallery(run, plan, "false accept"))
    add("Worst accepted answers", *_gallery(run, plan, "answer"))
    add("Cases that no matcher got right", table("Cases that no matcher got right"))
    add("Cases that could not be run", _errors(summary))
    add("How these numbers were made", _facts(summary))

    links = "".join(f'<a href="#{_anchor(t)}">{escape(t)}</a>' for t, _ in sections)
    bodies = "".join(
        f'<section id="{_anchor(title)}"><h2>{escape(title)}</h2>{body}</section>'
        for title, body in sections
    )
    cases = summary["run"]["cases"]["count"]
    headline = f"{cases} cases, {len(matchers)} matcher{'s' if len(matchers) != 1 else ''}"
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>imatch benchmark: {headline}</title><style>{_STYLE}</style></head>"
        f'<body><main><h1>Benchmark</h1><p class="faint">{headline}: '
        f"{escape(', '.join(matchers))}</p><nav>{links}</nav>{bodies}</main></body></html>\n"
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
        ("Started", ", ".join(sitting["started"] for sitting in run["sittings"])),
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
    from imatch.pipeline.config import MatchConfig

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


def _facts(summary: dict[str, Any]) -> str:
    rows = (f"<dt>{escape(name)}</dt><dd>{_code(text)}</dd>" for name, text in facts(summary))
    return f"<dl>{''.join(rows)}</dl>"


def _table(table: tables.Table) -> str:
    words = ' class="words"' if table.header[0] == "case" else ""
    head = "".join(f"<th>{escape(name)}</th>" for name in table.header)
    rows = "".join(
        "<tr>" + "".join(f"<td{_tint(cell)}>{escape(cell.text)}</td>" for cell in row) + "</tr>"
        for row in table.rows
    )
    note = f'<p class="note">{_code(table.note)}</p>' if table.note else ""
    return (
        f'{note}<div class="scroll"><table{words}><thead><tr>{head}</tr></thead>'
        f"<tbody>{rows}</tbody></table></div>"
    )


def _tint(cell: tables.Cell) -> str:
    if cell.share is None:
        return ""
    return f' style="background: rgba(0, 158, 115, {0.32 * cell.share**1.5:.2f})"'


def _figure(svg: str | None, alt: str) -> str | None:
    """An image of its own, so that the identifiers of two SVGs cannot clash."""
    if svg is None:
        return None
    data = base64.b64encode(svg.encode()).decode()
    return f'<figure><img alt="{escape(alt)}" src="data:image/svg+xml;base64,{data}"></figure>'


def _gallery(run: Run, plan: Plan, kind: str) -> list[str]:
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


def _code(text: str) -> str:
    """Escaped, with `backticks` as code."""
    return re.sub(r"`([^`]*)`", r"<code>\1</code>", escape(text))


def _anchor(title: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")
