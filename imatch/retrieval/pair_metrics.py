"""Metrics of binary decisions on pairs: F1, precision, recall, calibration."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from imatch.core.errors import ImatchError, InputError

_BINS = 10
# Points of a stored curve.
_CURVE = 200


def require_sklearn() -> ModuleType:
    """Import scikit-learn.

    Raises:
        ImatchError: It is not installed.
    """
    try:
        import sklearn
    except ImportError as error:
        raise ImatchError(
            "is not installed",
            subject="scikit-learn",
            hint="run pip install 'imatch[retrieval]'",
        ) from error
    module: ModuleType = sklearn
    return module


@dataclass(frozen=True)
class PairFigures:
    """Metrics of a set of decided pairs.

    Attributes:
        count: Pairs.
        positives: Of them truly yes.
        threshold: Score from which the answer is yes.
        precision: Share of the yeses that are true; NaN without any.
        recall: Share of the true ones found.
        f1: Their harmonic mean.
        false_positive_rate: Share of the untrue ones called yes.
        average_precision: Area under the precision-recall curve.
        roc_auc: Probability that a true one scores above an untrue one.
        brier: Mean squared error of the probabilities; None where scores are none.
        calibration_error: Expected calibration error over ten bins of equal count; None likewise.
        curve: (precision, recall, threshold) from the highest threshold down.
        reliability: (mean probability, share that is true, pairs) of each bin.
    """

    count: int
    positives: int
    threshold: float
    precision: float
    recall: float
    f1: float
    false_positive_rate: float
    average_precision: float
    roc_auc: float
    brier: float | None
    calibration_error: float | None
    curve: tuple[tuple[float, float, float], ...] = ()
    reliability: tuple[tuple[float, float, int], ...] = ()

    def to_dict(self, *, curves: bool = True) -> dict[str, Any]:
        """Plain values, for JSON.

        Args:
            curves: Whether the curve and the reliability are among them.
        """
        document = asdict(self)
        if not curves:
            del document["curve"], document["reliability"]
        return document

    def rows(self, *, held_out: bool = False) -> list[tuple[str, str]]:
        """Names and texts of the figures, for people.

        Args:
            held_out: Whether the pairs were held out of what the decision was learnt from.
        """
        untrue = self.count - self.positives
        rows = [
            ("pairs", f"{self.positives} yes, {untrue} no{', held out' if held_out else ''}"),
            ("F1", f"{self.f1:.4f} at {self.threshold:.4g}"),
            ("precision", f"{self.precision:.4f}"),
            ("recall", f"{self.recall:.4f}"),
            ("false positives", f"{self.false_positive_rate:.4%}"),
            ("average precision", f"{self.average_precision:.4f}"),
            ("ROC AUC", f"{self.roc_auc:.4f}"),
        ]
        if self.brier is not None and self.calibration_error is not None:
            rows.append(("Brier score", f"{self.brier:.4f}"))
            rows.append(("calibration error", f"{self.calibration_error:.4f}"))
        return rows


def measure(labels: ArrayLike, scores: ArrayLike, threshold: float) -> PairFigures:
    """Measure the scores of pairs whose truth is known.

    Args:
        labels: (N,) bool, both kinds among them.
        scores: (N,) the higher, the surer; in [0, 1] they are taken for probabilities.
        threshold: Score from which the answer is yes.

    Raises:
        InputError: Only one kind of pairs, or a score that is not finite.
        ImatchError: scikit-learn is not installed.
    """
    require_sklearn()
    from sklearn.metrics import average_precision_score, precision_recall_curve, roc_auc_score

    truth, values = _checked(labels, scores)
    predicted = values >= threshold
    hits = int((predicted & truth).sum())
    precision = hits / predicted.sum() if predicted.any() else float("nan")
    recall = hits / truth.sum()
    f1 = 2 * hits / (predicted.sum() + truth.sum())
    probabilities = bool(values.min() >= 0 and values.max() <= 1)
    reliability = _reliability(truth, values) if probabilities else ()
    steps = precision_recall_curve(truth, values)
    # The last point of the library's curve, no yes at all, has no threshold.
    points = list(zip(steps[0][:-1], steps[1][:-1], steps[2], strict=True))[::-1]
    chosen = np.unique(np.linspace(0, len(points) - 1, min(_CURVE, len(points))).astype(int))
    return PairFigures(
        len(truth),
        int(truth.sum()),
        float(threshold),
        float(precision),
        float(recall),
        float(f1),
        float((predicted & ~truth).sum() / (~truth).sum()),
        float(average_precision_score(truth, values)),
        float(roc_auc_score(truth, values)),
        float(((values - truth) ** 2).mean()) if probabilities else None,
        _calibration_error(reliability, len(truth)) if probabilities else None,
        tuple((float(p), float(r), float(t)) for p, r, t in (points[i] for i in chosen)),
        reliability,
    )


def best_threshold(labels: ArrayLike, scores: ArrayLike, *, least_precision: float = 0.0) -> float:
    """The threshold of the best F1, midway between the scores it separates.

    Args:
        labels: (N,) bool.
        scores: (N,).
        least_precision: Only thresholds that reach it count, if there are any.

    Raises:
        InputError: As `measure`.
    """
    truth, values = _checked(labels, scores)
    order = np.argsort(-values, kind="stable")
    ranked = values[order]
    hits = np.cumsum(truth[order])
    predicted = np.arange(1, len(ranked) + 1)
    f1 = 2 * hits / (predicted + truth.sum())
    # Equal scores cannot be told apart.
    last = np.append(ranked[:-1] != ranked[1:], True)
    allowed = last & (hits / predicted >= least_precision)
    allowed = allowed if allowed.any() else last
    best = int(np.flatnonzero(allowed)[np.argmax(f1[allowed])])
    if best + 1 == len(ranked):
        return float(ranked[best])
    return float((ranked[best] + ranked[best + 1]) / 2)


def _checked(labels: ArrayLike, scores: ArrayLike) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
    truth = np.asarray(labels, dtype=bool)
    values = np.asarray(scores, dtype=np.float64)
    if truth.shape != values.shape or truth.ndim != 1:
        raise InputError(f"{truth.shape} answers for {values.shape} scores")
    if truth.all() or not truth.any():
        kind = "yes" if truth.any() else "no"
        raise InputError(
            f"all {len(truth)} pairs are {kind}", hint="give pairs of both kinds to measure"
        )
    if not np.isfinite(values).all():
        raise InputError("a score is not finite", hint="leave out pairs without a score")
    return truth, values


def _reliability(
    truth: NDArray[np.bool_], values: NDArray[np.float64]
) -> tuple[tuple[float, float, int], ...]:
    order = np.argsort(values, kind="stable")
    bins = np.array_split(order, min(_BINS, len(order)))
    return tuple(
        (float(values[rows].mean()), float(truth[rows].mean()), len(rows)) for rows in bins
    )


def _calibration_error(reliability: tuple[tuple[float, float, int], ...], count: int) -> float:
    return sum(rows * abs(predicted - true) for predicted, true, rows in reliability) / count
