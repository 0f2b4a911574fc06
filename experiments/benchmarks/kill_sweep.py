r"""Every verb that writes, killed at every moment at which it changes the disk.

    python -m experiments.benchmarks.kill_sweep
    python -m experiments.benchmarks.kill_sweep --every 7 --seed 3 --verb match --verb batch

A run is killed with all its processes just before a change of the disk (`tests.support.kills`), and
run again. Three things must hold: what is seen of the killed run under its own name is whole, the
next run ends well, and then every file and folder, hidden ones included, is what an uninterrupted
run leaves, byte for byte. Times stand still and what a run tells of itself is left out
(`tests.support.verbs.settled`). Linux only.
"""

from __future__ import annotations

import argparse
import random
import tempfile
import time
from pathlib import Path

from tests.support.kills import Killer
from tests.support.verb_inputs import make_inputs
from tests.support.verbs import VERBS, Bench


def main() -> None:
    """Kill, compare, and print a line a verb and a line a failure."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition(".")[0])
    parser.add_argument("--verb", action="append", choices=[verb.name for verb in VERBS])
    parser.add_argument("--every", type=int, default=1, help="one moment of so many, at random")
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
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


if __name__ == "__main__":
    main()
