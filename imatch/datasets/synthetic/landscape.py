"""Procedural landscapes: ground that is known everywhere, not only at pixels.

Real pairs never tell the truth to a hundredth of a pixel; views of these do. A landscape is a
function of the ground: fields, woods, water, towns, roads and relief. What it looks like on a date,
from a given position, is `imatch.datasets.synthetic.landscape_view`.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from imatch.core.errors import ConfigError

#: Cells a landscape pixel, and samples a pixel of a view, along each axis.
FINE = 4
_LARGEST = 4000

# Ground by its label: single ones first, then the first of a range that ends where the next begins.
WATER, ROAD, HEDGE, TOWN, WOOD, FIELD = 0, 1, 2, 3, 67, 323
_STRIPS = 5


@dataclass(frozen=True, eq=False)
class Landscape:
    """Procedural ground: cover, relief and texture.

    Attributes:
        size: (width, height), landscape pixels.
        seed: What it was grown from.
        labels: (4 H, 4 W) uint16 ground cover: a water body, a road, one town block, one stand of
            trees or one field.
        height: (H, W) float32 in [0, 1], from the valley floor to the summits.
        texture: (4 H, 4 W) float32 of mean 0 and deviation 1: single trees and soils, lasting.
    """

    size: tuple[int, int]
    seed: int
    labels: NDArray[np.uint16]
    height: NDArray[np.float32]
    texture: NDArray[np.float32]


def landscape(size: tuple[int, int], seed: int) -> Landscape:
    """Generates a landscape of cover, relief and texture.

    Args:
        size: (width, height), 32 to 4000 pixels each.
        seed: The same seed gives the same landscape.

    Raises:
        ConfigError: The size is out of bounds.
    """
    if not all(32 <= side <= _LARGEST for side in size):
        raise ConfigError(
            f"is {size[0]} x {size[1]}",
            subject="landscape size",
            hint=f"choose sides of 32 to {_LARGEST} pixels",
        )
    rng = np.random.default_rng([seed, 1])
    width, height = size
    fine = width * FINE, height * FINE
    terrain = fractal(size, 0.45 * max(size), rng, finest=5.0)
    # Relief is seen by its slopes, in which cubic interpolation would show its knots.
    terrain = np.asarray(cv2.GaussianBlur(terrain, (0, 0), 5.0), dtype=np.float32)
    terrain = (terrain - terrain.min()) / max(float(np.ptp(terrain)), 1e-6)
    block = _voronoi(fine, FINE * max(34.0, np.sqrt(width * height / 12000)), rng)
    labels = FIELD + _field_strips(block, rng)
    # Whole blocks border on tracks and hedges, fields of one block only on one another.
    border = cv2.morphologyEx(block, cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8)) > 0
    labels[border] = HEDGE
    woods = _zoomed(fractal(size, 60.0, rng) + 1.2 * terrain, fine)
    wooded = woods > float(np.quantile(woods[::8, ::8], 0.72))
    labels[wooded] = (WOOD + block % (FIELD - WOOD))[wooded]
    towns = _zoomed(fractal(size, 45.0, rng) - 0.5 * terrain, fine)
    town = (towns > float(np.quantile(towns[::8, ::8], 0.96))) & ~wooded
    labels[town] = (TOWN + _voronoi(fine, 3.5 * FINE, rng) % (WOOD - TOWN))[town]
    for _ in range(max(2, round(np.sqrt(width * height) / 130))):
        way = _winding_line(fine, rng, wander=0.05)
        cv2.polylines(labels, [way], False, ROAD, int(rng.integers(4, 10)), cv2.LINE_8)
    for _ in range(max(1, round(np.sqrt(width * height) / 500))):
        way, broad = _winding_line(fine, rng, wander=0.3), int(rng.integers(14, 34))
        cv2.polylines(labels, [way], False, WOOD, 2 * broad, cv2.LINE_8)
        cv2.polylines(labels, [way], False, WATER, broad, cv2.LINE_8)
    grain = sum(smooth_noise(fine, sigma * FINE, rng) for sigma in (0.6, 2.0))
    texture = np.asarray((grain - np.mean(grain)) / np.std(grain), dtype=np.float32)
    return Landscape(size, seed, labels.astype(np.uint16), terrain.astype(np.float32), texture)


def smooth_noise(
    size: tuple[int, int], sigma: float, rng: np.random.Generator
) -> NDArray[np.float32]:
    """Draws Gaussian noise of one scale, mean 0 and deviation 1; coarse where it is smooth."""
    step = max(1.0, sigma / 5)
    small = int(np.ceil(size[1] / step)) + 1, int(np.ceil(size[0] / step)) + 1
    blurred = cv2.GaussianBlur(rng.standard_normal(small, np.float32), (0, 0), sigma / step)
    blurred *= 2 * np.sqrt(np.pi) * sigma / step
    return np.asarray(cv2.resize(blurred, size, interpolation=cv2.INTER_CUBIC), dtype=np.float32)


def fractal(
    size: tuple[int, int], scale: float, rng: np.random.Generator, finest: float = 1.5
) -> NDArray[np.float32]:
    """Sums smooth noise from `scale` pixels to some three times `finest`, octaves halving."""
    sigma, weight = scale / 2.5, 1.0
    total = np.zeros(size[::-1], np.float32)
    while sigma > finest:
        total += weight * smooth_noise(size, sigma, rng)
        sigma, weight = sigma / 2, weight / 2
    return total


def _zoomed(layer: NDArray[np.float32], size: tuple[int, int]) -> NDArray[np.float32]:
    return np.asarray(cv2.resize(layer, size, interpolation=cv2.INTER_LINEAR))


def _voronoi(size: tuple[int, int], spacing: float, rng: np.random.Generator) -> NDArray[np.uint16]:
    """Cells around the jittered knots of a grid, numbered at random."""
    columns, rows = (int(np.ceil(side / spacing)) + 1 for side in size)
    knots = np.stack(np.meshgrid(np.arange(columns), np.arange(rows)), axis=-1).reshape(-1, 2)
    centres = (spacing * (knots + rng.uniform(-0.45, 0.45, knots.shape))).astype(np.int64)
    centres = np.clip(centres, 0, np.array(size) - 1)
    apart = np.ones(size[::-1], np.uint8)
    apart[centres[:, 1], centres[:, 0]] = 0
    _, cell = cv2.distanceTransformWithLabels(apart, cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL)
    order = rng.permutation(int(cell.max()) + 1).astype(np.uint16)
    return np.asarray(order[cell])


def _field_strips(block: NDArray[np.uint16], rng: np.random.Generator) -> NDArray[np.uint16]:
    """Cuts every block into parallel strips of its own direction."""
    count = int(block.max()) + 1
    turn, broad = rng.uniform(0, np.pi, count), FINE * rng.uniform(7, 22, count)
    across = (np.cos(turn) / broad).astype(np.float32), (np.sin(turn) / broad).astype(np.float32)
    y, x = np.ogrid[: block.shape[0], : block.shape[1]]
    strip = (across[0][block] * x + across[1][block] * y).astype(np.int32) % _STRIPS
    return np.asarray(block * np.uint16(_STRIPS) + strip.astype(np.uint16))


def _winding_line(
    size: tuple[int, int], rng: np.random.Generator, wander: float
) -> NDArray[np.int32]:
    """Returns (N, 1, 2) vertices of a winding line from one side to the other."""
    turn, count = rng.uniform(0, np.pi), 120
    long = 0.75 * float(np.hypot(*size))
    along = np.linspace(-long, long, count)
    swing = sum(
        wander / k * np.sin(k * np.pi * along / long * 2 + rng.uniform(0, 6.3)) for k in (1, 2, 5)
    )
    middle = np.array(size) * rng.uniform(0.15, 0.85, 2)
    aside = 0.3 * long * np.asarray(swing)
    direction = np.array([np.cos(turn), np.sin(turn)])
    normal = np.array([-direction[1], direction[0]])
    way = middle + along[:, None] * direction + aside[:, None] * normal
    return np.asarray(np.rint(way).astype(np.int32)[:, None])
