"""The scripts that compare with AROSICS, as far as they go without it."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import rasterio

from experiments.benchmarks.arosics import compare, shifts_table
from imatch.benchmark.cases import Case, read_cases
from imatch.benchmark.metrics import corner_error
from imatch.benchmark.prepare_case import PreparedCase
from imatch.benchmark.results import Result
from imatch.core.errors import ImatchError
from tests.support.arosics.shifts import as_result, run_shifts, shifted, write_band

Make = Callable[..., Result]


def near(name: str, residual: tuple[float, float]) -> Case:
    warp = np.array([[1.01, -0.02, 5.0], [0.02, 1.01, -3], [0, 0, 1]])
    moved = np.array([[1.0, 0, residual[0]], [0, 1, residual[1]], [0, 0, 1]])
    return Case(name, "ombria", "near", "256", "r", "t", warp, warp @ moved)


def test_a_shift_keeps_what_the_dates_differ_by() -> None:
    cases = [near(f"{i}", (0.4, -0.7)) for i in range(50)]
    residual = np.array([[1, 0, 0.4], [0, 1, -0.7], [0, 0, 1]])
    made = shifted(cases, "ombria", 8.0, 0)
    moves = np.array([case.warp[:2, 2] for case in made])
    assert np.abs(moves).max() <= 8
    assert np.abs(moves).mean() == pytest.approx(4, abs=0.5)
    for case in made:
        assert np.allclose(case.warp[:2, :2], np.eye(2))
        assert case.truth is not None
        beyond = np.linalg.inv(case.warp) @ case.truth
        np.testing.assert_allclose(beyond, residual, atol=1e-9)
    again = shifted(cases, "ombria", 8.0, 0)
    assert [case.row() for case in again] == [case.row() for case in made]


def test_other_cases_make_no_shifts(table: Path) -> None:
    assert shifted(read_cases(table), "ombria", 8.0, 0) == []


def test_files_for_arosics_mark_missing_ground_and_nothing_else(tmp_path: Path) -> None:
    pixels = np.zeros((3, 8, 9), dtype=np.uint8)
    pixels[0], pixels[1] = 200, 100
    valid = np.ones((8, 9), dtype=bool)
    valid[0] = False
    for shown, value in (("band 1", 20_001), ("luminance", 11_851)):
        write_band(PreparedCase(pixels, valid), tmp_path / "x.tif", shown)
        with rasterio.open(tmp_path / "x.tif") as file:
            assert file.nodata == 0
            assert file.crs.to_epsg() == 32631
            band = file.read(1)
        assert (band[0] == 0).all()
        assert (band[1:] == value).all()
    # Black water is ground.
    write_band(PreparedCase(pixels[2:], valid), tmp_path / "x.tif", "luminance")
    with rasterio.open(tmp_path / "x.tif") as file:
        assert (file.read(1)[1:] == 1).all()


def test_an_answer_becomes_a_row() -> None:
    case = shifted([near("a", (0.4, -0.7))], "ombria", 8.0, 0)[0]
    assert case.truth is not None
    x, y = case.truth[0, 2] + 0.3, case.truth[1, 2] + 0.4
    answer = {"ok": True, "x": x, "y": y, "seconds": 0.1, "error": ""}
    row = as_result(case, answer, (256, 256), "arosics")
    assert row.score_px == pytest.approx(0.5)
    assert row.matrix is not None
    assert corner_error(row.matrix, case.truth, (256, 256)) == row.corner_error_px
    refused = {"ok": False, "x": None, "y": None, "seconds": 0.1, "error": "two\nlines"}
    row = as_result(case, refused, (256, 256), "arosics")
    assert (row.status, row.score_px, row.reason) == ("failed", float("inf"), "two lines")


def test_the_comparison_by_hand(result: Make) -> None:
    rows = [
        result("a", "m", 0.4, seconds=1.0),
        result("b", "m", 0.8, seconds=3.0),
        result("c", "m", 7.0, seconds=2.0),
        result("d", "m", seconds=9.0),
        result("a", "peer", 0.4),
    ]
    first, second = compare(rows)
    assert first == {
        "name": "m",
        "cases": 4,
        "within_0.5_px": 0.25,
        "within_1_px": 0.5,
        "within_3_px": 0.5,
        "median_error_px": 0.8,
        "refused": 1,
        "wrong": 1,
        "median_seconds": 2.5,
    }
    assert second["within_0.5_px"] == 1.0
    table = shifts_table([first, second])
    assert "| m | 25 | 50 | 50 | 0.80 | 1 | 1 | 2.50 |" in table.to_markdown()


def test_an_interpreter_without_arosics_is_told_in_a_line(table: Path) -> None:
    with pytest.raises(ImatchError, match="arosics: ModuleNotFoundError"):
        run_shifts(read_cases(table)[:1], table.parent, Path(sys.executable), "luminance")
