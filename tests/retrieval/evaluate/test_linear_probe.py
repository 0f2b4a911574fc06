from __future__ import annotations

import sys

import numpy as np
import pytest
from numpy.typing import NDArray

from imatch.core.errors import ConfigError, InputError
from imatch.retrieval.evaluate.linear_probe import CLASSIFIERS, multi_label, single_label, summary


def separable(seed: int = 0) -> tuple[NDArray[np.float32], NDArray[np.int64], NDArray[np.int64]]:
    """Two classes well apart: 20 places of three chips."""
    rng = np.random.default_rng(seed)
    places = np.repeat(np.arange(20), 3)
    labels = places % 2
    centres = np.array([[4.0, 0, 0], [0, 4.0, 0]])
    vectors = centres[labels] + 0.3 * rng.normal(size=(60, 3))
    return vectors.astype(np.float32), labels.astype(np.int64), places


def test_every_classifier_tells_what_can_be_told() -> None:
    vectors, labels, places = separable()
    told = single_label(vectors, labels, places, draws=2)
    assert set(told) == {*CLASSIFIERS, "map_r", "map_1", "map_10"}
    for name, values in told.items():
        assert len(values) == 2
        assert min(values) > 0.95, name


def test_nothing_is_told_of_noise() -> None:
    vectors, labels, places = separable()
    noise = np.random.default_rng(1).normal(size=vectors.shape).astype(np.float32)
    told = single_label(noise, labels, places, classifiers=["knn", "svc"], draws=4)
    assert abs(np.mean(told["knn"]) - 0.5) < 0.25


def test_places_are_not_divided() -> None:
    """Embeddings that name the place, and nothing else, are of no use for other places."""
    places = np.repeat(np.arange(40), 3)
    vectors = np.eye(40, dtype=np.float32)[places]
    labels = (places % 2).astype(np.int64)
    told = single_label(vectors, labels, places, classifiers=["knn"], draws=3)
    assert np.mean(told["knn"]) < 0.8


def test_every_regressor_tells_mixtures() -> None:
    rng = np.random.default_rng(0)
    share = rng.random(60).astype(np.float32)
    shares = np.stack([share, 1 - share], axis=1)
    angle = share * np.pi / 2
    vectors = np.stack([np.cos(angle), np.sin(angle)], axis=1).astype(np.float32)
    told = multi_label(vectors, shares, np.arange(60), draws=2, r=5)
    assert set(told) == {*CLASSIFIERS, "map_r", "gsil"}
    for name in CLASSIFIERS:
        assert max(told[name]) < 0.25, name
    shuffled = multi_label(vectors, rng.permutation(shares), np.arange(60), draws=2, r=5)
    for name in CLASSIFIERS:
        assert np.mean(shuffled[name]) > 1.5 * np.mean(told[name])
    assert np.mean(shuffled["map_r"]) < np.mean(told["map_r"])
    assert np.mean(shuffled["gsil"]) < np.mean(told["gsil"])


def test_draws_differ_and_come_again() -> None:
    vectors, labels, places = separable()
    vectors += 3 * np.random.default_rng(5).normal(size=vectors.shape).astype(np.float32)
    one, two = (
        single_label(vectors, labels, places, classifiers=["tree"], draws=3) for _ in range(2)
    )
    assert one == two
    assert len(set(one["tree"])) > 1


def test_summary_is_mean_and_spread() -> None:
    told = summary({"a": [1.0, 3.0], "b": [2.0], "c": [float("nan"), 5.0]})
    assert told["a"] == {"mean": 2.0, "spread": pytest.approx(2**0.5)}
    assert told["b"] == {"mean": 2.0, "spread": 0.0}
    assert told["c"]["mean"] == 5.0


def test_what_cannot_be_measured_is_explained(monkeypatch: pytest.MonkeyPatch) -> None:
    vectors, labels, places = separable()
    with pytest.raises(ConfigError, match="no such classifier; choose from knn, svc"):
        single_label(vectors, labels, places, classifiers=["oracle"])
    with pytest.raises(InputError, match=r"1 place\(s\) cannot be divided"):
        single_label(vectors, labels, np.zeros_like(places))
    with pytest.raises(InputError, match="holds one class only"):
        single_label(vectors, np.zeros_like(labels), places)
    monkeypatch.setitem(sys.modules, "sklearn.tree", None)
    with pytest.raises(ConfigError, match=r"scikit-learn: is not installed; run pip install"):
        single_label(vectors, labels, places, classifiers=["tree"])
