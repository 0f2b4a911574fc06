"""Draws the figures of the benchmark pages from the results of record while the site is built."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

RECORD = Path("experiments/benchmarks/results")


def on_files(files: Files, config: Any) -> Files:
    """Adds a figure for each plot of `imatch.benchmark.plots`."""
    from imatch.benchmark.plots import bars_plot, recall_plot, time_plot
    from imatch.benchmark.results import Result
    from imatch.core.io.tables import read_rows

    results = read_rows(RECORD / "all" / "results.csv", Result)
    summary = json.loads((RECORD / "all" / "summary.json").read_text())
    matchers = list(summary["matchers"])
    figures = {
        "recall": recall_plot(results, matchers),
        "time": time_plot(results, matchers),
        "seasons": bars_plot(summary, "by_tag", "What lies between the dates"),
    }
    for name, figure in figures.items():
        path = f"images/{name}.svg"
        assert figure is not None
        files.append(File.generated(config, path, content=figure))
    return files
