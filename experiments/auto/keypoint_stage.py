r"""What the keypoint stage of `auto` should be: the same hard cases, one matcher after the other.

    python -m experiments.auto.keypoint_stage ../shared/data/bench_cases.csv \
        --reached experiments/benchmarks/results/all/results.csv \
        -k aliked-lightglue -k superpoint-s2 -k loftr-s2 -o out/keypoint_stage

The stages before it are run once a case; each matcher's proposals are then judged with theirs, as
in `imatch.pipeline.pair.auto`. ``none`` is the answer without any. Only cases that reached the
stage in an earlier run are looked at (those not answered, or answered by it): the others stay as
they are. Rows are kept one by one, and a run that was cut off goes on.
"""

from __future__ import annotations

import argparse
import csv
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from imatch.bench.cases import Case, read_cases
from imatch.bench.prepare_case import prepare_case
from imatch.bench.worker import to_result, unreduced
from imatch.core.progress import progress
from imatch.core.types import Rendered
from imatch.geometry.alignment.fine_alignment import Aligner
from imatch.geometry.estimate import Estimate, EstimateOptions
from imatch.pipeline.pair.auto import Auto, Candidate
from imatch.pipeline.pair.config import MatchConfig
from imatch.pipeline.pair.match import Solved, solve

Row = dict[str, str]
NONE = "none"
COLUMNS = ("case", "source", "variant", "matcher", "status", "error_px", "found_by", "stage_s")


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
        self._reached: Reached | None = None

    def answer(
        self,
        aligner: Aligner,
        candidates: Sequence[Candidate],
        ref: Rendered,
        tgt: Rendered,
        options: EstimateOptions,
    ) -> Estimate:
        """See `Auto.answer`."""
        self._reached = Reached(aligner, list(candidates), ref, tgt, options)
        return super().answer(aligner, candidates, ref, tgt, options)

    def take(self) -> Reached | None:
        """Where the last pair came to; None if nobody was asked about it."""
        taken, self._reached = self._reached, None
        return taken


def after(name: str) -> Auto:
    """`auto` whose keypoints are a matcher's."""

    class Other(Auto):
        learnt = (name,)

    return Other()


def asked(case: Case, root: Path, before: Before, others: Mapping[str, Auto]) -> list[Row]:
    """One case: the answer of the stages before, and with each matcher's proposals."""
    config = MatchConfig()
    views = prepare_case(case, root, config)
    ref, tgt = (view.source() for view in views)
    solved = solve(ref, tgt, unreduced(config, views), loaded=before)
    rows = [_row(case, NONE, solved, 0.0)]
    kept = before.take()
    for name, solver in others.items():
        if kept is None:  # One value everywhere: nobody is asked.
            rows.append(_row(case, name, solved, 0.0))
            continue
        begun = time.process_time()
        proposals = solver.proposed_by(name, kept.ref, kept.tgt, kept.options)
        candidates = kept.candidates + solver.aligned(kept.aligner, name, proposals)
        spent = time.process_time() - begun
        found = solver.answer(kept.aligner, candidates, kept.ref, kept.tgt, kept.options)
        rows.append(_row(case, name, replace(solved, estimate=found), spent))
    return rows


def _row(case: Case, name: str, solved: Solved, spent: float) -> Row:
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


def main() -> None:
    """Run the comparison."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("cases", type=Path)
    parser.add_argument("--reached", type=Path, required=True, help="results.csv of imatch bench")
    parser.add_argument("-k", "--keypoints", action="append", required=True)
    parser.add_argument("--unrelated", type=int, help="most pairs of two places; all by default")
    parser.add_argument("-o", "--output", type=Path, required=True)
    options = parser.parse_args()
    options.output.mkdir(parents=True, exist_ok=True)
    kept = options.output / "results.csv"
    rows: list[Row] = []
    if kept.exists():
        with kept.open(newline="") as file:
            rows = list(csv.DictReader(file))
    done = {row["case"] for row in rows}
    wanted = reached(options.reached)
    cases = [case for case in read_cases(options.cases) if case.name in wanted]
    apart = [case for case in cases if not case.positive][: options.unrelated]
    cases = [case for case in cases if case.positive] + apart
    cases = [case for case in cases if case.name not in done]
    before, others = Before(), {name: after(name) for name in options.keypoints}
    with progress("cases", len(cases)) as advance:
        for case in cases:
            own = asked(case, options.cases.parent, before, others)
            with kept.open("a", newline="") as file:
                writer = csv.DictWriter(file, COLUMNS)
                if not rows:
                    writer.writeheader()
                writer.writerows(own)
            rows += own
            advance(1)
    (options.output / "table.md").write_text("\n".join(table(rows)) + "\n")
    print(options.output / "table.md")


if __name__ == "__main__":
    main()
