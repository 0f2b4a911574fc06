"""Fits the odds that an alignment is right to the alignments of training cases."""

from __future__ import annotations

import csv
import math
from collections import Counter
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import rasterio
from numpy.typing import NDArray
from scipy.optimize import minimize

from imatch.core.pool import map_processes
from imatch.core.types import Rendered
from imatch.geometry.acceptance import EVIDENCE, FAR_SEARCHES, WINDOWS
from imatch.geometry.alignment.coarse_search import ANY, FREE, NEAR, WIDE, coarse_search
from imatch.geometry.alignment.fine_alignment import Aligner, Alignment
from imatch.geometry.transform import apply_matrix
from imatch.pipeline.pair.auto import Auto
from imatch.raster import array_source, render
from tests.support.pairs.trust.kinds import KINDS, make_pair
from tests.support.pairs.trust.pair import Side
from tests.support.trust.measure import Task, seen_by_both
from tests.support.tuning_cases import lean, write_tuning_cases

Row = dict[str, str | float]
FEATURES = ("agree", "strength", "independent", "spread", "window", "overlap")
# Different, mirrored, repeating and bent ground beside pairs that have an answer; of the splits
# they can be made from the first, which is never that of the benchmark.
KINDS_LEARNT = (
    *("other", "adjacent", "mirrored", "other_date", "other_strips", "lattices"),
    *("bent", "seasons", "clouded", "warped", "small", "strips", "partial", "exact"),
)
_REPEATING = ("lattices", "lattice_true")
# Pairs of one seed of the command line are numbered from this multiple of it.
_SEEDS = 1_000_000
_RECORDED = (*FEATURES, "explained")
_STAGES = {"near": (NEAR, 2), "free": (FREE, 3), "any": (ANY, 4), "wide": (WIDE, 4)}
# What products with these differences need not be asked.
_PLAIN = {"near": ("any", "wide"), "free": ("any", "wide"), "turned": ("wide",)}


def load(case: dict[str, str], data: Path) -> tuple[Rendered, Rendered, NDArray[np.float64]]:
    """Reference, presented target and truth of one case."""
    warp, truth = (
        np.array([float(case[f"{k}{i}{j}"]) for i in range(3) for j in range(3)]).reshape(3, 3)
        for k in "wh"
    )
    sides = []
    for name in ("ref", "tgt"):
        with rasterio.open(data / case[name]) as file:
            pixels = file.read()
        valid = np.ones(pixels.shape[1:], dtype=bool)
        if name == "tgt":
            if case.get("relief_px"):
                amplitude, seed = float(case["relief_px"]), int(case["relief_seed"])
                pixels = lean(pixels, amplitude, np.random.default_rng(seed))
            size = pixels.shape[2], pixels.shape[1]
            planes = [cv2.warpPerspective(p, warp, size, flags=cv2.INTER_CUBIC) for p in pixels]
            pixels = np.stack(planes)
            valid = cv2.warpPerspective(valid.astype(np.uint8), warp, size) > 0
        image = array_source(pixels, valid=valid).read()
        sides.append(render(image, 3 if len(pixels) >= 3 else 1))
    return sides[0], sides[1], truth


class _Traced(Aligner):
    """Gives nothing up, and keeps what every level found."""

    def __init__(self, ref: Rendered, tgt: Rendered) -> None:
        super().__init__(ref, tgt, replace(EVIDENCE, hopeless=-math.inf, distant=-math.inf))
        self.levels: list[Alignment | None] = []

    def _at_level(self, *args: Any, **kwargs: Any) -> Alignment | None:
        self.levels.append(super()._at_level(*args, **kwargs))
        return self.levels[-1]

    def traced(self, matrix: NDArray[np.float64]) -> tuple[Alignment | None, Row]:
        """Align, and say what the odds were on reduced images and before the last pull."""
        self.levels = []
        found = self.align(matrix)
        odds = [EVIDENCE.log_odds(level) for level in self.levels if level is not None]
        count = len(self._sides)
        reduced = min(odds[: count - 1], default=math.nan)
        begun = odds[count - 1] if len(odds) >= count else math.nan
        return found, {"reduced": reduced, "begun": begun}


def _row(found: Alignment, error: float, stage: str, traced: Row) -> Row:
    figures: Row = {k: float(getattr(found, k)) for k in _RECORDED}
    return {"stage": stage, **figures, **traced, "error": error}


