"""Result of one pair of a batch, a row of its table."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

from imatch.core.io.tables import Plain
from imatch.core.redaction import redacted
from imatch.pipeline.batch.pairs import BatchPair
from imatch.pipeline.registration.result import Pair as Numbers
from imatch.pipeline.registration.result import Registration

Outcome: TypeAlias = Literal["ok", "uncertain", "failed", "error"]
#: The worst first, as reports list them.
OUTCOMES: tuple[Outcome, ...] = ("error", "failed", "uncertain", "ok")
_NAN = float("nan")


@dataclass(frozen=True)
class BatchResult(Plain):
    """Result of one pair; NaN is unknown.

    Attributes:
        name: The pair's name.
        status: ``ok``, ``uncertain``, ``failed``, or ``error`` where it could not be run.
        passes: 1 where the tolerance asked for is met, 0 where not, -1 where none was asked for.
        shift_x_px: Shift at the centre of the overlap in x, target pixels.
        shift_y_px: The same in y.
        ci95_x_px: Half-width of the shift's 95 % confidence interval in x.
        ci95_y_px: The same in y.
        shift_east_m: The shift eastwards, metres.
        shift_north_m: The shift northwards, metres.
        ci95_east_m: Half-width of its interval, metres.
        ci95_north_m: The same northwards.
        rmse_px: Root mean square residual at check points, target pixels.
        rmse_m: The same in metres.
        ce90_px: Circular error at 90 %, target pixels.
        ce90_m: The same in metres.
        bound_px: How far any place may be off at 95 %, target pixels.
        bound_m: The same in metres.
        coverage: Share of the overlap's cells with a tie point.
        n_matches: Putative matches.
        n_inliers: Matches that agree.
        model: Kind of the transform, empty where none was found.
        matcher: Registry name.
        found_by: The stage of a cascade that gave the answer.
        seconds: Wall time, reading and writing included.
        attempts: How often it was begun, in all sessions.
        extracted: Images whose keypoints were extracted for it.
        from_cache: Images whose keypoints came from the cache on disk.
        worker: Who ran it: machine and process, or a Dask worker's address.
        reason: Why the status is what it is.
        error: What prevented the run; empty otherwise.
        reference: Its file, or `redacted` URL.
        target: Its file, or `redacted` URL.
        key: Changes with the files and the pair's settings.
    """

    name: str
    status: str
    passes: int = -1
    shift_x_px: float = _NAN
    shift_y_px: float = _NAN
    ci95_x_px: float = _NAN
    ci95_y_px: float = _NAN
    shift_east_m: float = _NAN
    shift_north_m: float = _NAN
    ci95_east_m: float = _NAN
    ci95_north_m: float = _NAN
    rmse_px: float = _NAN
    rmse_m: float = _NAN
    ce90_px: float = _NAN
    ce90_m: float = _NAN
    bound_px: float = _NAN
    bound_m: float = _NAN
    coverage: float = _NAN
    n_matches: int = 0
    n_inliers: int = 0
    model: str = ""
    matcher: str = ""
    found_by: str = ""
    seconds: float = _NAN
    attempts: int = 1
    extracted: int = 0
    from_cache: int = 0
    worker: str = ""
    reason: str = ""
    error: str = ""
    reference: str = ""
    target: str = ""
    key: str = ""

    @property
    def registered(self) -> bool:
        """Whether the answer is to be relied on and as near as was asked (see `Registration`)."""
        return self.status == "ok" and self.passes != 0

    @property
    def shift_px(self) -> float:
        """Length of the shift, target pixels."""
        return math.hypot(self.shift_x_px, self.shift_y_px)

    @property
    def shift_m(self) -> float:
        """Length of the shift, metres."""
        return math.hypot(self.shift_east_m, self.shift_north_m)

    @property
    def ci95_px(self) -> float:
        """The larger half-width of the shift's interval, target pixels."""
        return max(self.ci95_x_px, self.ci95_y_px)

    @classmethod
    def of(cls, pair: BatchPair, registration: Registration) -> BatchResult:
        """Returns the row of a registered pair."""
        r, certificate = registration, registration.certificate
        return cls(
            pair.name,
            r.status,
            -1 if certificate.tolerance is None else int(certificate.passes is True),
            *_two(r.shift_px),
            *_two(r.ci95_px),
            *_two(r.shift_m),
            *_two(r.ci95_m),
            rmse_px=_number(r.rmse_px),
            rmse_m=_number(r.rmse_m),
            ce90_px=_number(r.ce90_px),
            ce90_m=_number(r.ce90_m),
            bound_px=_number(certificate.corner_ci95_px),
            bound_m=_number(certificate.corner_ci95_m),
            coverage=_number(r.coverage),
            n_matches=r.n_matches,
            n_inliers=r.n_inliers,
            model=r.model or "",
            matcher=r.matcher,
            found_by=str(r.provenance.get("found_by", "")),
            seconds=r.seconds,
            reason=r.reason,
            reference=redacted(pair.reference),
            target=redacted(pair.target),
            key=pair.key,
        )

    @classmethod
    def failed(cls, pair: BatchPair, error: str) -> BatchResult:
        """Returns the row of a pair that could not be registered."""
        return cls(
            pair.name,
            "error",
            error=error,
            reference=redacted(pair.reference),
            target=redacted(pair.target),
            key=pair.key,
        )

    def in_one_line(self) -> BatchResult:
        """Returns the row with each text put on one line."""
        return replace(
            self, reason=" ".join(self.reason.split()), error=" ".join(self.error.split())
        )


def _number(value: float | None) -> float:
    return _NAN if value is None else float(value)


def _two(values: Numbers | None) -> tuple[float, float]:
    return (_NAN, _NAN) if values is None else values
