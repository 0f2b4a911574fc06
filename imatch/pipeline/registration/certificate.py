"""Certificate of a registration: 95 % bounds and the tolerance they are held against."""

from __future__ import annotations

import math
import re
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal

from imatch.core.io.jsontext import json_values

_TOLERANCE = re.compile(r"(\d+\.?\d*(?:e[+-]?\d+)?|\.\d+(?:e[+-]?\d+)?)\s*(px|m)", re.IGNORECASE)


@dataclass(frozen=True)
class Tolerance:
    """Largest error allowed, in pixels or metres.

    Attributes:
        value: Positive and finite.
        unit: ``px`` (native target pixels) or ``m`` (on the ground).
    """

    value: float
    unit: Literal["px", "m"]

    @classmethod
    def parse(cls, text: str) -> Tolerance:
        """Read a positive number and its unit.

        Raises:
            ValueError: It is something else; the message says what to write.

        Examples:
            >>> Tolerance.parse("0.3px"), Tolerance.parse(" 3 m ")
            (Tolerance(value=0.3, unit='px'), Tolerance(value=3.0, unit='m'))
        """
        found = _TOLERANCE.fullmatch(text.strip())
        value = float(found[1]) if found else math.nan
        if found is None or not (value > 0 and math.isfinite(value)):
            raise ValueError(f"{text!r} is no positive number with px or m: write 0.3px or 3m")
        return cls(value, "m" if found[2].lower() == "m" else "px")

    def __str__(self) -> str:
        return f"{self.value:g} {self.unit}"


_PAIRS = ("statistical_ci95_px", "misfit_px", "appearance_px")


@dataclass(frozen=True)
class Certificate:
    """Bounds and evidence of a registration; pixels are native target pixels.

    Intervals and bound have three parts, added in quadrature: chance, by a block bootstrap over
    the windows or tie points; misfit, ground that departs from the transform in ways neighbours
    share (relief, jitter, seams); and appearance, what season and sun may have moved edges by, as
    the scatter between bands tells, or else what was learnt on training pairs.

    Attributes:
        corner_ci95_px: Largest 95 % uncertainty of a mapped corner. The uncertainty is largest at
            a corner, so this bounds the position of everything in the overlap. None if unbounded.
        corner_ci95_m: The same in metres, None where metres are unknown.
        statistical_ci95_px: (x, y) part of the shift's interval that is chance, half-width.
        misfit_px: (x, y) standard deviation of the ground from the transform.
        appearance_px: (x, y) standard deviation of what season and sun may have moved.
        bands: Name, x and y of the shift that each band shows by itself, where there are several.
        bands_disagree: Whether they differ by more than chance explains.
        evidence: How far the agreement is beyond chance: the higher, the surer. None where there
            was too little to measure.
        evidence_kind: ``log_odds`` that the images are aligned, learnt from the figures of right
            and wrong alignments; or ``false_alarms``, minus log10 of how many such agreements of
            matches chance would give, where nothing correlates.
        evidence_threshold: Below this the answer is not ``ok``.
        tolerance: The tolerance asked for, such as ``"0.3 px"``, or None.
        passes: Whether the status is ``ok`` and the bound within the tolerance; None without a
            tolerance, or with one in metres where metres are unknown.
    """

    corner_ci95_px: float | None = None
    corner_ci95_m: float | None = None
    statistical_ci95_px: tuple[float, float] | None = None
    misfit_px: tuple[float, float] | None = None
    appearance_px: tuple[float, float] | None = None
    bands: tuple[tuple[str, float, float], ...] = ()
    bands_disagree: bool = False
    evidence: float | None = None
    evidence_kind: Literal["log_odds", "false_alarms"] | None = None
    evidence_threshold: float | None = None
    tolerance: str | None = None
    passes: bool | None = None

    def to_dict(self) -> dict[str, Any]:
        """Returns its entries in the member ``certificate`` of the JSON document."""
        values: dict[str, Any] = json_values(asdict(self))
        return values

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Certificate:
        """Builds the certificate from what `to_dict` returned."""
        values = {field.name: data[field.name] for field in fields(cls) if field.name in data}
        for name in _PAIRS:
            if values.get(name) is not None:
                values[name] = tuple(math.inf if v is None else v for v in values[name])
        values["bands"] = tuple((str(name), x, y) for name, x, y in values.get("bands", ()))
        return cls(**values)


def verdict(
    tolerance: Tolerance | None, *, ok: bool, bound_px: float | None, bound_m: float | None
) -> bool | None:
    """Returns whether a registration meets its tolerance.

    Args:
        tolerance: What was asked.
        ok: Whether the answer is to be relied on at all.
        bound_px: 95 % bound on any position in pixels, None if unbounded.
        bound_m: The same in metres, None if unbounded or metres are unknown.

    Returns:
        None where nothing was asked, or metres were and there are none.
    """
    if tolerance is None:
        return None
    if not ok or bound_px is None:
        return False
    if tolerance.unit == "px":
        return bound_px <= tolerance.value
    return None if bound_m is None else bound_m <= tolerance.value
