"""The common style of figures, and figures as SVG documents."""

from __future__ import annotations

import io
import warnings
from pathlib import Path
from typing import IO, Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

#: Text, secondary text, and grid lines.
INK, FAINT, GRID = "#222222", "#777777", "#e6e6e6"
# Okabe and Ito's colours: told apart with any colour vision.
BLUE, VERMILION, GREEN, PURPLE = "#0072b2", "#d55e00", "#009e73", "#cc79a7"
ORANGE, SKY_BLUE = "#e69f00", "#56b4e9"


def style_axes(axes: Axes, title: str = "") -> None:
    """Gives axes a light grid, no frame, and a title at the left."""
    if title:
        axes.set_title(title, size=10.5, color=INK, loc="left", parse_math=False)
    axes.grid(color=GRID, lw=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(labelsize=9, colors=FAINT, length=0)
    for spine in axes.spines.values():
        spine.set_visible(False)


def save_figure(figure: Figure, file: Path | IO[Any], **options: Any) -> None:
    """Saves a figure as matplotlib's ``savefig`` does, characters that the font lacks as boxes."""
    with warnings.catch_warnings():
        # A file may be named in any script; that is no reason to stop.
        warnings.filterwarnings("ignore", "Glyph .* missing from", UserWarning)
        figure.savefig(file, **options)


def figure_svg(figure: Figure, name: str) -> str:
    """Returns a figure as an SVG document.

    Args:
        figure: The figure.
        name: Seed of the document's identifiers, so that the same figure gives the same text.
    """
    text = io.StringIO()
    nothing = {"Creator": None, "Date": None, "Format": None, "Type": None}
    with mpl.rc_context({"svg.hashsalt": f"imatch-{name}", "svg.fonttype": "path"}):
        save_figure(figure, text, format="svg", metadata=nothing)
    document = text.getvalue()
    # From the root on: the prologue names a DTD on a server, which a page has no use for.
    return document[document.index("<svg") :]
