"""Every algorithm by the real ``qgis_process``, on the sample."""

from __future__ import annotations

import json
import subprocess
import time
from pathlib import Path
from typing import Any

import psutil
import pytest
import rasterio

from tests.qgis.conftest import REFERENCE, TARGET, Qgis

PAIR = (f"REFERENCE={REFERENCE}", f"TARGET={TARGET}")


def results(qgis: Qgis, verb: str, *parameters: str) -> dict[str, Any]:
    """What an algorithm gives."""
    done = qgis.run("--json", "run", f"imatch:{verb}", "--", *parameters)
    assert done.returncode == 0, done.stdout + done.stderr
    document = json.loads(done.stdout[done.stdout.index("{") :])
    assert "error" not in document["log"]
    found: dict[str, Any] = document["results"]
    return found


def test_the_plugin_is_switched_on(qgis: Qgis) -> None:
    assert "* imatch_qgis" in qgis.run("plugins").stdout


@pytest.fixture(scope="module")
def registered(qgis: Qgis, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("registered")
    names = {
        "OUTPUT": "out.tif",
        "TIE_POINTS": "points.gpkg",
        "RESULT": "result.json",
        "REPORT": "report.html",
    }
    outputs = [f"{name}={folder / file}" for name, file in names.items()]
    return results(qgis, "register", *PAIR, *outputs, "REF_BANDS=4", "TGT_BANDS=4", "LOCAL=none")


def test_register_writes_the_target_on_the_reference(registered: dict[str, Any]) -> None:
    assert registered["STATUS"] == "ok"
    assert 0 < registered["BOUND_M"] < 30
    with rasterio.open(registered["OUTPUT"]) as made, rasterio.open(REFERENCE) as reference:
        assert (made.transform, made.shape) == (reference.transform, reference.shape)
        assert made.count == reference.count
    document = json.loads(Path(registered["RESULT"]).read_text())
    assert document["provenance"]["config"]["ref_bands"] == [4]
    assert document["local"] is None
    assert "<html" in Path(registered["REPORT"]).read_text()


def test_apply_corrects_rasters_and_vectors(
    qgis: Qgis, registered: dict[str, Any], tmp_path: Path
) -> None:
    files = [f"FILES={TARGET}", f"FILES={registered['TIE_POINTS']}"]
    result = f"RESULT={registered['RESULT']}"
    found = results(qgis, "apply", result, *files, f"FOLDER={tmp_path / 'out'}")
    names = [Path(path).name for path in found["OUTPUTS"]]
    assert names == [TARGET.name, "points.gpkg"]
    assert all(Path(path).exists() for path in found["OUTPUTS"])


def test_match_gives_tie_points(qgis: Qgis, tmp_path: Path) -> None:
    outputs = [f"TIE_POINTS={tmp_path / 'a.geojson'}", f"RESULT={tmp_path / 'a.json'}"]
    found = results(qgis, "match", *PAIR, *outputs, "TOLERANCE=30m")
    assert found["STATUS"] == "ok"
    points = json.loads((tmp_path / "a.geojson").read_text())
    assert len(points["features"]) > 50
    assert json.loads((tmp_path / "a.json").read_text())["certificate"]["passes"] is True


def test_stack_ties_dates(qgis: Qgis, tmp_path: Path) -> None:
    images = [f"IMAGES={REFERENCE}", f"IMAGES={TARGET}"]
    found = results(qgis, "stack", *images, f"REFERENCE={REFERENCE}", f"FOLDER={tmp_path / 's'}")
    assert found["REGISTERED"] == 2
    assert [Path(path).stem for path in found["OUTPUTS"]] == [REFERENCE.stem, TARGET.stem]
    assert Path(found["REPORT"]).exists()
    # What is there is neither gone on with nor thrown away unasked.
    again = qgis.run("run", "imatch:stack", "--", *images, f"FOLDER={tmp_path / 's'}")
    assert again.returncode == 1
    assert "pass --resume to go on with it" in again.stderr
    assert results(qgis, "stack", *images, f"FOLDER={tmp_path / 's'}", "RUN=2")["REGISTERED"] == 2


def test_batch_takes_layers_or_a_table(qgis: Qgis, tmp_path: Path) -> None:
    layers = [f"REFERENCE={REFERENCE}", f"TARGETS={TARGET}"]
    found = results(qgis, "batch", *layers, f"FOLDER={tmp_path / 'layers'}")
    assert found["REGISTERED"] == len(found["OUTPUTS"]) == 1
    table = tmp_path / "pairs.csv"
    rows = [("reference", "target"), (REFERENCE, TARGET), (REFERENCE, tmp_path / "none.tif")]
    table.write_text("".join(f"{a},{b}\n" for a, b in rows[:2]))
    folder = f"FOLDER={tmp_path / 'table'}"
    found = results(qgis, "batch", f"TABLE={table}", folder, "WARP=0")
    assert (found["REGISTERED"], found["OUTPUTS"]) == (1, [])
    table.write_text("".join(f"{a},{b}\n" for a, b in rows))
    refused = qgis.run("run", "imatch:batch", "--", f"TABLE={table}", folder, "RUN=2")
    assert refused.returncode == 1
    assert "none.tif" in refused.stderr
    both = qgis.run("run", "imatch:batch", "--", *layers, f"TABLE={table}", folder)
    assert "choose a reference and targets, or a table of pairs, not both" in both.stderr


def test_same_ground_answers_and_says_why(qgis: Qgis) -> None:
    found = results(qgis, "same", *PAIR, "NO_EMBEDDER=1")
    assert found["SAME"] is True
    assert found["PROBABILITY"] > 0.99
    assert "windows agree" in found["REASON"]


def test_when_qgis_is_killed_imatch_ends_with_it(qgis: Qgis, tmp_path: Path) -> None:
    out = tmp_path / "out.tif"
    command = [qgis.process, "run", "imatch:register", "--", *PAIR, f"OUTPUT={out}"]
    with subprocess.Popen(
        command,
        env=qgis.environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as process:
        ours = _until(lambda: _running(out))
        process.kill()
    assert ours
    _until(lambda: not _running(out))
    assert list(tmp_path.iterdir()) == []


def _running(out: Path) -> list[int]:
    """Numbers of the processes of imatch that are to write a file."""
    return [
        process.pid
        for process in psutil.process_iter(["cmdline"])
        if "-m" in (process.info["cmdline"] or []) and str(out) in process.info["cmdline"]
    ]


def _until(found: Any) -> Any:
    """What a function gives, once it is something."""
    for _ in range(600):
        value = found()
        if value:
            return value
        time.sleep(0.1)
    raise AssertionError("waited for a minute")
