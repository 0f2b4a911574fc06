"""The fuzz run: its damage, its judgement, and a few inputs of it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from random import Random

import pytest

from tests.support.fuzz import run as fuzz
from tests.support.fuzz.damage import damaged
from tests.support.fuzz.rasters import Sample, view, write

#: Kinds that share little code.
SHOWN = ("geotiff", "jpeg", "mask-geojson", "registration", "pairs", "index")


def test_twelve_damaged_inputs_are_read_or_refused_in_one_line(tmp_path: Path) -> None:
    kinds = [word for kind in SHOWN for word in ("--kind", kind)]
    command = [
        sys.executable,
        "-m",
        "experiments.benchmarks.robustness",
        "fuzz",
        "--inputs",
        "12",
        *kinds,
    ]
    done = subprocess.run(
        [*command, "--seed", "3", "-o", str(tmp_path / "out")], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    lines = (tmp_path / "out" / "inputs.jsonl").read_text().splitlines()
    outcomes = [json.loads(line) for line in lines]
    assert 12 <= len(outcomes) <= 14
    assert {outcome["kind"] for outcome in outcomes} == set(SHOWN)
    assert {outcome["code"] for outcome in outcomes} >= {0, 1}
    assert "| all | " in (tmp_path / "out" / "table.md").read_text()


def test_a_seed_damages_a_file_in_one_way(tmp_path: Path) -> None:
    whole = write(tmp_path / "whole.tif", view(target=True)).read_bytes()
    done = set()
    for name in ("a.tif", "b.tif"):
        (tmp_path / name).write_bytes(whole)
        said = damaged(tmp_path / name, Random("1"))  # noqa: S311 - reproducible.
        done.add((said, (tmp_path / name).read_bytes()))
    assert len(done) == 1
    assert whole not in {content for _, content in done}


@pytest.mark.parametrize(
    ("code", "said", "fault"),
    [
        (0, "", None),
        (3, "", None),
        (1, "imatch: error: image.tif: the file is empty; get it again\n", None),
        (1, "imatch: error: it is empty\n", "no file named"),
        (1, "", "0 lines of error"),
        (1, "imatch: error: image.tif: a\nimatch: error: image.tif: b\n", "2 lines of error"),
        (1, "imatch: error: image.tif: KeyError; this is a bug\n", "called a bug"),
        (0, "ERROR 1: something of GDAL's\n", "chatter"),
        (1, "Traceback (most recent call last):\nimatch: error: image.tif: b\n", "traceback"),
        (70, "", "exit code 70"),
        (-6, "", "signal 6"),
        (None, "", "hang"),
    ],
)
def test_what_is_held_against_a_command(
    tmp_path: Path, code: int | None, said: str, fault: str | None
) -> None:
    running = _running(tmp_path)
    running.outcome.code = code
    (tmp_path / "stderr").write_text(said)
    (tmp_path / "stdout").write_text("")
    faults = fuzz.judge(running)
    assert faults == [] if fault is None else fault in faults


def test_files_outside_and_hidden_ones_are_held_against_a_command(tmp_path: Path) -> None:
    running = _running(tmp_path)
    running.outcome.code = 0
    for name in ("stdout", "stderr"):
        (tmp_path / name).write_text("")
    (tmp_path / "in" / "new.txt").write_text("")
    (tmp_path / "out" / ".r.tif.x1").mkdir()
    assert fuzz.judge(running) == ["left: ['.r.tif.x1']", "outside: ['in/new.txt']"]


def _running(folder: Path) -> fuzz._Running:
    for name in ("in", "out"):
        (folder / name).mkdir()
    (folder / "in" / "image.tif").write_bytes(b"whole")
    outcome = fuzz.Outcome(0, "geotiff", "image.tif", "none", ("match", "ref.tif", "image.tif"))
    sample = Sample(("image.tif",), (outcome.command,))
    return fuzz._Running(outcome, folder, sample, fuzz._snapshot(folder), set(), 0.0)
