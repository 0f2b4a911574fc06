"""The figures of the benchmark report, as SVG."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from imatch.benchmark.metrics import recall_curve
from imatch.benchmark.results import Result
from imatch.export.figures import (
    BLUE,
    FAINT,
    GREEN,
    ORANGE,
    PURPLE,
    SKY_BLUE,
    VERMILION,
    figure_svg,
    style_axes,
)

_COLOURS = (BLUE, VERMILION, GREEN, PURPLE, ORANGE, SKY_BLUE, "#5d5d5d", "#b8a000")
_FROM_PX, _TO_PX = 0.1, 30.0
# Where answers without a finite place on the error axis are drawn.
_REFUSED_PX, _WORST_PX = 1000.0, 300.0


def recall_plot(results: Sequence[Result], matchers: Sequence[str]) -> str:
    """Plots recall against the error threshold: all positives, then each source."""
    positive = [row for row in results if row.positive]
    sources = list(dict.fromkeys(row.source for row in positive))
    panels = [("all positives", positive)]
    if len(sources) > 1:
        panels += [(s, [row for row in positive if row.source == s]) for s in sources]
    lines = -(-len(panels) // 4)
    columns = -(-len(panels) // lines)
    figure = Figure(figsize=(max(5.2, 2.9 * columns), 2.75 * lines + 0.55), layout="constrained")
    thresholds = np.geomspace(_FROM_PX, _TO_PX, 200)
    grid = figure.subplots(lines, columns, squeeze=False, sharex=True, sharey=True)
    for axes, (title, rows) in zip(grid.flat, panels, strict=False):
        for index, name in enumerate(matchers):
            errors = [row.score_px for row in rows if row.matcher == name]
            share = 100 * recall_curve(errors, thresholds)
            axes.plot(thresholds, share, color=_colour(index), lw=1.8, label=name)
        style_axes(axes, f"{title} ({len(rows) // max(len(matchers), 1)})")
        axes.set_xscale("log")
        axes.set_xticks([0.1, 0.3, 1, 3, 10, 30], ["0.1", "0.3", "1", "3", "10", ""])
        axes.minorticks_off()
        axes.set_xlim(_FROM_PX, _TO_PX)
        axes.set_ylim(0, 102)
    for axes in list(grid.flat)[len(panels) :]:
        axes.set_visible(False)
    for axes in list(grid.flat)[max(0, len(panels) - columns) : len(panels)]:
        # The lowest of each column, some of which have an empty place beneath.
        axes.tick_params(labelbottom=True)
        axes.set_xlabel("corner error within, px", color=FAINT)
    for axes in grid[:, 0]:
        axes.set_ylabel("% of cases", color=FAINT)
    _legend(figure, grid.flat[0])
    return figure_svg(figure, "recall")


def time_plot(results: Sequence[Result], matchers: Sequence[str]) -> str:
    """Plots error against time of every positive case, refusals in a strip of their own."""
    figure = Figure(figsize=(8.4, 4.6), layout="constrained")
    axes = figure.subplots()
    rng = np.random.default_rng(0)
    axes.axhspan(600, 1800, color="#f4f4f4", zorder=0, lw=0)
    for index, name in enumerate(matchers):
        rows = [r for r in results if r.matcher == name and r.positive and np.isfinite(r.seconds)]
        if not rows:
            continue
        errors = np.array([row.score_px for row in rows])
        refused = ~np.isfinite(errors)
        plotted = np.clip(errors, 0.02, _WORST_PX)
        # Spread, so that a hundred refusals do not look like one.
        plotted[refused] = _REFUSED_PX * np.exp(rng.uniform(-0.45, 0.45, int(refused.sum())))
        seconds = np.array([row.seconds for row in rows])
        colour = _colour(index)
        axes.scatter(seconds, plotted, s=9, color=colour, alpha=0.45, lw=0, label=name)
        axes.axvline(float(np.median(seconds)), color=colour, lw=1, ls=(0, (4, 3)), alpha=0.8)
    style_axes(axes, "Error and time of every positive case; dashed: median time")
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_ylim(0.02, 1800)
    axes.set_yticks(
        [0.03, 0.1, 0.3, 1, 3, 10, 30, 100, _WORST_PX, _REFUSED_PX],
        ["0.03", "0.1", "0.3", "1", "3", "10", "30", "100", "≥ 300", "refused"],
    )
    axes.xaxis.set_major_formatter(mpl.ticker.FuncFormatter(lambda value, _: f"{value:g}"))
    axes.minorticks_off()
    axes.set_xlabel("seconds a pair", color=FAINT)
    axes.set_ylabel("corner error, px", color=FAINT)
    _legend(figure, axes)
    return figure_svg(figure, "time")


def bars_plot(summary: dict[str, Any], key: str, title: str) -> str | None:
    """Plots the share within 3 px of each part of the cases, that within 1 px in the darker tone.

    Args:
        summary: The document.
        key: ``by_tag`` or another breakdown.
        title: What the plot shows.
    """
    columns = {name: figures[key] for name, figures in summary["matchers"].items()}
    names = [part for part, f in next(iter(columns.values()), {}).items() if f["n"]]
    if not names:
        return None
    thick = 0.8 / len(columns)
    figure = Figure(
        figsize=(8.4, 1.1 + len(names) * max(0.34, 0.17 * len(columns))), layout="constrained"
    )
    axes = figure.subplots()
    positions = np.arange(len(names))
    for index, (name, column) in enumerate(columns.items()):
        y = positions + (index - (len(columns) - 1) / 2) * thick
        within = {
            px: np.array([100 * (column[part]["within"][px] or 0) for part in names])
            for px in ("1", "3")
        }
        axes.barh(y, within["3"], thick * 0.9, color=_colour(index), alpha=0.38, lw=0)
        axes.barh(y, within["1"], thick * 0.9, color=_colour(index), lw=0, label=name)
    counts = [next(iter(columns.values()))[part]["n"] for part in names]
    axes.set_yticks(positions, [f"{part} ({n})" for part, n in zip(names, counts, strict=True)])
    axes.invert_yaxis()
    axes.set_xlim(0, 100)
    style_axes(axes, f"{title}: % within 1 px (dark) and 3 px (light)")
    axes.grid(visible=False, axis="y")
    _legend(figure, axes)
    return figure_svg(figure, key)


def reliability_plot(summary: dict[str, Any]) -> str:
    """Plots observed against stated confidence."""
    figure = Figure(figsize=(5.2, 4.6), layout="constrained")
    axes = figure.subplots()
    axes.plot([40, 100], [40, 100], color=FAINT, lw=1, ls=(0, (4, 3)))
    axes.annotate("too cautious", (43, 93), color=FAINT, size=9)
    axes.annotate("over-confident", (97, 43), color=FAINT, size=9, ha="right")
    lowest = 40.0
    for index, (name, figures) in enumerate(summary["matchers"].items()):
        levels = [v for v in figures["calibration"]["levels"] if v["observed"] is not None]
        if not levels:
            continue
        stated = [100 * level["stated"] for level in levels]
        observed = [100 * level["observed"] for level in levels]
        lowest = min([lowest, *observed])
        axes.plot(
            stated, observed, "o-", color=_colour(index), ms=4, lw=1.6, label=name, clip_on=False
        )
    style_axes(axes, "Reliability of the stated intervals")
    axes.set_xlim(40, 100)
    axes.set_ylim(10 * np.floor(lowest / 10), 100)
    axes.set_xlabel("stated, %", color=FAINT)
    axes.set_ylabel("contain the truth, %", color=FAINT)
    _legend(figure, axes)
    return figure_svg(figure, "reliability")


def _colour(index: int) -> str:
    return _COLOURS[index % len(_COLOURS)]


def _legend(figure: Figure, axes: Axes) -> None:
    handles, labels = axes.get_legend_handles_labels()
    if not handles:
        return
    legend = figure.legend(
        handles,
        labels,
        loc="outside lower center",
        ncols=min(4, len(labels)),
        frameon=False,
        fontsize=9,
    )
    for handle in legend.legend_handles:
        if handle is not None:
            handle.set_alpha(1)
