"""Places seen on several occasions, whose chips are to find each other; none is trained on.

``seasons_chips.yaml`` leaves the Americas out.

- ``americas``: NASA's Blue Marble, 100 cells of 96 px of the Americas in January, April, July and
  October; the largest shares of land;
- ``ua``: Sentinel-2 tile T36UYA at 107 m, grey, all 100 cells of 102 px on a snowy, a spring, a
  summer and an autumn date;
- ``ombria``: before a flood, to be found among all images after one.
"""

from __future__ import annotations

import csv
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from imatch.core.errors import InputError
from imatch.raster import open_source
from imatch.retrieval.chips import ChipWindow

SEEN = 224 / 250
MONTHS = ("01", "04", "07", "10")
UA_DATES = ("20160212", "20190427", "20190626", "20190904")
#: Columns and rows of the Blue Marble: 170 to 34 degrees west, 75 north to 55 south.
AMERICAS = (150, 225, 2190, 2175)
BMNG_CELL, UA_CELL, PLACES = 96, 102, 100


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
