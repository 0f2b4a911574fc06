r"""Find places again across seasons and floods: every embedder on the same chips, one table.

Three sets, none of which is trained on (``seasons_chips.yaml`` leaves the Americas out):

- ``americas``: NASA's Blue Marble, 100 cells of 96 px of the Americas in January, April, July and
  October; the largest shares of land;
- ``ua``: Sentinel-2 tile T36UYA at 107 m, grey, all 100 cells of 102 px on a snowy, a spring, a
  summer and an autumn date;
- ``ombria``: before a flood, to be found among all images after one.

In the first two every chip asks for the other dates of its place among all others, also those of
its own season, and sees the middle of its cell (224 of 250 parts): the recipe for Sentinel-2.

    python -m experiments.embedder.evaluate --data ../shared/data -o out/places \
        -e edges -e efficientnet-lite0 -e vlad-aliked -e runs/seasons.safetensors
"""

from __future__ import annotations

import argparse
import csv
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from imatch.bench.environment import environment
from imatch.core.errors import InputError
from imatch.core.io.files import atomic_path
from imatch.core.io.jsontext import to_json
from imatch.core.progress import progress
from imatch.core.types import BoolArray
from imatch.raster import open_source
from imatch.retrieval.chips import ChipWindow, read_chip
from imatch.retrieval.duplicates.zscore import standing
from imatch.retrieval.embedders import Embedder, load_embedder
from imatch.retrieval.embedders.base import unit
from imatch.retrieval.evaluate.metrics import Ranking, figures, rank

SEEN = 224 / 250
MONTHS = ("01", "04", "07", "10")
UA_DATES = ("20160212", "20190427", "20190626", "20190904")
#: Columns and rows of the Blue Marble: 170 to 34 degrees west, 75 north to 55 south.
AMERICAS = (150, 225, 2190, 2175)
BMNG_CELL, UA_CELL, PLACES = 96, 102, 100
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


@dataclass(frozen=True)
class View:
    """What is seen of a place on one occasion.

    Attributes:
        path: The image.
        cell: Its part.
    """

    path: Path
    cell: ChipWindow


@dataclass(frozen=True)
class PlaceSet:
    """Places seen on several occasions.

    Attributes:
        name: What to call it.
        occasions: For each occasion the views of all places, in one order.
        pairs: Whether the first occasion asks and the second answers, instead of all among all.
    """

    name: str
    occasions: tuple[tuple[View, ...], ...]
    pairs: bool = False


def middle(left: int, top: int, side: int, seen: float = SEEN) -> ChipWindow:
    """The middle of a cell."""
    inner = round(seen * side)
    spare = (side - inner) // 2
    return ChipWindow(left + spare, top + spare, inner, inner, float(inner))


def americas(data: Path) -> PlaceSet:
    """The cells of the Americas with most land."""
    files = [data / "train" / "bmng" / f"2004{month}.jpg" for month in MONTHS]
    july = open_source(files[2]).read().pixels
    left, top, right, bottom = AMERICAS
    cells = []
    for y in range(top, bottom - BMNG_CELL + 1, BMNG_CELL):
        for x in range(left, right - BMNG_CELL + 1, BMNG_CELL):
            part = july[:, y : y + BMNG_CELL, x : x + BMNG_CELL]
            # The sea is dark and blue; ice and all else is not.
            land = (part[2] < part[0] + 15) | (part.sum(axis=0) > 150)
            cells.append((float(land.mean()), -y, -x))
    chosen = sorted(cells, reverse=True)[:PLACES]
    return PlaceSet(
        "americas",
        tuple(tuple(View(f, middle(-x, -y, BMNG_CELL)) for _, y, x in chosen) for f in files),
    )


def ua(data: Path) -> PlaceSet:
    """All cells of the tile."""
    files = [data / "bench" / "ua_overview" / f"T36UYA_{date}.tif" for date in UA_DATES]
    corners = [(x * UA_CELL, y * UA_CELL) for y in range(10) for x in range(10)]
    return PlaceSet(
        "ua", tuple(tuple(View(f, middle(x, y, UA_CELL)) for x, y in corners) for f in files)
    )


def ombria(data: Path) -> PlaceSet:
    """Whole images before and after floods."""
    pairs: dict[str, dict[str, View]] = {}
    with (data / "images.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            if (row["split"], row["source"]) == ("bench", "ombria"):
                width, height = int(row["width"]), int(row["height"])
                cell = ChipWindow(0, 0, width, height, float(max(width, height)))
                pairs.setdefault(row["place"], {})[row["date"]] = View(data / row["path"], cell)
    both = [views for views in pairs.values() if {"before", "after"} <= views.keys()]
    if not both:
        raise InputError("names no images before and after", subject=data / "images.csv")
    return PlaceSet(
        "ombria",
        (tuple(v["before"] for v in both), tuple(v["after"] for v in both)),
        pairs=True,
    )


def displaced(places: PlaceSet, share: float, seed: int = 0) -> PlaceSet:
    """The same places, each view moved at random by up to a share of its side along both axes.

    Chips of an archive do not lie where those of a query lie. Views stay within their images.
    """
    rng = np.random.default_rng(seed)
    sizes = {
        path: open_source(path).info.size
        for path in {view.path for views in places.occasions for view in views}
    }

    def moved(view: View) -> View:
        cell = view.cell
        starts = [
            int(np.clip(start + round(step * share * cell.side), 0, max(length - side, 0)))
            for start, side, length, step in zip(
                (cell.left, cell.top),
                (cell.width, cell.height),
                sizes[view.path],
                rng.uniform(-1, 1, 2),
                strict=True,
            )
        ]
        return View(view.path, replace(cell, left=starts[0], top=starts[1]))

    occasions = tuple(tuple(moved(view) for view in views) for views in places.occasions)
    return replace(places, occasions=occasions)


SETS: dict[str, Callable[[Path], PlaceSet]] = {"americas": americas, "ua": ua, "ombria": ombria}


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
    score = standing(likeness, image, fewest=1).T
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


def main() -> None:
    """Measure, print the table, and keep it."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", type=Path, required=True, help="the shared data folder")
    parser.add_argument("-e", "--embedder", action="append", help="name or file; may be repeated")
    parser.add_argument("--set", dest="sets", action="append", choices=list(SETS))
    parser.add_argument(
        "--displace",
        type=float,
        default=0.0,
        help="move every view by up to this share of its side",
    )
    parser.add_argument(
        "--stand-out",
        action="store_true",
        help="rank by how far a chip stands out among those of its own image",
    )
    parser.add_argument("-o", "--output", type=Path, required=True, help="folder for the results")
    args = parser.parse_args()
    embedders, sets = args.embedder or ["efficientnet-lite0"], args.sets or list(SETS)
    document = evaluate(args.data, embedders, sets, args.displace, stand_out=args.stand_out)
    args.output.mkdir(parents=True, exist_ok=True)
    text = table(document)
    for name, content in (("places.json", to_json(document) + "\n"), ("places.md", text)):
        with atomic_path(args.output / name, overwrite=True) as temporary:
            temporary.write_text(content, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
