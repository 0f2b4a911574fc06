"""Fits the odds by which the whole images of two sensors are believed to training pairs."""

from __future__ import annotations

import csv
import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from imatch.benchmark.cases import Case, read_cases
from imatch.benchmark.metrics import corner_error
from imatch.benchmark.prepare_case import PreparedCase, prepare_case
from imatch.core.pool import map_processes
from imatch.core.settings import load_settings
from imatch.core.types import Rendered
from imatch.geometry.acceptance import WHOLE
from imatch.geometry.alignment.systematic import NORMAL_95
from imatch.geometry.alignment.whole_image import WholeImages
from imatch.pipeline.pair.config import MatchConfig
from imatch.raster import Source, leave_out_marks, read_pair, render
from tests.support.pairs.trust.kinds import KINDS, make_pair
from tests.support.sensor_fields import field_of

Row = dict[str, str | float]
FEATURES = ("peak", "lead", "scatter", "likeness")
_COLUMNS = ("name", "group", "error", *FEATURES, "bound", "repetition")
# How the network was trained by whose maps whole images are compared.
_RECIPE = Path("experiments/fields/cross.yaml")
_ONE_SENSOR = ("other", "adjacent", "mirrored", "other_date", "lattices", "other_fixed")
# What repeats itself leads by little, and what is fixed to the pixels is left out or told
# (`imatch.geometry.alignment.overlays`) whatever the odds: they are counted, and not learnt.
_BY_OTHER_RULES = ("lattices", "other_fixed")
# Sources of which one case in so many is measured.
_EASY, _THINNED = ("ir", "nir"), 7
# Within so many pixels an alignment is right, beyond so many it is wrong.
_RIGHT, _WRONG = 8.0, 12.0


@dataclass(frozen=True)
class Task:
    """A pair to measure: case `ref` against case `tgt`, or one of a kind of the trust benchmark."""

    name: str
    group: str
    data: Path
    ref: Case | None = None
    tgt: Case | None = None
    seed: int = 0
    weights: Path | None = None


def tasks(data: Path, mixed: int, pairs: int) -> list[Task]:
    """All pairs in a random order: a run that is stopped has some of each group."""
    found = list(_tasks(data, mixed, pairs))
    return [found[i] for i in np.random.default_rng(6).permutation(len(found))]


def _tasks(data: Path, mixed: int, pairs: int) -> Iterator[Task]:
    """The cases, those of a source mixed, and mirrored, and pairs of one sensor."""
    table = data / "cross" / "train" / "cross_cases.csv"
    cases, taught = read_cases(table), _taught(table)
    for number, case in enumerate(cases):
        # What windows decide teaches little.
        if case.source in _EASY and case.variant != "unrelated" and number % _THINNED:
            continue
        # The network knows what it was taught better than it will know others.
        if case.variant != "unrelated" and (case.ref, case.tgt) in taught:
            continue
        group = case.source if case.variant == "unrelated" else f"{case.source} {case.variant}"
        yield Task(case.name, group, data, case, case)
    rng = np.random.default_rng(5)
    for source in ("map", "sar"):
        own = [case for case in cases if case.source == source and case.variant == "free"]
        for _ in range(mixed):
            one, other = rng.choice(len(own), 2, replace=False)
            name = f"{own[one].name} {own[other].name}"
            yield Task(name, f"{source} other", data, own[one], own[other])
            yield Task(f"{own[one].name} mirrored", f"{source} mirrored", data, own[one], own[one])
    for seed in range(pairs):
        for kind in _ONE_SENSOR:
            yield Task(f"{kind} {seed}", kind, data, seed=92_000_000 + seed)


def _taught(table: Path) -> set[tuple[str, str]]:
    """Reference and target of the pairs that the network was trained on."""
    from imatch.training.fields.config import FieldConfig  # Loads torch, which others do without.
    from imatch.training.views import split_cases

    data = load_settings(FieldConfig, _RECIPE, [f"data.cases={table}"]).data
    return {(case.ref, case.tgt) for case in split_cases(data)[0]}


def measure(task: Task) -> Row:
    """What the whole images of a pair agree on."""
    cv2.setNumThreads(1)
    truth, about = None, {"name": task.name, "group": task.group}
    if task.ref is None or task.tgt is None:
        split = KINDS[task.group].splits[0]  # Never that of the benchmark.
        made = make_pair(task.group, split, task.seed, task.data)
        ref, tgt = _rendered(made.ref.source(), made.tgt.source())
    else:
        root = task.data / "cross" / "train"
        one = prepare_case(task.ref, root, MatchConfig())[0]
        other = prepare_case(task.tgt, root, MatchConfig())[1]
        if task.group.endswith("mirrored"):
            other = _mirrored(other)
        elif task.ref is task.tgt:
            truth = task.ref.truth
        ref, tgt = _rendered(one.source(), other.source())
    found = WholeImages(ref, tgt, field_of(task.weights)).align()
    if found is None:
        return {**about, "error": math.inf, **dict.fromkeys(_COLUMNS[3:], math.nan)}
    error = math.inf if truth is None else corner_error(found.matrix, truth, ref.size)
    half = NORMAL_95 * np.sqrt((found.corners**2).mean(axis=0))
    bound = math.hypot(float(np.hypot(*half.T).max()), WHOLE.systematic)
    return {
        **about,
        "error": error,
        **{name: float(getattr(found, name)) for name in FEATURES},
        "bound": bound,
        "repetition": found.repetition,
    }


