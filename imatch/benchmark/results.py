"""A row of ``results.csv``: one matcher on one case."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from imatch.benchmark.cases import UNRELATED
from imatch.benchmark.metrics import FALSE_ACCEPT_PX
from imatch.core.io.tables import Plain

Outcome: TypeAlias = Literal["ok", "uncertain", "failed", "error"]
OUTCOMES: tuple[Outcome, ...] = ("ok", "uncertain", "failed", "error")
NAN = float("nan")
NO_MATRIX = (NAN,) * 9
Nine: TypeAlias = tuple[float, ...]


@dataclass(frozen=True)
class Result(Plain):
    """The result of one matcher on one case.

    Attributes:
        case: The case's name.
        source: Its data set.
        variant: Its variant.
        tag: Its conditions.
        matcher: Registry name.
        status: ``ok``, ``uncertain``, ``failed``, or ``error`` where it could not be run.
        answer: Reference pixel to presented target pixel, row by row; NaN unless `status` is
            ``ok``. Columns ``h00…h22``.
        corner_error_px: Of the answer; NaN without an answer or without truth.
        n_matches: Putative matches.
        n_inliers: Matches that agree.
        seconds: Wall time of the match, without loading the model or reading files.
        peak_mb: Largest resident memory of the worker so far, in 10⁶ bytes.
        model: Kind of the transform, empty where none was found.
        found_by: The stage of a cascade that gave the answer; of a single matcher its name.
        guess: The transform of an ``uncertain`` result, else NaN. Columns ``u00…u22``.
        guess_error_px: Its corner error.
        shift_x_px: Displacement by the transform at the centre of the overlap, target pixels.
        shift_y_px: The same in y.
        true_shift_x_px: The true displacement of that point.
        true_shift_y_px: The same in y.
        ci95_x_px: Half-width of the stated 95 % interval of the shift.
        ci95_y_px: The same in y.
        inside_ci95_x: 1 where the interval contains the truth, 0 where not, -1 where none is known.
        inside_ci95_y: The same in y.
        tol_px: How well the truth is known, pixels.
        reason: Why the status is what it is.
        error: What prevented the run; empty otherwise.
    """

    matrices: ClassVar[dict[str, str]] = {"answer": "h", "guess": "u"}

    case: str
    source: str
    variant: str
    tag: str
    matcher: str
    status: str
    answer: Nine = NO_MATRIX
    corner_error_px: float = NAN
    n_matches: int = 0
    n_inliers: int = 0
    seconds: float = NAN
    peak_mb: float = NAN
    model: str = ""
    found_by: str = ""
    guess: Nine = NO_MATRIX
    guess_error_px: float = NAN
    shift_x_px: float = NAN
    shift_y_px: float = NAN
    true_shift_x_px: float = NAN
    true_shift_y_px: float = NAN
    ci95_x_px: float = NAN
    ci95_y_px: float = NAN
    inside_ci95_x: int = -1
    inside_ci95_y: int = -1
    tol_px: float = 0.0
    reason: str = ""
    error: str = ""

    @property
    def positive(self) -> bool:
        """Returns whether the two images show the same place."""
        return self.variant != UNRELATED

    @property
    def score_px(self) -> float:
        """Returns the corner error, infinite unless the answer was ``ok``."""
        known = self.status == "ok" and np.isfinite(self.corner_error_px)
        return self.corner_error_px if known else float("inf")

    @property
    def false_accept(self) -> bool:
        """Returns whether a wrong answer was called ``ok``."""
        limit = max(FALSE_ACCEPT_PX, self.tol_px)
        return self.status == "ok" and (not self.positive or self.score_px > limit)

    @property
    def matrix(self) -> NDArray[np.float64] | None:
        """Returns the (3, 3) answer or guess, None where there is neither."""
        for nine in (self.answer, self.guess):
            if np.isfinite(nine).all():
                return np.array(nine).reshape(3, 3)
        return None

    @property
    def shift_errors(self) -> list[tuple[float, float]]:
        """Returns (error, half-width) of each axis with a stated interval and known truth.

        A truth that is known to a tolerance only is too coarse to hold intervals against.
        """
        if self.tol_px > 0:
            return []
        axes = (
            (self.shift_x_px - self.true_shift_x_px, self.ci95_x_px),
            (self.shift_y_px - self.true_shift_y_px, self.ci95_y_px),
        )
        return [axis for axis in axes if np.isfinite(axis).all()]

    def in_one_line(self) -> Result:
        """Returns the result with its texts on one line each."""
        return replace(
            self, reason=" ".join(self.reason.split()), error=" ".join(self.error.split())
        )
