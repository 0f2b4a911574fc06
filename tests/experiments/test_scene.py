"""The benchmarks of whole scenes, as far as they go without scenes and without AROSICS."""

from __future__ import annotations

import csv
import json
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import rasterio
from numpy.typing import NDArray
from scipy.ndimage import map_coordinates

from experiments.benchmarks.arosics import limits_table
from experiments.benchmarks.scene import (
    Row,
    _earlier,
    as_table,
    cases,
    distances,
    verdicts,
    write_markdown,
    write_rows,
)
from experiments.benchmarks.scene_real import Row as Real
from experiments.benchmarks.scene_real import as_table as real_table
from experiments.benchmarks.scene_real import warped
from imatch.raster import array_source
from tests.support.arosics import scenes as peers
from tests.support.arosics.scenes import PEERS, Exact, run_scene
from tests.support.arosics.scenes import Row as Peer
from tests.support.process_tree import Watched, watch
from tests.support.scenes.limits import LIMITS, Limit, make_limit
from tests.support.scenes.pair import CRS, PLACE, Scene
from tests.support.scenes.truth import Truth, lattice

ROW = Row("100 global tif", 100, 0.0, "tif", "ok", 60.0, 99.0, 1.5, 3, rmse_px=0.1, max_px=0.3)


def test_distances_are_those_to_the_truth_where_the_target_shows_it() -> None:
    truth = Truth.make(200, (150.0, 0.0, 0.0, 1.0), 0.0, seed=0)
    off = distances(lambda xy: np.add(truth.apply(xy), [0.3, -0.4]), truth.apply, 200, 21)
    np.testing.assert_allclose(off, 0.5)
    # 21 columns of which those that are moved beyond the right border do not count.
    assert len(off) == 21 * 5


def test_targets_are_met_or_missed() -> None:
    bent = replace(ROW, case="100 local tif", local_px=3.0, rmse_px=0.31, seconds=121.0)
    larger = replace(ROW, case="200 global tif", size=200, seconds=301.0, peak_gb=2.1)
    told = verdicts([ROW, bent, larger])
    assert "100 global tif: RMSE 0.100 px, at most 0.2 px: met" in told
    assert "100 global tif: 60 s, at most 120: met" in told
    assert "100 local tif: RMSE 0.310 px, at most 0.3 px: missed" in told
    assert "100 local tif: 121 s, at most 120: missed" in told
    assert "200 global tif: 2.10 GB, at most 2: missed" in told
    assert "200 global tif: 5.0 times as long as 100 global tif, at most 5: missed" in told
    # Only the smaller scene has a limit of its own in seconds.
    assert not any(line.startswith("200") and line.endswith("120: missed") for line in told)


def test_the_larger_scenes_have_four_times_the_area() -> None:
    some = cases(10980)
    assert {case.scene.size for case in some} == {10980, 21960}
    assert {case.scene.local_px for case in some} == {0.0, 3.0}
    assert {case.kind for case in some} == {"tif", "jp2"}
    jp2 = next(case for case in some if case.kind == "jp2")
    assert jp2.folder == next(case.folder for case in some if case.name == "10980 local tif")


def test_rows_are_written_for_programs_and_people(tmp_path: Path) -> None:
    failed = replace(ROW, case="x", status="error", rmse_px=None, max_px=None, message="why")
    write_rows(tmp_path, "scene", [ROW, failed], {"commit": "c"})
    with (tmp_path / "scene.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["rmse_px"] for row in rows] == ["0.1", ""]
    data = json.loads((tmp_path / "scene.json").read_text())
    assert (data["commit"], data["rows"][1]["message"]) == ("c", "why")
    text = write_markdown(tmp_path, "scene", [as_table([ROW, failed])], ["a: met"])
    assert text == (tmp_path / "scene.md").read_text()
    assert "| x | error | 60 | 99 | 0.0 | 1.50 | – |" in text
    assert text.endswith("- a: met\n")
    # Single cases may be run again, beside what others gave.
    assert _earlier(tmp_path / "scene.json") == [ROW, failed]
    assert _earlier(tmp_path / "absent.json") == []


def test_memory_and_time_of_a_process_and_its_children_are_watched() -> None:
    child = "b = bytearray(60_000_000); import time; time.sleep(0.6)"
    parent = (
        "import subprocess, sys; b = bytearray(60_000_000);"
        f"subprocess.run([sys.executable, '-c', {child!r}]); sys.stderr.write(sys.stdin.read());"
        "sys.exit(3)"
    )
    seen = watch([sys.executable, "-c", parent], stdin="told")
    assert (seen.code, seen.stderr, seen.processes) == (3, "told", 2)
    assert 0.12 < seen.peak_gb < 0.5
    assert 0.6 < seen.seconds < 30
    assert 0.02 < seen.cpu_seconds < 10


def test_a_command_that_takes_too_long_is_ended_with_its_children(tmp_path: Path) -> None:
    mark = tmp_path / "alive"
    child = f"import time, pathlib; time.sleep(2); pathlib.Path({str(mark)!r}).touch()"
    parent = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}])"
    seen = watch([sys.executable, "-c", parent], timeout=0.7)
    assert seen.code is None
    assert seen.seconds < 2
    time.sleep(2.0)
    assert not mark.exists()


def blob(size: int, xy: NDArray[np.float64]) -> NDArray[np.uint16]:
    """Bright spots whose middles can be measured to a fraction of a pixel."""
    rows, columns = np.indices((size, size))
    total = np.full((size, size), 100.0)
    for x, y in xy:
        total += 5000 * np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / (2 * 3.0**2))
    return np.round(total).astype(np.uint16)


