r"""Two decisions about a pair of images, learnt on training places and measured on others.

    python -m experiments.benchmarks.decisions duplicates ../shared/data -o out/duplicates
    python -m experiments.benchmarks.decisions same ../shared/data -o out/same --fit FILE.json

``duplicates``: is a distorted picture known again, and no other picture taken for it? Half of the
pairs are a chip and its distorted self, the others two pictures (`tests.support.pairs.duplicates`).
``--fit`` learns weights and threshold on chips of ``train`` first, by cross-validation over places,
and writes them; every two dates of its ground are among the distinct pairs, once as they are and
once with one of them distorted. The chips of ``bench`` are only measured. The figures of every pair
are kept as CSV in the output folder, and used again if they are there.

``same``: do two images show the same ground (`tests.support.pairs.same_ground`)? What the matcher
certifies are log-odds already, learnt with `auto` (``experiments/auto``). The odds of an embedder's
similarity are learnt here, by cross-validation over events, and the two are added: the embeddings
see colours and kinds of ground, the matcher where edges lie. ``--held`` pairs of ``bench`` are then
matched and judged (some ten seconds each where they differ).
"""

from __future__ import annotations

import argparse
import csv
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from imatch.benchmark.environment import environment
from imatch.core.io.files import atomic_path
from imatch.core.io.jsontext import to_json
from imatch.core.progress import progress
from imatch.geometry.acceptance import Evidence
from imatch.pipeline.pair.config import MatchConfig
from imatch.pipeline.pair.match import match
from imatch.pipeline.pair.registrar import load_registrar
from imatch.raster import open_source
from imatch.retrieval import same as same_ground
from imatch.retrieval.decision import Decision, decision_for, fit, write_decisions
from imatch.retrieval.duplicates.normalisation import NormalisedImage, form_of
from imatch.retrieval.duplicates.similarity import FIGURES, LIMITS, compare
from imatch.retrieval.embedders import Embedder, load_embedder
from imatch.retrieval.evaluate.score_pairs import ScoredPairs
from imatch.retrieval.pair_metrics import measure
from imatch.retrieval.pair_table import ImagePair
from tests.support.pairs.duplicates import Case, cut_chips, date_cases, make_cases
from tests.support.pairs.same_ground import KINDS, make_pairs

# Precision that the threshold has to reach on train, where two dates make up most of the pairs.
_PRECISION = 0.995
# How far a refusal, and how far a match beyond doubt, may move the odds: some pairs of one ground
# are refused.
_EVIDENCE = (-5.0, 10.0)


def figures_of(cases: Sequence[Case], forms: dict[Path, NormalisedImage]) -> NDArray[np.float64]:
    """(N, F) figures of each pair, in the order of `FIGURES`."""
    table = []
    with progress("comparing", len(cases)) as advance:
        for case in cases:
            for path in (case.a, case.b):
                if path not in forms:
                    forms[path] = form_of(open_source(path))
            told = asdict(compare(forms[case.a], forms[case.b]))
            table.append([told[name] for name in FIGURES])
            advance(1)
    return np.array(table)


def told_duplicates(
    cases: Sequence[Case], table: NDArray[np.float64], decision: Decision
) -> dict[str, Any]:
    """What a decision reaches on cases, in all and by kind and change."""
    scores = decision.probabilities(table)
    labels = np.array([case.duplicate for case in cases])
    said = scores >= decision.threshold
    kinds: dict[str, dict[str, float]] = {}
    for kind in dict.fromkeys(case.kind for case in cases):
        own = np.array([case.kind == kind for case in cases])
        kinds[kind] = {"pairs": int(own.sum()), "called duplicate": int(said[own].sum())}
    lost: Counter[str] = Counter()
    seen: Counter[str] = Counter()
    for case, yes in zip(cases, said, strict=True):
        if case.duplicate:
            seen.update(case.changes)
            lost.update(case.changes if not yes else ())
    # Two dates of one ground, days apart, may be as alike as two copies: told apart from the rest.
    ground = np.array([case.kind != "other date" for case in cases])
    both = labels.any() and not labels.all()
    return {
        "pairs": len(cases),
        "figures": measure(labels, scores, decision.threshold).to_dict() if both else None,
        "figures_other_ground": measure(
            labels[ground], scores[ground], decision.threshold
        ).to_dict()
        if both
        else None,
        "false_positive_rate_other_ground": float(said[ground & ~labels].mean()),
        "false_positive_rate": float(said[~labels].mean()) if (~labels).any() else None,
        "kinds": kinds,
        "recall_by_change": {name: 1 - lost[name] / seen[name] for name in sorted(seen)},
    }


