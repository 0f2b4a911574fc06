"""Draws a query beside its hits, with verifying matches."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.patches import Polygon, Rectangle
from matplotlib.patheffects import withStroke
from numpy.typing import NDArray
from shapely import box

from imatch.core.errors import InputError
from imatch.export.figures import FAINT, INK, save_figure
from imatch.export.images import rgba
from imatch.export.panels import CHECK, FITTED
from imatch.export.subsample import subsample
from imatch.export.text import STATUS_COLOURS
from imatch.pipeline.registration.result import Preview, Registration
from imatch.raster import GeoImage, Source, open_source, render
from imatch.retrieval.chips import ChipWindow
from imatch.retrieval.search import Hit, centre

if TYPE_CHECKING:
    from imatch.retrieval.results import SearchResult

_DPI = 130
# Side of a panel, inches; hits beside each other, of two panels each.
_PANEL, _COLUMNS = 2.6, 2
_SIDE = 320
_LINES = 40
# Points along each side of the query's outline, which a transform may bend.
_ALONG = 12


def draw(result: SearchResult, query: Source) -> Figure:
    """Draws a query and its hits: each image with the chip on it, and the chip beside.

    A verified hit is shown with the query and its matches instead of the chip, and the query's
    outline lies on the image.

    Args:
        result: What was found.
        query: The query.

    Returns:
        A figure that belongs to no window.
    """
    count = len(result.hits) + 1
    rows = -(-count // _COLUMNS)
    width = 2 * _COLUMNS * _PANEL
    figure = Figure(figsize=(width, rows * _PANEL * 1.22), facecolor="white")
    FigureCanvasAgg(figure)
    all_axes = figure.subplots(rows, 2 * _COLUMNS, squeeze=False).reshape(-1, 2)
    for axes in all_axes.ravel():
        axes.axis("off")
    all_axes[0, 0].imshow(_thumbnail(query, None))
    _title(all_axes[0, 0], f"query: {Path(result.query).name}", INK)
    legend = [("the chip that was found", CHECK)]
    if result.registration is not None:
        legend.append(("where the query lies", FITTED))
    for row, (text, colour) in enumerate(legend):
        style = {"transform": all_axes[0, 1].transAxes, "size": 8, "va": "top"}
        all_axes[0, 1].text(0.02, 0.98 - 0.08 * row, f"□ {text}", color=colour, **style)
    for (left, right), hit in zip(all_axes[1:], result.hits, strict=False):
        _draw_hit(left, right, hit, result, query.info.size)
    figure.subplots_adjust(0.01, 0.02, 0.99, 0.95, wspace=0.05, hspace=0.22)
    return figure


def write_figure(result: SearchResult, path: Path, query: Source) -> None:
    """Writes `draw` as PNG."""
    save_figure(draw(result, query), path, dpi=_DPI, format="png")


def _draw_hit(
    left: Axes, right: Axes, hit: Hit, result: SearchResult, size: tuple[int, int]
) -> None:
    """The whole image with the chip's frame, and the chip or the matches."""
    found = hit.verification
    registration = None if found is None else found.registration
    try:
        image = open_source(hit.image.path, bands=result.manifest.band_list)
        extent = (-0.5, image.info.width - 0.5, image.info.height - 0.5, -0.5)
        left.imshow(_thumbnail(image, None), extent=extent)
        _draw_frames(left, hit.cell, registration, size)
        if registration is None or registration.preview is None:
            right.imshow(_thumbnail(image, hit.cell))
    except InputError as error:
        left.text(0.5, 0.5, error.cause, ha="center", va="center", size=8, wrap=True)
    if registration is not None and registration.preview is not None:
        _draw_matches(right, registration, registration.preview)
    middle = centre(hit)
    place = "" if middle is None else f"  {middle[1]:.3f}°, {middle[0]:.3f}°"
    text = f"{hit.rank}. {Path(hit.image.path).name}  {hit.similarity:.3f}{place}"
    colour = INK
    if found is not None:
        text += f"\n{found.status}: {found.reason}"
        colour = STATUS_COLOURS[found.status]
    _title(left, text, colour)


def _draw_frames(
    axes: Axes, cell: ChipWindow, registration: Registration | None, size: tuple[int, int]
) -> None:
    """The chip's frame and, where it is registered, the query's outline, in the image's pixels."""
    limits = axes.get_xlim(), axes.get_ylim()
    rim = [withStroke(linewidth=3.0, foreground="white")]
    corner = cell.left - 0.5, cell.top - 0.5
    axes.add_patch(
        Rectangle(corner, cell.width, cell.height, fill=False, ec=CHECK, lw=1.4, path_effects=rim)
    )
    if registration is not None and registration.transform is not None:
        frame = box(-0.5, -0.5, size[0] - 0.5, size[1] - 0.5).segmentize(max(size) / _ALONG)
        outline = registration.transform.inverse(np.array(frame.exterior.coords))
        style = {"lw": 1.4, "path_effects": rim}
        axes.add_patch(Polygon(outline, closed=True, fill=False, ec=FITTED, **style))
    axes.set_xlim(limits[0])
    axes.set_ylim(limits[1])


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
