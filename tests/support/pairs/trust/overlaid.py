"""Pairs over which the same drawing lies, not at the same pixels: lettering, legends, arrows.

The drawing agrees perfectly where it lies upon itself, and says nothing of the ground.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

from tests.support.pairs.trust.different import other
from tests.support.pairs.trust.ground import draw_ground, draw_size, present, seen_twice
from tests.support.pairs.trust.pair import Side, TrustPair, Truth, log_uniform, similarity

Draw: TypeAlias = np.random.Generator
Layer: TypeAlias = NDArray[np.uint8]

_NAMES = ("Aubach", "Moos", "Ried", "L 187", "Hofen", "B 3", "Oberau")
_WORDS = ("GEODATA", "(c) SAMPLE", "PREVIEW", "not for sale", "2019-08-13", "Provider")
_FONT = cv2.FONT_HERSHEY_SIMPLEX


def _points(layer: Layer, count: int, rng: Draw) -> NDArray[np.int32]:
    height, width = layer.shape
    return np.asarray(rng.uniform(0, 1, (count, 2)) * [width, height], dtype=np.int32)


def _lettering(layer: Layer, unit: float, rng: Draw) -> None:
    weight = int(rng.integers(1, 4))
    for row in range(int(rng.integers(1, 5))):
        at = int(rng.uniform(5, 40) * unit), int((40 + 45 * row) * unit)
        cv2.putText(layer, str(rng.choice(_WORDS)), at, _FONT, 1.1 * unit, 255, weight, cv2.LINE_AA)


def _logo(layer: Layer, unit: float, rng: Draw) -> None:
    x, y = _points(layer, 1, rng)[0] // 2
    radius = int(rng.uniform(25, 60) * unit)
    at, weight = (int(x) + radius, int(y) + radius), max(1, int(rng.uniform(2, 7) * unit))
    cv2.circle(layer, at, radius, 255, weight, cv2.LINE_AA)
    word = (at[0] - int(0.6 * radius), at[1] + radius // 4)
    cv2.putText(layer, "GEO", word, _FONT, radius / 38, 255, weight, cv2.LINE_AA)


def _legend(layer: Layer, unit: float, rng: Draw) -> None:
    x, y = (_points(layer, 1, rng)[0] // 3).tolist()
    rows = int(rng.integers(3, 8))
    far = int(x + 110 * unit), int(y + (18 * rows + 8) * unit)
    cv2.rectangle(layer, (x, y), far, 255, -1)
    for row in range(rows):
        at = int(x + 8 * unit), int(y + (18 * row + 16) * unit)
        cv2.putText(layer, f"class {row}", at, _FONT, 0.5 * unit, 60, 1, cv2.LINE_AA)


def _arrows(layer: Layer, unit: float, rng: Draw) -> None:
    for start in _points(layer, int(rng.integers(4, 14)), rng):
        end = start + rng.normal(0, 45 * unit, 2)
        cv2.arrowedLine(layer, start.tolist(), end.astype(int).tolist(), 255, 2, cv2.LINE_AA)


def _routes(layer: Layer, unit: float, rng: Draw) -> None:
    for start in _points(layer, int(rng.integers(1, 6)), rng):
        line = start + np.cumsum(rng.normal(0, 14 * unit, (30, 2)), axis=0)
        cv2.polylines(
            layer, [line.astype(np.int32)], False, 255, int(rng.integers(1, 6)), cv2.LINE_AA
        )


def _outlines(layer: Layer, unit: float, rng: Draw) -> None:
    filled = bool(rng.random() < 0.3)
    for centre in _points(layer, int(rng.integers(3, 12)), rng):
        angle, radius = np.sort(rng.uniform(0, 2 * np.pi, 7)), rng.uniform(12, 45, 7) * unit
        rim = np.column_stack([np.cos(angle), np.sin(angle)]) * radius[:, None]
        ring = (centre + rim).astype(np.int32)
        if filled:
            cv2.fillPoly(layer, [ring], 255, cv2.LINE_AA)
        else:
            cv2.polylines(layer, [ring], True, 255, 2, cv2.LINE_AA)


def _names(layer: Layer, unit: float, rng: Draw) -> None:
    for at in _points(layer, int(rng.integers(6, 30)), rng):
        word, size = str(rng.choice(_NAMES)), max(0.35, 0.45 * unit)
        cv2.putText(layer, word, at.tolist(), _FONT, size, 255, 1, cv2.LINE_AA)


def _sheet(layer: Layer, unit: float, rng: Draw) -> None:
    """The margin of a map sheet: a frame with ticks, a title and numbers."""
    height, width = layer.shape
    rim = int(rng.uniform(0.08, 0.16) * min(height, width))
    layer[:] = 255
    layer[rim:-rim, rim:-rim] = 0
    cv2.rectangle(layer, (rim // 2, rim // 2), (width - rim // 2, height - rim // 2), 0, 2)
    step = int(rng.integers(20, 60) * unit) + 1
    for at in range(rim, width - rim, step):
        layer[[rim - 4, rim - 3, height - rim + 2, height - rim + 3], at : at + step // 2] = 0
    size = max(0.35, rim / 60)
    cv2.putText(layer, "L 4733 Heidenau", (rim, rim - 6), _FONT, size, 0, 1, cv2.LINE_AA)
    cv2.putText(layer, "1:25 000", (width // 2, height - rim // 3), _FONT, size, 0, 1, cv2.LINE_AA)


DRAWINGS: dict[str, Callable[[Layer, float, Draw], None]] = {
    "lettering": _lettering,
    "logo": _logo,
    "legend": _legend,
    "arrows": _arrows,
    "routes": _routes,
    "outlines": _outlines,
    "names": _names,
    "sheet": _sheet,
}


def _drawn(pair: TrustPair, rng: Draw) -> TrustPair:
    """The pair with one drawing over both, a third of the time turned and scaled a little."""
    name = str(rng.choice(list(DRAWINGS)))
    height, width = np.minimum(pair.ref.pixels.shape[1:], pair.tgt.pixels.shape[1:]).tolist()
    layer = np.zeros((height, width), np.uint8)
    DRAWINGS[name](layer, min(height, width) / 256, rng)
    # As light or as dark as the ground gets: it is drawn on what a viewer shows.
    tone, share = float(rng.choice([0.5, 99.5])), float(rng.uniform(0.4, 1))
    turn, scale = 0.0, 1.0
    if rng.random() < 0.33:
        turn, scale = float(rng.uniform(-3, 3)), log_uniform(rng, 0.95, 1.05)
    sides, places = [], []
    for side, known in ((pair.ref, (0.0, 1.0)), (pair.tgt, (turn, scale))):
        at = rng.uniform(-0.12, 0.12, 2) * (width, height)
        matrix = similarity((width, height), *known, (float(at[0]), float(at[1])))
        size = side.pixels.shape[:0:-1]
        cover = share / 255 * cv2.warpPerspective(layer, matrix, size, flags=cv2.INTER_LINEAR)
        grey = np.percentile(side.pixels, tone)
        pixels = np.round(side.pixels * (1 - cover) + grey * cover).astype(np.uint8)
        sides.append(Side(pixels, side.valid))
        places.append(at.tolist())
    about: dict[str, Any] = {"drawing": name, "opaque": share, "tone": tone, "places": places}
    about |= {"turn": turn, "scale": scale, "covered": float((layer > 0).mean())}
    return TrustPair(sides[0], sides[1], pair.truth, pair.params | about)


def other_overlaid(data: Path, split: str, rng: Draw) -> TrustPair:
    """Two grounds with one drawing over both."""
    return _drawn(present(other(data, split, rng), rng, depth="uint8"), rng)


def overlaid(data: Path, split: str, rng: Draw) -> TrustPair:
    """Two dates of one ground, displaced by up to 12 px, with one drawing over both elsewhere."""
    size = draw_size(rng, 128, 512)
    ground = draw_ground(data, split, size, rng)
    shift = float(rng.uniform(-12, 12)), float(rng.uniform(-12, 12))
    truth = Truth(similarity(size, 0.0, 1.0, shift), ground.shift, None, ground.sd_px)
    pair = seen_twice(ground, truth, log_uniform(rng, 0.5, 6), rng)
    return _drawn(present(pair, rng, depth="uint8"), rng)