def measured(path: Path, make: Callable[[], list[Case]]) -> tuple[list[Case], NDArray[np.float64]]:
    """Cases and their figures: of an earlier run's table, else made and kept there."""
    if not path.exists():
        cases = make()
        begun = time.process_time()
        table = figures_of(cases, {})
        print(f"{path.stem}: {1e3 * (time.process_time() - begun) / len(cases):.0f} ms a pair")
        with atomic_path(path, overwrite=True) as temporary:
            _write_cases(temporary, cases, table)
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    cases = [
        Case(
            Path(row["a"]),
            Path(row["b"]),
            row["label"] == "1",
            row["kind"],
            row["group"],
            tuple(name for name in row["changes"].split("+") if name),
        )
        for row in rows
    ]
    return cases, np.array([[float(row[name]) for name in FIGURES] for row in rows])


def _write_cases(path: Path, cases: Sequence[Case], table: NDArray[np.float64]) -> None:
    with path.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["a", "b", "label", "group", "kind", "changes", *FIGURES])
        for case, row in zip(cases, table, strict=True):
            names = [case.a, case.b, int(case.duplicate), case.place, case.kind]
            figures = [f"{value:.4f}" for value in row]
            writer.writerow([*names, "+".join(case.changes), *figures])


def similarities(pairs: Sequence[ImagePair], embedder: Embedder) -> NDArray[np.float64]:
    """(N,) similarity of the embeddings of each pair."""
    found = []
    with progress(embedder.name, len(pairs)) as advance:
        for pair in pairs:
            found.append(
                same_ground.embedding_similarity(open_source(pair.a), open_source(pair.b), embedder)
            )
            advance(1)
    return np.array(found)


def general() -> Decision:
    """The decision by the match alone: the odds that `auto` learnt, and what it asks for."""
    certain = Evidence().certain
    return Decision(
        "same",
        None,
        None,
        ("evidence",),
        (_EVIDENCE,),
        (1.0,),
        certain,
        float(1 / (1 + np.exp(-certain))),
        {"evidence": "the log-odds of auto, learnt on 430 training cases (experiments/auto)"},
    )


def learn(
    embedder: Embedder, pairs: Sequence[ImagePair], similarity: NDArray[np.float64], source: str
) -> Decision:
    """Add the odds of an embedder's similarity to those of the match."""
    labels = [bool(pair.label) for pair in pairs]
    alone, _ = fit(
        "same",
        ("similarity",),
        same_ground.LIMITS[:1],
        similarity[:, None],
        labels,
        [pair.group for pair in pairs],
        source=source,
    )
    match_only = general()
    return Decision(
        "same",
        embedder.name,
        embedder.identity,
        ("similarity", "evidence"),
        (same_ground.LIMITS[0], _EVIDENCE),
        (alone.weights[0], 1.0),
        alone.offset + match_only.offset,
        match_only.threshold,
        {**match_only.about, "similarity": alone.about, "similarity_threshold": alone.threshold},
    )


def matched(pairs: Sequence[ImagePair], embedders: Sequence[Embedder]) -> dict[str, ScoredPairs]:
    """The figures of the pairs, with the similarity of each embedder; matched only once."""
    registrar = load_registrar(MatchConfig(use_geocoding=False))
    rows: dict[str, list[list[float]]] = {embedder.name: [] for embedder in embedders}
    with progress("matching", len(pairs)) as advance:
        for pair in pairs:
            a, b = open_source(pair.a), open_source(pair.b)
            found = match(a, b, registrar)
            for embedder in embedders:
                told = same_ground.figures_of(
                    found, same_ground.embedding_similarity(a, b, embedder)
                )
                rows[embedder.name].append([told[name] for name in same_ground.FIGURES])
            advance(1)
    return {
        name: ScoredPairs("same", tuple(pairs), same_ground.FIGURES, np.array(table))
        for name, table in rows.items()
    }


def told_same(scored: ScoredPairs, kinds: Sequence[str], decision: Decision) -> dict[str, Any]:
    """What a decision reaches, in all and by kind."""
    scores = scored.decided(decision)
    said = scores >= decision.threshold
    by_kind = {}
    for kind in KINDS:
        own = np.array([k == kind for k in kinds])
        by_kind[kind] = {"pairs": int(own.sum()), "called same": int(said[own].sum())}
    return {
        "figures": measure(scored.labels, scores, decision.threshold).to_dict(),
        "kinds": by_kind,
    }


