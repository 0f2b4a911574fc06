"""Scores labelled pairs, to learn and evaluate decisions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from imatch.core.errors import InputError
from imatch.pipeline.pair.config import MatchConfig
from imatch.pipeline.pair.load import load_solver
from imatch.pipeline.pair.match import match, open_images
from imatch.retrieval import same
from imatch.retrieval.decision import Decision, Task, fit
from imatch.retrieval.duplicates import similarity as duplicate
from imatch.retrieval.duplicates.find import read_forms
from imatch.retrieval.evaluate.pair_table import ImagePair
from imatch.retrieval.index.build import SkippedImage

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
        return fit(
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
        kept, rows, skipped = _grounds(pairs, config, embedder, on_pair)
    else:
        kept, rows, skipped = _pictures(pairs, on_pair)
    if not kept:
        first = skipped[0]
        raise InputError(
            f"none of {len(pairs)} pairs could be used: {first.path}: {first.reason}",
            hint="name readable images",
        )
    table = np.array([[row[name] for name in names] for row in rows])
    return ScoredPairs(task, tuple(kept), names, table, tuple(skipped))


_Scored = tuple[list[ImagePair], list[dict[str, float]], list[SkippedImage]]


def _grounds(
    pairs: Sequence[ImagePair], config: MatchConfig, embedder: Embedder | None, on_pair: Tell
) -> _Scored:
    solver = load_solver(config)
    kept: list[ImagePair] = []
    rows: list[dict[str, float]] = []
    skipped: list[SkippedImage] = []
    for pair in pairs:
        try:
            a, b = open_images(pair.a, pair.b, config)
            similarity = None if embedder is None else same.likeness(a, b, embedder)
            rows.append(same.figures_of(match(a, b, config, loaded=solver), similarity))
            kept.append(pair)
        except InputError as error:
            skipped.append(SkippedImage(f"{pair.a}, {pair.b}", str(error)))
        on_pair(1)
    return kept, rows, skipped


def _pictures(pairs: Sequence[ImagePair], on_pair: Tell) -> _Scored:
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
