"""Residuals against height, slope and aspect of the ground, and whether relief explains them."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from scipy.ndimage import binary_erosion

from imatch.core.types import BoolArray
from imatch.export.html import HtmlCell, HtmlTable
from imatch.export.quality.residuals import Floats, metres_per_pixel
from imatch.export.quality.views import ViewFrame, ViewPair
from imatch.export.text import number
from imatch.raster import open_source
from imatch.raster.sampling.interpolation import nearest, sample

# Longest side at which the heights are read, pixels.
_SIDE = 2048
# Tie points below which nothing is told, classes of height and slope, and the least slope with an
# aspect, degrees.
_LEAST, _CLASSES, _FLAT = 30, 5, 2.0
_DIRECTIONS = ("N", "NE", "E", "SE", "S", "SW", "W", "NW")
# Blocks along a side that are held out together, folds, and shifts of the heights against the tie
# points: neighbours are alike in both, so that only heights of another place tell what chance does.
_BLOCKS, _FOLDS, _SHIFTS = 8, 5, 199
# Share of the squared residuals, predicted where they were held out, and probability by chance from
# which relief is said to explain them.
_EXPLAINS, _CHANCE = 0.05, 0.02


@dataclass(frozen=True)
class ReliefClass:
    """Residuals of one class of ground.

    Attributes:
        name: Its range.
        points: Tie points.
        rmse_m: Root mean square residual, metres.
        mean_m: (x, y) mean residual along the reference's rows and columns, metres.
    """

    name: str
    points: int
    rmse_m: float
    mean_m: tuple[float, float]


@dataclass(frozen=True, eq=False)
class Relief:
    """What the heights of the ground have to do with the residuals.

    Attributes:
        dem: The heights.
        points: Tie points of known height.
        classes: Residuals by ``height``, ``slope`` and ``aspect``.
        per_100m: (x, y) metres that a residual grows by for each 100 m of height.
        explained: Share of the squared residuals that heights predict where they were held out.
        p: Share of heights taken from elsewhere that predict as much.
        rmse_m: Root mean square of the residuals about their mean, metres.
        rest_m: The same of what heights leave.
    """

    dem: str
    points: int
    classes: dict[str, tuple[ReliefClass, ...]] = field(repr=False)
    per_100m: tuple[float, float]
    explained: float
    p: float
    rmse_m: float
    rest_m: float

    @property
    def explains(self) -> bool:
        """Whether relief explains part of what is left."""
        return self.explained >= _EXPLAINS and self.p <= _CHANCE

    @property
    def name(self) -> str:
        """Name of the file of heights."""
        return Path(self.dem).name

    def to_dict(self) -> dict[str, Any]:
        """Returns the figures, JSON-ready."""
        return {
            "dem": self.dem,
            "points": self.points,
            "relief_explains": self.explains,
            "explained": self.explained,
            "p": self.p,
            "metres_per_100m": list(self.per_100m),
            "rmse_m": self.rmse_m,
            "rmse_without_m": self.rest_m,
            **{name: [vars(part) for part in parts] for name, parts in self.classes.items()},
        }

    def to_text(self) -> str:
        """Returns the verdict as a sentence or two."""
        x, y = self.per_100m
        figures = f"{max(self.explained, 0):.0%} of the squared residuals, p {self.p:.3f}"
        if not self.explains:
            return (
                f"Relief does not explain what is left: held out, heights predict {figures}."
                f" The RMSE about the mean is {number(self.rmse_m)} m."
            )
        return (
            f"Relief explains part of what is left: held out, heights predict {figures}. A residual"
            f" grows by {x:+.2f} m along rows and {y:+.2f} m along columns for each 100 m of"
            f" height; without that the RMSE would be {number(self.rest_m)} instead of"
            f" {number(self.rmse_m)} m. The images look from different angles, or were corrected"
            " for relief by different heights."
        )

    def to_table(self, by: str) -> HtmlTable:
        """Returns the table of one kind of class."""
        rows = tuple(
            (
                HtmlCell(part.name),
                HtmlCell(str(part.points)),
                HtmlCell(number(part.rmse_m)),
                *(HtmlCell(f"{value:+.2f}") for value in part.mean_m),
            )
            for part in self.classes[by]
        )
        header = (by, "tie points", "RMSE, m", "mean x, m", "mean y, m")
        return HtmlTable(f"By {by}", "", header, rows)


def relief(pair: ViewPair, dem: Path) -> Relief | None:
    """Relates the residuals to the heights of the ground.

    Args:
        pair: The registration with its images.
        dem: A raster of heights in metres, in any CRS.

    Returns:
        None without a transform, a geocoded reference, metres, or enough tie points on the heights.

    Raises:
        InputError: The heights cannot be read.
    """
    points, gsd = pair.registration.tie_points, metres_per_pixel(pair)
    lattice = pair.before.reference_lattice
    if pair.after is None or gsd is None or not lattice.geocoded:
        return None
    frame = pair.overlap(_SIDE)
    grid = frame.grid(lattice)
    image = open_source(dem, bands=(1,)).read_on(grid)
    step = grid.gsd_m
    used = (points.inlier | points.check) & np.isfinite(points.residual_xy).all(axis=1)
    at = frame.from_reference(points.ref_xy[used])
    vectors = pair.along_reference_axes(pair.after, points.residual_xy[used]) * gsd
    # Beside missing heights there is no slope.
    valid = np.asarray(binary_erosion(image.valid, iterations=2, border_value=1), dtype=bool)
    known = _on(valid, at)
    if step is None or known.sum() < _LEAST:
        return None
    at, vectors = at[known], vectors[known]
    heights = image.pixels[0]
    down, right = np.gradient(heights, step[1], step[0])
    height, east, south = (_sampled(values, valid, at) for values in (heights, right, down))
    slope = np.degrees(np.arctan(np.hypot(east, south)))
    # Where the ground falls to, clockwise from the top of the image.
    aspect = np.degrees(np.arctan2(-east, south)) % 360
    per_metre, explained, rest = _by_height(height, vectors, at, frame)
    return Relief(
        str(dem),
        len(at),
        {
            "height": _classes(height, vectors, " m"),
            "slope": _classes(slope, vectors, "°"),
            "aspect": _by_direction(aspect, slope, vectors),
        },
        (100 * float(per_metre[0]), 100 * float(per_metre[1])),
        explained,
        _by_chance(heights, valid, at, vectors, frame, explained),
        _rms(vectors - vectors.mean(axis=0)),
        rest,
    )


def _on(valid: BoolArray, at: Floats) -> BoolArray:
    x, y = at.astype(np.float32).T
    height, width = valid.shape
    inside = (x > 0) & (y > 0) & (x < width - 1) & (y < height - 1)
    found = np.zeros(len(at), dtype=bool)
    found[inside] = nearest(valid, x[inside], y[inside])
    return found


def _sampled(values: Floats, valid: BoolArray, at: Floats) -> Floats:
    x, y = np.ascontiguousarray(at.T, dtype=np.float32)
    image = np.ascontiguousarray(values, dtype=np.float32)
    return np.asarray(sample(image, valid, x, y, "bilinear"), dtype=np.float64).reshape(-1)


def _by_height(
    height: Floats, vectors: Floats, at: Floats, frame: ViewFrame
) -> tuple[Floats, float, float]:
    """Fits residuals as a constant and a multiple of the height, also without blocks of them.

    Returns:
        (2,) metres a metre of height; the share of the squared residuals that heights predict where
        they were held out; the root mean square of what they leave.
    """
    basis = np.column_stack([np.ones(len(height)), height - height.mean()])
    whole = np.linalg.lstsq(basis, vectors, rcond=None)[0]
    cell = np.floor(at * _BLOCKS / np.array(frame.size)).astype(int)
    fold = (cell[:, 0] + 3 * cell[:, 1]) % _FOLDS
    left = mean = 0.0
    for number_ in range(_FOLDS):
        held = fold == number_
        if not held.any() or held.all():
            continue
        fitted = np.linalg.lstsq(basis[~held], vectors[~held], rcond=None)[0]
        left += float(((vectors[held] - basis[held] @ fitted) ** 2).sum())
        mean += float(((vectors[held] - vectors[~held].mean(axis=0)) ** 2).sum())
    explained = 1 - left / mean if mean > 0 else 0.0
    return whole[1], explained, _rms(vectors - basis @ whole)


def _by_chance(
    heights: Floats,
    valid: BoolArray,
    at: Floats,
    vectors: Floats,
    frame: ViewFrame,
    explained: float,
) -> float:
    """Returns how often heights taken from elsewhere in the frame predict as much."""
    rng, size, reached, tried = np.random.default_rng(0), np.array(frame.size), 0, 0
    for _ in range(_SHIFTS):
        moved = (at + rng.uniform(0.1, 0.9, 2) * size) % (size - 1)
        there = _on(valid, moved)
        if there.sum() < _LEAST:
            continue
        height = _sampled(heights, valid, moved[there])
        _, found, _ = _by_height(height, vectors[there], at[there], frame)
        tried, reached = tried + 1, reached + (found >= explained)
    return (1 + reached) / (1 + tried)


def _classes(values: Floats, vectors: Floats, unit: str) -> tuple[ReliefClass, ...]:
    """Returns classes of equally many tie points."""
    edges = np.unique(np.percentile(values, np.linspace(0, 100, _CLASSES + 1)))
    index = np.clip(np.searchsorted(edges, values, side="right") - 1, 0, max(len(edges) - 2, 0))
    names = [
        f"{number(low)} to {number(high)}{unit}" for low, high in pairwise(edges.tolist())
    ] or [f"{number(float(values[0]))}{unit}"]
    return tuple(_class(name, vectors[index == i]) for i, name in enumerate(names))


def _by_direction(aspect: Floats, slope: Floats, vectors: Floats) -> tuple[ReliefClass, ...]:
    sector = (np.round(aspect / 45) % len(_DIRECTIONS)).astype(int)
    sector[slope < _FLAT] = -1
    parts = [_class(name, vectors[sector == i]) for i, name in enumerate(_DIRECTIONS)]
    flat = _class(f"flatter than {_FLAT:g}°", vectors[sector == -1])
    return tuple(part for part in (*parts, flat) if part.points)


def _class(name: str, vectors: Floats) -> ReliefClass:
    if not len(vectors):
        return ReliefClass(name, 0, float("nan"), (float("nan"), float("nan")))
    x, y = vectors.mean(axis=0)
    return ReliefClass(name, len(vectors), _rms(vectors), (float(x), float(y)))


def _rms(vectors: Floats) -> float:
    return float(np.sqrt((vectors**2).sum(axis=1).mean()))
