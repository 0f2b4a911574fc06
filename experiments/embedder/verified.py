r"""What matching adds to a search: `evaluate`'s queries, their first hits ranked anew.

As ``imatch search --verify`` does it: what the matcher certifies comes first.

    python -m experiments.embedder.verified --data ../shared/data -o out/verified \
        --set ua -e cells-superpoint-s2 -m superpoint-s2 -k 10

Each hit costs a match. ``--queries`` takes some of the queries, evenly over all, and says so.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from imatch.bench.environment import environment
from imatch.core.io.files import atomic_path
from imatch.core.io.jsontext import to_json
from imatch.core.progress import progress
from imatch.pipeline.pair.config import MatchConfig
from imatch.pipeline.pair.load import load_solver
from imatch.pipeline.pair.registrar import Registrar
from imatch.raster import Source, open_source
from imatch.raster.read.window import WindowSource
from imatch.retrieval.chips import ChipWindow
from imatch.retrieval.duplicates.zscore import standing
from imatch.retrieval.embedders import Embedder, load_embedder
from imatch.retrieval.embedders.base import unit
from imatch.retrieval.index.store import IndexedImage
from imatch.retrieval.search import Hit
from imatch.retrieval.verify import verify

from .evaluate import SETS, PlaceSet, View, chips_of


@dataclass(frozen=True)
class Asked:
    """A query, its first hits by similarity, and the same as they are ranked after matching.

    Attributes:
        place: What it shows.
        before: Places of the hits by similarity.
        after: Places of the same hits after matching.
        status: What matching said of each, in that order.
        evidence: The certificate's, likewise.
    """

    place: int
    before: tuple[int, ...]
    after: tuple[int, ...]
    status: tuple[str, ...]
    evidence: tuple[float | None, ...]


@lru_cache(maxsize=256)
def _opened(path: Path) -> Source:
    return open_source(path)


def embedded(places: PlaceSet, embedder: Embedder) -> NDArray[np.float32]:
    """(N, D) vectors of all views, occasion by occasion."""
    views = [view for occasion in places.occasions for view in occasion]
    parts = [views[start : start + 20] for start in range(0, len(views), 20)]
    return unit(np.concatenate([embedder.embed(*chips_of(part, embedder)) for part in parts]))


def ask(
    places: PlaceSet,
    vectors: NDArray[np.float32],
    config: MatchConfig,
    solver: Registrar,
    *,
    k: int,
    queries: int | None = None,
    stand_out: bool = False,
    on_query: Callable[[float], None] = lambda _queries: None,
) -> list[Asked]:
    """Search and verify, by the protocol of `evaluate`.

    Args:
        places: What is asked.
        vectors: Of all its views, occasion by occasion.
        config: How pairs are matched.
        solver: Loaded for it.
        k: Hits of each query that are matched.
        queries: So many, evenly over all; None for all.
        stand_out: Rank the hits by how far they stand out in their image, before matching.
        on_query: Told of each that is done.
    """
    views = [view for occasion in places.occasions for view in occasion]
    count = len(places.occasions[0])
    all_queries = np.arange(count if places.pairs else len(views))
    gallery = np.arange(count if places.pairs else 0, len(views))
    chosen = all_queries
    if queries is not None and queries < len(all_queries):
        chosen = all_queries[np.linspace(0, len(all_queries) - 1, queries).round().astype(int)]
    done = []
    for query in chosen:
        likeness = vectors[gallery] @ vectors[query]
        likeness[gallery == query] = -np.inf
        score = likeness
        if stand_out:
            others = np.where(gallery == query, np.nan, likeness)[:, None]
            score = np.nan_to_num(standing(others, gallery // count)[:, 0], nan=-np.inf)
        first = np.argsort(-score, kind="stable")[:k]
        seen = views[query]
        hits = [
            _hit(rank, float(likeness[row]), int(gallery[row]), views[gallery[row]], seen)
            for rank, row in enumerate(first, start=1)
        ]
        ranked = verify(_source(seen), hits, config, solver=solver)
        told = [hit.verification for hit in ranked]
        done.append(
            Asked(
                int(query % count),
                tuple(hit.row % count for hit in hits),
                tuple(hit.row % count for hit in ranked),
                tuple("failed" if v is None else v.status for v in told),
                tuple(None if v is None else v.evidence for v in told),
            )
        )
        on_query(1)
    return done


def _source(view: View) -> Source:
    cell = view.cell
    return WindowSource(_opened(view.path), cell.left, cell.top, cell.width, cell.height)


def _hit(rank: int, similarity: float, row: int, view: View, query: View) -> Hit:
    width, height = _opened(view.path).info.size
    image = IndexedImage(str(view.path), 0, 0, width, height, None, None, None, 0, 1, 0)
    whole = ChipWindow(0, 0, query.cell.width, query.cell.height, query.cell.side)
    return Hit(rank, similarity, row, image, view.cell, whole)


def told(asked: list[Asked]) -> dict[str, float]:
    """Shares of the queries."""

    def first(places: tuple[int, ...], query: Asked) -> bool:
        return places[0] == query.place

    certified = [query for query in asked if query.status[0] == "ok"]
    return {
        "queries": len(asked),
        "top_1_before": float(np.mean([first(q.before, q) for q in asked])),
        "among_the_hits": float(np.mean([q.place in q.before for q in asked])),
        "top_1": float(np.mean([first(q.after, q) for q in asked])),
        "certified": len(certified) / len(asked),
        "certified_wrong": sum(not first(q.after, q) for q in certified) / len(asked),
    }


def main() -> None:
    """Measure and keep."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition(":")[0])
    parser.add_argument("--data", type=Path, required=True, help="the shared data folder")
    parser.add_argument("--set", dest="name", choices=list(SETS), default="ua")
    parser.add_argument("-e", "--embedder", default="edges", help="name or file")
    parser.add_argument("-m", "--matcher", default="superpoint-s2")
    parser.add_argument("-k", type=int, default=10, help="hits of each query to match")
    parser.add_argument("--queries", type=int, help="so many, evenly over all")
    parser.add_argument("--stand-out", action="store_true", help="as imatch search --stand-out")
    parser.add_argument("-o", "--output", type=Path, required=True, help="folder for the results")
    args = parser.parse_args()
    places = SETS[args.name](args.data)
    config = MatchConfig(matcher=args.matcher, use_geocoding=False, fetch=True)
    vectors = embedded(places, load_embedder(args.embedder, fetch=True))
    total = args.queries or sum(map(len, places.occasions[: 1 if places.pairs else None]))
    with progress(f"verifying on {args.name}", total) as advance:
        asked = ask(
            places,
            vectors,
            config,
            load_solver(config),
            k=args.k,
            queries=args.queries,
            stand_out=args.stand_out,
            on_query=advance,
        )
    document: dict[str, Any] = {
        "environment": environment(),
        "set": args.name,
        "embedder": args.embedder,
        "matcher": args.matcher,
        "k": args.k,
        "stand_out": args.stand_out,
        "figures": told(asked),
        "asked": [vars(query) for query in asked],
    }
    args.output.mkdir(parents=True, exist_ok=True)
    how = "_stand_out" if args.stand_out else ""
    path = args.output / f"{args.name}_{args.embedder}_{args.matcher}{how}.json"
    with atomic_path(path, overwrite=True) as temporary:
        temporary.write_text(to_json(document) + "\n", encoding="utf-8")
    for name, value in document["figures"].items():
        print(f"{name:16} {value:.3f}")


if __name__ == "__main__":
    main()
