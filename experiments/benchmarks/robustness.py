r"""What becomes of damaged inputs, and of what processes that are killed leave behind.

    python -m experiments.benchmarks.robustness fuzz --inputs 2400 --seed 0 -o out/fuzz
    python -m experiments.benchmarks.robustness fuzz --inputs 50 --kind png --kind jpeg -o out/png
    python -m experiments.benchmarks.robustness kills
    python -m experiments.benchmarks.robustness kills --every 7 --seed 3 --verb match --verb batch

``fuzz`` damages inputs of every kind and lets a real command read each (`tests.support.fuzz.run`).
Failing inputs are kept under DIR/failing, with the command beside them; DIR/inputs.jsonl has a line
for each input. The same seed makes the same inputs.

``kills`` runs every verb that writes and kills it with all its processes just before a change of
the disk (`tests.support.kills`), then runs it again. Three things must hold: what is seen of the
killed run under its own name is whole, the next run ends well, and then every file and folder,
hidden ones included, is what an uninterrupted run leaves, byte for byte. Times stand still and what
a run tells of itself is left out (`tests.support.verbs.settled`). Linux only.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

# First, as it keeps libraries from starting threads, which do not survive a fork.
from tests.support.fuzz.run import Outcome, run_damaged  # isort: skip
from tests.support.fuzz.inputs import KINDS
from tests.support.kills import Killer
from tests.support.verb_inputs import make_inputs
from tests.support.verbs import VERBS, Bench


def as_table(outcomes: Sequence[Outcome]) -> str:
    """A Markdown table: a row a kind, and all."""
    head = "| kind | inputs | read | refused | not registered | longest, s | peak, MB | faults |"
    rows = [head, "|" + "---|" * 8]
    for kind in [*sorted({o.kind for o in outcomes}), "all"]:
        of = [o for o in outcomes if kind in (o.kind, "all")]
        codes = Counter(o.code for o in of)
        rows.append(
            f"| {kind} | {len(of)} | {codes[0]} | {codes[1] + codes[2]} | {codes[3]} "
            f"| {max(o.seconds for o in of):.1f} | {max(o.peak_mb for o in of)} "
            f"| {sum(bool(o.faults) for o in of)} |"
        )
    return "\n".join(rows) + "\n"


def fuzz(asked: argparse.Namespace) -> int:
    """Damage inputs, and print a line a fault and a table; 1 if anything is at fault."""
    out: Path = asked.output
    out.mkdir(parents=True, exist_ok=True)
    outcomes = []
    with (out / "inputs.jsonl").open("w", encoding="utf-8") as file:
        for outcome in run_damaged(
            asked.kind or list(KINDS), asked.inputs, asked.seed, asked.jobs, out
        ):
            outcomes.append(outcome)
            file.write(json.dumps(asdict(outcome)) + "\n")
            file.flush()
            if outcome.faults:
                print(f"{outcome.number:05}-{outcome.kind}: {', '.join(outcome.faults)}: "
                      f"{outcome.damage}", flush=True)  # fmt: skip
    outcomes.sort(key=lambda outcome: (outcome.kind, outcome.number))
    (out / "table.md").write_text(as_table(outcomes))
    print(as_table(outcomes))
    return int(any(outcome.faults for outcome in outcomes))


def kills(asked: argparse.Namespace) -> int:
    """Kill, compare, and print a line a verb and a line a failure; 1 if anything failed."""
    verbs = [verb for verb in VERBS if asked.verb is None or verb.name in asked.verb]
    draw, kills, failures = random.Random(asked.seed), 0, 0  # noqa: S311 - not for secrets
    print("| verb | moments | kills | resumed or run again to the same bytes | seconds |")
    print("|---|---:|---:|---:|---:|", flush=True)
    with tempfile.TemporaryDirectory() as name, Killer(Path(name)) as killer:
        make_inputs(Path(name) / "inputs", killer)
        bench = Bench(Path(name), killer)
        for verb in verbs:
            begun, bad = time.monotonic(), []
            whole, moments = bench.whole(verb)
            chosen = sorted(draw.sample(range(len(moments)), -(-len(moments) // asked.every)))
            for moment in chosen:
                said = bench.killed(verb, moment, whole)
                if said is not None:
                    bad.append(f"  {verb.name}, killed before {moments[moment]}: {said}")
            kills, failures = kills + len(chosen), failures + len(bad)
            good, spent = len(chosen) - len(bad), time.monotonic() - begun
            print(f"| {verb.name} | {len(moments)} | {len(chosen)} | {good} | {spent:.0f} |")
            print(*bad, sep="\n", end="\n" if bad else "", flush=True)
    print(f"{kills} kills of {len(verbs)} verbs, {failures} failures")

    return int(failures > 0)


def parser() -> argparse.ArgumentParser:
    """The command line."""
    described = (__doc__ or "").splitlines()[0]
    whole = argparse.ArgumentParser(prog="experiments.benchmarks.robustness", description=described)
    parts = whole.add_subparsers(required=True)
    part = parts.add_parser("fuzz", help="damaged inputs of every kind, each read by a command")
    part.set_defaults(run=fuzz)
    part.add_argument("--inputs", type=int, default=2400)
    part.add_argument("--seed", type=int, default=0)
    part.add_argument("--kind", action="append", choices=sorted(KINDS), help="all by default")
    part.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    part.add_argument("-o", "--output", type=Path, required=True)
    part = parts.add_parser("kills", help="every verb that writes, killed at every moment")
    part.set_defaults(run=kills)
    part.add_argument("--verb", action="append", choices=[verb.name for verb in VERBS])
    part.add_argument("--every", type=int, default=1, help="one moment of so many, at random")
    part.add_argument("--seed", type=int, default=0)
    return whole


if __name__ == "__main__":
    asked = parser().parse_args()
    sys.exit(asked.run(asked))
