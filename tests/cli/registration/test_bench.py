from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from click.testing import Result
from numpy.typing import NDArray

from imatch.benchmark.cases import Case, write_cases

# What comes of the work is asked here, not how its processes begin.
pytestmark = pytest.mark.usefixtures("warm_workers")

Run = Callable[..., Result]


@pytest.fixture
def table(tmp_path: Path, ground: NDArray[np.uint16]) -> Path:
    """One place shifted by (6, -4), twice, and one pair of two places."""
    folder = tmp_path / "bench"
    folder.mkdir()
    picture = (255 * (ground / ground.max())).astype(np.uint8)
    cv2.imwrite(str(folder / "a.png"), picture[:256, :256])
    elsewhere = np.random.default_rng(1).integers(0, 255, (64, 64)).astype(np.uint8)
    cv2.imwrite(str(folder / "b.png"), elsewhere.repeat(4, 0).repeat(4, 1))
    shift = np.array([[1.0, 0, 6], [0, 1, -4], [0, 0, 1]])
    write_cases(
        folder / "cases.csv",
        [
            Case("near", "made", "near", "clear/clear", "a.png", "a.png", shift, shift),
            Case("free", "made", "free", "snow/clear", "a.png", "a.png", shift, shift),
            Case("two", "made", "unrelated", "", "a.png", "b.png", np.eye(3), None),
        ],
    )
    return folder / "cases.csv"


def test_a_benchmark_end_to_end(run: Run, table: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    result = run("bench", table, "-m", "sift", "-o", out, "--detectors", "--seed", 3)
    assert result.exit_code == 0, result.stderr
    assert sorted(path.name for path in out.iterdir()) == [
        "detectors.csv",
        "report.html",
        "results.csv",
        "run.json",
        "summary.json",
        "summary.md",
    ]
    assert "sift" in result.stdout
    assert "all positives" in result.stdout
    assert result.stderr == f"wrote {out / 'report.html'}\n"
    summary = json.loads((out / "summary.json").read_text())
    sift = summary["matchers"]["sift"]
    assert sift["overall"]["within"]["1"] == 1.0
    assert sift["false_accepts"]["count"] == 0
    assert sift["status"]["ok"] == 2
    assert sift["detectors"]["overall"]["mma_3"] > 0.5
    assert summary["run"]["settings"][0]["seed"] == 3
    refused = run("bench", table, "-m", "sift", "-o", out)
    assert refused.exit_code == 1
    assert refused.stderr.startswith(f"imatch: error: {out}: already holds a benchmark; pass")


def test_bands_and_nodata_are_those_of_the_files(run: Run, table: Path, tmp_path: Path) -> None:
    settings = [f"{side}_{text}" for side in ("ref", "tgt") for text in ("bands=[1]", "nodata=0")]
    given = [part for text in settings for part in ("-s", text)]
    result = run("bench", table, "-m", "sift", "-o", tmp_path / "out", *given)
    assert result.exit_code == 0, result.stderr
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert summary["matchers"]["sift"]["status"]["ok"] == 2


def test_a_selection_is_told_and_json_is_the_summary(run: Run, table: Path, tmp_path: Path) -> None:
    result = run(
        *("bench", table, "-m", "phase", "-o", tmp_path / "out", "--format", "json", "-q"),
        *("--filter", "variant=near", "--filter", "variant=free", "--limit", 1, "-s", "size=128"),
    )
    assert result.exit_code == 0, result.stderr
    document = json.loads(result.stdout)
    assert document == json.loads((tmp_path / "out" / "summary.json").read_text())
    assert document["run"]["filters"] == {"variant": ["near", "free"]}
    assert document["run"]["limit"] == 1
    assert document["run"]["cases"]["count"] == 1
    assert (document["run"]["fit_size"], document["run"]["size_rule"]) == (False, "the setting")
    assert result.stderr == ""


def test_cases_that_could_not_be_run_are_told(run: Run, table: Path, tmp_path: Path) -> None:
    (table.parent / "b.png").write_bytes(b"x")
    result = run("bench", table, "-m", "phase", "-o", tmp_path / "out")
    assert result.exit_code == 0
    assert result.stderr.startswith("1 of 3 could not be run; the column error")


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["-m", "sfit"], 2, "did you mean 'sift'?"),
        ([], 2, "missing option '-m'"),
        (["-m", "sift", "--resume", "--overwrite"], 2, "contradict each other"),
        (["-m", "sift", "--filter", "near"], 2, "near: is not a filter"),
        (["-m", "sift", "--filter", "source=x"], 2, "no case passes the filters"),
        (["-m", "sift", "-s", "speed=1"], 2, "speed: is no setting"),
        (["-m", "sift", "--root", "/nowhere"], 1, "/nowhere/a.png: does not exist"),
        (["-m", "sift", "--jobs", "0"], 2, "--jobs"),
    ],
)
def test_a_mistake_is_one_line(
    run: Run, table: Path, tmp_path: Path, arguments: list[Any], code: int, message: str
) -> None:
    result = run("bench", table, "-o", tmp_path / "out", *arguments)
    assert result.exit_code == code
    assert message in result.stderr
    assert result.stderr.count("\n") == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [("", "is empty"), ("case,ref\na,b\n", "has no column 'source'"), ("\x00\x01", "")],
)
def test_a_bad_table_is_one_line(run: Run, tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "cases.csv"
    path.write_text(content)
    result = run("bench", path, "-m", "sift", "-o", tmp_path / "out")
    assert result.exit_code == 1
    assert result.stderr.startswith(f"imatch: error: {path}: {message}")
    assert result.stderr.count("\n") == 1
