"""Odd input, cancelling, settings and styles, inside the real QGIS (see `inside.py`)."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.qgis.conftest import SAMPLE, Qgis


@pytest.fixture(scope="module")
def outcomes(qgis: Qgis, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("inside")
    script = Path(__file__).with_name("inside.py")
    arguments = [qgis.python, *map(str, (script, qgis.profile, SAMPLE, folder))]
    done = subprocess.run(
        arguments, env=qgis.environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads((folder / "outcomes.json").read_text())
    return found


@pytest.mark.parametrize(
    ("case", "error"),
    [
        ("memory", "drawn: is a temporary layer in memory; save it to a file first"),
        ("served", "tiles: comes from wms, and is no file; save it to a file first"),
        ("virtual", "a: lies in QGIS's memory; save it to a file first"),
        ("no_crs", "bare: has no CRS; write it into the file"),
        ("other_crs", "bouconne_2018-11: its file says EPSG:32631, the layer EPSG:32632;"),
        ("itself", "bouconne_2018-11: is both reference and target; choose two images"),
        ("gone", "gone.tif: no such file; check the path"),
        ("not_there", "Target: /nowhere.tif is no raster that QGIS opens"),
        ("vector_as_image", "Target: drawn is no raster that QGIS opens"),
        ("points_twice", "Own tie points: choose a layer or a file, not both"),
        ("points_none", "Own tie points: none are given that could be fitted alone"),
        ("points_few", "points.gpkg: has 2 usable points, 3 are needed; add some"),
        ("points_table", "Own tie points: a layer: rows is a table, and has no shapes"),
        ("quote", "Further options: No closing quotation; --seed '1"),
        ("no_result", "tie_points.gpkg: is no result of imatch match or register"),
        ("different_registered", "not registered: failed: "),
        ("cancelled", "cancelled; no file is left half written"),
        ("old", "is imatch 0.1.0, older than this plugin"),
        ("broken", "is no imatch that works (ImportError: no torch); Settings > Options"),
    ],
)
def test_what_cannot_be_done_is_one_line(case: str, error: str, outcomes: dict[str, Any]) -> None:
    told = outcomes[case]
    assert "traceback" not in told, told["traceback"]
    assert told["fine"] is False
    (line,) = told["error"]
    assert error in line
    assert "\n" not in line


def test_a_cancelled_run_leaves_neither_files_nor_processes(outcomes: dict[str, Any]) -> None:
    told = outcomes["cancelled"]
    assert told["ran"]
    assert told["left"] == []
    assert told["seconds"] < 60


def test_refused_images_are_an_answer_of_match_alone(outcomes: dict[str, Any]) -> None:
    told = outcomes["different"]
    assert told["fine"]
    assert told["error"] == []
    assert told["results"]["STATUS"] == "failed"
    (warning,) = told["warning"]
    assert warning.startswith("failed: ")
    assert outcomes["different_registered"]["written"] is False


@pytest.mark.parametrize(
    "case", ["mask", "no_crs_ignored", "overwritten", "offline", "points_drawn", "points_file"]
)
def test_what_can_be_done_is(case: str, outcomes: dict[str, Any]) -> None:
    told = outcomes[case]
    assert "traceback" not in told, told["traceback"]
    assert (told["fine"], told["error"], told["warning"]) == (True, [], [])
    assert told["results"]["STATUS"] == "ok"
    command = told["info"][1]
    assert ("--offline" in command) == (case == "offline")
    assert ("mask.gpkg" in command) == (case == "mask")
    assert ("--points" in command) == case.startswith("points")


def test_tie_points_that_were_edited_are_fitted_alone(outcomes: dict[str, Any]) -> None:
    told = outcomes["points_edited"]
    assert "traceback" not in told, told["traceback"]
    assert (told["fine"], told["before"], told["results"]["STATUS"]) == (True, True, "ok")
    assert told["used"] == told["kept"] > 100


def test_results_are_added_to_the_map_with_their_verdict(outcomes: dict[str, Any]) -> None:
    told = {case: outcomes[case] for case in ("applied", "stacked", "batched")}
    assert [one.get("traceback") for one in told.values()] == [None] * 3
    assert all(one["fine"] and not one["error"] for one in told.values())
    names = {case: sorted(map(_plain, one["loads"])) for case, one in told.items()}
    assert names["applied"] == [f"{x} registered: ok ± m" for x in ("lines", "points", "red")]
    assert sorted(told["applied"]["loads"].values()) == [0, 253, 253]
    assert names["stacked"] == ["bouconne_2018-08: ok ± m", "bouconne_2018-11: ok ± m"]
    # One of the two pairs is none.
    assert names["batched"] == ["bouconne_2018-08__bouconne_2018-11: ok ± m"]
    assert told["batched"]["results"]["REGISTERED"] == "1"
    (warning,) = told["batched"]["warning"]
    assert warning.startswith("bouconne_2018-08__one: ")


def _plain(name: str) -> str:
    """A name without its figure."""
    return re.sub(r" [\d.]+ m", " m", name)


def test_an_image_that_rpcs_locate_needs_no_crs(outcomes: dict[str, Any]) -> None:
    assert outcomes["rpcs"]["path"].endswith("rpcs.tif")


def test_progress_is_shown(outcomes: dict[str, Any]) -> None:
    told = outcomes["overwritten"]
    assert {"reading", "measuring tiles", "writing twice.tif"} <= set(told["stage"])
    assert len(told["stage"]) == len(set(told["stage"]))
    assert max(told["percents"]) == 100
    assert min(told["percents"]) >= 0


def test_the_toolbox_and_the_options_show_what_there_is(outcomes: dict[str, Any]) -> None:
    told = outcomes["described"]
    assert told["names"] == ["Apply", "Batch", "Match", "Register", "Same ground?", "Stack"]
    assert told["settings"] == ["IMATCH_EXECUTABLE", "IMATCH_OFFLINE"]
    assert told["icon"]
    assert all(len(text) > 100 for text in told["help"])


def test_tie_points_carry_their_style(outcomes: dict[str, Any]) -> None:
    told = outcomes["styled"]
    assert told["labels"][:2] == ["under 0.25 px", "0.25 to 0.5 px"]
    assert told["labels"][-1] == "does not agree, left out"
    # Each point is drawn once: by its residual, or as one that is left out.
    assert sum(told["counts"]) == told["points"] > 0
    assert sum(count > 0 for count in told["counts"]) >= 3
    assert set(told["generators"][:-1]) == {"GeometryGenerator"}
    assert len(set(told["colours"])) == len(told["colours"])