@pytest.mark.parametrize("limit", LIMITS, ids=lambda limit: limit.name)
def test_odd_pairs_lie_where_they_are_said_to(limit: Limit, tmp_path: Path) -> None:
    size = 160
    spots = np.array([[50.3, 60.8], [100.6, 70.1], [80.0, 110.4]])
    paths = tmp_path / "ref.tif", tmp_path / "tgt.tif"
    for path in paths:
        with rasterio.open(
            path, "w", driver="GTiff", width=size, height=size, count=1, dtype="uint16",
            nodata=0, crs=CRS, transform=PLACE,
        ) as out:  # fmt: skip
            out.write(blob(size, spots), 1)
    ref, tgt = make_limit(limit, paths)
    with rasterio.open(tgt) as dataset:
        shown = dataset.read(1).astype(float)
        assert (dataset.crs is None) == (limit.oddity == "bare")
    with rasterio.open(ref) as dataset:
        assert (dataset.crs is None) == (limit.oddity == "bare")
    if limit.oddity == "negative":
        shown = shown.max() - shown
    for x, y in limit.presented(spots, size):
        left, top = int(x) - 8, int(y) - 8
        part = shown[top : top + 17, left : left + 17]
        weight = np.maximum(part - np.median(shown), 0)
        rows, columns = np.indices(part.shape)
        found = [
            (weight * grid).sum() / weight.sum() + start
            for grid, start in ((columns, left), (rows, top))
        ]
        np.testing.assert_allclose(found, [x, y], atol=0.12)


def test_a_real_target_is_warped_by_the_exact_field() -> None:
    spots = np.array([[50.3, 60.8], [100.6, 70.1]])
    image = blob(160, spots)
    truth = Truth.make(160, (5.3, -3.8, 1.5, 1.01), 2.0, seed=1, lengths=(110, 250))
    shown = warped(array_source(image), truth).read()
    for (x, y), spot in zip(truth.apply(spots), spots, strict=True):
        peak = map_coordinates(shown.pixels[0].astype(float), [[y], [x]], order=3)[0]
        own = map_coordinates(image.astype(float), [[spot[1]], [spot[0]]], order=3)[0]
        assert peak == pytest.approx(own, rel=0.005)
    back = truth.inverse(lattice(160, 160))
    outside = ((back < -0.5) | (back > 159.5)).any(axis=1).reshape(160, 160)
    np.testing.assert_array_equal(~shown.valid, outside)


def test_figures_of_real_pairs_are_those_of_certified_answers() -> None:
    row = Real("ombria", "a", 0.0, "ok", True, 0.2, "none", 0.5, 0.1, 0.2, 3.0, "")
    rows = [row, replace(row, warp_error_px=0.4), replace(row, passes=False, warp_error_px=9.0)]
    line = [cell.text for cell in real_table(rows).rows[0]]
    assert line[:6] == ["ombria", "0", "3", "3", "2", "1 of 2"]
    assert line[6:9] == ["0.25", "0.37", "0.50"]


def test_a_peer_is_held_against_the_exact_places(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    exact = Exact.of(None, Scene(300, warp=(3.0, -2.0, 0.0, 1.0)))
    np.testing.assert_allclose(
        exact.tgt_xy - exact.ref_xy, np.tile([3.0, -2.0], (len(exact.ref_xy), 1))
    )
    np.testing.assert_allclose(exact.map_xy[0], PLACE @ (exact.ref_xy[0] + 0.5))

    def answered(command: list[Path], *, timeout: float, stdin: str) -> Watched:
        request = json.loads(stdin)
        assert request["mode"] == "local"
        xy = (np.array(request["map_xy"]) - [PLACE.c, PLACE.f]) / [10, -10] - 0.5
        found = {
            "ok": True,
            "tgt_xy": np.add(xy, [3.0, -1.5]).tolist(),
            "tie_points": 7,
            "seconds": 1.0,
        }
        command[2].write_text(json.dumps(found))
        assert timeout > 0
        return Watched(0, 12.34, 20.0, 0.5, 2, "")

    monkeypatch.setattr(peers, "watch", answered)
    pair = tmp_path / "ref.tif", tmp_path / "tgt.tif"
    row = run_scene(Path("python"), PEERS[1], "case", pair, exact, 2)
    assert (row.status, row.rmse_px, row.tie_points, row.seconds) == ("ok", 0.5, 7, 12.3)

    def died(*_: object, **__: object) -> Watched:
        return Watched(1, 1.0, 1.0, 0.1, 1, "Traceback\nRuntimeError: no")

    monkeypatch.setattr(peers, "watch", died)
    row = run_scene(Path("python"), PEERS[0], "case", pair, exact, 2)
    assert (row.status, row.rmse_px) == ("error", None)
    assert row.message.endswith("RuntimeError: no")


def test_wrong_answers_are_called_wrong() -> None:
    right = Peer("scale", PEERS[2], "ok", 0.1, 0.2, 900, 10.0, 15.0, 0.5)
    wrong = replace(right, peer=PEERS[0], rmse_px=31.4)
    none = replace(right, peer=PEERS[1], status="error", rmse_px=None, message="too large")
    assert [row.verdict for row in (right, wrong, none)] == ["right", "wrong", "no answer"]
    line = [cell.text for cell in limits_table([wrong, none, right]).rows[0]]
    assert line == [
        "scale",
        "wrong, RMSE 31 px",
        "error: too large",
        "right, RMSE 0.100 px",
    ]
