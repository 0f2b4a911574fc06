"""Linear and nearest-neighbour probes of frozen embeddings."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import NDArray

from imatch.core.errors import ConfigError, InputError
from imatch.retrieval.evaluate.metrics import (
    figures,
    generalised_silhouette,
    multilabel_map_at_r,
    rank,
    summed_error,
)

CLASSIFIERS = ("knn", "svc", "forest", "mlp", "tree")
"""k nearest neighbours, support vectors, a random forest, a perceptron of one layer, a tree."""
_NEIGHBOURS = 5
_RANKED = (1, 10)

Values = dict[str, list[float]]


def single_label(
    vectors: NDArray[np.float32],
    labels: NDArray[np.int64],
    places: NDArray[np.int64],
    *,
    classifiers: Sequence[str] = CLASSIFIERS,
    draws: int = 5,
    held_out: float = 0.3,
    seed: int = 0,
    on_fit: Callable[[float], None] = lambda _: None,
) -> Values:
    """Measures how well the one class of each item can be predicted from embeddings.

    Args:
        vectors: (N, D).
        labels: (N,) classes.
        places: (N,) which ground each shows; no ground is both learnt from and asked about.
        classifiers: Some of `CLASSIFIERS`.
        draws: How often items are divided anew.
        held_out: Share of the places that are asked about.
        seed: Of the draws.
        on_fit: Called after each classifier.

    Returns:
        For each figure a value a draw: the accuracy of every classifier, by its name; of the
        held-out items among themselves, other places only, ``map_r``, ``map_1`` and ``map_10``.

    Raises:
        InputError: There are too few places or classes.
        ConfigError: scikit-learn is not installed, or a classifier is unknown.
    """
    out: Values = {}
    for draw, (learn, ask) in enumerate(_divided(places, draws, held_out, seed)):
        if len(np.unique(labels[learn])) < 2:
            raise InputError(
                "a draw holds one class only", hint="give more places, or other classes"
            )
        for name in classifiers:
            model = _classifier(name, seed + draw, len(learn))
            guessed = _fitted(model, vectors[learn], labels[learn]).predict(vectors[ask])
            out.setdefault(name, []).append(float(np.mean(guessed == labels[ask])))
            on_fit(1)
        found = rank(
            vectors[ask],
            vectors[ask],
            labels[ask],
            labels[ask],
            themselves=np.arange(len(ask)),
            apart=places[ask],
        )
        measures = figures(found, _RANKED)
        for figure, source in (("map_r", "map_r"), ("map_1", "top_1"), ("map_10", "map_10")):
            out.setdefault(figure, []).append(measures[source])
    return out


def multi_label(
    vectors: NDArray[np.float32],
    shares: NDArray[np.float32],
    places: NDArray[np.int64],
    *,
    classifiers: Sequence[str] = CLASSIFIERS,
    draws: int = 5,
    held_out: float = 0.3,
    seed: int = 0,
    r: int = 10,
    on_fit: Callable[[float], None] = lambda _: None,
) -> Values:
    """Measures how well the mixture of classes can be predicted from embeddings.

    Args:
        vectors: (N, D).
        shares: (N, K) proportions of the classes, rows summing to 1.
        places: As for `single_label`.
        classifiers: As for `single_label`; each as the regressor of its kind.
        draws: As for `single_label`.
        held_out: As for `single_label`.
        seed: As for `single_label`.
        r: Neighbours of the multi-label MAP@R.
        on_fit: Called after each regressor.

    Returns:
        For each figure a value a draw: the summed error of every regressor, by its name (0 to 2,
        lower is better), ``map_r`` (multi-label) and ``gsil`` of the held-out items.

    Raises:
        InputError: There are too few places.
        ConfigError: scikit-learn is not installed, or a classifier is unknown.
    """
    out: Values = {}
    for draw, (learn, ask) in enumerate(_divided(places, draws, held_out, seed)):
        for name in classifiers:
            model = _regressor(name, seed + draw, len(learn))
            guessed = np.clip(
                _fitted(model, vectors[learn], shares[learn]).predict(vectors[ask]), 0, 1
            )
            total = guessed.sum(axis=1, keepdims=True)
            even = np.full_like(guessed, 1 / guessed.shape[1])
            guessed = np.where(total > 0, guessed / np.maximum(total, 1e-9), even)
            out.setdefault(name, []).append(summed_error(shares[ask], guessed))
            on_fit(1)
        out.setdefault("map_r", []).append(
            multilabel_map_at_r(vectors[ask], shares[ask], r=r, apart=places[ask])
        )
        out.setdefault("gsil", []).append(generalised_silhouette(vectors[ask], shares[ask]))
    return out


def summary(values: Mapping[str, Sequence[float]]) -> dict[str, dict[str, float]]:
    """Mean and spread (standard deviation over the draws, 0 of one) of each figure.

    Examples:
        >>> summary({"knn": [0.5, 0.7]})["knn"]["mean"]
        0.6
    """
    out = {}
    for name, drawn in values.items():
        known = [value for value in drawn if not math.isnan(value)]
        mean = float(np.mean(known)) if known else math.nan
        spread = float(np.std(known, ddof=1)) if len(known) > 1 else 0.0
        out[name] = {"mean": mean, "spread": spread}
    return out


def _divided(
    places: NDArray[np.int64], draws: int, held_out: float, seed: int
) -> list[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Returns (training rows, test rows) of each draw, split by place."""
    names = np.unique(places)
    asked = max(1, round(held_out * len(names)))
    if len(names) - asked < 1:
        raise InputError(
            f"{len(names)} place(s) cannot be divided", hint="give chips of more places"
        )
    out = []
    for draw in range(draws):
        order = np.random.default_rng([seed, 31, draw]).permutation(names)
        ask = np.isin(places, order[:asked])
        out.append((np.flatnonzero(~ask), np.flatnonzero(ask)))
    return out


