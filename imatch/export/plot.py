"""The registration figure: the matches, before and after, the residuals."""

from __future__ import annotations

import io
import textwrap
from pathlib import Path
from typing import get_args

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from imatch.core.errors import ConfigError, ImatchError, OutputError
from imatch.export.figures import INK, save_figure
from imatch.export.images import detail_window
from imatch.export.panels import (
    ELONGATED,
    FAINT_INK,
    draw_checkerboard,
    draw_matches,
    draw_residuals,
    is_wide,
)
from imatch.export.text import (
    STATUS_COLOURS,
    accuracy_text,
    bound_text,
    counts_text,
    image_name,
    model_text,
    shift_text,
    tolerance_text,
)
from imatch.pipeline.pair.restored import restored_preview
from imatch.pipeline.registration.actions import Panel
from imatch.pipeline.registration.result import Preview, Registration

_DPI, _NOTEBOOK_DPI = 150, 72
_SIZE = (14.0, 10.0)


class NotebookFigure(Figure):
    """A figure of no window that notebooks show, whether pyplot is in use or not."""

    def _repr_png_(self) -> bytes:
        file = io.BytesIO()
        save_figure(self, file, format="png", dpi=_NOTEBOOK_DPI)
        return file.getvalue()


def plot(registration: Registration, axes: Axes | None = None, panel: Panel = "after") -> Figure:
    """Draws a registration as a figure, or a panel of it into axes.

    Four panels: the matches between the two images, coloured by residual; a checkerboard of both
    as they came; the same once registered; and the residuals, exaggerated. A failed registration
    has its reason instead of the last two. The title states the status and the accuracy.

    Args:
        registration: As `imatch.match` returned it, with its working images; of one that was read
            from a file the images are read again.
        axes: Where to draw; None makes a figure of 14 x 10 inches that belongs to no window.
        panel: What to draw into `axes`.

    Returns:
        The figure.

    Raises:
        ConfigError: There is no such panel.
        OutputError: It was read back from a file, and its images are not where they were.
    """
    preview = _preview(registration)
    if axes is not None:
        if panel not in get_args(Panel):
            known = ", ".join(get_args(Panel))
            raise ConfigError("is no panel", subject=str(panel), hint=f"panels are {known}")
        _draw(axes, registration, preview, panel)
        axes.set_xticks([])
        axes.set_yticks([])
        theirs = axes.get_figure(root=True)
        assert theirs is not None, "axes stand in a figure"
        return theirs
    figure = NotebookFigure(figsize=_SIZE, facecolor="white")
    FigureCanvasAgg(figure)
    below = _title(figure, registration)
    matches, before, after, vectors = _panels(figure, preview, below)
    _draw(matches, registration, preview, "matches")
    _draw(before, registration, preview, "before")
    _draw(after, registration, preview, "after")
    if preview.matrix is None:
        vectors.remove()
    else:
        _draw(vectors, registration, preview, "residuals")
    return figure


def _preview(registration: Registration) -> Preview:
    """The working images, read again where there are none."""
    if registration.preview is not None:
        return registration.preview
    try:
        return restored_preview(registration)
    except ImatchError as error:
        raise OutputError(
            f"the registration was read from a file, which holds no images to draw ({error})",
            hint="draw it where its images are, or in the run that matches, with --plot",
        ) from error


def _draw(axes: Axes, registration: Registration, preview: Preview, panel: Panel) -> None:
    """Draws one panel; the reason of a failure instead of what there is only with a transform."""
    window = detail_window(preview, registration.tie_points.inlier)
    if panel == "matches":
        draw_matches(axes, registration, preview)
    elif panel == "before":
        draw_checkerboard(axes, preview, np.eye(3), window, "Before")
    elif preview.matrix is None:
        _draw_reason(axes, registration)
    elif panel == "after":
        draw_checkerboard(axes, preview, preview.matrix, window, "After")
    else:
        draw_residuals(axes, registration, preview, window)


def write_png(registration: Registration, path: Path) -> None:
    """Writes the figure of a registration as PNG, 150 dots an inch.

    Raises:
        OutputError: As `plot`.
    """
    title = f"imatch: {registration.status}"
    save_figure(plot(registration), path, dpi=_DPI, metadata={"Title": title})


