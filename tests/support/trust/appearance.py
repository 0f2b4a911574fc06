"""Fits what season and sun may move all windows by to tiles of one scene, whose truth they share.

The tiles of a scene are cut from two products that lie off one another by one shift, so the median
of the others' shifts is the truth of each, but for what chance and appearance do to the tile.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from imatch.core.pool import map_processes
from imatch.geometry.alignment.systematic import APPEARANCE, NORMAL_95
from imatch.pipeline.pair.config import make_config
from imatch.pipeline.pair.match import estimate_pair
from tests.support.pairs.trust.ground import Dates, dates

# Tiles that a scene needs for its median to be worth more than one of them.
_TILES = 5
# The standard deviation of a median of n, in units of theirs over the root of n.
_MEDIAN = 1.25
# Errors beyond this many pixels are no matter of appearance.
_CLIPPED = 1.0
COLUMNS = (
    "scene",
    "tile",
    "band",
    "x",
    "y",
    "chance_x",
    "chance_y",
    "scatter_x",
    "scatter_y",
    "lost",
)


def tile(pair: Dates) -> list[dict[str, str | float]]:
    """What a tile says by all its bands (``band`` is empty) and by each; none unless it is ok."""
    cv2.setNumThreads(1)
    found = estimate_pair(pair.first.path, pair.second.path, make_config()).estimate
    about: dict[str, str | float] = {"scene": pair.first.event, "tile": pair.first.path.stem}
    if found.status != "ok" or found.transform is None or len(found.bands) < 2:
        return [about]
    centre = np.array([found.centre])
    shift = (found.transform.apply(centre) - centre)[0]
    chance = np.hypot(np.array(found.statistical) / NORMAL_95, found.misfit)
    scatter = np.array([band.offset for band in found.bands]).std(axis=0, ddof=1)
    # The correlation is not in the estimate, but in the appearance that came of it.
    shared = np.array(found.appearance) ** 2 - (APPEARANCE.scatter * scatter) ** 2
    rows: list[dict[str, str | float]] = [
        about
        | {"band": "", "x": shift[0], "y": shift[1], "chance_x": chance[0], "chance_y": chance[1]}
        | {"scatter_x": scatter[0], "scatter_y": scatter[1]}
        | {"lost": float(np.sqrt(np.maximum(shared, 0)).mean() / APPEARANCE.shared)}
    ]
    for band in found.bands:
        x, y = shift + np.array(band.offset)
        lost = float(np.log(1 / np.clip(band.strength, 0.05, 1)))
        rows.append(rows[0] | {"band": band.name, "x": x, "y": y, "lost": lost})
    return rows


@dataclass(frozen=True, eq=False)
class Tiles:
    """Errors of tiles and what may explain them; N tiles, or N bands of tiles.

    Attributes:
        error: (N, 2) pixels.
        known: (N, 2) variance of chance, misfit and the truth.
        scatter: (N, 2) standard deviation between bands.
        lost: (N,) natural logarithm of one over the correlation.
    """

    error: NDArray[np.float64]
    known: NDArray[np.float64]
    scatter: NDArray[np.float64]
    lost: NDArray[np.float64]

    def likelihood(self, scatter: float, shared: float) -> float:
        """Mean negative log-likelihood of the errors, normal ones that are clipped."""
        variance = self.variance(scatter, shared)
        clipped = np.clip(self.error, -_CLIPPED, _CLIPPED)
        return float((clipped**2 / variance + np.log(variance)).mean() / 2)

    def variance(self, scatter: float, shared: float) -> NDArray[np.float64]:
        """(N, 2) of the errors, were the constants these."""
        apparent = (scatter * self.scatter) ** 2 + ((shared * self.lost) ** 2)[:, None]
        return np.asarray(self.known + apparent)

    def fitted(self, *, bands: bool) -> tuple[float, float]:
        """The likeliest constants, (scatter, shared); without `bands` the scatter is none."""
        found = minimize(
            lambda log: self.likelihood(float(np.exp(log[0])) * bands, float(np.exp(log[1]))),
            np.log([0.5, 0.1]),
            method="Nelder-Mead",
        )
        return float(np.exp(found.x[0])) * bands, float(np.exp(found.x[1]))


def errors(rows: list[dict[str, str]], *, alone: bool) -> Tiles:
    """The errors of all bands together, or of each band alone, by the median of the other tiles."""
    whole = [row for row in rows if row["x"] and not row["band"]]
    parts: list[tuple[NDArray[np.float64], ...]] = []
    for row in rows if alone else whole:
        if not row["x"] or bool(row["band"]) != alone:
            continue
        others = [r for r in whole if r["scene"] == row["scene"] and r["tile"] != row["tile"]]
        if len(others) < _TILES:
            continue
        shifts = np.array([[float(r["x"]), float(r["y"])] for r in others])
        spread = np.median(np.abs(shifts - np.median(shifts, axis=0)), axis=0) * 1.4826
        own = np.array([float(row["x"]), float(row["y"])])
        chance = np.array([float(row["chance_x"]), float(row["chance_y"])])
        parts.append(
            (
                own - np.median(shifts, axis=0),
                chance**2 + (_MEDIAN * spread) ** 2 / len(others),
                np.array([float(row["scatter_x"]), float(row["scatter_y"])]),
                np.array(float(row["lost"])),
            )
        )
    error, known, scatter, lost = (np.array(values) for values in zip(*parts, strict=True))
    return Tiles(error, known, scatter, lost)


def weigh(rows: list[dict[str, str]]) -> None:
    """Fit the constants of `AppearanceRules` and say how often intervals hold with them."""
    whole, alone = errors(rows, alone=False), errors(rows, alone=True)
    scatter, shared = whole.fitted(bands=True)
    _, single = alone.fitted(bands=False)
    print(f"scatter {scatter:.3f}, shared {shared:.3f}, alone {single:.3f}")
    for name, tiles, constants in (
        ("all bands, none of it", whole, (0.0, 0.0)),
        ("all bands, as shipped", whole, (APPEARANCE.scatter, APPEARANCE.shared)),
        ("all bands, as fitted", whole, (scatter, shared)),
        ("one band, as shipped", alone, (0.0, APPEARANCE.alone)),
        ("one band, as fitted", alone, (0.0, single)),
    ):
        half = NORMAL_95 * np.sqrt(tiles.variance(*constants))
        held = (np.abs(tiles.error) <= half).mean(axis=0)
        print(
            f"{name}: {len(half)}, 95 % intervals hold {held[0]:.1%} and {held[1]:.1%},"
            f" median half-widths {np.median(half[:, 0]):.2f} and {np.median(half[:, 1]):.2f} px"
        )


def learn(folder: Path, data: Path, count: int, jobs: int) -> None:
    """Register training tiles where that is left to do, and fit the constants to them.

    Args:
        folder: Gets ``tiles.csv``; a second run goes on where the first stopped.
        data: Folder of the real images.
        count: Pairs of tiles, spread over the scenes.
        jobs: Processes.
    """
    folder.mkdir(parents=True, exist_ok=True)
    table = folder / "tiles.csv"
    if not table.exists():
        table.write_text(",".join(COLUMNS) + "\n")
    with table.open(newline="") as file:
        done = {row["tile"] for row in csv.DictReader(file)}
    pairs = dates(data, "train")["ombria"]
    chosen = pairs[:: max(1, len(pairs) // count)]
    todo = [pair for pair in chosen if pair.first.path.stem not in done]
    with table.open("a", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS)
        for number, rows in enumerate(map_processes(tile, todo, jobs), 1):
            writer.writerows(rows)
            file.flush()
            if number % 50 == 0:
                print(f"{number} of {len(todo)}", flush=True)
    with table.open(newline="") as file:
        weigh(list(csv.DictReader(file)))
