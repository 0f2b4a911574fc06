"""How right marked mountains are: precision, recall, F1, their intervals, and calibration."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from experiments.mountains.sentences import Range, Sentence
from experiments.mountains.tagger import Found


@dataclass(frozen=True)
class Score:
    """Precision, recall and F1 of names.

    Attributes:
        precision: Share of what was found that is right.
        recall: Share of the names that was found.
        f1: Their harmonic mean.
        names: Number of names there are.
        found: Number that was found.
        low: Lower end of the 95 % interval of F1, by bootstrap over sentences.
        high: Its upper end.
    """

    precision: float
    recall: float
    f1: float
    names: int
    found: int
    low: float = float("nan")
    high: float = float("nan")


def strict(truth: Sequence[Range], found: Sequence[Range]) -> tuple[int, int]:
    """Counts found and true ranges that are the same."""
    right = len(set(truth) & set(found))
    return right, right


def overlap(truth: Sequence[Range], found: Sequence[Range]) -> tuple[int, int]:
    """Counts found ranges that touch a true one, and true ones that touch a found one."""

    def touching(ranges: Sequence[Range], others: Sequence[Range]) -> int:
        return sum(any(a < d and c < b for c, d in others) for a, b in ranges)

    return touching(found, truth), touching(truth, found)


def score(
    truth: Sequence[Sequence[Range]],
    found: Sequence[Sequence[Range]],
    rule: Callable[[Sequence[Range], Sequence[Range]], tuple[int, int]] = strict,
    *,
    rounds: int = 0,
    seed: int = 0,
) -> Score:
    """Scores the spans of sentences.

    Args:
        truth: The right spans of each sentence.
        found: The spans that were found in each.
        rule: `strict` or `overlap`.
        rounds: Rounds of the bootstrap over sentences that gives the interval of F1; 0 for none.
        seed: Of the bootstrap.
    """
    rows = np.array(
        [(*rule(a, b), len(b), len(a)) for a, b in zip(truth, found, strict=True)], dtype=np.int64
    ).reshape(-1, 4)
    precision, recall, f1 = _figures(rows.sum(axis=0))
    low = high = float("nan")
    if rounds and len(rows):
        rng = np.random.default_rng(seed)
        drawn = rng.integers(0, len(rows), (rounds, len(rows)))
        values = [_figures(rows[draw].sum(axis=0))[2] for draw in drawn]
        low, high = (float(value) for value in np.percentile(values, (2.5, 97.5)))
    return Score(precision, recall, f1, int(rows[:, 3].sum()), int(rows[:, 2].sum()), low, high)


def by_novelty(
    sentences: Sequence[Sentence], found: Sequence[Sequence[Range]], known: Iterable[str]
) -> dict[str, Score]:
    """Scores names that were seen in training and those that were not apart.

    What was found and is no name counts against the group its text belongs to.

    Args:
        sentences: The right answers.
        found: The spans that were found in each.
        known: Names of the training sentences.
    """
    seen = {name.casefold() for name in known}
    groups = {}
    for group in ("seen", "unseen"):

        def kept(one: Sentence, spans: Sequence[Range], group: str = group) -> list[Range]:
            return [
                (start, end)
                for start, end in spans
                if (" ".join(one.tokens[start:end]).casefold() in seen) == (group == "seen")
            ]

        groups[group] = score(
            [kept(one, one.spans) for one in sentences],
            [kept(one, spans) for one, spans in zip(sentences, found, strict=True)],
        )
    return groups


def reliability(
    sentences: Sequence[Sentence], found: Sequence[Sequence[Found]], bins: int = 10
) -> dict[str, Any]:
    """Compares how probable found names are said to be with how often they are right.

    Args:
        sentences: The right answers.
        found: What was found in each.
        bins: Bins of probability, of equal width.

    Returns:
        ``ece`` (expected calibration error) and ``bins`` of mean probability, share that is right,
        and count.
    """
    said, right = outcomes(sentences, found)
    which = np.minimum((said * bins).astype(int), bins - 1)
    rows, error = [], 0.0
    for k in range(bins):
        here = which == k
        if here.any():
            mean, share = float(said[here].mean()), float(right[here].mean())
            error += abs(mean - share) * int(here.sum()) / len(said)
            rows.append({"said": mean, "right": share, "count": int(here.sum())})
    return {"ece": error, "bins": rows}


def outcomes(
    sentences: Sequence[Sentence], found: Sequence[Sequence[Found]]
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Returns the probability of each name that was found, and whether it is right."""
    pairs = [
        (one.probability, one.span in sentence.spans)
        for sentence, items in zip(sentences, found, strict=True)
        for one in items
    ]
    said = np.array([probability for probability, _ in pairs], dtype=np.float64)
    return said, np.array([right for _, right in pairs], dtype=bool)


def _figures(counts: NDArray[np.int64]) -> tuple[float, float, float]:
    """Precision, recall and F1 of (right of found, right of true, found, true)."""
    right_found, right_true, found, true = (int(value) for value in counts)
    precision = right_found / found if found else 0.0
    recall = right_true / true if true else 0.0
    total = precision + recall
    return precision, recall, 2 * precision * recall / total if total else 0.0
