"""Learnt binary decisions on pairs: logistic probability and threshold.

Logistic regression weighs the figures of a pair. Its probabilities are judged, and its threshold
chosen, by cross-validation in which all pairs of a place are held out together; what is stored is
fitted on all of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import TypeAdapter, ValidationError

from imatch.core.errors import ConfigError, ImatchError, InputError
from imatch.core.io.files import atomic_path
from imatch.core.io.jsontext import parse_json, to_json

SCHEMA = "imatch.decision/1"
Task: TypeAlias = Literal["same", "duplicates"]
#: Fewest pairs of either kind from which anything is learnt.
FEWEST = 10
_FOLDS = 5
_SUFFIX = ".decisions.json"


@dataclass(frozen=True)
class Decision:
    """Weights of a pair's figures and the threshold of their probability.

    Attributes:
        task: What is decided.
        model: The embedder whose similarity is among the figures, None where none is.
        identity: Its identity.
        features: Names of the figures.
        limits: Lower and upper limit that each is clipped to.
        weights: Weight of each.
        offset: Added to the weighted sum; log-odds.
        threshold: Probability from which the answer is yes.
        about: What it was fitted on, and what cross-validation gave.
    """

    task: Task
    model: str | None
    identity: str | None
    features: tuple[str, ...]
    limits: tuple[tuple[float, float], ...]
    weights: tuple[float, ...]
    offset: float
    threshold: float
    about: Mapping[str, Any] = field(default_factory=dict)

    def probability(self, figures: Mapping[str, float]) -> float:
        """The probability of yes.

        Args:
            figures: By name; one that is not finite counts as its lower limit.

        Raises:
            InputError: As `columns`.
        """
        names = list(figures)
        values = [figures[names[column]] for column in self.columns(names)]
        return float(self.probabilities([values])[0])

    def columns(self, names: Sequence[str]) -> list[int]:
        """Returns the columns of its figures among others.

        Raises:
            InputError: One is not: another version of imatch learnt it.
        """
        missing = [name for name in self.features if name not in names]
        if missing:
            raise InputError(
                f"the decision {self.task!r} weighs {', '.join(missing)}, which this version of"
                " imatch does not measure",
                hint="fit it again with imatch eval pairs --fit",
            )
        return [names.index(name) for name in self.features]

    def probabilities(self, table: ArrayLike) -> NDArray[np.float64]:
        """(N,) probabilities of (N, F) figures in the order of `features`."""
        odds = _clipped(table, self.limits) @ np.array(self.weights) + self.offset
        return np.asarray(1 / (1 + np.exp(-np.clip(odds, -500, 500))))

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {"schema": SCHEMA, **asdict(self)}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Decision:
        """The inverse of `to_dict`.

        Raises:
            InputError: It is none of ours, or damaged.
        """
        try:
            if data["schema"] != SCHEMA:
                raise InputError(f"its schema is {data['schema']!r}, not {SCHEMA!r}")
            made = _STORED.validate_python({k: v for k, v in data.items() if k != "schema"})
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"]))
            raise InputError(f"is no stored decision ({where}: {first['msg']})") from error
        except (KeyError, TypeError, AttributeError) as error:
            raise InputError(f"is no stored decision ({error})") from error
        if not len(made.features) == len(made.limits) == len(made.weights):
            raise InputError("is no stored decision (its columns differ in length)")
        numbers = [made.offset, made.threshold, *made.weights, *np.ravel(made.limits)]
        if not np.isfinite(numbers).all():
            raise InputError("is no stored decision (a number of it is not finite)")
        return made


_STORED = TypeAdapter(Decision)


def _clipped(table: ArrayLike, limits: Sequence[tuple[float, float]]) -> NDArray[np.float64]:
    values = np.asarray(table, dtype=np.float64).reshape(-1, len(limits))
    low, high = np.array(limits).T
    return np.clip(np.where(np.isfinite(values), values, low), low, high)


def fit(
    task: Task,
    features: Sequence[str],
    limits: Sequence[tuple[float, float]],
    table: ArrayLike,
    labels: ArrayLike,
    groups: Sequence[str],
    *,
    model: str | None = None,
    identity: str | None = None,
    least_precision: float = 0.0,
    source: str = "",
) -> tuple[Decision, NDArray[np.float64]]:
    """Learn a decision by cross-validation over groups.

    Args:
        task: What is decided.
        features: Names of the figures.
        limits: What each is clipped to.
        table: (N, F) figures.
        labels: (N,) bool.
        groups: (N,) place of each pair: pairs of one place are never on both sides of a fold.
        model: The embedder whose similarity is among the figures.
        identity: Its identity.
        least_precision: The threshold has to reach this precision in cross-validation, and of those
            that do has the best F1.
        source: What the pairs are, to be stored.

    Returns:
        The decision, and the (N,) probabilities of pairs that were held out, from which it was
        judged.

    Raises:
        InputError: Too few pairs of one kind, or too few groups.
        ImatchError: scikit-learn is not installed.
    """
    from imatch.retrieval.pair_metrics import best_threshold, measure, require_sklearn

    require_sklearn()
    from sklearn.model_selection import StratifiedGroupKFold

    known = np.asarray(labels, dtype=bool)
    values = _clipped(table, limits)
    counts = int(known.sum()), int((~known).sum())
    if min(counts) < FEWEST or len(set(groups)) < 2:
        raise InputError(
            f"{counts[0]} pairs that are {task} and {counts[1]} that are not, of"
            f" {len(set(groups))} places, are too few to learn from",
            hint=f"give at least {FEWEST} of each, of two places or more",
        )
    folds = StratifiedGroupKFold(min(_FOLDS, len(set(groups))), shuffle=True, random_state=0)
    held = np.full(len(known), np.nan)
    for train, test in folds.split(values, known, list(groups)):
        if len(set(known[train])) == 2 and len(test):
            weights, offset = _regress(values[train], known[train])
            held[test] = 1 / (1 + np.exp(-(values[test] @ weights + offset)))
    seen = np.isfinite(held)
    threshold = best_threshold(known[seen], held[seen], least_precision=least_precision)
    weights, offset = _regress(values, known)
    measured = measure(known[seen], held[seen], threshold)
    about = {
        "source": source,
        "positives": counts[0],
        "negatives": counts[1],
        "groups": len(set(groups)),
        "held_out": measured.to_dict(curves=False),
    }
    decision = Decision(
        task,
        model,
        identity,
        tuple(features),
        tuple((float(low), float(high)) for low, high in limits),
        tuple(float(weight) for weight in weights),
        float(offset),
        threshold,
        about,
    )
    return decision, held


def _regress(
    values: NDArray[np.float64], labels: NDArray[np.bool_]
) -> tuple[NDArray[np.float64], float]:
    """Weights and offset in the figures' own units; both kinds weigh alike."""
    from sklearn.linear_model import LogisticRegression

    centre, spread = values.mean(axis=0), np.maximum(values.std(axis=0), 1e-9)
    # Some regularisation: figures that separate the kinds wholly have no finite best weights.
    model = LogisticRegression(C=10.0, class_weight="balanced", max_iter=1000)
    model.fit((values - centre) / spread, labels)
    weights = model.coef_[0] / spread
    return weights, float(model.intercept_[0] - (weights * centre).sum())


