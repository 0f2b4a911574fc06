"""How far two answers to one pair, presented turned in two ways, agree, whatever the truth says."""

from __future__ import annotations

from collections import defaultdict
from itertools import combinations
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from imatch.benchmark.cases import UNRELATED, Case, read_cases
from imatch.benchmark.metrics import corners
from imatch.benchmark.results import Result
from imatch.core.io.tables import read_rows
from imatch.geometry.transform import apply_matrix


def agreement(results: Path, table: Path, side: int = 256) -> str:
    """Counts answers by source and tells how far they lie from one another and from the truth.

    A frozen pair is presented several times, its target warped differently. Each answer is put back
    through its warp: right ones put the reference at one place of the target.

    Args:
        results: ``results.csv`` of a benchmark.
        table: Its cases.
        side: Pixels of the square whose corners are compared.

    Returns:
        A Markdown table: medians and 95 % quantiles of mean distances of corners, pixels.
    """
    cases = {case.name: case for case in read_cases(table)}
    found = defaultdict[tuple[str, str, str], list[Result]](list)
    for result in read_rows(results, Result):
        case = cases[result.case]
        if result.status == "ok" and case.variant != UNRELATED:
            found[case.source, case.ref, case.tgt].append(result)
    apart, off = defaultdict[str, list[float]](list), defaultdict[str, list[float]](list)
    for (source, _, _), answers in found.items():
        places = [put_back(cases[one.case], one.answer, side) for one in answers]
        for one, other in combinations(places, 2):
            apart[source].append(float(np.hypot(*(one - other).T).mean()))
        off[source] += [one.corner_error_px for one in answers]
    lines = [
        "| source | pairs answered twice | answers apart, median / 95 % (px) "
        "| answers from the truth, median / 95 % (px) |",
        "|---|---:|---:|---:|",
    ]
    for source, gaps in apart.items():
        own, true = (np.quantile(values, (0.5, 0.95)) for values in (gaps, off[source]))
        lines.append(
            f"| `{source}` | {len(gaps)} | {own[0]:.1f} / {own[1]:.1f} "
            f"| {true[0]:.1f} / {true[1]:.1f} |"
        )
    return "\n".join(lines) + "\n"


def put_back(case: Case, answer: tuple[float, ...], side: int) -> NDArray[np.float64]:
    """(4, 2) where an answer puts the corners of a square in the target before it was warped."""
    matrix = np.linalg.inv(case.warp) @ np.array(answer).reshape(3, 3)
    return apply_matrix(matrix, corners((side, side)))