def alignments(job: tuple[dict[str, str] | Task, Path]) -> list[Row]:
    """What every stage proposes for a case, pulled tight, with its distance from the truth."""
    cv2.setNumThreads(1)
    case, data = job
    return _of_case(case, data) if isinstance(case, dict) else _of_pair(case)


def _of_case(case: dict[str, str], data: Path) -> list[Row]:
    ref, tgt, truth = load(case, data)
    width, height = ref.size
    corners = np.array([[0, 0], [width - 1, 0], [width - 1, height - 1], [0, height - 1]])
    aligner = _Traced(ref, tgt)
    about: Row = {"case": case["case"], "kind": case["variant"]}
    rows: list[Row] = []
    for stage, (grid, keep) in _STAGES.items():
        if stage in _PLAIN.get(case["variant"], ()):
            continue
        for hypothesis in coarse_search(ref, tgt, grid, keep):
            found, traced = aligner.traced(hypothesis.matrix)
            if found is None:
                continue
            error = math.inf
            if np.isfinite(truth).all():
                gap = apply_matrix(found.matrix, corners) - apply_matrix(truth, corners)
                error = float(np.hypot(*gap.T).mean())
            rows.append(about | _row(found, error, stage, traced))
    # A case without any alignment is done, too.
    return rows or [about | {"stage": "none"}]


def _of_pair(task: Task) -> list[Row]:
    pair = make_pair(task.kind, task.split, task.seed, task.data)
    about: Row = {"case": f"{task.kind}-{task.seed}", "kind": task.kind}
    ref, tgt = (_rendered(side) for side in (pair.ref, pair.tgt))
    none = np.zeros((0, 2))
    places, there = (none, none) if pair.truth is None else seen_by_both(pair)
    aligner, registrar, rows = _Traced(ref, tgt), _auto(), list[Row]()
    for proposals in registrar.stages(ref, tgt, registrar.estimate_options(False)):
        for matrix in proposals.matrices:
            found, traced = aligner.traced(matrix)
            if found is None:
                continue
            error = math.inf
            if len(places):
                gap = apply_matrix(found.matrix, places) - there
                error = float(np.median(np.hypot(*gap.T)))
            rows.append(about | _row(found, error, proposals.search, traced))
    return rows or [about | {"stage": "none"}]


def _rendered(side: Side) -> Rendered:
    return render(side.source().read(), 3 if len(side.pixels) >= 3 else 1)


@cache
def _auto() -> Auto:
    return Auto()


def weigh(rows: list[dict[str, str]]) -> None:
    """Weigh the features and say what the weights separate.

    Repeating ground agrees wherever it is laid, which no weight can tell: there the images are
    asked for rivals (`imatch.geometry.alignment.rivals`), and its alignments are left out here.
    """
    usable, label = [], []
    for row in rows:
        if row["stage"] == "none" or row["kind"] in _REPEATING:
            continue
        error = float(row["error"])
        # What lies between is right in part, and teaches nothing.
        if 3 <= error <= 10:
            continue
        label.append(1.0 if error < 3 else -1.0)
        usable.append(row)
    y = np.array(label)
    floors = [EVIDENCE.least_spread if k == "spread" else 1e-3 for k in FEATURES]
    x = np.log(np.maximum([[float(r[k]) for k in FEATURES] for r in usable], floors))
    design = np.column_stack([x, np.ones(len(x))])
    # What a search among many positions proposes is asked more.
    taken = np.array([FAR_SEARCHES.get(row["stage"], 0.0) for row in usable])
    # Right and wrong count alike, so the odds are those of an even prior; and so do the kinds of
    # ground within each.
    groups = [(row["kind"], sign) for row, sign in zip(usable, y, strict=True)]
    members, kinds = Counter(groups), Counter(sign for _, sign in set(groups))
    weight = np.array([1 / (members[group] * kinds[group[1]]) for group in groups])

    def loss(beta: NDArray[np.float64]) -> float:
        fitted = (weight * np.logaddexp(0, -y * (design @ beta - taken))).sum()
        return float(fitted + 1e-4 * (beta[:-1] ** 2).sum())

    beta = minimize(loss, np.zeros(design.shape[1])).x
    odds = design @ beta - taken
    print(dict(zip((*FEATURES, "offset"), np.round(beta, 3).tolist(), strict=True)))
    shipped = (
        design @ np.array([*(getattr(EVIDENCE, k) for k in FEATURES), EVIDENCE.offset]) - taken
    )
    print(f"{(y > 0).sum()} right and {(y < 0).sum()} wrong alignments, {dict(kinds)} kinds")
    for name, values in (("fitted", odds), ("shipped", shipped)):
        print(f"{name}: loss {(weight * np.logaddexp(0, -y * values)).sum():.4f}; highest wrong:")
        order = np.argsort(values)
        for i in [i for i in order[::-1] if y[i] < 0][:8]:
            print(f"  {values[i]:6.2f}", {k: usable[i][k] for k in ("case", "stage", "error")})
        passing = Counter(
            usable[i]["kind"] for i in np.flatnonzero((y < 0) & (values >= EVIDENCE.certain))
        )
        print(f"  wrong beyond {EVIDENCE.certain:g} by kind: {dict(passing)}")
        for limit in np.arange(-1, 8.5, 0.5):
            wrong, right = (values[y < 0] >= limit).sum(), (values[y > 0] >= limit).mean()
            print(f"  at {limit:4.1f}: {wrong} of {(y < 0).sum()} wrong pass, {right:.1%} of right")
        print("  " + _decided(usable, values))
    for name, least in (("reduced", EVIDENCE.hopeless), ("begun", EVIDENCE.distant)):
        early = np.array([float(row[name]) for row in usable])
        told = np.isfinite(early)
        believed = told & (y > 0) & (shipped >= EVIDENCE.certain)
        wrong_ones = early[told & (y < 0)]
        if not believed.any() or not len(wrong_ones):
            continue
        given_up = (wrong_ones < least).mean()
        print(f"{name}: the least of {believed.sum()} right ones {early[believed].min():.1f}")
        print(f"  below {least:g} lie {given_up:.0%} of the wrong ones")


