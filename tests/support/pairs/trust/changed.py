"""Pairs years apart, with a season between them, of which a known part of the ground changed."""

from __future__ import annotations

import csv
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

from imatch.datasets.synthetic.landscape import (
    FIELD,
    FINE,
    ROAD,
    TOWN,
    WATER,
    WOOD,
    Landscape,
    fractal,
    landscape,
)
from imatch.datasets.synthetic.landscape_view import SEASONS, render_landscape
from tests.support.pairs.trust.ground import draw_size, images, present, real_ground, seen_twice
from tests.support.pairs.trust.pair import Side, TrustPair, Truth, near

Mask: TypeAlias = NDArray[np.bool_]
Labels: TypeAlias = NDArray[np.uint16]

_RIM = 24
#: Least and largest side of made pairs, pixels.
SIDES = 256, 640
#: Least and largest share of the ground that changed.
SHARES = (0.15, 0.6)
# Data sets whose pairs are used, and the least peak of phase correlation of those that look alike.
_SOURCES, _ALIKE = ("ombria", "ua_overview"), 0.25
# Edges of what was blended in, pixels: as sharp as a resampled image.
_FEATHER = 1.0


def changed(data: Path, split: str, rng: np.random.Generator) -> TrustPair:
    """Made ground with another river, clearings, towns and lakes, or real with other ground.

    Of a quarter of the pairs the season alone changed.
    """
    share = float(rng.uniform(*SHARES)) if rng.random() < 0.75 else 0.0
    pair = _made(share, rng) if split == "made" else _real(data, split, share, rng)
    assert pair.changed is not None
    about = {"changed": float(pair.changed.mean()), "changes": "years" if share else "season"}
    return replace(pair, params=pair.params | about)


def _made(share: float, rng: np.random.Generator) -> TrustPair:
    size, seed = draw_size(rng, *SIDES), int(rng.integers(2**31))
    before = landscape((size[0] + 2 * _RIM, size[1] + 2 * _RIM), seed)
    after, what = years_later(before, share, rng)
    to_ref = np.array([[1, 0, -_RIM], [0, 1, -_RIM], [0, 0, 1.0]])
    matrix = near(size, rng)
    seasons = [SEASONS[int(i)] for i in rng.permutation(4)[:2]]
    sides = []
    for side, (ground, warp, year) in enumerate(
        ((before, to_ref, 0), (after, matrix @ to_ref, int(rng.integers(2, 5))))
    ):
        pixels, valid = render_landscape(
            ground,
            seasons[side],
            matrix=warp,
            size=size,
            year=year,
            noise=float(rng.uniform(0.003, 0.02)),
            haze=float(rng.uniform(0, 0.1)),
            sun_azimuth=float(rng.uniform(120, 180)),
            seed=(seed + side) % 2**31,
        )
        sides.append(Side(255 * pixels, valid))
    where = differs(before, after)[_RIM : _RIM + size[1], _RIM : _RIM + size[0]]
    about = {"size": list(size), "landscape": seed, "seasons": seasons, "what": what}
    about["source"] = "landscape"
    pair = present(TrustPair(sides[0], sides[1], Truth(matrix), about), rng)
    return replace(pair, changed=where)


@lru_cache(maxsize=2)
def _alike(data: Path) -> frozenset[frozenset[str]]:
    """Training pairs of which most looks alike: files without cloud or flood over much of them."""
    with (data / "train_pairs.csv").open(newline="") as file:
        return frozenset(
            frozenset(Path(row[side]).name for side in ("ref", "tgt"))
            for row in csv.DictReader(file)
            if float(row["phase_response"]) >= _ALIKE
        )


def _real(data: Path, split: str, share: float, rng: np.random.Generator) -> TrustPair:
    """Two dates of a place, of which the second shows another place in part."""
    size = draw_size(rng, 200, 464)
    while True:
        ground = real_ground(data, split, size, rng, rim=_RIM, sources=_SOURCES)
        if frozenset((ground.params["ref"], ground.params["tgt"])) in _alike(data):
            break
    shape = ground.first.shape[1:]
    event = {image.path.name: image.event for image in images(data, split)}
    other = ground
    while event[other.params["ref"]] == event[ground.params["ref"]]:
        other = real_ground(data, split, (shape[1], shape[0]), rng, rim=0, sources=_SOURCES)
    billows = fractal((shape[1], shape[0]), 0.5 * max(size), rng, finest=10.0)
    where = np.asarray(billows > np.quantile(billows, 1 - share))
    weight = cv2.GaussianBlur(where.astype(np.float32), (0, 0), _FEATHER)
    second = ground.second + weight * (other.second[: len(ground.second)] - ground.second)
    truth = Truth(near(size, rng), ground.shift, None, ground.sd_px)
    pair = seen_twice(replace(ground, second=second), truth, 0.0, rng)
    x, y = ground.rim
    seen = where[y : y + size[1], x : x + size[0]]
    about = pair.params | {"other": other.params["ref"]}
    pair = present(TrustPair(pair.ref, pair.tgt, truth, about), rng)
    return replace(pair, changed=seen)


