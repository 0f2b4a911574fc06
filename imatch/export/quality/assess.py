"""Assesses a registration and writes its quality report."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from imatch.core.errors import ConfigError
from imatch.core.io.files import atomic_path
from imatch.core.io.jsontext import to_json
from imatch.export.quality.accuracy import PositionalAccuracy, positional_accuracy
from imatch.export.quality.cells import QualityCell, count_findings, measure_cells
from imatch.export.quality.changes import Changes, changed_ground
from imatch.export.quality.relief import Relief, relief
from imatch.export.quality.residuals import (
    Autocorrelation,
    CorrectionField,
    Residuals,
    autocorrelation,
    correction_field,
    residuals,
    statistics,
)
from imatch.export.quality.views import ChipView, Image, ViewPair
from imatch.export.text import (
    accuracy_text,
    certificate_text,
    model_text,
    shift_text,
)
from imatch.pipeline.pair.match import Image as MatchImage
from imatch.pipeline.pair.match import images_of
from imatch.pipeline.registration.result import Registration

SCHEMA = "imatch.quality/1"
_LEAST_SIZE = 64


@dataclass(frozen=True, eq=False)
class QualityReport:
    """The contents of a quality report.

    Attributes:
        registration: The result of the match.
        view: The overlap, reduced.
        residuals: Of the tie points that agree; None without a transform or such points.
        correlated_before: Whether neighbouring residuals are alike in the pair as it came.
        correlated_after: The same as registered.
        field: The correction; None without a transform.
        cells: What the images say, window by window.
        changes: The ground that changed; None where that cannot be told.
        accuracy: Positional accuracy at check points; None without any.
        relief: The residuals against the heights of ``dem``; None where that is no raster.
    """

    registration: Registration
    view: ChipView
    residuals: Residuals | None
    correlated_before: Autocorrelation | None
    correlated_after: Autocorrelation | None
    field: CorrectionField | None
    cells: list[QualityCell]
    changes: Changes | None
    accuracy: PositionalAccuracy | None = None
    relief: Relief | None = None

    def to_dict(self) -> dict[str, Any]:
        """Returns the figures of the report, schema ``imatch.quality/1``; unknown ones are null.

        - ``status``, ``reason``, ``verdict`` (the certificate, accuracy, shift and model in words)
          and ``certificate``: as in the registration's own document.
        - ``accuracy``: positional accuracy as ISO 19157 has it: ``check_points`` (number, share of
          the overlap's cells with one, number in each quadrant), ``measures`` (``id`` of the
          standard's list, ``name``, ``px``, ``m``) and ``conformance`` (the tolerance, and
          whether it is met).
        - ``relief``: where ``dem`` was a raster of heights, the residuals by ``height``, ``slope``
          and ``aspect``, and whether relief explains them: the share that heights predict of those
          held out (``explained``), by chance as often as ``p``.
        - ``residuals``: ``baseline`` (what "before" means), and of ``before``, ``after`` and
          ``after_at_check_points`` the number, RMSE, median, CE90, maximum, and mean and spread
          along the reference's axes, target pixels; ``metres_per_px`` to convert them.
        - ``autocorrelation``: ``before`` and ``after``: Moran's I, its p-value, the part that
          neighbours share in pixels, and the correlation by distance.
        - ``correction``: mean and largest length of the whole and of its local part, pixels.
        - ``cells``: the windows looked at, with agreement and offset before and after, tie points
          and RMSE; ``findings``: how many support, contradict, or say nothing.
        - ``changes``: ``share`` of the ground that changed by more than its season, or is hidden,
          and the number of ``regions``; null where the images agree too little to tell.
        - ``provenance``, ``reference``, ``target``: as in the registration's own document.
        """
        registration = self.registration
        document = registration.to_dict()
        found = self.residuals
        spreads = None
        if found is not None:
            spreads = {
                "baseline": found.baseline,
                "metres_per_px": found.metres,
                "before": statistics(found.before),
                "after": statistics(found.after),
                "after_at_check_points": statistics(found.after[found.check]),
            }
        return {
            "schema": SCHEMA,
            "status": registration.status,
            "reason": registration.reason,
            "verdict": {
                "certificate": certificate_text(registration),
                "accuracy": accuracy_text(registration),
                "shift": shift_text(registration),
                "model": model_text(registration),
                "local": None if registration.local is None else registration.local.kind,
            },
            "certificate": document["certificate"],
            "accuracy": None if self.accuracy is None else self.accuracy.to_dict(),
            "relief": None if self.relief is None else self.relief.to_dict(),
            "residuals": spreads,
            "autocorrelation": {
                name: None if value is None else value.to_dict()
                for name, value in (
                    ("before", self.correlated_before),
                    ("after", self.correlated_after),
                )
            },
            "correction": None if self.field is None else self.field.to_dict(),
            "cells": [cell.to_dict() for cell in self.cells],
            "findings": count_findings(self.cells),
            "changes": None if self.changes is None else self.changes.to_dict(),
            "reference": document["reference"],
            "target": document["target"],
            "provenance": document["provenance"],
        }


def assess(registration: Registration, ref: Image, tgt: Image, *, size: int = 900) -> QualityReport:
    """Assesses a registration by its tie points and by the images before and after.

    Args:
        registration: The result of the match.
        ref: The reference: the source that was matched, or its file.
        tgt: The target.
        size: Longest side of the pictures, pixels.

    Raises:
        InputError: An image cannot be read, or has not the geocoding that was corrected.
    """
    pair = ViewPair(registration, ref, tgt)
    frame = pair.overlap(size)
    found, view = residuals(pair), pair.view(frame)
    heights = heights_of(registration)
    return QualityReport(
        registration,
        view,
        found,
        None if found is None else autocorrelation(found.ref_xy, found.before),
        None if found is None else autocorrelation(found.ref_xy, found.after),
        correction_field(pair, frame),
        measure_cells(pair, frame, found),
        changed_ground(view),
        positional_accuracy(pair, view),
        None if heights is None else relief(pair, heights),
    )


def heights_of(registration: Registration) -> Path | None:
    """Returns the raster of heights that a registration was made with; None without one."""
    dem = registration.provenance.get("config", {}).get("dem")
    return Path(dem) if isinstance(dem, str) else None


def check_report(path: Path) -> None:
    """Refuses a report in another format than a page or its figures.

    Raises:
        ConfigError: Another suffix.
    """
    if path.suffix.lower() not in (".html", ".htm", ".json"):
        raise ConfigError("is no .html or .json", subject=path, hint="name the report so")


def report(
    registration: Registration,
    path: Path,
    *,
    ref: MatchImage | None = None,
    tgt: MatchImage | None = None,
    overwrite: bool = False,
) -> None:
    """Writes the quality report of a registration from the images that it was made of.

    Args:
        registration: The result; a refusal has a report too.
        path: ``.html``: one page that needs nothing else; ``.json``: its figures.
        ref: The reference, where it was no file or lies elsewhere now.
        tgt: The target, likewise.
        overwrite: Whether an existing file may be replaced.

    Raises:
        ConfigError: Another suffix.
        InputError: An image was no file and is not given, or cannot be read.
        OutputError: The place refuses.
    """
    check_report(path)
    images = images_of(registration, ref, tgt)
    write_quality(registration, *images, path, overwrite=overwrite)


def write_quality(
    registration: Registration,
    ref: Image,
    tgt: Image,
    path: Path,
    *,
    overwrite: bool = False,
    size: int = 900,
) -> None:
    """Writes the quality report of a registration.

    Args:
        registration: The result; a refusal has a report too.
        ref: The reference: the source that was matched, or its file.
        tgt: The target.
        path: ``.html``: one page that needs nothing else; ``.json``: its figures.
        overwrite: Whether an existing file may be replaced.
        size: Longest side of the pictures, pixels.

    Raises:
        ConfigError: Another suffix, or pictures too small to see anything.
        InputError: An image cannot be read, or has not the geocoding that was corrected.
        OutputError: The place refuses.
    """
    check_report(path)
    if size < _LEAST_SIZE:
        raise ConfigError(
            f"is too small for pictures: {size}", subject="size", hint=f"at least {_LEAST_SIZE}"
        )
    with atomic_path(path, overwrite=overwrite) as temporary:
        quality = assess(registration, ref, tgt, size=size)
        if path.suffix.lower() == ".json":
            text = to_json(quality.to_dict()) + "\n"
        else:
            from imatch.export.quality.page import to_html

            text = to_html(quality)
        temporary.write_text(text, encoding="utf-8")
