from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from imatch.benchmark import worker
from imatch.benchmark.cases import read_cases
from imatch.benchmark.results import Result
from imatch.benchmark.runner import BenchPlan, run_benchmark
from imatch.core.errors import ConfigError, InputError, MatcherError, OutputError
from imatch.core.io.tables import read_rows
from imatch.pipeline.pair.config import MatchConfig

# What comes of the work is asked here, not how its processes begin.
pytestmark = pytest.mark.usefixtures("warm_workers")


def plan_of(table: Path, *matchers: str, detectors: bool = False) -> BenchPlan:
    configs = tuple(MatchConfig(matcher=name) for name in matchers)
    return BenchPlan(tuple(read_cases(table)), table.parent, configs, detectors=detectors)


def test_a_row_for_every_case_and_matcher(table: Path, tmp_path: Path) -> None:
    seen: list[str] = []
    run = run_benchmark(
        plan_of(table, "sift", "phase", detectors=True),
        tmp_path / "out",
        jobs=2,
        on_result=lambda row: seen.append(row.case),
    )
    cases = ["c0", "c1", "c2", "c3"]
    assert [(r.matcher, r.case) for r in run.results] == [
        (m, c) for m in ("sift", "phase") for c in cases
    ]
    assert sorted(seen) == sorted(cases * 2)
    assert [r.row() for r in read_rows(tmp_path / "out" / "results.csv", Result)] == [
        r.row() for r in run.results
    ]
    sift = {r.case: r for r in run.results if r.matcher == "sift"}
    assert [sift[c].status for c in cases[:3]] == ["ok"] * 3
    assert all(sift[c].corner_error_px < 0.5 for c in cases[:3])
    assert all(sift[c].seconds > 0 and sift[c].peak_mb > 20 for c in cases)
    # Two places: whatever is answered is not accepted, and a guess is kept apart.
    assert sift["c3"].status != "ok"
    assert np.isnan(sift["c3"].answer).all()
    # The stated interval belongs to the shift at the overlap's centre, whose truth is known.
    first = sift["c0"]
    assert (first.true_shift_x_px, first.true_shift_y_px) == pytest.approx((5.5, -3))
    assert first.inside_ci95_x == int(abs(first.shift_x_px - 5.5) <= first.ci95_x_px)
    # Keypoints of the sparse matcher only, on positive cases only.
    assert [(d.matcher, d.case) for d in run.detectors] == [("sift", c) for c in cases[:3]]


def test_an_unreadable_image_is_a_row_and_not_the_end(table: Path, tmp_path: Path) -> None:
    (table.parent / "1.png").write_bytes(b"not an image")
    run = run_benchmark(plan_of(table, "phase"), tmp_path / "out")
    by_case = {r.case: r for r in run.results}
    assert [by_case[c].status == "error" for c in ("c0", "c1", "c2", "c3")] == [
        False,
        True,
        False,
        True,
    ]
    assert "1.png" in by_case["c1"].error


def test_a_matcher_that_cannot_be_loaded_ends_the_run(table: Path, tmp_path: Path) -> None:
    with pytest.raises(MatcherError, match="unknown matcher"):
        run_benchmark(plan_of(table, "sifted"), tmp_path / "out")


def test_a_missing_image_is_found_before_anything_is_written(table: Path, tmp_path: Path) -> None:
    (table.parent / "2.png").unlink()
    with pytest.raises(InputError, match=r"2\.png: does not exist"):
        run_benchmark(plan_of(table, "sift"), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_bands_are_of_the_images_and_not_of_what_it_warms_up_with(tmp_path: Path) -> None:
    bands = ("B04", 7)
    assert worker.CaseRunner(
        worker.CaseTask(MatchConfig(matcher="phase", ref_bands=bands), tmp_path)
    )


def test_what_is_there_is_kept_unless_told(table: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    run_benchmark(plan_of(table, "phase"), out)
    before = (out / "results.csv").read_text()
    with pytest.raises(OutputError, match="already holds a benchmark; pass --resume"):
        run_benchmark(plan_of(table, "phase"), out)
    for other, cause in (
        (plan_of(table, "sift"), "it ran phase, not sift"),
        (plan_of(table, "phase", detectors=True), "it ran without --detectors"),
        (
            BenchPlan(
                tuple(read_cases(table)), table.parent, (MatchConfig(matcher="phase", seed=3),)
            ),
            "seed was 0 and is 3",
        ),
        (
            BenchPlan(tuple(read_cases(table)[:2]), table.parent, (MatchConfig(matcher="phase"),)),
            "it ran 4 cases, and these 2 are not the same",
        ),
    ):
        with pytest.raises(ConfigError, match=cause):
            run_benchmark(other, out, resume=True)
    picture = next(table.parent.glob("*.png"))
    good = picture.read_bytes()
    picture.write_bytes(good + b"more")
    with pytest.raises(ConfigError, match="its images, masks or weights hold something else"):
        run_benchmark(plan_of(table, "phase"), out, resume=True)
    picture.write_bytes(good)
    assert (out / "results.csv").read_text() == before
    # Nothing is left to do: the rows come from the table, to the second.
    again = run_benchmark(plan_of(table, "phase"), out, resume=True)
    assert (out / "results.csv").read_text() == before
    assert len(again.sessions) == 2
    replaced = run_benchmark(plan_of(table, "phase"), out, overwrite=True)
    assert len(replaced.sessions) == 1


def test_a_folder_of_other_things_is_refused(table: Path, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(OutputError, match="already exists and is not empty"):
        run_benchmark(plan_of(table, "phase"), tmp_path)
    (tmp_path / "run.json").write_text("{}")
    with pytest.raises(OutputError, match="is no record of a benchmark"):
        run_benchmark(plan_of(table, "phase"), tmp_path, resume=True)
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_a_killed_run_goes_on(table: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    command = [sys.executable, "-m", "imatch", "bench", str(table), "-m", "sift", "-o", str(out)]
    running = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    results = out / "results.csv"
    deadline = time.monotonic() + 60
    # The header and a row: it is killed while others wait.
    while not (results.exists() and results.read_bytes().count(b"\n") >= 2):
        assert running.poll() is None, running.stderr and running.stderr.read()
        assert time.monotonic() < deadline
        time.sleep(0.005)
    os.kill(running.pid, signal.SIGKILL)
    running.communicate()
    kept = results.read_bytes()
    # What a crash leaves of a line, for good measure.
    results.write_bytes(kept + b"c2,made,fr")
    assert not (out / "summary.json").exists()

    done = subprocess.run([*command, "--resume"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert [r.case for r in read_rows(results, Result)] == ["c0", "c1", "c2", "c3"]
    # The rows of the first session are as they were, times included.
    assert set(kept.splitlines()) <= set(results.read_bytes().splitlines())
    sessions = json.loads((out / "summary.json").read_text())["run"]["sittings"]
    assert len(sessions) == 2
    assert sessions[0]["command"].startswith("imatch bench ")
