"""Do two images show the same ground? Learn the answer on training places, measure it on others.

Pairs of OMBRIA (before and after a flood) are cropped to 256 px, the second turned by up to 15
degrees, scaled by up to a tenth and displaced by up to a quarter of its side. As many pairs show
different ground: of another event, or of a neighbouring tile of the same one.

What the matcher certifies are log-odds already, learnt with `auto` (``experiments/auto``). The odds
of an embedder's similarity are learnt here, by cross-validation over events, and the two are added:
the embeddings see colours and kinds of ground, the matcher where edges lie.

    python -m experiments.benchmarks.same_place ../shared/data -o out/same --fit FILE.json

``--held`` pairs of ``bench`` are then matched and judged (some ten seconds each where they differ).
"""

from __future__ import annotations

import argparse
import csv
import tempfile
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from imatch.bench.environment import environment
from imatch.core.io.files import atomic_path
from imatch.core.io.jsontext import to_json
from imatch.core.progress import progress
from imatch.geometry.evidence import Evidence
from imatch.pipeline.pair.config import MatchConfig
from imatch.pipeline.pair.load import load_solver
from imatch.pipeline.pair.match import match
from imatch.raster import open_source
from imatch.retrieval.decision import Decision, fit, write_decisions
from imatch.retrieval.embedders import Embedder, load_embedder
from imatch.retrieval.evaluate.score_pairs import ScoredPairs
from imatch.retrieval.pair_metrics import measure
from imatch.retrieval.pair_table import ImagePair
from imatch.retrieval.same import FIGURES, LIMITS, figures_of, likeness

_SIDE = 256
# How far a refusal, and how far a match beyond doubt, may move the odds: some pairs of one ground
# are refused.
_EVIDENCE = (-5.0, 10.0)
_KINDS = ("same", "other event", "neighbour")