def duplicates(given: argparse.Namespace) -> None:
    """Measure `imatch duplicates`, after learning its decision if asked to."""
    out, work = given.output, given.work
    out.mkdir(parents=True, exist_ok=True)
    document: dict[str, Any] = {"count": given.count, "distinct_pairs": given.distinct}
    if given.fit is not None:
        chips = cut_chips(given.data, "train", work / "train")
        folder = work / "train-cases"
        cases, table = measured(
            out / "train.csv",
            lambda: make_cases(chips, given.count, folder, 1) + date_cases(chips, folder, 4),
        )
        decision, _ = fit(
            "duplicates",
            FIGURES,
            LIMITS,
            table,
            [case.duplicate for case in cases],
            [case.place for case in cases],
            least_precision=_PRECISION,
            source=f"{len(chips)} chips of train, {given.count} copies, {given.count} distinct"
            f" pairs and {len(cases) - 2 * given.count} of two dates",
        )
        write_decisions(given.fit, [decision], overwrite=True)
        document["train"] = told_duplicates(cases, table, decision)
    else:
        decision = decision_for("duplicates", None)
    bench = cut_chips(given.data, "bench", work / "bench")
    document["chips"] = dict(Counter(chip.source for chip in bench))
    for name, count, seed in (("pairs", given.count, 2), ("distinct", given.distinct, 3)):
        make = partial(make_cases, bench, count, work / name, seed, positives=name == "pairs")
        cases, table = measured(out / f"{name}.csv", make)
        document[name] = told_duplicates(cases, table, decision)
    document["decision"] = decision.to_dict()
    document["environment"] = environment()
    with atomic_path(out / "summary.json", overwrite=True) as path:
        path.write_text(to_json(document) + "\n", encoding="utf-8")
    for name in ("pairs", "distinct"):
        part = document[name]
        for key in ("figures", "figures_other_ground"):
            figures = part[key]
            if figures is not None:
                print(
                    f"{name}, {key}: F1 {figures['f1']:.4f}, precision"
                    f" {figures['precision']:.4f}, recall {figures['recall']:.4f}"
                )
        print(f"{name}: false positives {part['false_positive_rate']:.3%}, {part['kinds']}")


def same(given: argparse.Namespace) -> None:
    """Learn the decisions of `imatch same`, and measure them on held pairs."""
    given.output.mkdir(parents=True, exist_ok=True)
    embedders = [load_embedder(name) for name in given.embedder or ["efficientnet-lite0"]]
    learnt, _ = zip(
        *make_pairs(given.data, "train", given.count, given.work / "train"), strict=True
    )
    source = f"{len(learnt)} pairs of OMBRIA, train events"
    decisions = {"none": general()}
    for embedder in embedders:
        similarity = similarities(learnt, embedder)
        decisions[embedder.name] = learn(embedder, learnt, similarity, source)
    write_decisions(given.fit, list(decisions.values()), overwrite=True)
    document: dict[str, Any] = {"decisions": {name: d.to_dict() for name, d in decisions.items()}}
    if given.held:
        held, kinds = zip(
            *make_pairs(given.data, "bench", given.held, given.work / "bench"), strict=True
        )
        scored = matched(held, embedders)
        scored["none"] = scored[embedders[0].name]
        document["bench"] = {
            name: told_same(scored[name], kinds, d) for name, d in decisions.items()
        }
    document["environment"] = environment()
    with atomic_path(given.output / "summary.json", overwrite=True) as path:
        path.write_text(to_json(document) + "\n", encoding="utf-8")
    for name, decision in decisions.items():
        print(name, decision.weights, decision.offset, decision.about)
    for name, part in document.get("bench", {}).items():
        figures = part["figures"]
        print(
            f"{name}: F1 {figures['f1']:.3f}, precision {figures['precision']:.3f},"
            f" recall {figures['recall']:.3f}, {part['kinds']}"
        )


def parser() -> argparse.ArgumentParser:
    """The command line."""
    described, work = (__doc__ or "").splitlines()[0], Path(tempfile.gettempdir())
    whole = argparse.ArgumentParser(prog="experiments.benchmarks.decisions", description=described)
    parts = whole.add_subparsers(required=True)
    part = parts.add_parser("duplicates", help="whether two files are one picture")
    part.set_defaults(run=duplicates)
    part.add_argument("data", type=Path)
    part.add_argument("-o", "--output", type=Path, required=True)
    part.add_argument("--work", type=Path, default=work / "imatch-duplicates")
    part.add_argument("--count", type=int, default=1000, help="pairs of either kind")
    part.add_argument("--distinct", type=int, default=10_000, help="more distinct pairs")
    part.add_argument("--fit", type=Path, help="learn on train, and write the decision here")
    part = parts.add_parser("same", help="whether two images show the same ground")
    part.set_defaults(run=same)
    part.add_argument("data", type=Path)
    part.add_argument("-o", "--output", type=Path, required=True)
    part.add_argument("--work", type=Path, default=work / "imatch-same")
    part.add_argument("--count", type=int, default=200, help="pairs of either kind to learn from")
    part.add_argument("--held", type=int, default=0, help="pairs of either kind to match")
    part.add_argument("-e", "--embedder", action="append", help="names; repeat to compare")
    part.add_argument("--fit", type=Path, required=True, help="where the decisions go")
    return whole


if __name__ == "__main__":
    asked = parser().parse_args()
    asked.run(asked)
