r"""How far to trust an answer: wrong `ok`s, and stated intervals held against the truth.

    python -m experiments.benchmarks.trust run out/trust --split train --pairs 200 --jobs 2
    python -m experiments.benchmarks.trust run out/trust --split made --kinds lattices exact \
        --matchers auto sift superpoint-s2+refine --pairs 200 --seed 3
    python -m experiments.benchmarks.trust report out/trust
    python -m experiments.benchmarks.trust learn /tmp/imatch-tuning --data ../shared/data
    python -m experiments.benchmarks.trust appearance /tmp/imatch-appearance --data ../shared/data
    python -m experiments.benchmarks.trust sensors /tmp/imatch-sensors --data ../shared/data
    python -m experiments.benchmarks.trust agreement out/cross/results.csv CASES.csv

``run`` makes pairs of every kind (`tests.support.pairs.trust.kinds`) from seeds, registers them
(`tests.support.trust.measure`) and appends a row for each matcher to ``pairs.csv``; a second run
goes on where the first stopped. ``report`` counts (`tests.support.trust.report`).

``learn`` fits the odds by which an alignment is believed (`imatch.geometry.acceptance`), on
training places only (`tests.support.trust.odds`), and prints the weights and what they separate.
``sensors`` fits the odds by which the whole images of radar, maps and infrared are believed beside
optical ones (`tests.support.trust.sensors`); ``agreement`` holds the answers to a pair that was
presented twice against one another (`tests.support.trust.agreement`). ``appearance`` fits how far
season and sun may move all windows alike (`AppearanceRules`) to tiles whose scene is known
(`tests.support.trust.appearance`).
"""

from __future__ import annotations

import argparse
import csv
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from imatch.benchmark.environment import environment
from imatch.core.io.files import atomic_path
from imatch.core.io.jsontext import to_json
from imatch.core.pool import map_processes
from tests.support.pairs.trust.ground import SPLITS
from tests.support.pairs.trust.kinds import KINDS
from tests.support.trust import agreement, appearance, odds, sensors
from tests.support.trust.measure import COLUMNS, Task, measure
from tests.support.trust.report import read_rows, risk_coverage, summarise, tables

# Pairs of one seed of the command line are numbered from this multiple of it.
_SEEDS = 1_000_000


def tasks(asked: argparse.Namespace, done: set[tuple[str, str, int, str]]) -> Iterator[Task]:
    """What is left to do, the kinds in turn, so that a run that is stopped has some of each."""
    kinds = [kind for kind in asked.kinds if asked.split in KINDS[kind].splits]
    for number in range(asked.pairs):
        seed = _SEEDS * asked.seed + number
        for kind in kinds:
            left = [m for m in asked.matchers if (kind, asked.split, seed, m) not in done]
            if left:
                yield Task(kind, asked.split, seed, asked.data, tuple(left))


def finished(table: Path) -> set[tuple[str, str, int, str]]:
    """The pairs and matchers of a table, whose last line is taken off where a kill cut it."""
    text = table.read_bytes()
    whole = text[: text.rfind(b"\n") + 1]
    if whole != text:
        table.write_bytes(whole)
    with table.open(newline="") as file:
        return {
            (row["kind"], row["split"], int(row["seed"]), row["matcher"])
            for row in csv.DictReader(file)
        }


