"""Pairs of OMBRIA, before and after a flood, of the same ground and of different ground.

They are cropped to 256 px, the second turned by up to 15 degrees, scaled by up to a tenth and
displaced by up to a quarter of its side. As many pairs show different ground: of another event, or
of a neighbouring tile of the same one.
"""

from __future__ import annotations

import csv
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from imatch.raster import open_source
from imatch.retrieval.pair_table import ImagePair

_SIDE = 256
KINDS = ("same", "other event", "neighbour")


def make_pairs(data: Path, split: str, count: int, folder: Path) -> list[tuple[ImagePair, str]]:
    """`count` pairs of the same ground and as many of different ground, and their kinds."""
    folder.mkdir(parents=True, exist_ok=True)
    places: dict[str, dict[str, Path]] = defaultdict(dict)
    with (data / "images.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            if (row["split"], row["source"]) == (split, "ombria"):
                places[row["place"]][row["date"]] = data / row["path"]
    names = sorted(name for name, dates in places.items() if len(dates) == 2)
    rng = np.random.default_rng(5)
    made: list[tuple[ImagePair, str]] = []
    for number, kind in enumerate(["same"] * count + ["other event", "neighbour"] * (count // 2)):
        while True:
            first = names[int(rng.integers(len(names)))]
            second = _other(first, kind, names, rng)
            if second is not None:
                break
        dates = sorted(places[first], reverse=bool(rng.random() < 0.5))
        a = _crop(places[first][dates[0]], folder / f"{number}_a.png", np.eye(3))
        b = _crop(
            places[second][
                sorted(places[second])[int(rng.integers(2))] if kind != "same" else dates[1]
            ],
            folder / f"{number}_b.png",
            _warp(rng),
        )
        event = first.split("/")[0]
        made.append((ImagePair(str(a), str(b), kind == "same", event), kind))
    return made


def _other(first: str, kind: str, names: Sequence[str], rng: np.random.Generator) -> str | None:
    if kind == "same":
        return first
    event = first.split("/")[0]
    near = kind == "neighbour"
    pool = [n for n in names if n != first and (n.split("/")[0] == event) == near]
    return pool[int(rng.integers(len(pool)))] if pool else None


def _warp(rng: np.random.Generator) -> NDArray[np.float64]:
    """(3, 3) crop pixel to crop pixel, about the middle."""
    turn, scale = np.radians(rng.uniform(-15, 15)), float(np.exp(rng.uniform(-0.1, 0.1)))
    a, b = scale * np.cos(turn), scale * np.sin(turn)
    middle = (_SIDE - 1) / 2
    dx, dy = rng.uniform(-0.25, 0.25, 2) * _SIDE
    return np.array(
        [
            [a, -b, middle - a * middle + b * middle + dx],
            [b, a, middle - b * middle - a * middle + dy],
            [0, 0, 1],
        ]
    )


def _crop(source: Path, path: Path, warp: NDArray[np.float64]) -> Path:
    """The middle of an image as it lies under a warp; what is beyond the image is transparent."""
    image = open_source(source).read()
    height, width = image.valid.shape
    offset = np.eye(3)
    offset[:2, 2] = (width - _SIDE) / 2, (height - _SIDE) / 2
    flags = cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP
    matrix = offset @ warp
    bands = [
        cv2.warpPerspective(plane, matrix, (_SIDE, _SIDE), flags=flags)
        for plane in image.pixels[::-1]
    ]
    alpha = cv2.warpPerspective(
        image.valid.astype(np.uint8) * 255,
        matrix,
        (_SIDE, _SIDE),
        flags=cv2.INTER_NEAREST | cv2.WARP_INVERSE_MAP,
    )
    cv2.imwrite(
        str(path), np.dstack([*(np.clip(b, 0, 255).astype(np.uint8) for b in bands), alpha])
    )
    return path