def _decided(rows: list[dict[str, str]], odds: NDArray[np.float64]) -> str:
    """What the best alignment of each case would be taken for."""
    best: dict[str, tuple[float, dict[str, str]]] = {}
    for row, own in zip(rows, odds, strict=True):
        if row["case"] not in best or own > best[row["case"]][0]:
            best[row["case"]] = float(own), row
    believed = [
        float(row["error"]) < 3
        for value, row in best.values()
        if value >= EVIDENCE.certain and float(row["explained"]) >= WINDOWS.explained
    ]
    right = sum(believed)
    return f"{len(best)} cases: {right} right and {len(believed) - right} wrong ones are believed"


def learn(folder: Path, data: Path, count: int, pairs: int, seed: int, jobs: int) -> None:
    """Make the training cases and the table of their alignments where missing, and weigh them.

    Args:
        folder: Gets ``tuning_cases.csv`` with the crops it needs, and ``alignments.csv``, a row a
            hypothesis; a second run goes on where the first stopped.
        data: Folder of the real images.
        count: OMBRIA pairs; others in proportion.
        pairs: Pairs of each of `KINDS_LEARNT`.
        seed: Of the cases and the pairs.
        jobs: Processes.
    """
    listed, table = folder / "tuning_cases.csv", folder / "alignments.csv"
    if not listed.exists():
        print(f"{write_tuning_cases(data, folder, count, seed)} cases in {listed}")
    with listed.open(newline="") as file:
        cases = list(csv.DictReader(file))
    columns = ["case", "kind", "stage", *_RECORDED, "reduced", "begun", "error"]
    if not table.exists():
        table.write_text(",".join(columns) + "\n")
    with table.open(newline="") as file:
        done = {row["case"] for row in csv.DictReader(file)}
    tasks = [
        Task(kind, KINDS[kind].splits[0], _SEEDS * seed + number, data, ())
        for number in range(pairs)
        for kind in KINDS_LEARNT
    ]
    todo: list[tuple[dict[str, str] | Task, Path]] = [
        *((task, data) for task in tasks if f"{task.kind}-{task.seed}" not in done),
        *((case, data) for case in cases if case["case"] not in done),
    ]
    with table.open("a", newline="") as file:
        writer = csv.DictWriter(file, columns)
        for number, rows in enumerate(map_processes(alignments, todo, jobs), 1):
            writer.writerows(rows)
            file.flush()
            if number % 20 == 0:
                print(f"{number} of {len(todo)}", flush=True)
    with table.open(newline="") as file:
        weigh(list(csv.DictReader(file)))