def _fitted(model: Any, vectors: NDArray[np.float32], wanted: NDArray[Any]) -> Any:
    with warnings.catch_warnings():
        # A perceptron that stops before it has converged is as good as it gets in its time.
        warnings.simplefilter("ignore")
        return model.fit(vectors, wanted)


def _classifier(name: str, seed: int, items: int) -> Any:
    near = min(_NEIGHBOURS, items)
    match name:
        case "knn":
            return _learn("neighbors").KNeighborsClassifier(near, metric="cosine")
        case "svc":
            return _scaled(_learn("svm").SVC(random_state=seed))
        case "forest":
            return _learn("ensemble").RandomForestClassifier(200, random_state=seed)
        case "mlp":
            return _scaled(
                _learn("neural_network").MLPClassifier(
                    hidden_layer_sizes=(128,), max_iter=300, random_state=seed
                )
            )
        case "tree":
            return _learn("tree").DecisionTreeClassifier(random_state=seed)
    raise _unknown(name)


def _regressor(name: str, seed: int, items: int) -> Any:
    near = min(_NEIGHBOURS, items)
    match name:
        case "knn":
            return _learn("neighbors").KNeighborsRegressor(near, metric="cosine")
        case "svc":
            return _scaled(_learn("multioutput").MultiOutputRegressor(_learn("svm").SVR()))
        case "forest":
            return _learn("ensemble").RandomForestRegressor(200, random_state=seed)
        case "mlp":
            return _scaled(
                _learn("neural_network").MLPRegressor(
                    hidden_layer_sizes=(128,), max_iter=300, random_state=seed
                )
            )
        case "tree":
            return _learn("tree").DecisionTreeRegressor(random_state=seed)
    raise _unknown(name)


def _scaled(model: Any) -> Any:
    return _learn("pipeline").make_pipeline(_learn("preprocessing").StandardScaler(), model)


def _unknown(name: str) -> ConfigError:
    return ConfigError(
        "no such classifier", subject=name, hint=f"choose from {', '.join(CLASSIFIERS)}"
    )


def _learn(module: str) -> Any:
    try:
        return import_module(f"sklearn.{module}")
    except ImportError as error:
        raise ConfigError(
            "is not installed", subject="scikit-learn", hint="run pip install 'imatch[retrieval]'"
        ) from error
