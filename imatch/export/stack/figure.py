"""The network of a stack as a figure: images on a circle by date, pairs as chords."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.colors import LinearSegmentedColormap, Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from imatch.export.figures import BLUE, FAINT, INK, ORANGE, VERMILION, figure_svg
from imatch.export.text import number
from imatch.geometry.acceptance import Status
from imatch.pipeline.stack.result import Stack, StackImage, StackPair

_IMAGE: dict[Status, str] = {"ok": BLUE, "uncertain": ORANGE, "failed": "#ffffff"}
_REJECTED, _UNCONFIRMED = VERMILION, "#aaaaaa"
# Residuals of pairs that count, from none to this many pixels or more.
_RESIDUALS = LinearSegmentedColormap.from_list("residuals", ["#7cc4ec", BLUE, "#2a0845"])
_MOST_PX = 1.0
_LABELLED = 48
_LONGEST = 28


def graph_svg(stack: Stack) -> bytes:
    """Draws a stack's network as SVG.

    Args:
        stack: The solved stack.

    Returns:
        An SVG document; the same stack gives the same bytes.
    """
    figure = Figure(figsize=(9.2, 7.2), layout="constrained")
    axes = figure.subplots()
    points = _circle(len(stack.images))
    position = {
        image.name: (float(x), float(y)) for image, (x, y) in zip(stack.images, points, strict=True)
    }
    _draw_pairs(figure, axes, stack, position)
    _draw_images(axes, stack, points)
    axes.set_aspect("equal")
    axes.set_axis_off()
    reach = 1.75 if len(stack.images) <= _LABELLED else 1.15
    axes.set_xlim(-reach, reach)
    axes.set_ylim(-1.3, 1.3)
    _legend(figure, stack)
    return figure_svg(figure, "stack").encode()


def label(image: StackImage) -> str:
    """Returns the label of an image: its date, or its name where it has none."""
    if image.date is not None:
        return image.date.isoformat()
    half = (_LONGEST - 1) // 2
    name = image.name
    return name if len(name) <= _LONGEST else f"{name[:half]}…{name[-half:]}"


def _circle(count: int) -> NDArray[np.float64]:
    """Returns (N, 2) points on the unit circle, clockwise from the top."""
    turn = np.pi / 2 - 2 * np.pi * np.arange(count) / count
    return np.column_stack([np.cos(turn), np.sin(turn)])


def _draw_pairs(
    figure: Figure,
    axes: Axes,
    stack: Stack,
    position: dict[str, tuple[float, float]],
) -> None:
    def chords(verdict: str) -> tuple[list[StackPair], list[list[tuple[float, float]]]]:
        pairs = [pair for pair in stack.pairs if pair.verdict == verdict]
        ends = [[position[name] for name in (pair.reference, pair.target)] for pair in pairs]
        return pairs, ends

    _, ends = chords("unconfirmed")
    axes.add_collection(
        LineCollection(ends, colors=_UNCONFIRMED, linewidths=0.8, linestyles=":", zorder=1)
    )
    counting, ends = chords("counts")
    # The worst on top.
    order = np.argsort([pair.residual_px for pair in counting], kind="stable")
    lines = LineCollection(
        [ends[i] for i in order],
        array=np.array([counting[i].residual_px for i in order]),
        cmap=_RESIDUALS,
        norm=Normalize(0, _MOST_PX),
        linewidths=1.3,
        alpha=0.85,
        zorder=2,
    )
    axes.add_collection(lines)
    _, ends = chords("aside")
    axes.add_collection(
        LineCollection(ends, colors=_REJECTED, linewidths=1.6, linestyles=(0, (4, 2)), zorder=3)
    )
    if counting:
        bar = figure.colorbar(lines, ax=axes, shrink=0.5, pad=0.01, extend="max")
        bar.set_label("residual of a pair that counts, px", color=FAINT, size=9)
        bar.ax.tick_params(labelsize=8, colors=FAINT, length=0)
        bar.outline.set_visible(False)


def _draw_images(axes: Axes, stack: Stack, points: NDArray[np.float64]) -> None:
    for image, (x, y) in zip(stack.images, points, strict=True):
        held = image.name == stack.reference
        axes.plot(
            x,
            y,
            "s" if held else "o",
            ms=11 if held else 9,
            mfc=_IMAGE[image.status],
            mec=INK if image.status != "failed" else _REJECTED,
            mew=1.8 if held else 1.2,
            zorder=4,
        )
        if len(stack.images) > _LABELLED:
            continue
        turn = float(np.degrees(np.arctan2(y, x)))
        leftwards = x < -1e-9
        axes.text(
            1.07 * x,
            1.07 * y,
            label(image),
            size=8.5,
            color=INK,
            rotation=turn + 180 if leftwards else turn,
            rotation_mode="anchor",
            ha="right" if leftwards else "left",
            va="center",
            parse_math=False,
            fontweight="bold" if held else "normal",
        )


def _legend(figure: Figure, stack: Stack) -> None:
    kinds: list[tuple[str, Status]] = [
        ("tied", "ok"),
        ("uncertain", "uncertain"),
        ("not tied", "failed"),
    ]
    handles = [
        Line2D(
            [],
            [],
            marker="o",
            ls="",
            ms=8,
            mfc=_IMAGE[status],
            mec=INK if status != "failed" else _REJECTED,
            label=f"{text} ({sum(image.status == status for image in stack.images)})",
        )
        for text, status in kinds
    ]
    handles.append(Line2D([], [], marker="s", ls="", ms=9, mfc="white", mec=INK, label="reference"))
    lines = (("set aside", _REJECTED, "aside", (0, (4, 2))), ("unconfirmed", _UNCONFIRMED, "", ":"))
    for text, colour, verdict, style in lines:
        count = sum(pair.verdict == (verdict or text) for pair in stack.pairs)
        handles.append(Line2D([], [], color=colour, ls=style, lw=1.5, label=f"{text} ({count})"))
    figure.legend(handles=handles, loc="outside lower center", ncols=6, frameon=False, fontsize=8.5)
    figure.suptitle(
        f"{sum(pair.verdict == 'counts' for pair in stack.pairs)} of {len(stack.pairs)} pairs count"
        f"; they disagree by {number(stack.scatter_px)} px beyond what they state",
        fontsize=10.5,
        color=INK,
    )
