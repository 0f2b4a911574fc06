"""Make a benchmark of pure shifts from the pairs of another benchmark.

Every `near` pair of a source is presented once more, without rotation and scale: the target moved
by a random shift of at most some pixels, on top of what the two dates differ by anyway.

    python -m experiments.benchmarks.shift_cases ../shared/data/bench_cases.csv shifts.csv
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from imatch.bench.cases import Case, read_cases, write_cases


def shifted(cases: Sequence[Case], source: str, reach: float, seed: int) -> list[Case]:
    """Pure shifts of the near pairs of a source.

    Args:
        cases: Cases whose warp and truth are similarities.
        source: The data set to take pairs from.
        reach: Largest shift in x and in y, pixels.
        seed: Of the shifts.

    Returns:
        Cases of the variant ``shift``, with paths as they were.
    """
    rng = np.random.default_rng(seed)
    made = []
    for case in cases:
        if case.source != source or case.variant != "near" or case.truth is None:
            continue
        move = translation(*rng.uniform(-reach, reach, 2))
        # What is left of the truth without its warp: how the two dates lie on each other.
        residual = np.linalg.inv(case.warp) @ case.truth
        name = f"shift-{case.name}"
        made.append(
            Case(name, source, "shift", case.tag, case.ref, case.tgt, move, move @ residual)
        )
    return made


def translation(dx: float, dy: float) -> NDArray[np.float64]:
    """(3, 3) shift by (dx, dy) pixels."""
    return np.array([[1.0, 0, dx], [0, 1, dy], [0, 0, 1]])


def main() -> None:
    """Read a table, write a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("cases", type=Path, help="table of cases with warped near pairs")
    parser.add_argument("out", type=Path, help="table to write")
    parser.add_argument("--source", default="ombria")
    parser.add_argument("--reach", type=float, default=8.0, metavar="PX")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    made = shifted(read_cases(options.cases), options.source, options.reach, options.seed)
    write_cases(options.out, made)
    print(f"wrote {len(made)} cases to {options.out}")


if __name__ == "__main__":
    main()
