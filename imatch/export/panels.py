"""The panels of the registration figure: matches, checkerboards, residuals."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.colors import Normalize
from matplotlib.patches import Rectangle
from matplotlib.patheffects import withStroke
from matplotlib.quiver import Quiver
from matplotlib.transforms import Affine2D, Bbox
from numpy.typing import NDArray

from imatch.export.figures import BLUE, INK, VERMILION
from imatch.export.images import Window, checkerboard, rgba
from imatch.export.subsample import subsample
from imatch.export.text import px_and_m
from imatch.geometry.transform import apply_matrix
from imatch.pipeline.registration.result import Preview, Registration

FITTED, CHECK = BLUE, VERMILION
_NO_GROUND, _FRAME = "#d9d9d9", "#bbbbbb"
FAINT_INK = "#555555"
# Images longer than this for their breadth are laid out differently.
ELONGATED = 2.2
_MATCH_LINES, _OUTLIER_LINES, _ARROWS = 110, 40, 200


def draw_matches(axes: Axes, registration: Registration, preview: Preview) -> None:
    """Draws both images with lines between tie points, inliers coloured by residual."""
    (ref_h, ref_w), (tgt_h, tgt_w) = preview.ref.shape[:2], preview.tgt.shape[:2]
    stacked = is_wide(preview)
    # Both are drawn equally high (or, one above the other, equally wide), whatever their pixels.
    scale = ref_w / tgt_w if stacked else ref_h / tgt_h
    gap = 0.04 * (ref_h if stacked else ref_w)
    origin = np.array([0.0, ref_h + gap] if stacked else [ref_w + gap, 0.0])
    right, bottom = origin[0] + tgt_w * scale, origin[1] + tgt_h * scale
    axes.imshow(rgba(preview.ref, preview.ref_valid), extent=(0, ref_w, ref_h, 0))
    axes.imshow(rgba(preview.tgt, preview.tgt_valid), extent=(origin[0], right, bottom, origin[1]))
    axes.set_xlim(0, right)
    axes.set_ylim(max(ref_h, bottom), 0)
    axes.axis("off")
    for (x, y), size in (((0.0, 0.0), (ref_w, ref_h)), (origin, (tgt_w * scale, tgt_h * scale))):
        axes.add_patch(
            Rectangle((x, y), *size, facecolor=_NO_GROUND, edgecolor=_FRAME, lw=0.8, zorder=-1)
        )
    axes.set_title("Matches: reference and target", size=12, color=INK, loc="left")

    points = registration.tie_points
    ends = np.stack([preview.ref_xy + 0.5, (preview.tgt_xy + 0.5) * scale + origin], axis=1)
    agreeing, others = np.flatnonzero(points.inlier), np.flatnonzero(~points.inlier)
    if len(points) == 0:
        _note(axes, "no tie points")
    if len(others):
        kept = others[subsample(preview.ref_xy[others], -points.scores[others], _OUTLIER_LINES)]
        axes.add_collection(
            LineCollection(list(ends[kept]), colors="#d4d4d4", linewidths=0.6, alpha=0.75)
        )
    if not len(agreeing):
        return
    # By score, not by residual: the picture should not flatter.
    kept = agreeing[subsample(preview.ref_xy[agreeing], -points.scores[agreeing], _MATCH_LINES)]
    residual = points.residual_px[kept]
    known = residual[np.isfinite(residual)]
    top = float(np.percentile(known, 95)) if known.size else 1.0
    lines = LineCollection(
        list(ends[kept]),
        cmap="plasma",
        norm=Normalize(0, max(top, 0.1)),
        linewidths=1.0,
        # Dark lines on dark forest need a rim.
        path_effects=[withStroke(linewidth=1.8, foreground="white", alpha=0.3)],
    )
    lines.set_array(np.nan_to_num(residual))
    axes.add_collection(lines)
    x, y = ends[kept].reshape(-1, 2).T
    axes.scatter(x, y, s=9, zorder=3, c=np.repeat(lines.to_rgba(residual), 2, axis=0))
    inch = 1 / _bounding_box(axes).width
    beside = axes.inset_axes((1 + 0.15 * inch, 0, 0.17 * inch, 1))
    bar = axes.figure.colorbar(lines, cax=beside, extend="max", extendfrac=0.04)
    bar.set_label("residual, target px", size=10, color=INK)
    bar.ax.tick_params(labelsize=9)


def draw_checkerboard(
    axes: Axes, preview: Preview, matrix: NDArray[np.float64], window: Window, title: str
) -> None:
    """Draws a checkerboard of the reference and the target warped by `matrix`."""
    left, top, right, bottom = window
    axes.set_facecolor(_NO_GROUND)
    image = checkerboard(preview, matrix, window)
    axes.imshow(image, extent=(left, right, bottom, top), interpolation="nearest")
    size = f"{right - left} × {bottom - top}"
    part = "" if window == _full_window(preview) else f" (detail of {size} px)"
    axes.set_title(f"{title}{part}", size=12, color=INK, loc="left")
    axes.set_xlabel("checkerboard: reference grey, target blue", size=9.5, color=FAINT_INK)


def draw_residuals(
    axes: Axes, registration: Registration, preview: Preview, window: Window
) -> None:
    """Draws an arrow from the predicted to the measured position of each tie point."""
    assert preview.matrix is not None
    points = registration.tie_points
    height, width = preview.ref.shape[:2]
    axes.set_facecolor("white")
    axes.imshow(rgba(preview.ref, preview.ref_valid), extent=(0, width, height, 0), alpha=0.35)
    axes.set_title("Residuals", size=12, color=INK, loc="left")
    kept = np.flatnonzero(points.inlier & np.isfinite(points.residual_px))
    if not len(kept):
        _note(axes, "no tie points agree")
        return
    kept = kept[subsample(preview.ref_xy[kept], -points.scores[kept], _ARROWS)]
    length = points.residual_px[kept]
    direction = _directions(preview, kept)
    # A large residual is drawn a fourteenth of the picture long; beyond twice that it is cut.
    usual = max(float(np.percentile(length, 90)), 1e-3)
    scale = np.sqrt(width * height) / 14 / usual
    arrows = direction * np.minimum(length, 2 * usual)[:, None] * scale
    x, y = preview.ref_xy[kept].T + 0.5
    groups = ((~points.check[kept], FITTED, "fitted"), (points.check[kept], CHECK, "check point"))
    for mask, colour, label in groups:
        if mask.any():
            quiver = axes.quiver(
                x[mask],
                y[mask],
                *arrows[mask].T,
                color=colour,
                angles="xy",
                scale_units="xy",
                scale=1,
                units="inches",
                width=0.02,
                label=label,
            )
    if window != _full_window(preview):
        left, top, right, bottom = window
        axes.add_patch(
            Rectangle((left, top), right - left, bottom - top, fill=False, ec=INK, ls=":", lw=1.2)
        )
    axes.set_xlim(0, width)
    axes.set_ylim(height, 0)
    _draw_keys(axes, quiver, _round(usual), scale, _metres_per_px(registration))
    left_out = int(points.inlier.sum()) - len(kept)
    if left_out:
        axes.set_title(
            f"{len(kept)} of {left_out + len(kept)} shown", size=9.5, color=FAINT_INK, loc="right"
        )


def _draw_keys(
    axes: Axes, quiver: Quiver, length: float, scale: float, metres_per_px: float | None
) -> None:
    """Draws below the residuals a key of the colours and an arrow of a round length."""
    place = _bounding_box(axes)
    axes.legend(
        loc="upper left",
        bbox_to_anchor=(place.x0 - 0.08, place.y0 - 0.04),
        bbox_transform=axes.figure.dpi_scale_trans,
        ncols=2,
        handlelength=1.2,
        columnspacing=1.2,
        fontsize=9.5,
        frameon=False,
    )
    axes.quiverkey(
        quiver,
        place.x1 - 0.2,
        # Only a wide panel has room for both on one line.
        place.y0 - (0.19 if place.width > 4.6 else 0.42),
        length * scale,
        px_and_m(length, None if metres_per_px is None else length * metres_per_px) or "",
        labelpos="W",
        coordinates="inches",
        color=INK,
        labelcolor=INK,
        fontproperties={"size": 10},
    )


def _directions(preview: Preview, kept: NDArray[np.intp]) -> NDArray[np.float64]:
    """Returns (N, 2) unit vectors of the residuals in the reference's axes."""
    assert preview.matrix is not None
    inverse = np.linalg.inv(preview.matrix).astype(np.float64)
    found = apply_matrix(inverse, preview.tgt_xy[kept])
    vectors = found - preview.ref_xy[kept]
    length = np.hypot(vectors[:, 0], vectors[:, 1])
    return np.asarray(vectors / np.maximum(length, 1e-12)[:, None])


