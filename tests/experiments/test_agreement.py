"""Answers to a pair that was presented twice are held against one another."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from experiments.benchmarks import trust
from imatch.benchmark.cases import Case, write_cases
from imatch.benchmark.results import Result
from imatch.core.io.tables import write_rows
from tests.support.bench_cases import similarity


def _shifted(matrix: NDArray[np.float64], x: float) -> NDArray[np.float64]:
    """A transform whose target lies further to the right."""
    return np.array([[1, 0, x], [0, 1, 0], [0, 0, 1.0]]) @ matrix


def _answer(case: Case, matrix: NDArray[np.float64], error: float) -> Result:
    row = tuple(float(value) for value in matrix.ravel())
    return Result(
        case.name, case.source, case.variant, "", "auto", "ok", answer=row, corner_error_px=error
    )


def test_answers_are_put_back_through_their_warps(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    truth = similarity(0.5, 1.0, 1, 2)
    warps = similarity(1, 1.02, 5, -3), similarity(25, 0.9, -8, 2)
    cases = [
        Case(name, "sar", name, "", "a.png", "b.png", warp, warp @ truth)
        for name, warp in zip(("near", "free"), warps, strict=True)
    ]
    lone = Case("lone", "sar", "near", "", "c.png", "d.png", np.eye(3), np.eye(3))
    other = Case("other", "sar", "unrelated", "", "a.png", "b.png", np.eye(3), None)
    write_cases(tmp_path / "cases.csv", [*cases, lone, other])
    # Both answers put the target 6 px to the right of the truth, one of them by 1 px more.
    rows = [
        _answer(case, case.warp @ _shifted(truth, x), x)
        for case, x in zip(cases, (6.0, 7.0), strict=True)
    ]
    rows += [_answer(lone, np.eye(3), 0.0), _answer(other, np.eye(3), float("nan"))]
    write_rows(tmp_path / "results.csv", Result, rows)
    trust.main(["agreement", str(tmp_path / "results.csv"), str(tmp_path / "cases.csv")])
    last = capsys.readouterr().out.splitlines()[-1]
    assert last == "| `sar` | 1 | 1.0 / 1.0 | 6.0 / 6.9 |"
