"""Chips of real images, pairs of a chip and its distorted self, and pairs of two pictures.

The second chip of a pair is distorted (`tests.support.pairs.distortions`): watermark, size, aspect,
frame, crop, colour, contrast, blur and noise, JPEG, grey, transparency; one to three at a time. Two
pictures, both as they are or one distorted, are of other places, of the neighbouring ground, of the
same scene, or of the same ground at another date.
"""

from __future__ import annotations

import csv
import json
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from imatch.core.errors import InputError
from imatch.raster import open_source
from imatch.retrieval.duplicates.normalisation import form_of
from tests.support.pairs.distortions import distorted, save

_CHIP = 256
# Sources whose images are pictures of ground at one resolution, 8 bits after a stretch.
_SOURCES = ("ombria", "ua_overview", "alps_b08", "srif", "starainj", "bouconne")
# A chip that shows nothing cannot be told from another that shows nothing.
_TEXTURE = 0.25


@dataclass(frozen=True)
class Chip:
    """A chip as a file.

    Attributes:
        path: The file.
        source: Data set.
        place: Ground: chips of one place and cell show the same.
        date: Which image.
        cell: (column, row) in the image.
    """

    path: Path
    source: str
    place: str
    date: str
    cell: tuple[int, int]


@dataclass(frozen=True)
class Case:
    """A pair and the truth.

    Attributes:
        a: One file.
        b: The other.
        duplicate: Whether they are one picture.
        kind: What kind of pair.
        place: Held out together.
        changes: What was done to the second.
    """

    a: Path
    b: Path
    duplicate: bool
    kind: str
    place: str
    changes: tuple[str, ...] = ()


def cut_chips(data: Path, split: str, folder: Path) -> list[Chip]:
    """Cut the images of a split into chips of 256 px, those that show something."""
    folder.mkdir(parents=True, exist_ok=True)
    known = folder / "chips.json"
    if known.exists():
        rows = json.loads(known.read_text())
        return [Chip(Path(r[0]), r[1], r[2], r[3], (r[4][0], r[4][1])) for r in rows]
    chips = []
    with (data / "images.csv").open(newline="") as file:
        rows = [
            row
            for row in csv.DictReader(file)
            if row["split"] == split and row["source"] in _SOURCES
        ]
    rng = np.random.default_rng(0)
    for number, row in enumerate(rows):
        image = open_source(data / row["path"]).read()
        low, high = np.percentile(image.pixels[:, image.valid], [0.5, 99.5])
        scaled = np.clip((image.pixels - low) / max(float(high - low), 1e-9), 0, 1)
        picture = (scaled[::-1] * 255).astype(np.uint8).transpose(1, 2, 0)
        picture = np.ascontiguousarray(np.repeat(picture, 3, 2) if len(scaled) == 1 else picture)
        side = min(_CHIP, *picture.shape[:2])
        for y in range(0, picture.shape[0] - side + 1, side):
            for x in range(0, picture.shape[1] - side + 1, side):
                part = np.s_[y : y + side, x : x + side]
                if image.valid[part].mean() < 0.99:
                    continue
                path = save(picture[part], folder / f"{number}_{x}_{y}", "png", rng)
                try:
                    shown = form_of(open_source(path)).textured
                except InputError:
                    shown = 0.0
                if shown < _TEXTURE:
                    path.unlink()
                    continue
                cell = x // side, y // side
                chips.append(Chip(path, row["source"], row["place"], row["date"], cell))
    table = [[str(c.path), c.source, c.place, c.date, c.cell] for c in chips]
    known.write_text(json.dumps(table))
    return chips


def make_cases(
    chips: Sequence[Chip], count: int, folder: Path, seed: int, *, positives: bool = True
) -> list[Case]:
    """`count` pairs of distinct pictures, and as many of a chip and its distorted self.

    Of the distinct ones half have a distorted picture, without positives a tenth.
    """
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    by_image: dict[tuple[str, str, str], list[Chip]] = defaultdict(list)
    by_ground: dict[tuple[str, str, tuple[int, int]], list[Chip]] = defaultdict(list)
    for chip in chips:
        by_image[chip.source, chip.place, chip.date].append(chip)
        by_ground[chip.source, chip.place, chip.cell].append(chip)
    cases: list[Case] = []
    if positives:
        for number in range(count):
            chip = chips[int(rng.integers(len(chips)))]
            other, changes = distorted(_read(chip), folder / f"p{seed}_{number}", rng)
            cases.append(Case(chip.path, other, True, "distorted", _place(chip), changes))
    kinds = ("other place", "same source", "same scene", "neighbour", "other date")
    made = 0
    while made < count:
        kind = kinds[made % len(kinds)]
        chip = chips[int(rng.integers(len(chips)))]
        partner = _partner(chip, kind, chips, by_image, by_ground, rng)
        if partner is None:
            continue
        path, changes = partner.path, tuple[str, ...]()
        if rng.random() < (0.5 if positives else 0.1):
            path, changes = distorted(_read(partner), folder / f"n{seed}_{made}", rng)
        cases.append(Case(chip.path, path, False, kind, _place(chip), changes))
        made += 1
    return cases


def date_cases(chips: Sequence[Chip], folder: Path, seed: int) -> list[Case]:
    """Every two dates of the same ground, as they are and with the second distorted."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    by_ground: dict[tuple[str, str, tuple[int, int]], list[Chip]] = defaultdict(list)
    for chip in chips:
        by_ground[chip.source, chip.place, chip.cell].append(chip)
    cases = []
    pairs = [pair for ground in by_ground.values() for pair in combinations(ground, 2)]
    for number, (one, two) in enumerate(pairs):
        other, changes = distorted(_read(two), folder / f"d{seed}_{number}", rng)
        cases.append(Case(one.path, two.path, False, "other date", _place(one)))
        cases.append(Case(one.path, other, False, "other date", _place(one), changes))
    return cases


def _partner(
    chip: Chip,
    kind: str,
    chips: Sequence[Chip],
    by_image: dict[tuple[str, str, str], list[Chip]],
    by_ground: dict[tuple[str, str, tuple[int, int]], list[Chip]],
    rng: np.random.Generator,
) -> Chip | None:
    """Another picture of the kind asked for, None where the draw has none."""
    scene = by_image[chip.source, chip.place, chip.date]
    if kind == "other place":
        pool = [c for c in _drawn(chips, rng) if (c.source, c.place) != (chip.source, chip.place)]
    elif kind == "same source":
        pool = [c for c in _drawn(chips, rng) if c.source == chip.source and c.place != chip.place]
    elif kind == "other date":
        ground = by_ground[chip.source, chip.place, chip.cell]
        pool = [c for c in ground if c.date != chip.date]
    else:
        near = kind == "neighbour"
        pool = [c for c in scene if c is not chip and (_apart(c, chip) == 1 or not near)]
    return pool[int(rng.integers(len(pool)))] if pool else None


def _drawn(chips: Sequence[Chip], rng: np.random.Generator) -> list[Chip]:
    return [chips[int(i)] for i in rng.integers(0, len(chips), 40)]


def _apart(a: Chip, b: Chip) -> int:
    return max(abs(a.cell[0] - b.cell[0]), abs(a.cell[1] - b.cell[1]))


def _place(chip: Chip) -> str:
    return f"{chip.source}/{chip.place}"


def _read(chip: Chip) -> NDArray[np.uint8]:
    image = cv2.imread(str(chip.path), cv2.IMREAD_COLOR)
    assert image is not None
    return np.asarray(image, dtype=np.uint8)