def decisions_path(source: str | Path) -> Path:
    """Returns the path of the decisions beside an embedder's file: ``model.decisions.json``."""
    path = Path(source).expanduser()
    return path.with_name(path.stem + _SUFFIX)


def write_decisions(path: Path, decisions: Sequence[Decision], *, overwrite: bool = False) -> None:
    """Store decisions.

    Raises:
        OutputError: The file exists, or the disk refused.
    """
    with atomic_path(path, overwrite=overwrite) as temporary:
        document = [decision.to_dict() for decision in decisions]
        temporary.write_text(to_json(document) + "\n", encoding="utf-8")


def store_decision(path: Path, decision: Decision, *, overwrite: bool = False) -> None:
    """Write a decision; those for other tasks and models that the file holds stay.

    Raises:
        OutputError: The file exists, or the disk refused.
        InputError: It is no file of decisions.
    """
    others = read_decisions(path) if path.exists() else []
    own = decision.task, decision.identity
    kept = [other for other in others if (other.task, other.identity) != own]
    write_decisions(path, [*kept, decision], overwrite=overwrite)


def read_decisions(path: Path) -> list[Decision]:
    """Read stored decisions.

    Raises:
        InputError: The file is missing or is none of ours.
    """
    try:
        data = parse_json(path.read_text(encoding="utf-8"))
        if not isinstance(data, list):
            raise InputError("is no list of stored decisions")
        return [Decision.from_dict(item) for item in data]
    except OSError as error:
        raise InputError(error.strerror or str(error), subject=path) from error
    except ValueError as error:
        raise InputError(f"is not JSON ({error})", subject=path) from error
    except InputError as error:
        raise InputError(error.cause, subject=path, hint="fit it with imatch eval pairs") from error


def packaged_decisions(task: Task) -> list[Decision]:
    """Reads a task's decisions that come with the package."""
    folder = resources.files("imatch.retrieval") / "decisions"
    file = folder / f"{task}.json"
    if not file.is_file():
        raise ImatchError(
            f"no decision {task!r} came with this installation", hint="install imatch again"
        )
    return [Decision.from_dict(item) for item in parse_json(file.read_text(encoding="utf-8"))]


def decision_for(
    task: Task,
    identity: str | None,
    *,
    source: str | Path | None = None,
    file: Path | None = None,
) -> Decision:
    """The decision that fits a model: of a file named, of one beside the model's, or ours.

    Args:
        task: What is to be decided.
        identity: Of the embedder at hand; None without one.
        source: What the embedder was loaded by.
        file: A file of decisions the user names.

    Returns:
        The decision of this very model, else the one that needs none.

    Raises:
        InputError: The file named is none of ours.
        ConfigError: It decides something else, or for another model.
    """
    if file is not None:
        found = _first_fitting(read_decisions(file), task, identity)
        if found is None:
            raise ConfigError(
                f"holds no decision {task!r} of this model",
                subject=file,
                hint="fit it with imatch eval pairs --fit",
            )
        return found
    beside = None if source is None else decisions_path(source)
    if beside is not None and beside.is_file():
        for decision in read_decisions(beside):
            if (decision.task, decision.identity) == (task, identity):
                return decision
    found = _first_fitting(packaged_decisions(task), task, identity)
    if found is None:
        raise ConfigError(f"no decision {task!r} is stored for this model", subject=str(source))
    return found


def _first_fitting(
    decisions: Sequence[Decision], task: Task, identity: str | None
) -> Decision | None:
    ours = [decision for decision in decisions if decision.task == task]
    for wanted in dict.fromkeys((identity, None)):
        for decision in ours:
            if decision.identity == wanted:
                return decision
    return None


def in_words(probability: float) -> str:
    """A probability as a person writes it, never certain.

    Examples:
        >>> in_words(0.5), in_words(0.99996), in_words(1e-9)
        ('50 %', 'over 99.9 %', 'under 0.1 %')
    """
    if probability > 0.999:
        return "over 99.9 %"
    if probability < 0.001:
        return "under 0.1 %"
    digits = 0 if 0.01 <= probability <= 0.99 else 1
    return f"{100 * probability:.{digits}f} %"
