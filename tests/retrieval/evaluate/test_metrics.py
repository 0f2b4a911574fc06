from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from imatch.retrieval.evaluate.metrics import (
    Ranking,
    average_precision,
    figures,
    generalised_silhouette,
    map_at_r,
    mean_average_precision,
    multilabel_map_at_r,
    rank,
    recall,
    summed_error,
    top_accuracy,
)


def ranking(*rows: str, total: list[int] | None = None) -> Ranking:
    """A ranking from rows such as ``"0101"``."""
    relevant = np.array([[c == "1" for c in row] for row in rows])
    return Ranking(relevant, np.array(total or relevant.sum(axis=1)))


def test_by_hand() -> None:
    found = ranking("01010", "10000", "00000")
    assert top_accuracy(found, 1) == 0.5  # The last query has no answer and is left out.
    assert top_accuracy(found, 2) == 1.0
    assert recall(found, 2) == pytest.approx((1 / 2 + 1) / 2)
    assert average_precision(found)[0] == pytest.approx((1 / 2 + 2 / 4) / 2)
    assert math.isnan(average_precision(found)[2])
    assert mean_average_precision(found) == pytest.approx((0.5 + 1) / 2)
    assert mean_average_precision(found, 3) == pytest.approx((0.5 / 2 + 1) / 2)
    assert map_at_r(found) == pytest.approx((0.5 / 2 + 1) / 2)


def test_unique_correspondence_is_one_over_the_rank() -> None:
    found = ranking("00100", "10000", "00001", "00000", total=[1, 1, 1, 1])
    assert mean_average_precision(found, 5) == pytest.approx((1 / 3 + 1 + 1 / 5 + 0) / 4)


def test_more_found_than_there_is_is_refused() -> None:
    with pytest.raises(ValueError, match="more items are relevant"):
        ranking("11", total=[1])
    with pytest.raises(ValueError, match="do not fit"):
        Ranking(np.zeros((2, 3), bool), np.array([1]))


def test_nothing_to_ask_is_not_a_number() -> None:
    empty = Ranking(np.zeros((0, 0), bool), np.zeros(0, np.int64))
    told = figures(empty)
    assert told["queries"] == 0
    assert all(math.isnan(value) for name, value in told.items() if name != "queries")


def brute(vectors: NDArray[np.float32], places: NDArray[np.int64]) -> dict[str, float]:
    """The definitions, item by item."""
    lists = []
    for i, vector in enumerate(vectors):
        others = [j for j in range(len(vectors)) if j != i]
        near = [float(np.sum((vectors[j].astype(np.float64) - vector) ** 2)) for j in others]
        ordered = [j for _, j in sorted(zip(near, others, strict=True))]
        lists.append([bool(places[j] == places[i]) for j in ordered])
    lists = [row for row in lists if any(row)]
    aps, mapr, tops, recalls = [], [], [], []
    for row in lists:
        r = sum(row)
        at = [sum(row[: k + 1]) / (k + 1) for k in range(len(row))]
        aps.append(sum(p for p, hit in zip(at, row, strict=True) if hit) / r)
        mapr.append(sum(p for p, hit in zip(at[:r], row[:r], strict=True) if hit) / r)
        tops.append(any(row[:3]))
        recalls.append(sum(row[:5]) / r)
    return {
        "map": float(np.mean(aps)),
        "map_r": float(np.mean(mapr)),
        "top_3": float(np.mean(tops)),
        "recall_5": float(np.mean(recalls)),
    }


@given(seed=st.integers(0, 1000), metric=st.sampled_from(["euclidean", "cosine"]))
@settings(max_examples=25, deadline=None)
def test_agrees_with_the_definitions(seed: int, metric: str) -> None:
    rng = np.random.default_rng(seed)
    vectors = rng.normal(size=(14, 3)).astype(np.float32)
    if metric == "cosine":
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    places = rng.integers(0, 4, 14)
    found = rank(vectors, vectors, places, places, themselves=np.arange(14), metric=metric, batch=5)
    told = figures(found)
    for name, value in brute(vectors, places).items():
        assert told[name] == pytest.approx(value), name


