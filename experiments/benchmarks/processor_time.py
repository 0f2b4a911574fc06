r"""Processor seconds and memory of single pairs, one thread: what a busy machine does not blur.

    python -m experiments.benchmarks.processor_time ../shared/data/bench_cases.csv \
        --source ombria --every 40 -m superpoint-s2 -m aliked-lightglue

Each matcher runs in a process of its own, so that its peak of memory is its own; its first pair,
for which the network is built, is not counted.
"""

from __future__ import annotations

import argparse
import resource
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

from imatch.bench.cases import Case, read_cases
from imatch.bench.prepare_case import prepare_case
from imatch.bench.worker import unreduced
from imatch.pipeline.pair.config import MatchConfig
from imatch.pipeline.pair.load import load_solver
from imatch.pipeline.pair.match import match


def measure(name: str, cases: Sequence[Case], root: Path) -> tuple[list[float], float]:
    """Processor seconds of each case, and the process's peak in GB."""
    import torch

    torch.set_num_threads(1)
    config = MatchConfig(matcher=name, fetch=True)
    solver, taken = load_solver(config), []
    for case in (cases[0], *cases):
        views = prepare_case(case, root, config)
        ref, tgt = (view.source() for view in views)
        begun = time.process_time()
        match(ref, tgt, unreduced(config, views), loaded=solver)
        taken.append(time.process_time() - begun)
    return taken[1:], resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6


def main() -> None:
    """Measure and print a line a matcher."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition(":")[0])
    parser.add_argument("cases", type=Path)
    parser.add_argument("--source", required=True)
    parser.add_argument("--every", type=int, default=40, help="take every Nth positive case")
    parser.add_argument("-m", "--matcher", action="append", required=True)
    asked = parser.parse_args()
    cases = [case for case in read_cases(asked.cases) if case.source == asked.source]
    chosen = [case for case in cases if case.positive][:: asked.every]
    for name in asked.matcher:
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
            taken, peak = pool.submit(measure, name, chosen, asked.cases.parent).result()
        mean = sum(taken) / len(taken)
        print(f"{name:24} {mean:.2f} s a pair of {len(taken)}, peak {peak:.2f} GB", flush=True)


if __name__ == "__main__":
    main()
