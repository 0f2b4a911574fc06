"""Scores labelled pairs, to learn and evaluate decisions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from imatch.core.errors import ConfigError, InputError
from imatch.core.io.files import check_output
from imatch.core.progress import ProgressOption, shown
from imatch.pipeline.pair.config import MatchConfig
from imatch.pipeline.pair.match import match, open_images
from imatch.pipeline.pair.registrar import load_registrar
from imatch.retrieval import same
from imatch.retrieval.decision import Decision, Task, decision_for, store_decision
from imatch.retrieval.decision import fit as fit_decision
from imatch.retrieval.duplicates import similarity as duplicate
from imatch.retrieval.duplicates.find import read_forms
from imatch.retrieval.embedders.registry import load_embedder
from imatch.retrieval.index.workers import SkippedImage
from imatch.retrieval.pair_metrics import PairFigures, best_threshold, measure
from imatch.retrieval.pair_table import ImagePair, read_pairs

if TYPE_CHECKING:
    from imatch.retrieval.embedders import Embedder

Tell = Callable[[float], None]


@dataclass(frozen=True, eq=False)
class ScoredPairs:
    """Pairs and their figures.

    Attributes:
        task: What is decided.
        pairs: Those that could be used.
        features: Names of the figures.
        table: (N, F) figures.
        skipped: Pairs that could not be used, by their files, and why.
    """

    task: Task
    pairs: tuple[ImagePair, ...]
    features: tuple[str, ...]
    table: NDArray[np.float64]
    skipped: tuple[SkippedImage, ...] = ()

    @property
    def labels(self) -> NDArray[np.bool_]:
        """(N,) whether the two of each belong together."""
        return np.array([bool(pair.label) for pair in self.pairs], dtype=bool)

    def decided(self, decision: Decision) -> NDArray[np.float64]:
        """(N,) probabilities by a decision over (some of) the figures."""
        columns = decision.columns(self.features)
        return decision.probabilities(self.table[:, columns])

    def fit(
        self,
        features: Sequence[str],
        *,
        embedder: Embedder | None = None,
        least_precision: float = 0.0,
        source: str = "",
    ) -> tuple[Decision, NDArray[np.float64]]:
        """Learn a decision from some of the figures; see `imatch.retrieval.decision.fit`.

        Args:
            features: Names of the figures to use.
            embedder: Whose similarity is among them.
            least_precision: What the threshold has to reach.
            source: What the pairs are.

        Raises:
            InputError: Too few pairs.
        """
        limits = dict(zip(*_figures(self.task), strict=True))
        columns = [self.features.index(name) for name in features]
        return fit_decision(
            self.task,
            features,
            [limits[name] for name in features],
            self.table[:, columns],
            self.labels,
            [pair.group for pair in self.pairs],
            model=None if embedder is None else embedder.name,
            identity=None if embedder is None else embedder.identity,
            least_precision=least_precision,
            source=source,
        )


@dataclass(frozen=True, eq=False)
class PairEvaluation:
    """Evaluation of decisions about labelled pairs.

    Attributes:
        figures: The figures; of held-out pairs where the decision was learnt from them.
        task: What was decided; None where the scores were given.
        decision: The decision, learnt or stored; None where the scores were given.
        skipped: Pairs that could not be used.
        held_out: Whether the decision was learnt from these pairs.
    """

    figures: PairFigures
    task: Task | None = None
    decision: Decision | None = None
    skipped: tuple[SkippedImage, ...] = ()
    held_out: bool = False

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        if self.decision is None:
            return {"task": None, "figures": self.figures.to_dict()}
        return {
            "task": self.task,
            "held_out": self.held_out,
            "figures": self.figures.to_dict(),
            "decision": self.decision.to_dict(),
            "skipped": [{"pair": item.path, "reason": item.reason} for item in self.skipped],
        }


def evaluate_pairs(
    table: Path,
    task: Task = "same",
    config: MatchConfig | None = None,
    *,
    fit: Path | None = None,
    decision: Path | None = None,
    threshold: float | None = None,
    least_precision: float = 0.0,
    embedder: str | None = None,
    match_only: bool = False,
    device: str = "cpu",
    fetch: bool = False,
    overwrite: bool = False,
    progress: ProgressOption = None,
) -> PairEvaluation:
    """Measure yes-or-no answers about the pairs of a table, and perhaps learn the decision.

    Args:
        table: CSV with the columns a, b and label, or label and score (`read_pairs`).
        task: Whether pairs show the same ground, or are one picture.
        config: Settings of the match; the defaults when None.
        fit: File to store the decision in that is learnt from these pairs, by cross-validation over
            their groups.
        decision: A stored decision to judge; the embedder's when None.
        threshold: Of given scores: from which the answer is yes; that of the best F1 when None.
        least_precision: With `fit`: what the threshold has to reach.
        embedder: Name or file of the embedder, see `load_embedder`.
        match_only: Decide by the match alone, without an embedder.
        device: Where the embedder runs.
        fetch: Download its weights where they are missing.
        overwrite: Replace the file of the decision; others that it holds stay.
        progress: Shows how many pairs are measured.

    Returns:
        The figures and the decision.

    Raises:
        InputError: A pair has no label, or none can be used.
        ConfigError: A decision cannot be learnt from scores, or is for another model.
        OutputError: The file exists.
    """
    if fit is not None:
        check_output(fit, overwrite=overwrite)
    known = read_pairs(table)
    unlabelled = sum(pair.label is None for pair in known)
    if unlabelled:
        raise InputError(
            f"{unlabelled} of {len(known)} pairs have no label",
            subject=table,
            hint="write 1 or 0 into the column label",
        )
    if all(pair.score is not None for pair in known):
        if fit is not None:
            raise ConfigError("needs images, not scores", subject="--fit", hint="name them in a, b")
        labels, scores = [bool(p.label) for p in known], [p.score or 0.0 for p in known]
        least = best_threshold(labels, scores) if threshold is None else threshold
        return PairEvaluation(measure(labels, scores, least))
    loaded = None
    if task == "same" and not match_only:
        loaded = load_embedder(embedder, device=device, fetch=fetch)
    with shown(progress)("measuring", len(known)) as advance:
        config = config or MatchConfig()
        scored = score_pairs(task, known, config, embedder=loaded, on_pair=advance)
    if fit is None:
        identity = None if loaded is None else loaded.identity
        judged = decision_for(task, identity, source=embedder, file=decision)
        figures = measure(scored.labels, scored.decided(judged), judged.threshold)
        return PairEvaluation(figures, task, judged, scored.skipped)
    features = scored.features
    if task == "same" and loaded is None:
        features = tuple(name for name in features if name != "similarity")
    learnt, held = scored.fit(
        features, embedder=loaded, least_precision=least_precision, source=table.name
    )
    seen = np.isfinite(held)
    figures = measure(scored.labels[seen], held[seen], learnt.threshold)
    store_decision(fit, learnt, overwrite=overwrite)
    return PairEvaluation(figures, task, learnt, scored.skipped, held_out=True)


def _figures(task: Task) -> tuple[tuple[str, ...], tuple[tuple[float, float], ...]]:
    if task == "same":
        return same.FIGURES, same.LIMITS
    return duplicate.FIGURES, duplicate.LIMITS


def score_pairs(
    task: Task,
    pairs: Sequence[ImagePair],
    config: MatchConfig,
    *,
    embedder: Embedder | None = None,
    on_pair: Tell = lambda _pairs: None,
) -> ScoredPairs:
    """Measure the figures of pairs; those that cannot be used are listed.

    Args:
        task: Whether they are to be one ground (``same``) or one picture (``duplicates``).
        pairs: The pairs, with labels where these are to be used.
        config: Settings of the match, for ``same``.
        embedder: For ``same``; without it the similarity is unknown.
        on_pair: Told of each pair that is done.

    Raises:
        InputError: No pair could be used.
    """
    names, _ = _figures(task)
    if task == "same":
        kept, rows, skipped = _score_ground(pairs, config, embedder, on_pair)
    else:
        kept, rows, skipped = _score_duplicates(pairs, on_pair)
    if not kept:
        first = skipped[0]
        raise InputError(
            f"none of {len(pairs)} pairs could be used: {first.path}: {first.reason}",
            hint="name readable images",
        )
    table = np.array([[row[name] for name in names] for row in rows])
    return ScoredPairs(task, tuple(kept), names, table, tuple(skipped))


_Scored = tuple[list[ImagePair], list[dict[str, float]], list[SkippedImage]]


def _score_ground(
    pairs: Sequence[ImagePair], config: MatchConfig, embedder: Embedder | None, on_pair: Tell
) -> _Scored:
    registrar = load_registrar(config)
    kept: list[ImagePair] = []
    rows: list[dict[str, float]] = []
    skipped: list[SkippedImage] = []
    for pair in pairs:
        try:
            a, b = open_images(pair.a, pair.b, config)
            similarity = None if embedder is None else same.embedding_similarity(a, b, embedder)
            rows.append(same.figures_of(match(a, b, registrar), similarity))
            kept.append(pair)
        except InputError as error:
            skipped.append(SkippedImage(f"{pair.a}, {pair.b}", str(error)))
        on_pair(1)
    return kept, rows, skipped


def _score_duplicates(pairs: Sequence[ImagePair], on_pair: Tell) -> _Scored:
    forms, unread = read_forms(file for pair in pairs for file in (pair.a, pair.b))
    reasons = {item.path: item.reason for item in unread}
    kept: list[ImagePair] = []
    rows: list[dict[str, float]] = []
    skipped: list[SkippedImage] = []
    for pair in pairs:
        bad = next((file for file in (pair.a, pair.b) if file in reasons), None)
        if bad is None:
            rows.append(asdict(duplicate.compare(forms[pair.a], forms[pair.b])))
            kept.append(pair)
        else:
            skipped.append(SkippedImage(f"{pair.a}, {pair.b}", f"{bad}: {reasons[bad]}"))
        on_pair(1)
    return kept, rows, skipped
