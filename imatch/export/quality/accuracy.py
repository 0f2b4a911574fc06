"""Positional accuracy at check points, in the measures of ISO 19157."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from imatch.core.types import BoolArray
from imatch.export.html import HtmlCell, HtmlTable
from imatch.export.quality.residuals import Floats, metres_per_pixel
from imatch.export.quality.views import ChipView, ViewPair
from imatch.export.text import number, tolerance_text
from imatch.geometry.accuracy import coverage

# Check points below which a 95th percentile is the largest value or nearly so.
_FEW = 20
_QUADRANTS = ("north-west", "north-east", "south-west", "south-east")


@dataclass(frozen=True, eq=False)
class Measure:
    """A quality measure.

    Attributes:
        id: Its number in ISO 19157, annex D; None for one that is not in it.
        name: Its name there.
        px: Target pixels.
        m: Metres; None where they are unknown.
    """

    id: int | None
    name: str
    px: float
    m: float | None


@dataclass(frozen=True, eq=False)
class PositionalAccuracy:
    """Positional accuracy of the registered target, the reference being accepted as true.

    Attributes:
        measures: What was found.
        number: Check points.
        coverage: Share of the overlap's cells that hold one.
        quadrants: How many lie in each quadrant of the reference, in the order of `_QUADRANTS`.
        held_out: Whether each was predicted by a fit without it; else residuals of the whole fit
            stand in, as of results that an earlier version wrote.
        tolerance: What was asked for, None for nothing.
        passes: Whether it is met; None where nothing was asked for or that cannot be told.
        verdict: The same in words.
    """

    measures: tuple[Measure, ...]
    number: int
    coverage: float
    quadrants: tuple[int, ...]
    held_out: bool
    tolerance: str | None
    passes: bool | None
    verdict: str

    def to_dict(self) -> dict[str, Any]:
        """Returns the figures, JSON-ready."""
        return {
            "standard": "ISO 19157",
            "element": "absolute or external positional accuracy, the reference accepted as true",
            "evaluation": self.evaluation,
            "check_points": {
                "number": self.number,
                "coverage": self.coverage,
                "quadrants": dict(zip(_QUADRANTS, self.quadrants, strict=True)),
            },
            "measures": [vars(measure) for measure in self.measures],
            "conformance": {
                "specification": self.tolerance,
                "pass": self.passes,
                "explanation": self.verdict,
            },
        }

    @property
    def evaluation(self) -> str:
        """How the figures were made."""
        if self.held_out:
            return "check points held out of the fit, block by block"
        return "residuals of the fit at its check points"

    def to_text(self) -> str:
        """Returns number, spread and verdict in a sentence or two."""
        few = " Few check points: CE95 is little more than the largest error." * (
            self.number < _FEW
        )
        return (
            f"{self.number} check points in {self.coverage:.0%} of the overlap's cells:"
            f" {self.verdict}.{few}"
        )

    def to_table(self) -> HtmlTable:
        """Returns the measures as a table."""
        metres = any(measure.m is not None for measure in self.measures)
        rows = tuple(
            (
                HtmlCell(measure.name),
                HtmlCell("–" if measure.id is None else str(measure.id)),
                HtmlCell(number(measure.px)),
                *((HtmlCell("–" if measure.m is None else number(measure.m)),) if metres else ()),
            )
            for measure in self.measures
        )
        header = ("measure", "ISO 19157", "px", *(("m",) if metres else ()))
        return HtmlTable("Accuracy", "", header, rows)

    def facts(self) -> list[tuple[str, str]]:
        """Returns how the figures came about."""
        spread = ", ".join(
            f"{count} {name}" for name, count in zip(_QUADRANTS, self.quadrants, strict=True)
        )
        return [
            ("Evaluation", self.evaluation),
            ("Spread", spread),
            ("Tolerance", self.tolerance or "none was asked for"),
        ]


def positional_accuracy(pair: ViewPair, view: ChipView) -> PositionalAccuracy | None:
    """Returns the accuracy at check points; None without a transform or without such points.

    Args:
        pair: The registration with its images.
        view: The overlap, as registered.
    """
    registration, points = pair.registration, pair.registration.tie_points
    if pair.after is None or view.after is None or not points.check.any():
        return None
    held_out = points.held_out_xy is not None
    errors = points.residual_xy if points.held_out_xy is None else points.held_out_xy
    check: BoolArray = points.check & np.isfinite(errors).all(axis=1)
    if not check.any():
        return None
    errors, ref_xy = errors[check], points.ref_xy[check]
    gsd = metres_per_pixel(pair)
    certificate = registration.certificate
    passes = None if certificate.tolerance is None else certificate.passes
    stated = tolerance_text(registration)
    return PositionalAccuracy(
        _measures(pair.along_reference_axes(pair.after, errors), gsd),
        int(check.sum()),
        coverage(view.frame.from_reference(ref_xy), view.ref.valid & view.after.valid),
        _in_quadrants(ref_xy, pair.ref.info.size),
        held_out,
        certificate.tolerance,
        passes,
        stated or f"the registration is {registration.status}; no tolerance was asked for",
    )


def _measures(errors: Floats, gsd: tuple[float, float] | None) -> tuple[Measure, ...]:
    metres = None if gsd is None else errors * gsd

    def measure(identifier: int | None, name: str, figure: Any) -> Measure:
        return Measure(
            identifier,
            name,
            float(figure(errors)),
            None if metres is None else float(figure(metres)),
        )

    def lengths(xy: Floats) -> NDArray[np.float64]:
        return np.asarray(np.hypot(*xy.T))

    return (
        measure(
            47, "root mean square error of planimetry", lambda e: np.sqrt((e**2).sum(1).mean())
        ),
        measure(
            None, "root mean square error along rows (x)", lambda e: np.sqrt((e[:, 0] ** 2).mean())
        ),
        measure(
            None,
            "root mean square error along columns (y)",
            lambda e: np.sqrt((e[:, 1] ** 2).mean()),
        ),
        measure(128, "bias of positions, x", lambda e: e[:, 0].mean()),
        measure(128, "bias of positions, y", lambda e: e[:, 1].mean()),
        measure(28, "mean value of positional uncertainties", lambda e: lengths(e).mean()),
        measure(44, "circular error at 90 % (CE90)", lambda e: np.percentile(lengths(e), 90)),
        measure(45, "circular error at 95 % (CE95)", lambda e: np.percentile(lengths(e), 95)),
        measure(None, "largest error", lambda e: lengths(e).max()),
    )


def _in_quadrants(ref_xy: Floats, size: tuple[int, int]) -> tuple[int, ...]:
    """Returns how many points lie in each quadrant of an image, row by row."""
    east, south = ((ref_xy + 0.5) * 2 >= np.array(size)).T
    return tuple(int((row & column).sum()) for row in (~south, south) for column in (~east, east))