def make_pairs(data: Path, split: str, count: int, folder: Path) -> list[tuple[ImagePair, str]]:
    """`count` pairs of the same ground and as many of different ground, and their kinds."""
    folder.mkdir(parents=True, exist_ok=True)
    places: dict[str, dict[str, Path]] = defaultdict(dict)
    with (data / "images.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            if (row["split"], row["source"]) == (split, "ombria"):
                places[row["place"]][row["date"]] = data / row["path"]
    names = sorted(name for name, dates in places.items() if len(dates) == 2)
    rng = np.random.default_rng(5)
    made: list[tuple[ImagePair, str]] = []
    for number, kind in enumerate(["same"] * count + ["other event", "neighbour"] * (count // 2)):
        while True:
            first = names[int(rng.integers(len(names)))]
            second = _other(first, kind, names, rng)
            if second is not None:
                break
        dates = sorted(places[first], reverse=bool(rng.random() < 0.5))
        a = _crop(places[first][dates[0]], folder / f"{number}_a.png", np.eye(3))
        b = _crop(
            places[second][
                sorted(places[second])[int(rng.integers(2))] if kind != "same" else dates[1]
            ],
            folder / f"{number}_b.png",
            _warp(rng),
        )
        event = first.split("/")[0]
        made.append((ImagePair(str(a), str(b), kind == "same", event), kind))
    return made


def _other(first: str, kind: str, names: Sequence[str], rng: np.random.Generator) -> str | None:
    if kind == "same":
        return first
    event = first.split("/")[0]
    near = kind == "neighbour"
    pool = [n for n in names if n != first and (n.split("/")[0] == event) == near]
    return pool[int(rng.integers(len(pool)))] if pool else None


def _warp(rng: np.random.Generator) -> NDArray[np.float64]:
    """(3, 3) crop pixel to crop pixel, about the middle."""
    turn, scale = np.radians(rng.uniform(-15, 15)), float(np.exp(rng.uniform(-0.1, 0.1)))
    a, b = scale * np.cos(turn), scale * np.sin(turn)
    middle = (_SIDE - 1) / 2
    dx, dy = rng.uniform(-0.25, 0.25, 2) * _SIDE
    return np.array(
        [
            [a, -b, middle - a * middle + b * middle + dx],
            [b, a, middle - b * middle - a * middle + dy],
            [0, 0, 1],
        ]
    )


def _crop(source: Path, path: Path, warp: NDArray[np.float64]) -> Path:
    """The middle of an image as it lies under a warp; what is beyond the image is transparent."""
    image = open_source(source).read()
    height, width = image.valid.shape
    offset = np.eye(3)
    offset[:2, 2] = (width - _SIDE) / 2, (height - _SIDE) / 2
    flags = cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP
    matrix = offset @ warp
    bands = [
        cv2.warpPerspective(plane, matrix, (_SIDE, _SIDE), flags=flags)
        for plane in image.pixels[::-1]
    ]
    alpha = cv2.warpPerspective(
        image.valid.astype(np.uint8) * 255,
        matrix,
        (_SIDE, _SIDE),
        flags=cv2.INTER_NEAREST | cv2.WARP_INVERSE_MAP,
    )
    cv2.imwrite(
        str(path), np.dstack([*(np.clip(b, 0, 255).astype(np.uint8) for b in bands), alpha])
    )
    return path


def similarities(pairs: Sequence[ImagePair], embedder: Embedder) -> NDArray[np.float64]:
    """(N,) similarity of the embeddings of each pair."""
    found = []
    with progress(embedder.name, len(pairs)) as advance:
        for pair in pairs:
            found.append(likeness(open_source(pair.a), open_source(pair.b), embedder))
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
        LIMITS[:1],
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
        (LIMITS[0], _EVIDENCE),
        (alone.weights[0], 1.0),
        alone.offset + match_only.offset,
        match_only.threshold,
        {**match_only.about, "similarity": alone.about, "similarity_threshold": alone.threshold},
    )


def matched(pairs: Sequence[ImagePair], embedders: Sequence[Embedder]) -> dict[str, ScoredPairs]:
    """The figures of the pairs, with the similarity of each embedder; matched only once."""
    config = MatchConfig(use_geocoding=False)
    solver = load_solver(config)
    rows: dict[str, list[list[float]]] = {embedder.name: [] for embedder in embedders}
    with progress("matching", len(pairs)) as advance:
        for pair in pairs:
            a, b = open_source(pair.a), open_source(pair.b)
            found = match(a, b, config, loaded=solver)
            for embedder in embedders:
                told = figures_of(found, likeness(a, b, embedder))
                rows[embedder.name].append([told[name] for name in FIGURES])
            advance(1)
    return {
        name: ScoredPairs("same", tuple(pairs), FIGURES, np.array(table))
        for name, table in rows.items()
    }


def told(scored: ScoredPairs, kinds: Sequence[str], decision: Decision) -> dict[str, Any]:
    """What a decision reaches, in all and by kind."""
    scores = scored.decided(decision)
    said = scores >= decision.threshold
    by_kind = {}
    for kind in _KINDS:
        own = np.array([k == kind for k in kinds])
        by_kind[kind] = {"pairs": int(own.sum()), "called same": int(said[own].sum())}
    return {
        "figures": measure(scored.labels, scores, decision.threshold).to_dict(),
        "kinds": by_kind,
    }


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--work", type=Path, default=Path(tempfile.gettempdir(), "imatch-same"))
    parser.add_argument("--count", type=int, default=200, help="pairs of either kind to learn from")
    parser.add_argument("--held", type=int, default=0, help="pairs of either kind to match")
    parser.add_argument("-e", "--embedder", action="append", help="names; repeat to compare")
    parser.add_argument("--fit", type=Path, required=True, help="where the decisions go")
    given = parser.parse_args()
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
        document["bench"] = {name: told(scored[name], kinds, d) for name, d in decisions.items()}
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


if __name__ == "__main__":
    main()
