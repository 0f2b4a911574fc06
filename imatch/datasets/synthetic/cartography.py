"""Draws maps: of procedural landscapes by their labels, and what all maps have, colours and words.

A map shows the outlines of the ground in flat colours that have nothing to do with what a camera
sees there, and words and symbols over them.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from imatch.datasets.synthetic.landscape import FIELD, FINE, ROAD, TOWN, WATER, WOOD, Landscape

#: Colours of areas: paper, blocks, sand, parks, woods, water, roads, and two of built-up ground.
MAP_COLOURS = np.array(
    [
        [0.96, 0.96, 0.96],
        [0.93, 0.93, 0.95],
        [0.92, 0.90, 0.86],
        [0.78, 0.90, 0.76],
        [0.66, 0.85, 0.70],
        [0.65, 0.80, 0.95],
        [1.00, 1.00, 1.00],
        [0.98, 0.92, 0.75],
        [0.86, 0.87, 0.90],
    ],
    dtype=np.float32,
)
#: Colours of lines: roads by their class, and tracks.
LINE_COLOURS = np.array(
    [[1, 1, 1], [1, 0.85, 0.45], [0.98, 0.7, 0.4], [0.8, 0.8, 0.82], [0.6, 0.6, 0.6]],
    dtype=np.float32,
)
_PAPER, _WOODS, _WATER, _TOWNS = (0, 1, 2, 3), (3, 4), 5, (2, 7, 8)


def landscape_map(ground: Landscape, rng: np.random.Generator) -> NDArray[np.float32]:
    """Draws the map of a procedural landscape.

    Args:
        ground: The landscape.
        rng: Draws colours, line widths and words.

    Returns:
        (3, H, W) float32 in [0, 1], a pixel for each of the landscape's.
    """
    middle = slice(FINE // 2, None, FINE)
    # Roads and water are thinner than a pixel: of its cells the least label is shown.
    least = cv2.erode(ground.labels, np.ones((FINE, FINE), np.uint8))[middle, middle]
    labels = np.where(least < TOWN, least, ground.labels[middle, middle])
    drawn = np.empty((*labels.shape, 3), dtype=np.float32)
    drawn[:] = MAP_COLOURS[rng.choice(_PAPER)]
    drawn[(labels >= WOOD) & (labels < FIELD)] = MAP_COLOURS[rng.choice(_WOODS)]
    drawn[(labels >= TOWN) & (labels < WOOD)] = MAP_COLOURS[rng.choice(_TOWNS)]
    drawn[labels == WATER] = MAP_COLOURS[_WATER]
    if rng.random() < 0.5:
        areas = np.where(labels >= TOWN, labels, 0).astype(np.float32)
        drawn[cv2.morphologyEx(areas, cv2.MORPH_GRADIENT, np.ones((3, 3))) > 0] -= 0.06
    road = (labels == ROAD).astype(np.uint8)
    if rng.random() < 0.5:
        road = cv2.dilate(road, np.ones((3, 3), np.uint8))
    drawn[road > 0] = LINE_COLOURS[rng.integers(len(LINE_COLOURS))]
    return as_bands(with_words(drawn, rng, int(rng.integers(0, 20))))


def with_words(
    drawn: NDArray[np.float32], rng: np.random.Generator, count: int
) -> NDArray[np.float32]:
    """Writes words and symbols over a map.

    Args:
        drawn: (H, W, 3) in [0, 1].
        rng: Decides.
        count: How many words.

    Returns:
        (H, W, 3) in [0, 1].
    """
    if not count:
        return drawn
    height, width = drawn.shape[:2]
    canvas = np.ascontiguousarray((np.clip(drawn, 0, 1) * 255).astype(np.uint8))
    font = cv2.FONT_HERSHEY_SIMPLEX
    for _ in range(count):
        place = int(rng.integers(-20, width)), int(rng.integers(0, height))
        colour = rng.uniform(50, 165, 3).tolist() if rng.random() < 0.5 else [90.0] * 3
        word = "".join(chr(code) for code in rng.integers(33, 122, rng.integers(2, 9)))
        size = float(rng.uniform(0.25, 0.5))
        if rng.random() < 0.6:
            cv2.putText(canvas, word, place, font, size, (255, 255, 255), 3, cv2.LINE_AA)
        cv2.putText(canvas, word, place, font, size, colour, 1, cv2.LINE_AA)
        if rng.random() < 0.5:
            centre, symbol = (place[0] - 7, place[1] - 4), rng.uniform(0, 255, 3).tolist()
            cv2.circle(canvas, centre, int(rng.integers(3, 6)), symbol, -1, cv2.LINE_AA)
    return (canvas / np.float32(255)).astype(np.float32)


def as_bands(drawn: NDArray[np.float32]) -> NDArray[np.float32]:
    """(3, H, W) of (H, W, 3), clipped to [0, 1]."""
    return np.ascontiguousarray(np.clip(drawn, 0, 1).transpose(2, 0, 1), dtype=np.float32)