def run(asked: argparse.Namespace) -> None:
    """Register what is left of the pairs asked for."""
    asked.out.mkdir(parents=True, exist_ok=True)
    table = asked.out / "pairs.csv"
    if not table.exists():
        table.write_text(",".join(COLUMNS) + "\n")
    todo = list(tasks(asked, finished(table)))
    with atomic_path(asked.out / "environment.json", overwrite=True) as path:
        path.write_text(to_json(environment(" ".join(["python", *sys.argv]))) + "\n")
    started = time.monotonic()
    with table.open("a", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        for count, rows in enumerate(map_processes(measure, todo, asked.jobs), 1):
            writer.writerows(rows)
            file.flush()
            if count % 50 == 0 or count == len(todo):
                each = (time.monotonic() - started) / count
                print(f"{count} of {len(todo)} pairs, {each:.2f} s each", flush=True)


def report(asked: argparse.Namespace) -> None:
    """Count, print the tables, and write them and the risk-coverage curves."""
    out = asked.output or asked.out
    out.mkdir(parents=True, exist_ok=True)
    rows = read_rows(asked.out / "pairs.csv")
    summary = summarise(rows)
    text = tables(summary)
    print(text)
    for name, content in (("summary.md", text), ("summary.json", to_json(summary) + "\n")):
        with atomic_path(out / name, overwrite=True) as path:
            path.write_text(content, encoding="utf-8")
    with atomic_path(out / "risk_coverage.png", overwrite=True) as path:
        risk_coverage(rows, path)


def learn(asked: argparse.Namespace) -> None:
    """Fit the odds of an alignment."""
    odds.learn(asked.out, asked.data, asked.count, asked.pairs, asked.seed, asked.jobs)


def learn_appearance(asked: argparse.Namespace) -> None:
    """Fit what season and sun may move all windows by."""
    appearance.learn(asked.out, asked.data, asked.count, asked.jobs)


def learn_sensors(asked: argparse.Namespace) -> None:
    """Fit the odds of two sensors' whole images."""
    sensors.learn(asked.out, asked.data, asked.mixed, asked.pairs, asked.jobs, asked.weights)


def agree(asked: argparse.Namespace) -> None:
    """Print how far two answers to one pair lie apart."""
    print(agreement.agreement(asked.results, asked.cases), end="")


def parser() -> argparse.ArgumentParser:
    """The command line."""
    described = (__doc__ or "").splitlines()[0]
    whole = argparse.ArgumentParser(prog="experiments.benchmarks.trust", description=described)
    parts = whole.add_subparsers(required=True)
    part = parts.add_parser("run", help="register pairs and append what was stated and is true")
    part.set_defaults(run=run)
    part.add_argument("out", type=Path, help="folder of pairs.csv")
    part.add_argument("--data", type=Path, default=Path("../shared/data"))
    part.add_argument("--kinds", nargs="+", choices=list(KINDS), default=list(KINDS))
    part.add_argument("--matchers", nargs="+", default=["auto"], help="+refine may follow a name")
    part.add_argument("--pairs", type=int, default=100, help="of each kind")
    part.add_argument("--split", choices=SPLITS, default="train")
    part.add_argument("--seed", type=int, default=0)
    part.add_argument("--jobs", type=int, default=1)
    part = parts.add_parser("report", help="tables and curves")
    part.set_defaults(run=report)
    part.add_argument("out", type=Path, help="folder of pairs.csv")
    part.add_argument("-o", "--output", type=Path, help="folder of the report; OUT by default")
    part = parts.add_parser("learn", help="fit the odds that an alignment is right")
    part.set_defaults(run=learn)
    part.add_argument("out", type=Path, help="folder of the training cases and their alignments")
    part.add_argument("--data", type=Path, default=Path("../shared/data"))
    part.add_argument("--count", type=int, default=60, help="OMBRIA pairs; others in proportion")
    part.add_argument("--pairs", type=int, default=60, help="of each kind of `KINDS_LEARNT`")
    part.add_argument("--seed", type=int, default=7)
    part.add_argument("--jobs", type=int, default=2)
    part = parts.add_parser("appearance", help="fit what season and sun may move all windows by")
    part.set_defaults(run=learn_appearance)
    part.add_argument("out", type=Path, help="folder of tiles.csv")
    part.add_argument("--data", type=Path, default=Path("../shared/data"))
    part.add_argument("--count", type=int, default=1000, help="OMBRIA tiles")
    part.add_argument("--jobs", type=int, default=2)
    part = parts.add_parser("sensors", help="fit the odds that two sensors' whole images are right")
    part.set_defaults(run=learn_sensors)
    part.add_argument("out", type=Path, help="folder of alignments.csv")
    part.add_argument("--data", type=Path, default=Path("../shared/data"))
    part.add_argument("--mixed", type=int, default=30, help="pairs of two places of a source")
    part.add_argument("--pairs", type=int, default=15, help="of each kind of one sensor")
    part.add_argument("--weights", type=Path, help="another network than the shipped one")
    part.add_argument("--jobs", type=int, default=2)
    part = parts.add_parser("agreement", help="hold two answers to one pair against one another")
    part.set_defaults(run=agree)
    part.add_argument("results", type=Path, help="results.csv of imatch bench")
    part.add_argument("cases", type=Path, help="table of its cases")
    return whole


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a part."""
    asked = parser().parse_args(arguments)
    asked.run(asked)


if __name__ == "__main__":
    main()
