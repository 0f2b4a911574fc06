"""The quality report as a page: words first, then pictures, then tables."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from numpy.typing import NDArray

from imatch.core.types import Rendered
from imatch.export.figure_files import checkerboard
from imatch.export.html import HtmlCell as Value
from imatch.export.html import HtmlTable, data_url, definitions, image, page, table_html
from imatch.export.quality import plots
from imatch.export.quality.cells import QualityCell, tally_text
from imatch.export.quality.evidence import Residuals, autocorrelation_text, statistics
from imatch.export.quality.script import SCRIPT, STYLE
from imatch.export.quality.views import ChipView
from imatch.export.terminal import rows as summary_rows
from imatch.export.text import name, number
from imatch.pipeline.registration.result import Preview

if TYPE_CHECKING:
    from imatch.export.quality.assess import Quality

_JPEG = [cv2.IMWRITE_JPEG_QUALITY, 84]
# Side up to which a small image is enlarged, pixels of the page.
_WIDE = 900
_FINDINGS = {"supported": 0.9, "contradicted": None, "silent": None}


def to_html(quality: Quality) -> str:
    """One HTML document that loads nothing from elsewhere."""
    registration = quality.registration
    view = quality.view
    sections = [
        ("Verdict", _verdict(quality)),
        ("Before and after", _flicker(view, _enlarged(view)) + _boards(view)),
        ("Details at full resolution", _details(quality.cells)),
        ("Correction", _correction(quality)),
        ("Residuals", _residuals(quality)),
        ("What the images say", _cells(quality)),
        ("Offsets by direction", _directions(quality.residuals)),
        ("Provenance", definitions(_provenance(registration.provenance))),
    ]
    pair = f"{name(registration.target)} onto {name(registration.reference)}"
    return page(
        f"imatch: {registration.status}, {pair}",
        "Quality of a registration",
        pair,
        [(title, body) for title, body in sections if body],
        style=STYLE,
        script=SCRIPT,
    )


def _verdict(quality: Quality) -> str:
    registration = quality.registration
    told = summary_rows(registration)
    unmet = registration.certificate.tolerance is not None and not registration.certificate.passes
    colour = "uncertain" if registration.status == "ok" and unmet else registration.status
    banner = f'<p class="verdict {colour}"><b>{escape(told[0][0])}</b> {escape(told[0][1])}</p>'
    points = []
    if quality.cells:
        points.append(f"Images: {tally_text(quality.cells)}")
    if quality.residuals is not None:
        before, after = (
            statistics(v)["rmse"] for v in (quality.residuals.before, quality.residuals.after)
        )
        points.append(
            f"Tie points: their RMSE went from {number(before)} px"
            f" ({quality.residuals.baseline}) to {number(after)} px."
        )
    if quality.correlated_after is not None:
        points.append(autocorrelation_text(quality.correlated_after))
    listed = "".join(f"<li>{escape(text)}</li>" for text in points)
    facts = [(label or "\N{NO-BREAK SPACE}", text) for label, text in told[1:]]
    if registration.local is not None:
        facts.append(("local model", f"{registration.local.kind}, on top of the transform"))
    return banner + (f"<ul>{listed}</ul>" if listed else "") + definitions(facts)


def _flicker(view: ChipView, enlarged: int = 1) -> str:
    """Reference, before and after in one place; three pictures in a row without scripts."""
    shots = [("reference", view.ref), ("before", view.before)]
    if view.after is not None:
        shots.append(("after", view.after))
    frames = "".join(
        f'<figure><img alt="{label}" src="{_jpeg(plots.tone(shot))}">'
        f"<figcaption>{label}</figcaption></figure>"
        for label, shot in shots
    )
    width = enlarged * view.frame.width
    return f'<div class="flicker" style="max-width:{width}px">{frames}</div>'


def _enlarged(view: ChipView) -> int:
    """How many times larger a small image is shown, in whole pixels, so that it can be judged."""
    return max(1, _WIDE // max(view.frame.width, view.frame.height))


def _boards(view: ChipView) -> str:
    """Checkerboards before and after."""
    shots = [("before", view.before)]
    if view.after is not None:
        shots.append(("after", view.after))
    frames = "".join(
        f'<figure><img alt="checkerboard {label}" src="{_jpeg(_board(view.ref, shot))}">'
        f"<figcaption>{label}: reference grey, target blue</figcaption></figure>"
        for label, shot in shots
    )
    return f'<h3>Checkerboards</h3><div class="side">{frames}</div>'


def _board(ref: Rendered, shot: Rendered) -> NDArray[np.uint8]:
    nothing = np.zeros((0, 2))
    first, second = (
        np.round(255 * part.pixels[0]).astype(np.uint8)[..., None] for part in (ref, shot)
    )
    preview = Preview(
        first, second, ref.valid, shot.valid, nothing, nothing, None, None, common_grid=True
    )
    width, height = ref.size
    board = checkerboard(preview, np.eye(3), (0, 0, width, height))
    ground = board[..., 3:] > 0
    return np.where(ground, board[..., :3], np.uint8(217))


def _details(cells: Sequence[QualityCell]) -> str:
    """The windows that agree best, as most do, and worst."""
    known = [cell for cell in cells if np.isfinite(cell.agreement_after)]
    if not known:
        return ""
    ranked = sorted(known, key=lambda cell: -cell.agreement_after)
    places = {"best": 0, "typical": len(ranked) // 2, "worst": len(ranked) - 1}
    # Few cells are not shown twice.
    chosen = {index: label for label, index in reversed(places.items())}
    parts = []
    for index, label in sorted(chosen.items()):
        cell = ranked[index]
        frame = cell.view.frame
        x, y = frame.left + frame.step * frame.width / 2, frame.top + frame.step * frame.height / 2
        parts.append(
            f'<div class="detail"><h3>{label} agreement</h3>{_flicker(cell.view, 2)}'
            f'<p class="note">about reference pixel ({x:.0f}, {y:.0f}); agreement before '
            f"{_share(cell.agreement_before)}, after {_share(cell.agreement_after)}</p></div>"
        )
    return f'<div class="side">{"".join(parts)}</div>'


def _correction(quality: Quality) -> str:
    if quality.field is None:
        return ""
    metres = None if quality.residuals is None else quality.residuals.metres
    plot = plots.field_plot(quality.view, quality.field, metres)
    if quality.registration.local is None:
        text = "The whole correction is the global transform; there is no local model."
    else:
        text = (
            "Left the whole correction, right what the local model adds to the global transform,"
            " its arrows magnified by themselves."
        )
    alt = "displacement field of the correction"
    return f'<p class="note">{text}</p>{image(plot, "png", alt)}'


def _residuals(quality: Quality) -> str:
    points = quality.residuals
    if points is None or quality.correlated_before is None or quality.correlated_after is None:
        return ""
    before = (
        "the target's own geocoding"
        if points.baseline == "geocoding"
        else "the best plain shift, as the images have no common geocoding"
    )
    note = (
        f"Before: against {before}. After: against the whole model. Check points were held out of"
        " the fit behind the accuracy figures; dashed lines are medians."
    )
    parts = [
        f'<p class="note">{escape(note)}</p>',
        image(plots.histogram(points), "png", "histogram of residuals before and after"),
        image(plots.residual_map(quality.view, points), "png", "residuals on the map"),
        f"<h3>Are they still correlated?</h3><p>{escape(_correlated(quality))}</p>",
    ]
    plot = plots.correlogram(quality.correlated_before, quality.correlated_after)
    if plot is not None:
        parts.append(image(plot, "png", "correlation of residuals by distance"))
    return "".join(parts)


def _correlated(quality: Quality) -> str:
    assert quality.correlated_after is not None
    return autocorrelation_text(quality.correlated_after)


def _cells(quality: Quality) -> str:
    if not quality.cells:
        return ""
    note = (
        "Windows at full resolution on a regular lattice, wherever tie points may be. Agreement is"
        " the correlation of the directions of edges (1 the same, 0 unrelated); an offset is what"
        " correlating parts of the window still sees, where it sees any."
    )
    plot = image(
        plots.agreement_map(quality.cells, quality.view.frame), "png", "agreement by window"
    )
    return (
        f"<p>{escape(tally_text(quality.cells))}</p>"
        f'<p class="note">{escape(note)}</p>{plot}{table_html(_reliability(quality))}'
    )


def _reliability(quality: Quality) -> HtmlTable:
    """A line a window."""
    metres = None if quality.residuals is None else quality.residuals.metres
    header = (
        "row, column",
        "tie points",
        "check points",
        "RMSE, px",
        *(() if metres is None else ("RMSE, m",)),
        "agreement before",
        "after",
        "offset before, px",
        "after, px",
        "finding",
    )
    rows = []
    for cell in quality.cells:
        offsets = (np.hypot(*cell.offset_before), np.hypot(*cell.offset_after))
        gsd = float("nan") if metres is None else (metres[0] + metres[1]) / 2
        rows.append(
            (
                Value(f"{cell.row + 1}, {cell.column + 1}"),
                Value(str(cell.tie_points)),
                Value(str(cell.check_points)),
                Value(_figure(cell.rmse_px)),
                *(() if metres is None else (Value(_figure(cell.rmse_px * gsd)),)),
                Value(_share(cell.agreement_before)),
                Value(_share(cell.agreement_after)),
                *(Value(_figure(float(offset))) for offset in offsets),
                Value(cell.finding, _FINDINGS[cell.finding]),
            )
        )
    return HtmlTable("Reliability", "", header, tuple(rows))


def _directions(points: Residuals | None) -> str:
    if points is None:
        return ""
    units = [("px", (1.0, 1.0))] + ([] if points.metres is None else [("m", points.metres)])
    kinds = [
        ("before", points.before),
        ("after", points.after),
        ("after, check points", points.after[points.check]),
    ]
    header = (
        "residuals",
        "tie points",
        *(f"{axis}, {unit}" for unit, _ in units for axis in ("x", "y")),
        *(f"RMSE, {unit}" for unit, _ in units),
    )
    rows = []
    for label, vectors in kinds:
        if not len(vectors):
            continue
        scaled = [vectors * scale for _, scale in units]
        means = [
            Value(f"{value[:, axis].mean():+.2f} ± {value[:, axis].std():.2f}")
            for value in scaled
            for axis in (0, 1)
        ]
        lengths = [Value(number(float(np.sqrt((v**2).sum(axis=1).mean())))) for v in scaled]
        rows.append((Value(label), Value(str(len(vectors))), *means, *lengths))
    note = (
        "Mean and spread of the residuals along the reference's rows (x, to the right) and columns"
        " (y, downwards)."
    )
    return table_html(HtmlTable("Offsets", note, header, tuple(rows)))


def _provenance(provenance: Mapping[str, Any]) -> list[tuple[str, str]]:
    return [
        (key, _plain(value)) for key, value in provenance.items() if value not in ({}, [], None)
    ]


def _plain(value: Any) -> str:
    """A nested value on one line."""
    if isinstance(value, Mapping):
        parts = [f"{key} {_plain(item)}" for key, item in value.items() if item is not None]
        return ", ".join(parts)
    if isinstance(value, list | tuple):
        return "; ".join(_plain(item) for item in value)
    return value if isinstance(value, str) else json.dumps(value, default=str)


def _figure(value: float) -> str:
    return number(value) if np.isfinite(value) else "–"


def _share(value: float) -> str:
    # No minus before what rounds to nothing.
    return f"{round(value, 2) + 0.0:.2f}" if np.isfinite(value) else "–"


def _jpeg(rgb: NDArray[np.uint8]) -> str:
    done, data = cv2.imencode(".jpg", np.ascontiguousarray(rgb[..., ::-1]), _JPEG)
    assert done, "OpenCV always encodes an 8-bit image"
    return data_url(data.tobytes(), "jpeg")