def _title(figure: Figure, registration: Registration) -> float:
    """Writes the title and returns the height at which the panels may begin."""
    figures = (shift_text(registration), accuracy_text(registration))
    stated = ", ".join(text for text in figures if text is not None)
    if registration.transform is None:
        headline = f"failed: {registration.n_matches} tie points, no transform"
    else:
        headline = f"{registration.status}: {'shift ' if figures[0] else ''}{stated}"
        judged = tolerance_text(registration)
        headline += "" if judged is None else f" – {judged}"
    facts = [
        f"{image_name(registration.target)} onto {image_name(registration.reference)}",
        registration.matcher,
    ]
    if registration.transform is not None:
        facts[1:1] = [counts_text(registration), f"coverage {registration.coverage:.0%}"]
        facts += [model_text(registration) or "", bound_text(registration) or ""]
    # Lines break between facts, never within one.
    kept_together = "  ·  ".join(fact.replace(" ", "\N{NO-BREAK SPACE}") for fact in facts)
    wrapped = textwrap.wrap(kept_together, 150, break_on_hyphens=False)
    lines = [line.strip(" ·") for line in wrapped]
    if registration.status == "uncertain":
        lines += textwrap.wrap(registration.reason, 150, max_lines=2)
    figure.text(
        0.5,
        0.975,
        headline,
        size=min(16.0, 16 * 95 / len(headline)),
        weight="bold",
        color=_colour(registration),
        ha="center",
        va="top",
        parse_math=False,
    )
    figure.text(
        0.5,
        0.935,
        "\n".join(lines),
        size=10.5,
        color=FAINT_INK,
        ha="center",
        va="top",
        linespacing=1.4,
        parse_math=False,
    )
    return 0.93 - 0.0215 * len(lines)


def _colour(registration: Registration) -> str:
    """Returns the colour of the status, green only where the tolerance is met as well."""
    unmet = registration.certificate.tolerance is not None and not registration.certificate.passes
    met = "uncertain" if registration.status == "ok" and unmet else registration.status
    return STATUS_COLOURS[met]


def _panels(figure: Figure, preview: Preview, top: float) -> tuple[Axes, Axes, Axes, Axes]:
    """Makes the axes of the four panels, placed to suit the images' shape."""
    height, width = preview.ref.shape[:2]
    box = {"left": 0.04, "right": 0.96, "top": top - 0.035, "bottom": 0.055}
    if is_wide(preview):
        box["right"] = 0.92  # Room for the colour bar, which stands outside its panel.
        grid = figure.add_gridspec(3, 2, height_ratios=[2, 1, 2], hspace=0.25, **box)
        slots = [grid[0, :], grid[2, 0], grid[2, 1], grid[1, :]]
    elif height > ELONGATED * width:
        grid = figure.add_gridspec(2, 3, width_ratios=[2, 1.5, 1.2], wspace=0.12, **box)
        slots = [grid[:, 0], grid[0, 1], grid[1, 1], grid[:, 2]]
    else:
        grid = figure.add_gridspec(2, 3, height_ratios=[1.15, 1], hspace=0.14, wspace=0.08, **box)
        slots = [grid[0, :], grid[1, 0], grid[1, 1], grid[1, 2]]
    matches, before, after, vectors = (figure.add_subplot(slot) for slot in slots)
    for axes in (matches, before, after, vectors):
        axes.set_xticks([])
        axes.set_yticks([])
        for spine in axes.spines.values():
            spine.set_color("#bbbbbb")
    return matches, before, after, vectors


def _draw_reason(axes: Axes, registration: Registration) -> None:
    """Writes the reason in place of the two panels that a failure does not have."""
    axes.axis("off")
    text = "\n".join(textwrap.wrap(registration.reason, 46, max_lines=9))
    axes.text(
        0.06,
        0.6,
        "No transform was found",
        size=20,
        weight="bold",
        color=STATUS_COLOURS["failed"],
        va="bottom",
        transform=axes.transAxes,
    )
    axes.text(
        0.06, 0.55, text, size=14, color=INK, va="top", transform=axes.transAxes, parse_math=False
    )
