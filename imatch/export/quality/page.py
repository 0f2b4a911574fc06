"""The quality report as an HTML page: values for its template."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from imatch.core.types import Rendered
from imatch.export.html import HtmlCell as Value
from imatch.export.html import HtmlTable, render
from imatch.export.images import checkerboard, jpeg
from imatch.export.quality import plots
from imatch.export.quality.cells import QualityCell, findings_text
from imatch.export.quality.residuals import Residuals, autocorrelation_text, statistics
from imatch.export.quality.views import ChipView
from imatch.export.summary import summary_rows
from imatch.export.text import image_name, number
from imatch.pipeline.registration.result import Preview

if TYPE_CHECKING:
    from imatch.export.quality.assess import QualityReport

_QUALITY = 84
# Side up to which a small image is enlarged, pixels of the page.
_WIDE = 900
_FINDINGS = {"supported": 0.9, "contradicted": None, "silent": None}


def to_html(quality: QualityReport) -> str:
    """Returns the report as one HTML document that loads nothing from elsewhere."""
    registration, view, points = quality.registration, quality.view, quality.residuals
    unmet = registration.certificate.tolerance is not None and not registration.certificate.passes
    headline, *facts = summary_rows(registration)
    facts = [(label or "\N{NO-BREAK SPACE}", text) for label, text in facts]
    if registration.local is not None:
        facts.append(("local model", f"{registration.local.kind}, on top of the transform"))
    # A small image is shown enlarged, by whole pixels, so that it can be judged.
    enlarged = max(1, _WIDE // max(view.frame.width, view.frame.height))
    metres = None if points is None else points.metres
    return render(
        "quality.html.j2",
        quality=quality,
        pair=f"{image_name(registration.target)} onto {image_name(registration.reference)}",
        verdict="uncertain" if registration.status == "ok" and unmet else registration.status,
        headline=headline,
        findings=_findings(quality),
        accuracy=quality.accuracy,
        facts=facts,
        shots=_shots(view),
        width=enlarged * view.frame.width,
        checkerboards=[
            (label, jpeg(_checkerboard(view.ref, shot), _QUALITY)) for label, shot in _targets(view)
        ],
        details=_details(quality.cells),
        correction=None if quality.field is None else plots.field_plot(view, quality.field, metres),
        residuals=_residuals(quality),
        agreement=_agreement(quality),
        changes=_changes(quality),
        offsets=None if points is None else _offsets(points),
        provenance=_provenance(registration.provenance),
    )


def _findings(quality: QualityReport) -> list[str]:
    """Returns a sentence each on the windows, the tie points and their autocorrelation."""
    found = []
    if quality.cells:
        found.append(f"Images: {findings_text(quality.cells)}")
    if quality.changes is not None:
        found.append(f"Changes: {quality.changes.to_text()}")
    if quality.residuals is not None:
        before, after = (
            statistics(v)["rmse"] for v in (quality.residuals.before, quality.residuals.after)
        )
        found.append(
            f"Tie points: their RMSE went from {number(before)} px"
            f" ({quality.residuals.baseline}) to {number(after)} px."
        )
    if quality.relief is not None:
        found.append(quality.relief.to_text())
    if quality.correlated_after is not None:
        found.append(autocorrelation_text(quality.correlated_after))
    return found


def _targets(view: ChipView) -> list[tuple[str, Rendered]]:
    """Returns the target before and, where there is a transform, after registration."""
    shots = [("before", view.before), ("after", view.after)]
    return [(label, shot) for label, shot in shots if shot is not None]


def _shots(view: ChipView) -> list[tuple[str, bytes]]:
    """Returns reference, before and after as JPEG files of one frame."""
    shots = [("reference", view.ref), *_targets(view)]
    return [(label, jpeg(plots.tone(shot), _QUALITY)) for label, shot in shots]


def _checkerboard(ref: Rendered, shot: Rendered) -> NDArray[np.uint8]:
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


def _details(cells: Sequence[QualityCell]) -> list[dict[str, Any]]:
    """Returns the windows of best, median and worst agreement."""
    known = [cell for cell in cells if np.isfinite(cell.agreement_after)]
    if not known:
        return []
    ranked = sorted(known, key=lambda cell: -cell.agreement_after)
    positions = {"best": 0, "typical": len(ranked) // 2, "worst": len(ranked) - 1}
    # Few cells are not shown twice.
    chosen = {index: label for label, index in reversed(positions.items())}
    details = []
    for index, label in sorted(chosen.items()):
        cell = ranked[index]
        frame = cell.view.frame
        x, y = frame.left + frame.step * frame.width / 2, frame.top + frame.step * frame.height / 2
        details.append(
            {
                "label": label,
                "shots": _shots(cell.view),
                "width": 2 * frame.width,
                "place": f"({x:.0f}, {y:.0f})",
                "before": _share(cell.agreement_before),
                "after": _share(cell.agreement_after),
            }
        )
    return details


def _residuals(quality: QualityReport) -> dict[str, Any] | None:
    points, before, after = (
        quality.residuals,
        quality.correlated_before,
        quality.correlated_after,
    )
    if points is None or before is None or after is None:
        return None
    return {
        "histogram": plots.histogram(points),
        "map": plots.residual_map(quality.view, points),
        "correlated": autocorrelation_text(after),
        "correlogram": plots.correlogram(before, after),
    }


def _agreement(quality: QualityReport) -> dict[str, Any] | None:
    if not quality.cells:
        return None
    return {
        "text": findings_text(quality.cells),
        "map": plots.agreement_map(quality.cells, quality.view.frame),
        "table": _reliability(quality),
    }


def _changes(quality: QualityReport) -> dict[str, Any] | None:
    """Returns the text on changed ground, and both images with its outlines."""
    view, changes = quality.view, quality.changes
    if changes is None or view.after is None or not changes.changed.any():
        return None
    shots = [
        (label, jpeg(plots.outlined(plots.tone(shot), changes.changed), _QUALITY))
        for label, shot in (("reference", view.ref), ("after", view.after))
    ]
    return {"text": changes.to_text(), "shots": shots}


def _reliability(quality: QualityReport) -> HtmlTable:
    """Returns the table of the windows."""
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
                Value(_number(cell.rmse_px)),
                *(() if metres is None else (Value(_number(cell.rmse_px * gsd)),)),
                Value(_share(cell.agreement_before)),
                Value(_share(cell.agreement_after)),
                *(Value(_number(float(offset))) for offset in offsets),
                Value(cell.finding, _FINDINGS[cell.finding]),
            )
        )
    return HtmlTable("Reliability", "", header, tuple(rows))


def _offsets(points: Residuals) -> HtmlTable:
    """Returns the table of mean and spread of the residuals by axis, before and after."""
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
    return HtmlTable("Offsets", note, header, tuple(rows))


def _provenance(provenance: Mapping[str, Any]) -> list[tuple[str, str]]:
    return [
        (key, _plain(value)) for key, value in provenance.items() if value not in ({}, [], None)
    ]


def _plain(value: Any) -> str:
    """Formats a nested value on one line."""
    if isinstance(value, Mapping):
        parts = [f"{key} {_plain(item)}" for key, item in value.items() if item is not None]
        return ", ".join(parts)
    if isinstance(value, list | tuple):
        return "; ".join(_plain(item) for item in value)
    return value if isinstance(value, str) else json.dumps(value, default=str)


def _number(value: float) -> str:
    return number(value) if np.isfinite(value) else "–"


def _share(value: float) -> str:
    # No minus before what rounds to nothing.
    return f"{round(value, 2) + 0.0:.2f}" if np.isfinite(value) else "–"
