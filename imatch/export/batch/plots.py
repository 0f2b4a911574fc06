"""The figures of the batch report, as SVG."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from imatch.export.figures import BLUE, FAINT, ORANGE, VERMILION, figure_svg, style_axes
from imatch.pipeline.batch.result import BatchResult

# Error bars of many pairs are a blot.
_BARS = 300


def shift_plot(results: Sequence[BatchResult]) -> str | None:
    """Plots every pair's shift with its interval, in metres where all are known, else in pixels.

    Args:
        results: The rows.

    Returns:
        An SVG document; None where no pair has a shift.
    """
    known = [row for row in results if np.isfinite(row.shift_x_px)]
    if not known:
        return None
    metres = all(np.isfinite(row.shift_east_m) for row in known)
    names = (
        ("shift_east_m", "shift_north_m", "ci95_east_m", "ci95_north_m")
        if metres
        else ("shift_x_px", "shift_y_px", "ci95_x_px", "ci95_y_px")
    )
    figure = Figure(figsize=(5.0, 4.4), layout="constrained")
    axes = figure.subplots()
    for status, colour in (("ok", BLUE), ("uncertain", ORANGE)):
        rows = [row for row in known if row.status == status]
        if not rows:
            continue
        x, y, half_x, half_y = (np.array([getattr(row, name) for row in rows]) for name in names)
        if len(known) <= _BARS:
            bars: dict[str, Any] = {"ecolor": colour, "elinewidth": 0.7, "alpha": 0.5}
            axes.errorbar(x, y, np.nan_to_num(half_y), np.nan_to_num(half_x), "none", **bars)
        axes.scatter(x, y, s=16, color=colour, lw=0, label=status, zorder=3)
    axes.axhline(0, color=FAINT, lw=0.7)
    axes.axvline(0, color=FAINT, lw=0.7)
    style_axes(axes, "Shift of each pair, bars: 95 % interval")
    axes.set_xlabel("eastwards, m" if metres else "x, target px", color=FAINT)
    axes.set_ylabel("northwards, m" if metres else "y, target px", color=FAINT)
    axes.set_aspect("equal", adjustable="datalim")
    # Beside the data: a marker among others would be read as one more pair.
    figure.legend(loc="outside lower center", ncols=2, frameon=False, fontsize=9)
    return figure_svg(figure, "shift")


def accuracy_plot(results: Sequence[BatchResult]) -> str | None:
    """Plots the share of pairs within an error and a bound.

    Args:
        results: The rows; those that are not ``ok`` are left out.

    Returns:
        An SVG document; None where no pair is ``ok``.
    """
    accepted = [row for row in results if row.status == "ok"]
    figure = Figure(figsize=(5.0, 4.4), layout="constrained")
    axes = figure.subplots()
    drawn = False
    for name, label, colour in (
        ("bound_px", "95 % bound on any place", BLUE),
        ("rmse_px", "RMSE at check points", VERMILION),
    ):
        values = np.sort([getattr(row, name) for row in accepted])
        values = values[np.isfinite(values)]
        if len(values):
            drawn = True
            share = np.arange(1, len(values) + 1) / len(results) * 100
            axes.step([0, *values], [0, *share], where="post", color=colour, lw=1.8, label=label)
    if not drawn:
        return None
    style_axes(axes, "Share of all pairs within")
    axes.set_xlim(left=0)
    axes.set_ylim(0, 102)
    axes.set_xlabel("target px", color=FAINT)
    axes.set_ylabel("% of pairs", color=FAINT)
    figure.legend(loc="outside lower center", ncols=2, frameon=False, fontsize=9)
    return figure_svg(figure, "accuracy")
