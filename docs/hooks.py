"""Draws the figures of the benchmark pages and writes out the command line as the site is built."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
from mkdocs.structure.files import File, Files

from imatch.benchmark.plots import bars_plot, recall_plot, time_plot
from imatch.benchmark.results import Result
from imatch.cli import cli
from imatch.core.io.tables import read_rows

RECORD = Path("experiments/benchmarks/results")


def on_files(files: Files, config: Any) -> Files:
    """Adds the figures, made of the results of record."""
    results = read_rows(RECORD / "all" / "results.csv", Result)
    summary = json.loads((RECORD / "all" / "summary.json").read_text())
    matchers = list(summary["matchers"])
    figures: dict[str, str | bytes | None] = {
        "recall.svg": recall_plot(results, matchers),
        "time.svg": time_plot(results, matchers),
        "seasons.svg": bars_plot(summary, "by_tag", "What lies between the dates"),
        "risk_coverage.png": (RECORD / "trust" / "risk_coverage.png").read_bytes(),
    }
    for name, content in figures.items():
        assert content is not None, name
        files.append(File.generated(config, f"images/{name}", content=content))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Adds the help of every verb to the page of the command line."""
    if page.file.src_uri != "reference/cli.md":
        return markdown
    context = click.Context(cli, info_name="imatch", terminal_width=76)
    return "\n".join([markdown, *_helps(cli, context, 2)])


def _helps(command: click.Command, context: click.Context, depth: int) -> Iterator[str]:
    yield f"{'#' * depth} {context.command_path}\n\n```text\n{command.get_help(context)}\n```\n"
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            part = command.get_command(context, name)
            assert part is not None
            inner = click.Context(part, parent=context, info_name=name, terminal_width=76)
            yield from _helps(part, inner, min(depth + 1, 4))
