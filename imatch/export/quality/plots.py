"""The figures of the quality report, as PNG."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import Normalize, TwoSlopeNorm
from matplotlib.figure import Figure
from numpy.typing import NDArray

from imatch.core.types import Rendered
from imatch.export.figures import INK, save_figure, style_axes
from imatch.export.images import even_contrast, rgba
from imatch.export.panels import CHECK, FAINT_INK, FITTED
from imatch.export.quality.cells import QualityCell
from imatch.export.quality.residuals import Autocorrelation, CorrectionField, Floats, Residuals
from imatch.export.quality.views import ChipView, ViewFrame
from imatch.export.subsample import subsample
from imatch.export.text import number, px_and_m

_DPI = 110
_BEFORE = "#8a8f98"
# Of changed ground, red, green and blue: no hue of a grey picture.
_OUTLINE = (255, 0, 200)
_POINTS = 450
# Differences of a correction worth a colour of their own, pixels.
_VARIES = 0.01
# A usual arrow is so long, as a share of the picture's side.
_ARROW = 1 / 18


def field_plot(view: ChipView, field: CorrectionField, metres: tuple[float, float] | None) -> bytes:
    """Plots the whole correction, and beside it the local part magnified."""
    panels = [("Whole correction", field.whole)]
    if field.local is not None:
        panels.append(("Local part alone", field.local))
    figure = _figure(view.frame, len(panels))
    all_axes = figure.subplots(1, len(panels), squeeze=False)[0]
    for axes, (title, vectors) in zip(all_axes, panels, strict=True):
        _draw_field(axes, view, field, vectors, title, metres)
    return _png(figure)


def residual_map(view: ChipView, points: Residuals) -> bytes:
    """Plots the residuals at their tie points, before and after, each at a scale of its own."""
    figure = _figure(view.frame, 2)
    for axes, vectors, title in zip(
        figure.subplots(1, 2), (points.before, points.after), ("Before", "After"), strict=True
    ):
        _background(axes, view)
        length = np.hypot(*vectors.T)
        kept = subsample(points.ref_xy, np.zeros(len(points)), _POINTS)
        xy = view.frame.from_reference(points.ref_xy[kept]) + 0.5
        usual = max(float(np.percentile(length, 90)), 1e-3)
        scale = _side(view.frame) * _ARROW / usual
        arrows = vectors[kept] * np.minimum(1, 2 * usual / np.maximum(length[kept], 1e-9))[:, None]
        for mask, colour, label in (
            (~points.check[kept], FITTED, "tie point"),
            (points.check[kept], CHECK, "check point"),
        ):
            if mask.any():
                axes.quiver(
                    *xy[mask].T,
                    *(arrows[mask] * scale).T,
                    color=colour,
                    label=label,
                    **_ARROWS,
                )
        shown = "" if len(kept) == len(points) else f", {len(kept)} of {len(points)} shown"
        _title(axes, f"{title}: arrows × {number(scale * view.frame.step)}{shown}")
        axes.legend(loc="upper left", bbox_to_anchor=(0, 0), ncols=2, frameon=False, fontsize=9)
        axes.annotate(
            f"90 % below {number(usual)} px",
            (1, 0),
            (0, -8),
            xycoords="axes fraction",
            textcoords="offset points",
            ha="right",
            va="top",
            size=9,
            color=FAINT_INK,
        )
    return _png(figure)


def histogram(points: Residuals) -> bytes:
    """Plots the lengths of the residuals before and after, check points marked."""
    figure = Figure(figsize=(8.4, 3.4), layout="constrained")
    axes = figure.subplots()
    before, after = (np.hypot(*vectors.T) for vectors in (points.before, points.after))
    ends = np.array([after, before])
    positive = ends[ends > 0]
    low = max(0.01, float(np.percentile(positive, 1))) if len(positive) else 0.01
    high = max(float(ends.max()) * 1.05, 2 * low)
    bins = np.geomspace(low, high, 48).tolist()
    ends = np.clip(ends, low, high)
    axes.hist(ends[1], bins, color=_BEFORE, alpha=0.55, label=f"before ({points.baseline})")
    axes.hist(ends[0], bins, color=FITTED, alpha=0.75, label="after, all tie points")
    if points.check.any():
        axes.hist(ends[0][points.check], bins, color=CHECK, alpha=0.95, label="after, check points")
    for values, colour in ((before, _BEFORE), (after, FITTED)):
        axes.axvline(float(np.median(values)), color=colour, lw=1.2, ls=(0, (4, 2)))
    axes.set_xscale("log")
    ticks = [v for v in (0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 100, 300, 1000) if low <= v <= high]
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.minorticks_off()
    axes.set_xlabel("length of the residual, target px", color=FAINT_INK)
    axes.set_ylabel("tie points", color=FAINT_INK)
    axes.legend(frameon=False, fontsize=9)
    style_axes(axes)
    return _png(figure)


def correlogram(before: Autocorrelation, after: Autocorrelation) -> bytes | None:
    """Plots the correlation of residuals by distance; None with too few of them."""
    if not len(after.distance):
        return None
    figure = Figure(figsize=(8.4, 2.9), layout="constrained")
    axes = figure.subplots()
    axes.axhline(0, color=FAINT_INK, lw=0.8)
    for found, colour, label in ((before, _BEFORE, "before"), (after, FITTED, "after")):
        axes.plot(found.distance, found.correlation, "o-", color=colour, ms=4, label=label)
    axes.set_ylim(min(-0.35, axes.get_ylim()[0]), 1.02)
    axes.set_xlabel("distance of two tie points, reference px", color=FAINT_INK)
    axes.set_ylabel("correlation", color=FAINT_INK)
    axes.legend(frameon=False, fontsize=9)
    style_axes(axes)
    return _png(figure)


def agreement_map(cells: Sequence[QualityCell], overlap: ViewFrame) -> bytes:
    """Plots the agreement in each window before and after, and the gain."""
    rows, columns = (1 + max(getattr(cell, name) for cell in cells) for name in ("row", "column"))
    grids = np.full((3, rows, columns), np.nan)
    for cell in cells:
        before, after = cell.agreement_before, cell.agreement_after
        grids[:, cell.row, cell.column] = before, after, after - before
    top = max(float(np.nanmax(grids[:2])) if np.isfinite(grids[:2]).any() else 0.1, 0.05)
    gain = max(float(np.nanmax(np.abs(grids[2]))) if np.isfinite(grids[2]).any() else 0.1, 0.02)
    norms = Normalize(0, top), Normalize(0, top), TwoSlopeNorm(0, -gain, gain)
    shape = overlap.height / overlap.width
    figure = Figure(figsize=(10.4, float(np.clip(3.3 * shape, 1.6, 6)) + 0.4), layout="constrained")
    for axes, grid, norm, colours, title in zip(
        figure.subplots(1, 3),
        grids,
        norms,
        ("viridis", "viridis", "PuOr"),
        ("Before", "After", "Gain"),
        strict=True,
    ):
        picture = axes.imshow(
            np.ma.masked_invalid(grid), cmap=colours, norm=norm, aspect=shape * columns / rows
        )
        for (row, column), value in np.ndenumerate(grid):
            text = "–" if np.isnan(value) else f"{round(float(value), 2) + 0.0:.2f}"
            dark = not np.isnan(value) and np.mean(picture.to_rgba(value)[:3]) < 0.45
            axes.text(
                column, row, text, ha="center", va="center", size=8, color="w" if dark else INK
            )
        _bare(axes)
        _title(axes, title)
    return _png(figure)


_ARROWS: dict[str, Any] = {
    "angles": "xy",
    "scale_units": "xy",
    "scale": 1,
    "units": "inches",
    "width": 0.016,
    "zorder": 3,
}


def _draw_field(
    axes: Axes,
    view: ChipView,
    field: CorrectionField,
    vectors: Floats,
    title: str,
    metres: tuple[float, float] | None,
) -> None:
    _background(axes, view)
    rows, columns = field.shape
    length = np.hypot(*vectors.T)
    known = np.isfinite(length)
    frame = view.frame
    if not known.any():
        _title(axes, f"{title}: nothing of the target lies here")
        return
    usual = max(float(np.percentile(length[known], 95)), 1e-6)
    low = float(length[known].min())
    high = max(float(length[known].max()), 1e-6)
    # A nearly constant correction has its differences shown, not a plain colour; a constant one has
    # none but rounding.
    norm = Normalize(low if low > 0.5 * usual and high - low > _VARIES else 0.0, high)
    colours = axes.imshow(
        np.ma.masked_invalid(length.reshape(rows, columns)),
        extent=(0, frame.width, frame.height, 0),
        cmap="viridis",
        norm=norm,
        alpha=0.5,
        interpolation="bilinear",
    )
    scale = _side(frame) * _ARROW / usual
    some = known & (np.indices(field.shape).reshape(2, -1) % 2 == 0).all(axis=0)
    axes.quiver(*(field.frame_xy[some] + 0.5).T, *(vectors[some] * scale).T, color=INK, **_ARROWS)
    bar = axes.figure.colorbar(colours, ax=axes, shrink=0.85, pad=0.02)
    bar.set_label("target px", size=9, color=FAINT_INK)
    bar.ax.tick_params(labelsize=8)
    largest = float(length[known].max())
    gsd = None if metres is None else (metres[0] + metres[1]) / 2
    text = px_and_m(largest, None if gsd is None else largest * gsd)
    _title(axes, f"{title}: up to {text}, arrows × {number(scale * frame.step)}")


def _background(axes: Axes, view: ChipView) -> None:
    frame = view.frame
    tone = (255 * even_contrast(view.ref.pixels[0], view.ref.valid)).astype(np.uint8)[..., None]
    extent = (0, frame.width, frame.height, 0)
    axes.imshow(rgba(tone, view.ref.valid), extent=extent, alpha=0.4)
    axes.set_xlim(0, frame.width)
    axes.set_ylim(frame.height, 0)
    _bare(axes)


def _bare(axes: Axes) -> None:
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_color("#bbbbbb")


def _title(axes: Axes, text: str) -> None:
    axes.set_title(text, size=10, color=INK, loc="left", parse_math=False)


def _figure(frame: ViewFrame, panels: int) -> Figure:
    """Returns a figure for a row of panels of the frame's shape."""
    width = 5.4 * panels
    height = float(np.clip(4.4 * frame.height / frame.width, 1.6, 9)) + 0.6
    return Figure(figsize=(width, height), layout="constrained")


def _side(frame: ViewFrame) -> float:
    return float(np.sqrt(frame.width * frame.height))


def _png(figure: Figure) -> bytes:
    figure.set_facecolor("white")
    FigureCanvasAgg(figure)
    data = io.BytesIO()
    save_figure(figure, data, format="png", dpi=_DPI, metadata={"Software": None})
    return data.getvalue()


def outlined(picture: NDArray[np.uint8], regions: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Returns an (H, W, 3) picture with (H, W) regions outlined."""
    found, _ = cv2.findContours(regions.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    return np.asarray(cv2.drawContours(picture.copy(), found, -1, _OUTLINE, 2))


def tone(image: Rendered) -> NDArray[np.uint8]:
    """Returns (H, W, 3) grey of even contrast; ground that is missing is light grey."""
    grey = 255 * even_contrast(image.pixels[0], image.valid)
    return np.repeat(np.where(image.valid, grey, 217).astype(np.uint8)[..., None], 3, axis=2)
