"""Is a distorted picture known again, and no other picture taken for it?

Chips of real images are distorted (`distortions`): watermark, size, aspect, frame, crop, colour,
contrast, blur and noise, JPEG, grey, transparency; one to three at a time. Half of the pairs are a
chip and its distorted self. The other half are two pictures, both as they are or one distorted: of
other places, of the neighbouring ground, of the same scene, or of the same ground at another date.

    python -m experiments.benchmarks.near_duplicates ../shared/data -o out/duplicates

``--fit`` learns weights and threshold on chips of ``train`` first, by cross-validation over places,
and writes them; every two dates of its ground are among the distinct pairs, once as they are and
once with one of them distorted. The chips of ``bench`` are only measured. The figures of every pair
are kept as CSV in the output folder, and used again if they are there.
"""

from __future__ import annotations

import argparse
import csv
import json
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from itertools import combinations
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from imatch.bench.environment import environment
from imatch.core.errors import InputError
from imatch.core.io.files import atomic_path
from imatch.core.io.jsontext import to_json
from imatch.core.progress import progress
from imatch.raster import open_source
from imatch.retrieval.decision import Decision, decision_for, fit, write_decisions
from imatch.retrieval.duplicates.normalisation import NormalisedImage, form_of
from imatch.retrieval.duplicates.similarity import FIGURES, LIMITS, compare
from imatch.retrieval.pair_metrics import measure
from tests.support.distortions import distorted, save

_CHIP = 256
# Sources whose images are pictures of ground at one resolution, 8 bits after a stretch.
_SOURCES = ("ombria", "ua_overview", "alps_b08", "srif", "starainj", "bouconne")
# Precision that the threshold has to reach on train, where two dates make up most of the pairs.
_PRECISION = 0.995
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


def figures_of(cases: Sequence[Case], forms: dict[Path, NormalisedImage]) -> NDArray[np.float64]:
    """(N, F) figures of each pair, in the order of `FIGURES`."""
    table = []
    with progress("comparing", len(cases)) as advance:
        for case in cases:
            for path in (case.a, case.b):
                if path not in forms:
                    forms[path] = form_of(open_source(path))
            told = asdict(compare(forms[case.a], forms[case.b]))
            table.append([told[name] for name in FIGURES])
            advance(1)
    return np.array(table)


def told(cases: Sequence[Case], table: NDArray[np.float64], decision: Decision) -> dict[str, Any]:
    """What a decision reaches on cases, in all and by kind and change."""
    scores = decision.probabilities(table)
    labels = np.array([case.duplicate for case in cases])
    said = scores >= decision.threshold
    kinds: dict[str, dict[str, float]] = {}
    for kind in dict.fromkeys(case.kind for case in cases):
        own = np.array([case.kind == kind for case in cases])
        kinds[kind] = {"pairs": int(own.sum()), "called duplicate": int(said[own].sum())}
    lost: Counter[str] = Counter()
    seen: Counter[str] = Counter()
    for case, yes in zip(cases, said, strict=True):
        if case.duplicate:
            seen.update(case.changes)
            lost.update(case.changes if not yes else ())
    # Two dates of one ground, days apart, may be as alike as two copies: told apart from the rest.
    ground = np.array([case.kind != "other date" for case in cases])
    both = labels.any() and not labels.all()
    return {
        "pairs": len(cases),
        "figures": measure(labels, scores, decision.threshold).to_dict() if both else None,
        "figures_other_ground": measure(
            labels[ground], scores[ground], decision.threshold
        ).to_dict()
        if both
        else None,
        "false_positive_rate_other_ground": float(said[ground & ~labels].mean()),
        "false_positive_rate": float(said[~labels].mean()) if (~labels).any() else None,
        "kinds": kinds,
        "recall_by_change": {name: 1 - lost[name] / seen[name] for name in sorted(seen)},
    }


def measured(path: Path, make: Callable[[], list[Case]]) -> tuple[list[Case], NDArray[np.float64]]:
    """Cases and their figures: of an earlier run's table, else made and kept there."""
    if not path.exists():
        cases = make()
        begun = time.process_time()
        table = figures_of(cases, {})
        print(f"{path.stem}: {1e3 * (time.process_time() - begun) / len(cases):.0f} ms a pair")
        with atomic_path(path, overwrite=True) as temporary:
            _write_cases(temporary, cases, table)
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    cases = [
        Case(
            Path(row["a"]),
            Path(row["b"]),
            row["label"] == "1",
            row["kind"],
            row["group"],
            tuple(name for name in row["changes"].split("+") if name),
        )
        for row in rows
    ]
    return cases, np.array([[float(row[name]) for name in FIGURES] for row in rows])


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument(
        "--work", type=Path, default=Path(tempfile.gettempdir(), "imatch-duplicates")
    )
    parser.add_argument("--count", type=int, default=1000, help="pairs of either kind")
    parser.add_argument("--distinct", type=int, default=10_000, help="more distinct pairs")
    parser.add_argument("--fit", type=Path, help="learn on train, and write the decision here")
    given = parser.parse_args()
    out, work = given.output, given.work
    out.mkdir(parents=True, exist_ok=True)
    document: dict[str, Any] = {"count": given.count, "distinct_pairs": given.distinct}
    if given.fit is not None:
        chips = cut_chips(given.data, "train", work / "train")
        folder = work / "train-cases"
        cases, table = measured(
            out / "train.csv",
            lambda: make_cases(chips, given.count, folder, 1) + date_cases(chips, folder, 4),
        )
        decision, _ = fit(
            "duplicates",
            FIGURES,
            LIMITS,
            table,
            [case.duplicate for case in cases],
            [case.place for case in cases],
            least_precision=_PRECISION,
            source=f"{len(chips)} chips of train, {given.count} copies, {given.count} distinct"
            f" pairs and {len(cases) - 2 * given.count} of two dates",
        )
        write_decisions(given.fit, [decision], overwrite=True)
        document["train"] = told(cases, table, decision)
    else:
        decision = decision_for("duplicates", None)
    bench = cut_chips(given.data, "bench", work / "bench")
    document["chips"] = dict(Counter(chip.source for chip in bench))
    for name, count, seed in (("pairs", given.count, 2), ("distinct", given.distinct, 3)):
        make = partial(make_cases, bench, count, work / name, seed, positives=name == "pairs")
        cases, table = measured(out / f"{name}.csv", make)
        document[name] = told(cases, table, decision)
    document["decision"] = decision.to_dict()
    document["environment"] = environment()
    with atomic_path(out / "summary.json", overwrite=True) as path:
        path.write_text(to_json(document) + "\n", encoding="utf-8")
    for name in ("pairs", "distinct"):
        part = document[name]
        for key in ("figures", "figures_other_ground"):
            figures = part[key]
            if figures is not None:
                print(
                    f"{name}, {key}: F1 {figures['f1']:.4f}, precision"
                    f" {figures['precision']:.4f}, recall {figures['recall']:.4f}"
                )
        print(f"{name}: false positives {part['false_positive_rate']:.3%}, {part['kinds']}")


def _write_cases(path: Path, cases: Sequence[Case], table: NDArray[np.float64]) -> None:
    with path.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["a", "b", "label", "group", "kind", "changes", *FIGURES])
        for case, row in zip(cases, table, strict=True):
            names = [case.a, case.b, int(case.duplicate), case.place, case.kind]
            figures = [f"{value:.4f}" for value in row]
            writer.writerow([*names, "+".join(case.changes), *figures])


if __name__ == "__main__":
    main()
