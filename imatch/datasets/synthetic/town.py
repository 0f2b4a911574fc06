"""Procedural towns: an aerial photograph of blocks and houses, and the map of the same ground.

Maps of towns are what no season of a satellite teaches: their roads and houses are drawn, some
houses are left out, words cover others, and roofs do not stand on the photograph where the walls
stand on the map.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from imatch.core.errors import ConfigError
from imatch.datasets.synthetic.cartography import as_bands, with_words
from imatch.datasets.synthetic.landscape import smooth_noise

# Kinds of ground.
_ROAD, _BLOCK, _PARK, _WATER, _HOUSE = range(5)
Plane = NDArray[np.float32]
Image = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Town:
    """Blocks, houses and roads.

    Attributes:
        labels: (S, S) number of what stands at each pixel, 0 for roads.
        kind: (N,) kind of ground of each number.
        height: (N,) height of each house, as pixels its roof is displaced by at a lean of 1.
        scale: Size of blocks and roads, about 1.
    """

    labels: NDArray[np.int32]
    kind: NDArray[np.int64]
    height: NDArray[np.float32]
    scale: float

    @property
    def ground(self) -> NDArray[np.int64]:
        """(S, S) kind of ground of each pixel."""
        return np.asarray(self.kind[self.labels])


def town(side: int, rng: np.random.Generator) -> Town:
    """Generates a town.

    Args:
        side: Pixels along each axis, 64 to 2000.
        rng: Decides.

    Raises:
        ConfigError: The side is out of bounds.
    """
    if not 64 <= side <= 2000:
        raise ConfigError(f"is {side}", subject="town side", hint="choose 64 to 2000 pixels")
    plan = _Plan(round(1.5 * side), float(rng.uniform(0.6, 1.5)), rng)
    plan.divide((0, 0, plan.side, plan.side), float(rng.uniform(10, 26)) * plan.scale)
    # Turned, and its straight roads a little bent.
    angle = rng.uniform(0, 2 * np.pi)
    y, x = np.mgrid[:side, :side].astype(np.float32) - side / 2
    bend, period = rng.uniform(0, 6), rng.uniform(90, 250) / (2 * np.pi)
    across = np.cos(angle) * x - np.sin(angle) * y + plan.side / 2 + bend * np.sin(y / period)
    down = np.sin(angle) * x + np.cos(angle) * y + plan.side / 2 + bend * np.cos(x / period)
    labels = cv2.remap(
        plan.labels.astype(np.float32),
        across.astype(np.float32),
        down.astype(np.float32),
        cv2.INTER_NEAREST,
        borderMode=cv2.BORDER_REFLECT,
    )
    kind = np.array(plan.kinds)
    height = np.where(kind == _HOUSE, rng.gamma(2, rng.uniform(0.8, 2.5), len(kind)), 0)
    return Town(labels.astype(np.int32), kind, height.astype(np.float32), plan.scale)


def photograph(ground: Town, rng: np.random.Generator) -> Image:
    """Renders an aerial photograph of a town.

    Args:
        ground: The town.
        rng: Draws colours, sun, lean and trees.

    Returns:
        (3, S, S) float32 in [0, 1].
    """
    kind, labels, cover = ground.kind, ground.labels, ground.ground
    colour = np.zeros((len(kind), 3), dtype=np.float32)
    colour[kind == _ROAD] = rng.uniform(0.3, 0.55)
    blocks = int((kind == _BLOCK).sum())
    bare = rng.uniform(0.35, 0.6) + rng.normal(0, 0.05, 3) + rng.normal(0, 0.06, (blocks, 3))
    green = np.array([0.25, 0.36, 0.2]) * rng.uniform(0.8, 1.3)
    colour[kind == _BLOCK] = np.where(rng.random((blocks, 1)) < 0.25, green, bare)
    colour[kind == _PARK] = np.array([0.2, 0.35, 0.18]) * rng.uniform(0.7, 1.5)
    colour[kind == _WATER] = np.array([0.15, 0.25, 0.28]) * rng.uniform(0.6, 1.3)
    seen = colour[labels] + (0.06 * _noise(labels, 0.7, rng) + 0.12 * _noise(labels, 3, rng))
    if rng.random() < 0.7:
        seen[_lanes(cover, rng)] = 0.85
    seen *= 1 - rng.uniform(0.3, 0.65) * (_shadow(ground, rng) * (cover != _HOUSE))[..., None]
    seen = _with_roofs(seen.astype(np.float32), ground, rng)
    trees = _noise(labels, rng.uniform(1.5, 3), rng)[..., 0]
    planted = trees > np.percentile(trees, rng.uniform(75, 97))
    planted &= (cover == _BLOCK) | (cover == _PARK)
    leaves = np.array([0.15, 0.28, 0.13]) * rng.uniform(0.6, 1.3)
    seen[planted] = leaves + 0.08 * _noise(labels, 0.7, rng)[planted]
    for y, x in rng.integers(0, len(labels), (int(rng.integers(0, 60)), 2)):
        if cover[y, x] == _ROAD:
            last = int(x + rng.integers(1, 4)), int(y + rng.integers(1, 4))
            cv2.rectangle(seen, (int(x) - 1, int(y) - 1), last, rng.random(3).tolist(), -1)
    soft = cv2.GaussianBlur(seen, (0, 0), float(rng.uniform(0.3, 0.9)))
    return as_bands(np.asarray(soft, dtype=np.float32))


def town_map(ground: Town, rng: np.random.Generator) -> Image:
    """Draws the map of a town.

    Args:
        ground: The town.
        rng: Draws colours, what is left out, and words.

    Returns:
        (3, S, S) float32 in [0, 1].
    """
    kind, labels, cover = ground.kind, ground.labels, ground.ground
    road = float(rng.choice([1.0, 0.97, 0.86, 0.8]))
    block = np.full(3, 0.97) if road < 0.9 else 0.94 + rng.normal(0, 0.015, 3)
    colour = np.zeros((len(kind), 3))
    colour[kind == _ROAD] = road
    special = rng.random(len(kind)) < 0.08
    colour[kind == _BLOCK] = block
    colour[(kind == _BLOCK) & special] = 0.99, 0.96, 0.9
    colour[kind == _PARK] = 0.72, 0.88, 0.72
    colour[kind == _WATER] = 0.65, 0.8, 0.97
    colour[kind == _HOUSE] = block - (0 if rng.random() < 0.35 else rng.uniform(0.02, 0.1))
    left_out = (kind == _HOUSE) & (rng.random(len(kind)) < rng.uniform(0, 0.5))
    colour[left_out] = block
    drawn = colour[labels].astype(np.float32)
    if rng.random() < 0.6:
        shown = ((kind == _HOUSE) & ~left_out)[labels]
        drawn[_outline(np.where(shown, labels, 0))] -= rng.uniform(0.03, 0.15)
    if rng.random() < 0.5:
        drawn[_outline(cover == _ROAD)] -= rng.uniform(0.02, 0.15)
    if rng.random() < 0.6:
        drawn[_main_roads(cover, rng.uniform(5, 9) * ground.scale)] = [
            (0.99, 0.88, 0.55),
            (1.0, 0.8, 0.5),
            (0.97, 0.95, 0.7),
        ][int(rng.integers(3))]
    drawn = with_words(drawn, rng, int(rng.integers(0, 35)))
    if rng.random() < 0.6:
        # Drawn from another survey.
        moved = np.array([[1, 0, rng.normal()], [0, 1, rng.normal()]])
        drawn[:] = cv2.warpAffine(drawn, moved, labels.shape, borderMode=cv2.BORDER_REFLECT)
    return as_bands(drawn)


class _Plan:
    """A square divided into blocks by roads, and blocks into houses, by halving again and again.

    Attributes:
        side: Pixels.
        scale: Size of blocks and roads.
        labels: (side, side) number of what stands at each pixel.
        kinds: Kind of ground of each number.
    """

    def __init__(self, side: int, scale: float, rng: np.random.Generator) -> None:
        self.side, self.scale, self._rng = side, scale, rng
        self.labels = np.zeros((side, side), dtype=np.int32)
        self.kinds = [_ROAD]

    def divide(self, area: tuple[float, float, float, float], road: float) -> None:
        """Divides an area (left, top, right, bottom) by roads of a width into blocks."""
        rng, (left, top, right, bottom) = self._rng, area
        width, height = right - left, bottom - top
        if max(width, height) > rng.uniform(60, 150) * self.scale:
            part, half = rng.uniform(0.3, 0.7), road * rng.uniform(0.35, 0.6)
            if width > height:
                cut = left + part * width
                halves = ((left, top, cut - half, bottom), (cut + half, top, right, bottom))
            else:
                cut = top + part * height
                halves = ((left, top, right, cut - half), (left, cut + half, right, bottom))
            for each in halves:
                self.divide(each, 0.8 * road)
            return
        draw = rng.random()
        self._fill(_PARK if draw < 0.07 else _WATER if draw < 0.1 else _BLOCK, area)
        if draw >= 0.1:
            self._build(area)
        elif draw < 0.04:
            self._build((left, top, left + 0.4 * width, bottom))

    def _build(self, area: tuple[float, float, float, float]) -> None:
        """Divides a block into lots, most of them with a house."""
        rng, scale, (left, top, right, bottom) = self._rng, self.scale, area
        width, height = right - left, bottom - top
        if max(width, height) > 28 * scale * rng.uniform(0.7, 1.8):
            part = rng.uniform(0.35, 0.65)
            if width > height:
                cut = left + part * width
                halves = ((left, top, cut, bottom), (cut, top, right, bottom))
            else:
                cut = top + part * height
                halves = ((left, top, right, cut), (left, cut, right, bottom))
            for each in halves:
                self._build(each)
            return
        x, y = rng.uniform(0.5, 3, 2) * scale
        if rng.random() < 0.12 or width - 2 * x <= 4 or height - 2 * y <= 4:
            return
        right, bottom = right - x * rng.uniform(0.5, 1.5), bottom - y * rng.uniform(0.5, 1.5)
        self._fill(_HOUSE, (left + x, top + y, right, bottom))

    def _fill(self, kind: int, area: tuple[float, float, float, float]) -> None:
        left, top, right, bottom = (int(side) for side in area)
        self.labels[top:bottom, left:right] = len(self.kinds)
        self.kinds.append(kind)


def _noise(labels: NDArray[np.int32], sigma: float, rng: np.random.Generator) -> Plane:
    """(S, S, 1) smooth noise; finer scales are fainter, as white noise blurred."""
    noise = smooth_noise(labels.shape, sigma, rng) / (2 * np.sqrt(np.pi) * sigma)
    return np.asarray(noise[..., None], dtype=np.float32)


def _lanes(cover: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.bool_]:
    """(S, S) bool: broken lines in the middle of roads."""
    off = cv2.distanceTransform((cover == _ROAD).astype(np.uint8), cv2.DIST_L2, 3)
    middle = (off > 3.5) & (cv2.dilate(off, np.ones((3, 3))) == off)
    return np.asarray(middle & (rng.random(cover.shape) < 0.6))


def _storeys(ground: Town, percentiles: tuple[int, ...]) -> list[float]:
    tall = ground.height[ground.kind == _HOUSE]
    return [float(v) for v in np.percentile(tall, percentiles)] if len(tall) else []


def _shadow(ground: Town, rng: np.random.Generator) -> Plane:
    """(S, S) where houses cast their shadows."""
    sun, height = rng.uniform(0, 2 * np.pi), ground.height[ground.labels]
    shadow = np.zeros(height.shape, dtype=np.float32)
    for storey in _storeys(ground, (20, 50, 80, 95)):
        standing = (height >= storey).astype(np.float32)
        for share in np.linspace(0.2, 1, 6):
            step = share * storey * np.array([np.cos(sun), np.sin(sun)])
            shadow = np.maximum(shadow, _displaced(standing, step))
    return shadow


def _with_roofs(seen: Image, ground: Town, rng: np.random.Generator) -> Image:
    """Puts roofs over a photograph, displaced by their height, and what stands on them."""
    count, height = len(ground.kind), ground.height[ground.labels]
    grey = rng.uniform(0.3, 0.95, (count, 1)) + rng.normal(0, 0.03, (count, 3))
    any_colour = 0.1 + 0.6 * rng.random((count, 3))
    colour = np.where(rng.random((count, 1)) < 0.7, grey, any_colour)
    roofs = colour[ground.labels] + 0.05 * 2.5 * _noise(ground.labels, 0.6, rng)
    roofs += rng.uniform(-0.3, 0.3) * (_noise(ground.labels, 1.2, rng) > 0.45 * 0.235)
    lean = rng.normal(0, 0.5, 2)
    for storey in _storeys(ground, (0, 30, 60, 85, 97)):
        standing = ((height >= storey) & (ground.ground == _HOUSE)).astype(np.float32)
        there = _displaced(standing, storey * lean) > 0.5
        seen[there] = _displaced(roofs.astype(np.float32), storey * lean)[there]
    return seen


def _displaced(image: NDArray[np.float32], by: NDArray[np.float64]) -> NDArray[np.float32]:
    matrix = np.array([[1, 0, by[0]], [0, 1, by[1]]])
    return np.asarray(cv2.warpAffine(image, matrix, image.shape[1::-1]), dtype=np.float32)


def _outline(labels: NDArray[np.generic]) -> NDArray[np.bool_]:
    """(S, S) bool: next to another number."""
    numbers = labels.astype(np.float32)
    return np.asarray(cv2.morphologyEx(numbers, cv2.MORPH_GRADIENT, np.ones((3, 3))) > 0)


def _main_roads(cover: NDArray[np.int64], width: float) -> NDArray[np.bool_]:
    """(S, S) bool: roads at least so wide on either side of their middle, pixels."""
    road = cover == _ROAD
    off = cv2.distanceTransform(road.astype(np.uint8), cv2.DIST_L2, 3)
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (13, 13))
    return np.asarray((cv2.dilate((off > width).astype(np.uint8), disc) > 0) & road)