def _metres_per_px(registration: Registration) -> float | None:
    """Returns the ground size of a target pixel."""
    if registration.rmse_m is not None and registration.rmse_px:
        return registration.rmse_m / registration.rmse_px
    gsd = registration.target.gsd_m
    return None if gsd is None else (gsd[0] + gsd[1]) / 2


def _round(value: float) -> float:
    """Rounds down to 1, 2 or 5 times a power of ten."""
    power = 10.0 ** np.floor(np.log10(value))
    return float(max(step * power for step in (1, 2, 5) if step * power <= value))


def is_wide(preview: Preview) -> bool:
    """Returns whether the two images are better set one above the other."""
    height, width = preview.ref.shape[:2]
    return bool(width > ELONGATED * height)


def _bounding_box(axes: Axes) -> Bbox:
    """Returns a panel's bounding box, in inches, once its images have their proportions."""
    axes.apply_aspect()
    figure = axes.get_figure(root=True)
    assert figure is not None
    width, height = figure.get_size_inches()
    return axes.get_position().transformed(Affine2D().scale(width, height))


def _full_window(preview: Preview) -> Window:
    height, width = preview.ref.shape[:2]
    return 0, 0, width, height


def _note(axes: Axes, text: str) -> None:
    axes.text(
        0.5,
        0.5,
        text,
        size=16,
        color=INK,
        ha="center",
        va="center",
        transform=axes.transAxes,
        bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.85, "pad": 8},
    )
