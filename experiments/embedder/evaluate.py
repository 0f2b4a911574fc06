r"""Find places again across seasons and floods: every embedder on the same chips, one table.

The sets are those of `tests.support.place_sets`. In the first two every chip asks for the other
dates of its place among all others, also those of its own season, and sees the middle of its cell
(224 of 250 parts): the recipe for Sentinel-2.

    python -m experiments.embedder.evaluate search --data ../shared/data -o out/places \
        -e edges -e efficientnet-lite0 -e vlad-aliked -e runs/seasons.safetensors
    python -m experiments.embedder.evaluate verify --data ../shared/data -o out/verified \
        --set ua -e cells-superpoint-s2 -m superpoint-s2 -k 10

``verify`` asks what matching adds: the first hits ranked anew, as ``imatch search --verify`` does
it: what the matcher certifies comes first. Each hit costs a match; ``--queries`` takes some of the
queries, evenly over all, and says so.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from imatch.benchmark.environment import environment
from imatch.core.io.files import atomic_path
from imatch.core.io.jsontext import to_json
from imatch.core.progress import progress
from imatch.core.types import BoolArray
from imatch.pipeline.pair.config import MatchConfig
from imatch.pipeline.pair.registrar import Registrar, load_registrar
from imatch.raster import Source, open_source
from imatch.raster.read.window import WindowSource
from imatch.retrieval.chips import ChipWindow, read_chip
from imatch.retrieval.embedders import Embedder, load_embedder
from imatch.retrieval.embedders.base import unit
from imatch.retrieval.evaluate.metrics import Ranking, figures, rank
from imatch.retrieval.index.store import IndexedImage
from imatch.retrieval.search import Hit, image_zscore
from imatch.retrieval.verify import verify
from tests.support.place_sets import SETS, PlaceSet, View, displaced

SHOWN = (
    "top_1",
    "top_2",
    "top_3",
    "top_5",
    "top_10",
    "top_20",
    "recall_5",
    "map",
    "map_5",
    "map_r",
)


def chips_of(views: Sequence[View], embedder: Embedder) -> tuple[NDArray[np.float32], BoolArray]:
    """Views as an embedder sees them, (N, C, S, S) and (N, S, S)."""
    sources = {path: open_source(path) for path in {view.path for view in views}}
    side, bands = embedder.chip_px, embedder.bands
    chips = [read_chip(sources[view.path], view.cell, side, bands) for view in views]
    return np.stack([chip.pixels for chip in chips]), np.stack([chip.valid for chip in chips])


def standing_out(vectors: NDArray[np.float32], place: NDArray[np.int64], images: int) -> Ranking:
    """Rank by how far a chip stands out among those of its own image.

    What two whole images have in common, as snow on either, then counts for no chip of them. An
    index knows its images, so this asks for nothing but the embeddings.

    Args:
        vectors: (N, D) of unit length, image by image, as many of each.
        place: (N,) what each shows.
        images: How many images.
    """
    likeness = vectors.astype(np.float64) @ vectors.T
    np.fill_diagonal(likeness, np.nan)
    image = np.arange(len(vectors)) // (len(vectors) // images)
    score = image_zscore(likeness, image, fewest=1).T
    # The query itself is last, and cut off.
    order = np.argsort(np.where(np.isnan(score), np.inf, -score), axis=1, kind="stable")[:, :-1]
    relevant = place[order] == place[:, None]
    return Ranking(relevant, relevant.sum(axis=1))


def measure(
    places: PlaceSet,
    embedder: Embedder,
    on_chips: Callable[[float], None],
    *,
    stand_out: bool = False,
) -> dict[str, float]:
    """Figures of one embedder on one set, with the chips it embeds in a second of one core.

    Args:
        places: The set.
        embedder: The embedder.
        on_chips: Told of chips that are done.
        stand_out: Rank by `standing_out`, where a set's chips are of few images.
    """
    found, seconds = [], 0.0
    for views in places.occasions:
        for start in range(0, len(views), 20):
            pixels, valid = chips_of(views[start : start + 20], embedder)
            began = time.process_time()
            found.append(embedder.embed(pixels, valid))
            seconds += time.process_time() - began
            on_chips(len(pixels))
    vectors = np.concatenate(found)
    count = len(places.occasions[0])
    place = np.tile(np.arange(count), len(places.occasions))
    if places.pairs:
        told = figures(rank(vectors[:count], vectors[count:], place[:count], place[count:]))
    elif stand_out:
        told = figures(standing_out(unit(vectors), place, len(places.occasions)))
    else:
        told = figures(rank(vectors, vectors, place, place, themselves=np.arange(len(place))))
    return told | {"chips_per_cpu_s": len(vectors) / max(seconds, 1e-9), "places": count}


def table(document: dict[str, Any]) -> str:
    """All figures as Markdown, in percent."""
    lines = []
    for name, rows in document["sets"].items():
        places = int(next(iter(rows.values()))["places"])
        lines += [f"**{name}**, {places} places", ""]
        lines += [f"| embedder | numbers | {' | '.join(SHOWN)} | chips/s |"]
        lines += ["|---|---:|" + "---:|" * (len(SHOWN) + 1)]
        for embedder, told in rows.items():
            cells = " | ".join(f"{100 * told[key]:.1f}" for key in SHOWN)
            dim = document["embedders"][embedder]["dim"]
            lines.append(f"| `{embedder}` | {dim} | {cells} | {told['chips_per_cpu_s']:.1f} |")
        lines.append("")
    return "\n".join(lines)


def evaluate(
    data: Path,
    embedders: Sequence[str],
    sets: Sequence[str],
    share: float = 0.0,
    *,
    stand_out: bool = False,
) -> dict[str, Any]:
    """Every embedder on every set, views moved by up to a share of their side; see `measure`."""
    document: dict[str, Any] = {
        "environment": environment(),
        "displaced": share,
        "stand_out": stand_out,
        "embedders": {},
        "sets": {},
    }
    for name in embedders:
        loaded = load_embedder(name, fetch=True)
        label = loaded.name
        document["embedders"][label] = {
            "identity": loaded.identity,
            "dim": loaded.dim,
            "chip_px": loaded.chip_px,
        }
        for chosen in sets:
            places = displaced(SETS[chosen](data), share)
            total = sum(map(len, places.occasions))
            with progress(f"{label} on {chosen}", total) as advance:
                told = measure(places, loaded, advance, stand_out=stand_out)
            document["sets"].setdefault(chosen, {})[label] = told
    return document


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
    registrar: Registrar,
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
        registrar: Matches pairs.
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
            score = np.nan_to_num(image_zscore(others, gallery // count)[:, 0], nan=-np.inf)
        first = np.argsort(-score, kind="stable")[:k]
        seen = views[query]
        hits = [
            _hit(rank, float(likeness[row]), int(gallery[row]), views[gallery[row]], seen)
            for rank, row in enumerate(first, start=1)
        ]
        ranked = verify(_source(seen), hits, registrar)
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


def search(asked: argparse.Namespace) -> None:
    """Measure embedders, print the table, and keep it."""
    embedders, sets = asked.embedder or ["efficientnet-lite0"], asked.sets or list(SETS)
    document = evaluate(asked.data, embedders, sets, asked.displace, stand_out=asked.stand_out)
    asked.output.mkdir(parents=True, exist_ok=True)
    text = table(document)
    for name, content in (("places.json", to_json(document) + "\n"), ("places.md", text)):
        with atomic_path(asked.output / name, overwrite=True) as temporary:
            temporary.write_text(content, encoding="utf-8")
    print(text)


def verified(asked: argparse.Namespace) -> None:
    """Measure what matching adds, and keep it."""
    places = SETS[asked.name](asked.data)
    config = MatchConfig(matcher=asked.matcher, use_geocoding=False, fetch=True)
    vectors = embedded(places, load_embedder(asked.embedder, fetch=True))
    total = asked.queries or sum(map(len, places.occasions[: 1 if places.pairs else None]))
    with progress(f"verifying on {asked.name}", total) as advance:
        found = ask(
            places,
            vectors,
            load_registrar(config),
            k=asked.k,
            queries=asked.queries,
            stand_out=asked.stand_out,
            on_query=advance,
        )
    document: dict[str, Any] = {
        "environment": environment(),
        "set": asked.name,
        "embedder": asked.embedder,
        "matcher": asked.matcher,
        "k": asked.k,
        "stand_out": asked.stand_out,
        "figures": told(found),
        "asked": [vars(query) for query in found],
    }
    asked.output.mkdir(parents=True, exist_ok=True)
    how = "_stand_out" if asked.stand_out else ""
    path = asked.output / f"{asked.name}_{asked.embedder}_{asked.matcher}{how}.json"
    with atomic_path(path, overwrite=True) as temporary:
        temporary.write_text(to_json(document) + "\n", encoding="utf-8")
    for name, value in document["figures"].items():
        print(f"{name:16} {value:.3f}")


def parser() -> argparse.ArgumentParser:
    """The command line."""
    described = (__doc__ or "").splitlines()[0]
    whole = argparse.ArgumentParser(prog="experiments.embedder.evaluate", description=described)
    parts = whole.add_subparsers(required=True)
    part = parts.add_parser("search", help="find places by embeddings")
    part.set_defaults(run=search)
    part.add_argument("--data", type=Path, required=True, help="the shared data folder")
    part.add_argument("-e", "--embedder", action="append", help="name or file; may be repeated")
    part.add_argument("--set", dest="sets", action="append", choices=list(SETS))
    part.add_argument(
        "--displace", type=float, default=0.0, help="move views by up to this share of their side"
    )
    part.add_argument(
        "--stand-out", action="store_true", help="rank by how far chips stand out in their image"
    )
    part.add_argument("-o", "--output", type=Path, required=True, help="folder for the results")
    part = parts.add_parser("verify", help="rank the first hits again by matching")
    part.set_defaults(run=verified)
    part.add_argument("--data", type=Path, required=True, help="the shared data folder")
    part.add_argument("--set", dest="name", choices=list(SETS), default="ua")
    part.add_argument("-e", "--embedder", default="edges", help="name or file")
    part.add_argument("-m", "--matcher", default="superpoint-s2")
    part.add_argument("-k", type=int, default=10, help="hits of each query to match")
    part.add_argument("--queries", type=int, help="so many, evenly over all")
    part.add_argument("--stand-out", action="store_true", help="as imatch search --stand-out")
    part.add_argument("-o", "--output", type=Path, required=True, help="folder for the results")
    return whole


if __name__ == "__main__":
    asked = parser().parse_args()
    asked.run(asked)