def test_agrees_with_pytorch_metric_learning() -> None:
    calculators = pytest.importorskip("pytorch_metric_learning.utils.accuracy_calculator")
    import torch
    from pytorch_metric_learning.distances import LpDistance
    from pytorch_metric_learning.utils.inference import CustomKNN

    rng = np.random.default_rng(1)
    vectors = rng.normal(size=(40, 4)).astype(np.float32)
    places = rng.integers(0, 6, 40)
    calculator = calculators.AccuracyCalculator(
        include=("precision_at_1", "mean_average_precision_at_r"),
        k="max_bin_count",
        knn_func=CustomKNN(LpDistance(normalize_embeddings=False)),
        device=torch.device("cpu"),
    )
    theirs = calculator.get_accuracy(torch.from_numpy(vectors), torch.from_numpy(places))
    found = rank(vectors, vectors, places, places, themselves=np.arange(40), metric="euclidean")
    assert map_at_r(found) == pytest.approx(theirs["mean_average_precision_at_r"])
    assert top_accuracy(found, 1) == pytest.approx(theirs["precision_at_1"])


def test_queries_beside_the_gallery() -> None:
    gallery = np.eye(3, dtype=np.float32)
    found = rank(2 * gallery[:2], gallery, np.array([0, 7]), np.arange(3))
    assert found.relevant.tolist() == [[True, False, False], [False] * 3]
    assert found.answerable.tolist() == [True, False]


def test_items_of_the_own_group_are_left_out() -> None:
    line = np.array([[1, 0], [1, 0.01], [1, 0.1], [1, 0.3]], np.float32)
    labels, groups = np.array([5, 5, 6, 5]), np.array([0, 0, 1, 2])
    found = rank(line, line, labels, labels, themselves=np.arange(4), apart=groups)
    # The first finds the third, then the fourth; its twin is of its own group.
    assert found.relevant[0].tolist() == [False, True, False]
    assert found.total.tolist() == [1, 1, 0, 2]
    shares = one_hot(labels - 5)
    assert multilabel_map_at_r(line, shares, r=1) == pytest.approx(2 / 4)
    assert multilabel_map_at_r(line, shares, r=1, apart=groups) == pytest.approx(0)


def one_hot(labels: NDArray[np.int64]) -> NDArray[np.float32]:
    return np.eye(labels.max() + 1, dtype=np.float32)[labels]


@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
def test_gsil_of_single_labels_is_the_silhouette(metric: str) -> None:
    measures = pytest.importorskip("sklearn.metrics")
    rng = np.random.default_rng(3)
    labels = np.append(rng.integers(0, 3, 30), 3)  # One class has a single item.
    vectors = (rng.normal(size=(31, 5)) + one_hot(labels) @ rng.normal(size=(4, 5))).astype("f4")
    ours = generalised_silhouette(vectors, one_hot(labels), metric=metric)
    theirs = measures.silhouette_score(vectors, labels, metric=metric)
    assert ours == pytest.approx(theirs, abs=1e-5)


def test_gsil_knows_mixtures() -> None:
    """Where mixtures lie between the pure items, their shares explain the space better."""
    line = np.linspace(0, 1, 21, dtype=np.float32)
    vectors = np.stack([line, np.ones_like(line)], axis=1)
    shares = np.stack([1 - line, line], axis=1)
    right = generalised_silhouette(vectors, shares, metric="euclidean")
    shuffled = np.random.default_rng(0).permutation(shares)
    wrong = generalised_silhouette(vectors, shuffled, metric="euclidean")
    assert right > 0.2
    assert wrong < right - 0.2


def test_multilabel_map_of_single_labels_is_map_at_r() -> None:
    rng = np.random.default_rng(2)
    labels = np.repeat(np.arange(4), 6)
    vectors = (rng.normal(size=(24, 3)) + 1.5 * one_hot(labels)[:, :3]).astype("f4")
    found = rank(vectors, vectors, labels, labels, themselves=np.arange(24))
    ours = multilabel_map_at_r(vectors, one_hot(labels), r=5)
    assert ours == pytest.approx(map_at_r(found))


def test_multilabel_map_counts_overlap() -> None:
    vectors = np.array([[1, 0], [1, 0.01], [0, 1]], np.float32)
    shares = np.array([[1, 0], [0.5, 0.5], [0, 1]], np.float32)
    # Of each item the nearest neighbour: overlaps 0.5, 0.5 and 0.5, each squared.
    assert multilabel_map_at_r(vectors, shares, r=1) == pytest.approx(0.25)


def test_summed_error() -> None:
    truth = np.array([[1, 0], [0.5, 0.5]], np.float32)
    guess = np.array([[0, 1], [0.5, 0.5]], np.float32)
    assert summed_error(truth, guess) == 1.0
