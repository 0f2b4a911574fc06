"""Draws a query beside its hits, with verifying matches."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from numpy.typing import NDArray

from imatch.core.errors import InputError
from imatch.export.figures import FAINT, INK, save_figure
from imatch.export.images import rgba
from imatch.export.panels import FITTED
from imatch.export.subsample import subsample
from imatch.export.text import STATUS_COLOURS
from imatch.pipeline.registration.result import Preview, Registration
from imatch.raster import GeoImage, Source, open_source, render
from imatch.retrieval.chips import ChipWindow
from imatch.retrieval.search import Hit, centre

if TYPE_CHECKING:
    from imatch.retrieval.results import SearchResult

_DPI = 130
_PANEL = 3.1
_COLUMNS = 3
_SIDE = 320
_LINES = 40


def draw(result: SearchResult, query: Source) -> Figure:
    """Draws a query and its hits, a verified one beside the query with its matches.

    Args:
        result: What was found.
        query: The query.

    Returns:
        A figure that belongs to no window.
    """
    thumbnail = _thumbnail(query, None)
    count = len(result.hits) + 1
    rows = -(-count // _COLUMNS)
    figure = Figure(figsize=(_COLUMNS * _PANEL * 1.25, rows * _PANEL * 1.12), facecolor="white")
    FigureCanvasAgg(figure)
    all_axes = figure.subplots(rows, _COLUMNS, squeeze=False).ravel()
    for axes in all_axes:
        axes.axis("off")
    all_axes[0].imshow(thumbnail)
    _title(all_axes[0], f"query: {Path(result.query).name}", INK)
    for axes, hit in zip(all_axes[1:], result.hits, strict=False):
        _draw_hit(axes, hit, result)
    figure.subplots_adjust(0.01, 0.02, 0.99, 0.95, wspace=0.04, hspace=0.16)
    return figure


def write_figure(result: SearchResult, path: Path, query: Source) -> None:
    """Writes `draw` as PNG."""
    save_figure(draw(result, query), path, dpi=_DPI, format="png")


def _draw_hit(axes: Axes, hit: Hit, result: SearchResult) -> None:
    found = hit.verification
    if found is not None and found.registration is not None and found.registration.preview:
        _draw_matches(axes, found.registration, found.registration.preview)
    else:
        try:
            image = open_source(hit.image.path, bands=result.manifest.band_list)
            axes.imshow(_thumbnail(image, hit.cell))
        except InputError as error:
            axes.text(0.5, 0.5, error.cause, ha="center", va="center", size=8, wrap=True)
    middle = centre(hit)
    place = "" if middle is None else f"  {middle[1]:.3f}°, {middle[0]:.3f}°"
    text = f"{hit.rank}. {Path(hit.image.path).name}  {hit.similarity:.3f}{place}"
    colour = INK
    if found is not None:
        text += f"\n{found.status}: {found.reason}"
        colour = STATUS_COLOURS[found.status]
    _title(axes, text, colour)


def _title(axes: Axes, text: str, colour: str) -> None:
    lines = [line if len(line) <= 64 else f"{line[:63]}…" for line in text.splitlines()]
    axes.set_title("\n".join(lines), size=7.5, color=colour, loc="left", pad=3, parse_math=False)


def _draw_matches(axes: Axes, registration: Registration, preview: Preview) -> None:
    """The hit's ground on the left, the query on the right, lines between what agrees."""
    (height, width), (tall, wide) = preview.ref.shape[:2], preview.tgt.shape[:2]
    scale, gap = height / tall, 0.04 * width
    right = width + gap + wide * scale
    axes.imshow(rgba(preview.ref, preview.ref_valid), extent=(0, width, height, 0))
    axes.imshow(rgba(preview.tgt, preview.tgt_valid), extent=(width + gap, right, height, 0))
    axes.set_xlim(0, right)
    axes.set_ylim(height, 0)
    agreeing = np.flatnonzero(registration.tie_points.inlier)
    if not len(agreeing):
        axes.text(
            0.5,
            -0.04,
            "no match",
            transform=axes.transAxes,
            ha="center",
            va="top",
            size=7,
            color=FAINT,
        )
        return
    scores = registration.tie_points.scores[agreeing]
    kept = agreeing[subsample(preview.ref_xy[agreeing], -scores, _LINES)]
    ends = np.stack(
        [preview.ref_xy[kept] + 0.5, (preview.tgt_xy[kept] + 0.5) * scale + (width + gap, 0)],
        axis=1,
    )
    rim = [withStroke(linewidth=1.6, foreground="white", alpha=0.5)]
    axes.add_collection(LineCollection(list(ends), colors=FITTED, linewidths=0.7, path_effects=rim))


def _thumbnail(source: Source, cell: ChipWindow | None) -> NDArray[np.uint8]:
    """(h, w, 4) of an image or a part of it, reduced."""
    window = None if cell is None else cell.window
    width, height = source.info.size if cell is None else (cell.width, cell.height)
    factor = min(1.0, _SIDE / max(width, height))
    size = max(1, round(width * factor)), max(1, round(height * factor))
    image: GeoImage = source.read(window, size)
    seen = render(image, 3)
    colour = np.rint(seen.pixels.transpose(1, 2, 0) * 255).astype(np.uint8)
    return rgba(colour, seen.valid)