def years_later(
    ground: Landscape, share: float, rng: np.random.Generator
) -> tuple[Landscape, list[str]]:
    """Moves the river, and clears, plants, builds and floods until a share of all has changed.

    Returns:
        The landscape and what was done to it, one after another.
    """
    labels, done = ground.labels.copy(), list[str]()
    if share > 0 and (labels == WATER).any():
        labels = _river_moved(labels, rng)
        done.append("river")
    works = {"cleared": _cleared, "town": _town, "lake": _lake, "planted": _planted}
    for _ in range(400):
        if (labels != ground.labels).mean() >= share:
            break
        name = str(rng.choice(list(works)))
        labels = works[name](labels, _polygon(labels.shape, rng), rng)
        done.append(name)
    # Colours are drawn for as many labels as there are: of one cell beyond any view.
    labels[0, 0] = ground.labels.max()
    other = labels != ground.labels
    grain = ground.texture[::-1, ::-1]  # Of the same statistics, and of other places.
    return replace(ground, labels=labels, texture=np.where(other, grain, ground.texture)), done


def differs(before: Landscape, after: Landscape) -> Mask:
    """(H, W) landscape pixels of which more than half has another cover."""
    cells = (before.labels != after.labels).astype(np.float32)
    return np.asarray(cv2.resize(cells, before.size, interpolation=cv2.INTER_AREA) > 0.5)


def _river_moved(labels: Labels, rng: np.random.Generator) -> Labels:
    """The river displaced by a smooth field; where it was, the ground beside it."""
    height, width = labels.shape
    water = (labels == WATER).astype(np.uint8)
    _, nearest = cv2.distanceTransformWithLabels(
        water, cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL
    )
    dry = np.zeros(int(nearest.max()) + 1, labels.dtype)
    land = water == 0
    dry[nearest[land]] = labels[land]
    out = np.where(land, labels, dry[nearest])
    small = width // FINE, height // FINE
    y, x = np.mgrid[:height, :width].astype(np.float32)
    reach = 0.08 * max(height, width)
    moved = [
        cv2.resize(reach * fractal(small, 0.5 * max(small), rng, finest=12.0), (width, height))
        for _ in range(2)
    ]
    there = cv2.remap(water, x + moved[0], y + moved[1], cv2.INTER_NEAREST)
    out[there > 0] = WATER
    return np.asarray(out, dtype=labels.dtype)


def _polygon(shape: tuple[int, ...], rng: np.random.Generator) -> Mask:
    """A polygon of some corners anywhere, a twelfth to a quarter of the side across."""
    height, width = shape
    reach = rng.uniform(0.04, 0.13) * max(shape)
    turns = np.sort(rng.uniform(0, 2 * np.pi, int(rng.integers(5, 10))))
    away = reach * rng.uniform(0.7, 1.3, len(turns))
    at = rng.uniform(0, 1, 2) * (width, height)
    corners = at + away[:, None] * np.column_stack([np.cos(turns), np.sin(turns)])
    inside = np.zeros(shape, np.uint8)
    cv2.fillPoly(inside, [np.round(corners).astype(np.int32)], 1)
    return np.asarray(inside > 0)


def _cleared(labels: Labels, inside: Mask, rng: np.random.Generator) -> Labels:
    """Trees of a polygon become one field."""
    trees = inside & (labels >= WOOD) & (labels < FIELD)
    return np.where(trees, _some_field(labels, rng), labels)


def _planted(labels: Labels, inside: Mask, rng: np.random.Generator) -> Labels:
    """Fields of a polygon become one stand of trees."""
    return np.where(inside & (labels >= FIELD), np.uint16(rng.integers(WOOD, FIELD)), labels)


def _lake(labels: Labels, inside: Mask, rng: np.random.Generator) -> Labels:
    return np.where(inside, np.uint16(WATER), labels)


def _town(labels: Labels, inside: Mask, rng: np.random.Generator) -> Labels:
    """Streets of a grid and the blocks between them."""
    y, x = np.mgrid[: labels.shape[0], : labels.shape[1]]
    turn, block = rng.uniform(0, np.pi / 2), FINE * rng.uniform(6, 14)
    u, v = np.cos(turn) * x + np.sin(turn) * y, np.cos(turn) * y - np.sin(turn) * x
    numbers = np.floor(u / block).astype(int) * 7 + np.floor(v / block).astype(int) * 13
    built = TOWN + numbers % (WOOD - TOWN)
    street = (u % block < 1.5 * FINE) | (v % block < 1.5 * FINE)
    return np.asarray(np.where(inside, np.where(street, ROAD, built), labels), dtype=labels.dtype)


def _some_field(labels: Labels, rng: np.random.Generator) -> np.uint16:
    fields = labels[labels >= FIELD]
    return np.uint16(fields[int(rng.integers(len(fields)))] if len(fields) else FIELD)
