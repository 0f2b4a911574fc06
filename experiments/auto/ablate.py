r"""What parts of `auto` are worth: how windows are correlated, and who is asked last.

    python -m experiments.benchmarks.trust learn /tmp/imatch-tuning --data ../shared/data
    python -m experiments.auto.ablate windows /tmp/imatch-tuning/tuning_cases.csv \
        --data ../shared/data
    python -m experiments.auto.ablate keypoints ../shared/data/bench_cases.csv \
        --reached experiments/benchmarks/results/all/results.csv \
        -k aliked-lightglue -k superpoint-s2 -k loftr-s2 -o out/keypoint_stage

``windows`` correlates directions, gradients or intensities (training places only). Every second
``near`` case starts 0.8 px off the truth and is pulled tight at full resolution, as
`imatch.geometry.alignment.fine_alignment` does it, with one thing changed at a time.

``keypoints`` asks what the last stage should be: the same hard cases, one matcher after the other.
The stages before it are run once a case; each matcher's proposals are then judged with theirs,
as in `imatch.pipeline.pair.auto`. ``none`` is the answer without any. Only cases that reached the
stage in an earlier run are looked at (those not answered, or answered by it): the others stay as
they are. Rows are kept one by one, and a run that was cut off goes on.
"""

from __future__ import annotations

import argparse
import csv
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from imatch.benchmark.cases import Case, read_cases
from imatch.benchmark.prepare_case import prepare_case
from imatch.benchmark.worker import to_result, unreduced
from imatch.core.progress import progress
from imatch.core.types import Rendered
from imatch.geometry.alignment import orientation
from imatch.geometry.alignment.fine_alignment import AGREES, Aligner
from imatch.geometry.alignment.orientation import orientation_field, warp_image
from imatch.geometry.alignment.refine import CorrelationWindows, measure
from imatch.geometry.estimate import Estimate, EstimateOptions
from imatch.geometry.fit import residuals, reweighted
from imatch.geometry.robust import search
from imatch.geometry.transform import ModelKind, apply_matrix
from imatch.pipeline.pair.auto import Auto, Candidate, Proposals
from imatch.pipeline.pair.match import PairEstimate, estimate_pair
from tests.support.trust.odds import load

Field = Callable[[Rendered], NDArray[np.complex64]]
Row = dict[str, str]
NONE = "none"
COLUMNS = ("case", "source", "variant", "matcher", "status", "error_px", "found_by", "stage_s")


def softened(soft: float) -> Field:
    """Doubled directions with another weight for faint edges."""

    def field(image: Rendered) -> NDArray[np.complex64]:
        usual, orientation._SOFT = orientation._SOFT, soft
        try:
            return orientation_field(image)
        finally:
            orientation._SOFT = usual

    return field


def signed(image: Rendered) -> NDArray[np.complex64]:
    """Plain gradient directions, summed over the bands: an edge and its opposite differ."""
    total = np.zeros(image.valid.shape, dtype=np.complex64)
    for plane in image.pixels:
        smooth = cv2.GaussianBlur(plane, (0, 0), 1.0)
        total += cv2.Scharr(smooth, cv2.CV_32F, 1, 0) + 1j * cv2.Scharr(smooth, cv2.CV_32F, 0, 1)
    size = np.abs(total)
    inner = cv2.erode(image.valid.astype(np.uint8), np.ones((5, 5), np.uint8), borderValue=1) > 0
    field = total / np.maximum(size + float(np.median(size[inner])), 1e-12)
    return np.asarray(np.where(inner, field, 0), dtype=np.complex64)


def intensity(image: Rendered) -> NDArray[np.complex64]:
    """Locally normalised brightness, as a normalised cross-correlation sees it."""
    grey = image.pixels.mean(axis=0)
    flat = cv2.GaussianBlur(grey, (0, 0), 1.0) - cv2.GaussianBlur(grey, (0, 0), 16)
    spread = np.sqrt(cv2.GaussianBlur(flat**2, (0, 0), 16)) + 1e-3
    return np.asarray(np.where(image.valid, flat / spread, 0), dtype=np.complex64)


VARIANTS: dict[str, tuple[Field, CorrelationWindows, ModelKind]] = {
    "as shipped": (orientation_field, CorrelationWindows(), "similarity"),
    "faint edges weigh more (1)": (softened(1.0), CorrelationWindows(), "similarity"),
    "gradient at 2 px": (
        lambda image: orientation_field(image, 2.0),
        CorrelationWindows(),
        "similarity",
    ),
    "signed directions": (signed, CorrelationWindows(), "similarity"),
    "intensity": (intensity, CorrelationWindows(), "similarity"),
    "windows of 32 px": (orientation_field, CorrelationWindows(side=32), "similarity"),
    "windows of 96 px": (orientation_field, CorrelationWindows(side=96), "similarity"),
    "80 windows": (orientation_field, CorrelationWindows(count=80), "similarity"),
    "affine": (orientation_field, CorrelationWindows(), "affine"),
    "homography": (orientation_field, CorrelationWindows(), "homography"),
}