def _rendered(ref: Source, tgt: Source) -> tuple[Rendered, Rendered]:
    pair = leave_out_marks(read_pair(ref, tgt))
    return render(pair.ref, 3), render(pair.tgt, 3)


def _mirrored(case: PreparedCase) -> PreparedCase:
    turned = np.ascontiguousarray(case.pixels[:, :, ::-1])
    return replace(case, pixels=turned, valid=np.ascontiguousarray(case.valid[:, ::-1]))


def weigh(rows: list[dict[str, str]]) -> None:
    """Fits the weights by logistic regression and prints what they separate."""
    rows = [row for row in rows if math.isfinite(float(row["peak"]))]
    error = np.array([float(row["error"]) for row in rows])
    group = np.array([row["group"] for row in rows])
    values = np.array([[float(row[name]) for name in FEATURES] for row in rows])
    values[:, 2] = np.maximum(values[:, 2], WHOLE.least_scatter)
    design = np.column_stack([np.log(np.maximum(values, 0.1)), np.ones(len(rows))])
    sign = np.where(error < _RIGHT, 1.0, -1.0)
    told = ((error < _RIGHT) | (error > _WRONG)) & ~np.isin(group, _BY_OTHER_RULES)
    # Right and wrong count alike, and so do the groups of each.
    members = Counter(zip(group[told], sign[told], strict=True))
    kinds = Counter(s for _, s in members)
    weight = np.array(
        [
            told[i] / (members[group[i], sign[i]] * kinds[sign[i]]) if told[i] else 0.0
            for i in range(len(rows))
        ]
    )

    def loss(beta: NDArray[np.float64]) -> float:
        fitted = (weight * np.logaddexp(0, -sign * (design @ beta))).sum()
        return float(fitted + 1e-3 * (beta[:-1] ** 2).sum())

    fitted = minimize(loss, np.zeros(design.shape[1])).x
    print(dict(zip((*FEATURES, "offset"), np.round(fitted, 3).tolist(), strict=True)))
    shipped = np.array([*(getattr(WHOLE, name) for name in FEATURES), WHOLE.offset])
    bound = np.array([float(row["bound"]) for row in rows])
    lead = values[:, 1] / values[:, 0]
    repeats = np.array([float(row["repetition"]) for row in rows]) > WHOLE.repeating
    for name, beta in (("fitted", fitted), ("shipped", shipped)):
        odds = np.where((lead >= WHOLE.least_lead) & ~repeats, design @ beta, -math.inf)
        wrong = np.flatnonzero(told & (sign < 0))
        worst = wrong[np.argsort(odds[wrong])[::-1][:8]]
        print(f"{name}: highest of {len(wrong)} wrong ones:")
        for i in worst:
            print(f"  {odds[i]:6.2f} {rows[i]['name']} ({rows[i]['group']}), {error[i]:.0f} px")
        for limit in (WHOLE.certain - 1, WHOLE.certain, WHOLE.certain + 1):
            shares = []
            for kind in sorted(set(group[np.isfinite(error)])):
                own = group == kind
                ok = own & (odds >= limit) & (bound <= WHOLE.corner)
                right, held = (ok & (error < 5)).sum(), (error[ok] < bound[ok]).mean()
                shares.append(f"{kind} {right / own.sum():.0%} (intervals hold in {held:.0%})")
            passing = (odds[wrong] >= limit) & (bound[wrong] <= WHOLE.corner)
            print(f"  at {limit:g}: {passing.sum()} wrong; within 5 px {', '.join(shares)}")
        for kind in _BY_OTHER_RULES:
            own = group == kind
            passing = own & (odds >= WHOLE.certain) & (bound <= WHOLE.corner)
            print(f"  {kind}: {passing.sum()} of {own.sum()} beyond {WHOLE.certain:g}")


def learn(
    folder: Path, data: Path, mixed: int, pairs: int, jobs: int, weights: Path | None = None
) -> None:
    """Measures what is left, and weighs all.

    Args:
        folder: Gets ``alignments.csv``, a row a pair; a second run goes on where the first stopped.
        data: Folder of the real images.
        mixed: Pairs of two places, and mirrored ones, of each source.
        pairs: Pairs of each kind of one sensor.
        jobs: Processes.
        weights: The network by whose maps images are compared; None for the shipped one.
    """
    folder.mkdir(parents=True, exist_ok=True)
    table = folder / "alignments.csv"
    if not table.exists():
        table.write_text(",".join(_COLUMNS) + "\n")
    with table.open(newline="") as file:
        done = {(row["name"], row["group"]) for row in csv.DictReader(file)}
    todo = [task for task in tasks(data, mixed, pairs) if (task.name, task.group) not in done]
    with table.open("a", newline="") as file:
        writer = csv.DictWriter(file, _COLUMNS, lineterminator="\n")
        todo = [replace(task, weights=weights) for task in todo]
        for number, row in enumerate(map_processes(measure, todo, jobs), 1):
            writer.writerow(row)
            file.flush()
            if number % 20 == 0:
                print(f"{number} of {len(todo)}", flush=True)
    with table.open(newline="") as file:
        weigh(list(csv.DictReader(file)))
