"""Retrieval metrics of rankings.

Measures after Musgrave, Belongie and Lim ("A Metric Learning Reality Check", ECCV 2020,
arXiv:2003.08505) for MAP@R, and Manning, Raghavan and Schütze for the rest.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from imatch.core.types import BoolArray
from imatch.retrieval.embedders.base import unit

TOPS = (1, 2, 3, 5, 10, 20)
"""Ranks at which accuracy is told."""


@dataclass(frozen=True, eq=False)
class Ranking:
    """The gallery ranked for each query.

    Attributes:
        relevant: (Q, K) bool, whether the item at each rank belongs to the query; items that were
            not ranked (the query itself) are at no rank.
        total: (Q,) how many items of the gallery belong to the query, ranked or not.

    Raises:
        ValueError: Shapes do not fit, or more was found than there is.
    """

    relevant: BoolArray
    total: NDArray[np.int64]

    def __post_init__(self) -> None:
        if self.relevant.ndim != 2 or self.total.shape != self.relevant.shape[:1]:
            raise ValueError(f"ranks {self.relevant.shape} do not fit totals {self.total.shape}")
        if (self.relevant.sum(axis=1) > self.total).any():
            raise ValueError("more items are relevant than there are")

    @property
    def answerable(self) -> BoolArray:
        """(Q,) whether anything in the gallery belongs to the query; others are left out."""
        return np.asarray(self.total > 0)


def rank(
    queries: NDArray[np.float32],
    gallery: NDArray[np.float32],
    query_places: NDArray[np.int64],
    gallery_places: NDArray[np.int64],
    *,
    themselves: NDArray[np.int64] | None = None,
    apart: NDArray[np.int64] | None = None,
    metric: str = "cosine",
    batch: int = 512,
) -> Ranking:
    """Rank a gallery for each query, all of it.

    Args:
        queries: (Q, D) vectors.
        gallery: (N, D) vectors.
        query_places: (Q,) what each shows.
        gallery_places: (N,) likewise.
        themselves: (Q,) position of each query in the gallery, to be left out; None where the
            gallery does not hold the queries.
        apart: (N,) groups of the gallery, which holds the queries at `themselves`: items of a
            query's own group are left out as well.
        metric: ``cosine`` or ``euclidean``.
        batch: Queries at once.

    Returns:
        The ranking; ties keep the gallery's order.
    """
    if metric == "cosine":
        queries, gallery = unit(queries), unit(gallery)
    columns = len(gallery) - (themselves is not None)
    relevant = np.zeros((len(queries), max(columns, 0)), dtype=bool)
    for start in range(0, len(queries), batch):
        part = slice(start, start + batch)
        gaps = distances(queries[part], gallery, metric)
        if themselves is not None:
            gaps[np.arange(len(gaps)), themselves[part]] = np.inf
            if apart is not None:
                gaps[apart[themselves[part], None] == apart[None]] = np.inf
        # The query itself is last, and cut off; others that are left out belong to nobody.
        order = np.argsort(gaps, axis=1, kind="stable")[:, :columns]
        ranked = np.isfinite(np.take_along_axis(gaps, order, axis=1))
        relevant[part] = (gallery_places[order] == query_places[part, None]) & ranked
    return Ranking(relevant, relevant.sum(axis=1))


def distances(
    queries: NDArray[np.float32], gallery: NDArray[np.float32], metric: str
) -> NDArray[np.float64]:
    """(Q, N) what is smaller for nearer vectors: minus the cosine, or the squared distance."""
    products = queries.astype(np.float64) @ gallery.astype(np.float64).T
    if metric == "cosine":
        return np.asarray(-products)
    squares = (queries.astype(np.float64) ** 2).sum(axis=1)[:, None]
    return np.asarray(squares + (gallery.astype(np.float64) ** 2).sum(axis=1)[None] - 2 * products)


def top_accuracy(ranking: Ranking, n: int) -> float:
    """Share of the queries with anything that belongs among the first `n`; NaN without queries.

    Examples:
        >>> found = Ranking(np.array([[False, True], [True, False]]), np.array([1, 1]))
        >>> top_accuracy(found, 1), top_accuracy(found, 2)
        (0.5, 1.0)
    """
    found = ranking.relevant[ranking.answerable]
    return _mean(np.asarray(found[:, :n].any(axis=1)))


def recall(ranking: Ranking, n: int) -> float:
    """Mean share of what belongs that is among the first `n`; NaN without queries."""
    known = ranking.answerable
    found = ranking.relevant[known, :n].sum(axis=1)
    return _mean(found / ranking.total[known])


def average_precision(ranking: Ranking, n: int | None = None) -> NDArray[np.float64]:
    """(Q,) average precision of each query, NaN where nothing belongs.

    Args:
        ranking: The ranking.
        n: Consider only so many ranks, of which at most `n` can belong; None for all.
    """
    ranks = ranking.relevant if n is None else ranking.relevant[:, :n]
    hits = np.cumsum(ranks, axis=1)
    precision = hits / np.arange(1, ranks.shape[1] + 1)
    possible = ranking.total if n is None else np.minimum(ranking.total, n)
    total = (precision * ranks).sum(axis=1)
    return np.where(possible > 0, total / np.maximum(possible, 1), np.nan)


def mean_average_precision(ranking: Ranking, n: int | None = None) -> float:
    """mAP, or mAP@n; of unique correspondences mAP@5 is the mean of 1 / rank up to 5."""
    return _mean(average_precision(ranking, n)[ranking.answerable])


def map_at_r(ranking: Ranking) -> float:
    """MAP@R: precision at the ranks that belong, of the first R = what belongs, over R."""
    values = []
    for row, total in zip(ranking.relevant, ranking.total, strict=True):
        if total > 0:
            first = row[:total]
            precision = np.cumsum(first) / np.arange(1, len(first) + 1)
            values.append(float((precision * first).sum() / total))
    return _mean(np.array(values))


def figures(ranking: Ranking, tops: Sequence[int] = TOPS) -> dict[str, float]:
    """All measures by name: ``top_1`` … ``top_20``, ``recall_5`` …, ``map``, ``map_5``, ``map_r``.

    Args:
        ranking: The ranking.
        tops: Ranks at which accuracy and recall are told.
    """
    out = {f"top_{n}": top_accuracy(ranking, n) for n in tops}
    out |= {f"recall_{n}": recall(ranking, n) for n in tops}
    out |= {f"map_{n}": mean_average_precision(ranking, n) for n in (5, 10)}
    return out | {
        "map": mean_average_precision(ranking),
        "map_r": map_at_r(ranking),
        "queries": float(ranking.answerable.sum()),
    }


def multilabel_map_at_r(
    vectors: NDArray[np.float32],
    shares: NDArray[np.float32],
    *,
    r: int,
    apart: NDArray[np.int64] | None = None,
    metric: str = "cosine",
) -> float:
    """MAP@R where every item holds several classes: what was found counts by how alike it is.

    The relevance of a neighbour is the overlap of the two proportions (1 for equal, 0 for disjoint
    ones); precision at a rank is the mean relevance so far, and the sum over the first R ranks is
    weighted by the relevance at each. With one class an item it is MAP@R for R items a class.

    Args:
        vectors: (N, D).
        shares: (N, K) proportions of the classes, rows summing to 1.
        r: How many neighbours.
        apart: (N,) groups; items of the same group are no neighbours.
        metric: See `rank`.
    """
    if metric == "cosine":
        vectors = unit(vectors)
    gaps = distances(vectors, vectors, metric)
    np.fill_diagonal(gaps, np.inf)
    if apart is not None:
        gaps[apart[:, None] == apart[None]] = np.inf
    order = np.argsort(gaps, axis=1, kind="stable")[:, : min(r, len(vectors) - 1)]
    ranked = np.isfinite(np.take_along_axis(gaps, order, axis=1))
    alike = np.minimum(shares[:, None], shares[order]).sum(axis=2) * ranked
    precision = np.cumsum(alike, axis=1) / np.arange(1, order.shape[1] + 1)
    return _mean((precision * alike).mean(axis=1)) if order.shape[1] else float("nan")


def summed_error(truth: NDArray[np.float32], guess: NDArray[np.float32]) -> float:
    """Mean over items of the summed absolute error of the class proportions, 0 to 2."""
    return _mean(np.abs(truth - guess).sum(axis=1))


def generalised_silhouette(
    vectors: NDArray[np.float32], shares: NDArray[np.float32], *, metric: str = "cosine"
) -> float:
    """gSil: the silhouette (Rousseeuw 1987) where items belong to several classes by shares.

    The distance to a class is the mean distance to all other items, weighted by their share of it.
    An item has one silhouette ``(b - a) / max(a, b)`` for each class it holds, with ``a`` the
    distance to that class and ``b`` that to the nearest other one; they count by the item's shares.
    With one class an item this is the ordinary silhouette.

    Args:
        vectors: (N, D).
        shares: (N, K) proportions of the classes, rows summing to 1; K at least 2.
        metric: ``cosine`` (1 - cosine) or ``euclidean``.

    Returns:
        -1 to 1; NaN without items.
    """
    if metric == "cosine":
        near = unit(vectors)
        gaps = np.clip(1 + distances(near, near, "cosine"), 0, None)
    else:
        gaps = np.sqrt(np.clip(distances(vectors, vectors, "euclidean"), 0, None))
    np.fill_diagonal(gaps, 0)
    weights = shares.astype(np.float64)
    # The item itself is no neighbour of its own; a class that nobody else holds has no distance.
    others = weights.sum(axis=0)[None] - weights
    held = others > 1e-9
    to_class = np.where(held, gaps @ weights / np.where(held, others, 1), np.inf)
    values = np.zeros(len(vectors))
    for k in range(weights.shape[1]):
        a = to_class[:, k]
        b = np.delete(to_class, k, axis=1).min(axis=1)
        known = np.isfinite(a) & np.isfinite(b) & (np.maximum(a, b) > 0)
        gain = np.where(known, b, 0.0) - np.where(known, a, 0.0)
        values += weights[:, k] * gain / np.where(known, np.maximum(a, b), 1.0)
    return _mean(values)


def _mean(values: NDArray[Any]) -> float:
    return float(np.mean(values)) if len(values) else float("nan")