def pulled_tight(
    ref: Rendered, tgt: Rendered, start: NDArray[np.float64], variant: str
) -> tuple[NDArray[np.float64], float]:
    """The transform after three rounds, and the share of windows that agree with it."""
    field, windows, kind = VARIANTS[variant]
    current, first, agree = start, field(ref), 0.0
    for turn in range(3):
        warped = warp_image(tgt, current, ref.size)
        moved = measure(first, field(warped), ref.valid & warped.valid, windows)
        usable = np.isfinite(moved.shift).all(axis=1)
        ref_xy = moved.centre[usable]
        tgt_xy = apply_matrix(current, ref_xy + moved.shift[usable])
        begin = search(kind, ref_xy, tgt_xy, 2.0) if turn == 0 else current
        if begin is None:
            return current, 0.0
        current = reweighted(kind, ref_xy, tgt_xy, begin, 2.0)
        agree = float((residuals(current, ref_xy, tgt_xy) < AGREES).sum() / max(len(moved), 1))
    return current, agree


@dataclass
class Reached:
    """What the stages before the keypoints leave behind."""

    aligner: Aligner
    candidates: list[Candidate]
    ref: Rendered
    tgt: Rendered
    options: EstimateOptions


class Before(Auto):
    """`auto` without its last stage, which remembers where it came to."""

    learnt = ()

    def __init__(self) -> None:
        super().__init__()
        self.reached: Reached | None = None

    def answer(
        self,
        aligner: Aligner,
        candidates: Sequence[Candidate],
        ref: Rendered,
        tgt: Rendered,
        options: EstimateOptions,
    ) -> Estimate:
        """See `Auto.answer`."""
        self.reached = Reached(aligner, list(candidates), ref, tgt, options)
        return super().answer(aligner, candidates, ref, tgt, options)


def after(name: str) -> Auto:
    """`auto` whose keypoints are a matcher's."""

    class Other(Auto):
        learnt = (name,)

    return Other()


def ask(case: Case, root: Path, before: Before, others: Mapping[str, Auto]) -> list[Row]:
    """One case: the answer of the stages before, and with each matcher's proposals."""
    views = prepare_case(case, root, before.config)
    ref, tgt = (view.source() for view in views)
    solved = estimate_pair(ref, tgt, before.configured(unreduced(before.config, views)))
    rows = [_row(case, NONE, solved, 0.0)]
    assert isinstance(solved.registrar, Before)
    kept = solved.registrar.reached
    for name, registrar in others.items():
        if kept is None:  # One value everywhere: nobody is asked.
            rows.append(_row(case, name, solved, 0.0))
            continue
        begun = time.process_time()
        proposed = registrar.proposed_by(name, kept.ref, kept.tgt, kept.options)
        proposals = Proposals(name, proposed)
        candidates = kept.candidates + registrar.aligned(kept.aligner, proposals)
        spent = time.process_time() - begun
        found = registrar.answer(kept.aligner, candidates, kept.ref, kept.tgt, kept.options)
        rows.append(_row(case, name, replace(solved, estimate=found), spent))
    return rows


def _row(case: Case, name: str, solved: PairEstimate, spent: float) -> Row:
    result = to_result(case, solved.registration(time.perf_counter()), 0.0)
    values = (
        case.name,
        case.source,
        case.variant,
        name,
        result.status,
        "" if result.corner_error_px is None else f"{result.corner_error_px:.3f}",
        solved.estimate.found_by,
        f"{spent:.2f}",
    )
    return dict(zip(COLUMNS, values, strict=True))


def reached(path: Path) -> set[str]:
    """The cases of a benchmark run that asked the keypoints."""
    with path.open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["matcher"] == "auto"]
    last = {*Auto.learnt, "keypoints"}
    return {row["case"] for row in rows if row["status"] != "ok" or row["found_by"] in last}


def table(rows: Iterable[Row]) -> list[str]:
    """Of each matcher: answers within 1, 3, 10 px, wrong ones called ok, time of the stage."""
    found: dict[str, list[Row]] = {}
    for row in rows:
        found.setdefault(row["matcher"], []).append(row)
    lines = [
        "| keypoints | positives | ok within 1 px | 3 px | 10 px | unrelated | wrong and ok"
        " | mean stage, processor s |",
        "|---|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for name, own in found.items():
        positive = [row for row in own if row["variant"] != "unrelated"]
        errors = [float(row["error_px"]) for row in positive if row["status"] == "ok"]
        within = [sum(error <= px for error in errors) for px in (1, 3, 10)]
        believed = sum(row["status"] == "ok" for row in own if row["variant"] == "unrelated")
        wrong = believed + sum(error > 10 for error in errors)
        spent = sum(float(row["stage_s"]) for row in own) / len(own)
        cells = [len(positive), *within, len(own) - len(positive), wrong, f"{spent:.1f}"]
        lines.append(f"| `{name}` | {' | '.join(str(cell) for cell in cells)} |")
    return lines


def windows(asked: argparse.Namespace) -> None:
    """Print one row a variant of the rendering or the model."""
    with asked.cases.open() as file:
        cases = [
            c for c in csv.DictReader(file) if c["variant"] == "near" and c["source"] != "bmng"
        ]
    errors: dict[str, list[float]] = {name: [] for name in VARIANTS}
    agrees: dict[str, list[float]] = {name: [] for name in VARIANTS}
    for case in cases[::2]:
        ref, tgt, truth = load(case, asked.data)
        width, height = ref.size
        corners = np.array([[0, 0], [width - 1, 0], [width - 1, height - 1], [0, height - 1]])
        start = truth + np.array([[0, 0, 0.6], [0, 0, -0.5], [0, 0, 0]])
        for name in VARIANTS:
            matrix, agree = pulled_tight(ref, tgt, start, name)
            gap = apply_matrix(matrix, corners) - apply_matrix(truth, corners)
            errors[name].append(float(np.hypot(*gap.T).mean()))
            agrees[name].append(agree)
    print(f"{len(cases[::2])} pairs\n")
    print("| variant | median error, px | within 0.3 px | 0.5 px | 1 px | windows that agree |")
    print("|---|---:|---:|---:|---:|---:|")
    for name in VARIANTS:
        e = np.array(errors[name])
        shares = " | ".join(f"{(e < limit).mean():.0%}" for limit in (0.3, 0.5, 1.0))
        print(f"| {name} | {np.median(e):.2f} | {shares} | {np.median(agrees[name]):.0%} |")


def keypoints(asked: argparse.Namespace) -> None:
    """Ask each matcher about the hard cases, and write the table."""
    asked.output.mkdir(parents=True, exist_ok=True)
    kept = asked.output / "results.csv"
    rows: list[Row] = []
    if kept.exists():
        with kept.open(newline="") as file:
            rows = list(csv.DictReader(file))
    done = {row["case"] for row in rows}
    wanted = reached(asked.reached)
    cases = [case for case in read_cases(asked.cases) if case.name in wanted]
    apart = [case for case in cases if not case.positive][: asked.unrelated]
    cases = [case for case in cases if case.positive] + apart
    cases = [case for case in cases if case.name not in done]
    before, others = Before(), {name: after(name) for name in asked.keypoints}
    with progress("cases", len(cases)) as advance:
        for case in cases:
            own = ask(case, asked.cases.parent, before, others)
            with kept.open("a", newline="") as file:
                writer = csv.DictWriter(file, COLUMNS)
                if not rows:
                    writer.writeheader()
                writer.writerows(own)
            rows += own
            advance(1)
    (asked.output / "table.md").write_text("\n".join(table(rows)) + "\n")
    print(asked.output / "table.md")


def parser() -> argparse.ArgumentParser:
    """The command line."""
    described = (__doc__ or "").splitlines()[0]
    whole = argparse.ArgumentParser(prog="experiments.auto.ablate", description=described)
    parts = whole.add_subparsers(required=True)
    part = parts.add_parser("windows", help="what to correlate, and how")
    part.set_defaults(run=windows)
    part.add_argument("cases", type=Path)
    part.add_argument("--data", type=Path, required=True)
    part = parts.add_parser("keypoints", help="whose keypoints to ask last")
    part.set_defaults(run=keypoints)
    part.add_argument("cases", type=Path)
    part.add_argument("--reached", type=Path, required=True, help="results.csv of imatch bench")
    part.add_argument("-k", "--keypoints", action="append", required=True)
    part.add_argument("--unrelated", type=int, help="most pairs of two places; all by default")
    part.add_argument("-o", "--output", type=Path, required=True)
    return whole


if __name__ == "__main__":
    asked = parser().parse_args()
    asked.run(asked)
