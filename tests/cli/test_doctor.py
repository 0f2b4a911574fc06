from __future__ import annotations

import json
from collections.abc import Callable
from importlib import import_module
from importlib.metadata import EntryPoint, PackageNotFoundError, version
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import Result

from imatch import __version__, health
from imatch.health import Problem, Report, examine, installed_opencv

Run = Callable[..., Result]


def test_exactly_one_opencv_is_installed() -> None:
    assert installed_opencv() == ["opencv-python-headless"]


def test_every_section_is_there(run: Run) -> None:
    result = run("doctor", "--format", "json")
    report = json.loads(result.stdout)
    assert result.exit_code == (0 if report["ok"] else 1)
    assert report["versions"]["imatch"] == __version__
    assert report["versions"]["torch"] == version("torch")
    assert report["geodata"]["driver GTiff"] == report["geodata"]["driver SENTINEL2"] == "yes"
    assert int(report["computing"]["torch threads"]) >= 1
    assert set(report["weights"]) >= {"aliked-n16", "aliked-lightglue", "loftr-outdoor"}


def test_nothing_need_be_fetched_for_the_default_matcher(run: Run, empty_cache: Path) -> None:
    result = run("doctor")
    assert result.exit_code == 0
    assert "weights" not in result.stdout.partition("What is wrong")[2]


def test_an_incomplete_installation_is_an_error(
    run: Run, empty_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("imatch.models.store.files", lambda _package: tmp_path)
    result = run("doctor")
    assert result.exit_code == 1
    assert "the weights superpoint-s2 of the default matcher are missing" in result.stdout
    assert "install imatch again" in result.stdout


def test_corrupt_weights_of_the_default_matcher_prevent_matching(
    run: Run, empty_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "superpoint-s2.safetensors").write_bytes(b"half a downl")
    monkeypatch.setenv("IMATCH_WEIGHTS", str(tmp_path))
    result = run("doctor")
    assert result.exit_code == 1
    (line,) = [line for line in result.stdout.splitlines() if line.startswith("  error")]
    assert "superpoint-s2.safetensors: is corrupt" in line


def test_two_opencvs_are_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    names = ["opencv-python", "OpenCV_Python-Headless", "numpy"]
    found = [SimpleNamespace(metadata={"Name": name}) for name in names]
    monkeypatch.setattr(health, "distributions", lambda: found)
    monkeypatch.setattr(health, "version", lambda _name: "5.0")
    (problem,) = [p for p in examine().problems if "OpenCV" in p.what]
    assert problem.fatal
    assert "overwrite each other: opencv-python, opencv-python-headless" in problem.what
    assert problem.todo.startswith("pip uninstall -y opencv-python opencv-python-headless")


def test_a_missing_package_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def without_rasterio(name: str) -> str:
        if name == "rasterio":
            raise PackageNotFoundError(name)
        return version(name)

    monkeypatch.setattr(health, "version", without_rasterio)
    report = examine()
    assert report.prevents_matching
    assert (
        Problem("rasterio is not installed", "pip install rasterio", fatal=True) in report.problems
    )


def test_a_package_that_does_not_load_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def without_kornia(name: str) -> Any:
        if name == "kornia":
            raise OSError("libtorch.so: cannot open shared object file")
        return import_module(name)

    monkeypatch.setattr("imatch.health.import_module", without_kornia)
    (problem,) = [p for p in examine().problems if p.fatal]
    assert problem.what.startswith("kornia cannot be imported (libtorch.so")


def test_a_full_disk_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda _path: SimpleNamespace(free=2e8))
    assert any(problem.what == "0.2 GB of disk are free" for problem in examine().problems)


def test_fatal_problems_decide() -> None:
    assert not Report(problems=[Problem("a", "b")]).prevents_matching
    assert Report(problems=[Problem("a", "b", fatal=True)]).prevents_matching


def test_a_broken_plug_in_is_named(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    from imatch.matchers import MATCHERS

    monkeypatch.setattr(MATCHERS, "_plugins", None)
    monkeypatch.setattr(MATCHERS, "_broken", {})
    point = EntryPoint("theirs", "no_such_module:row", "imatch.matchers")
    monkeypatch.setattr("imatch.core.registry.entry_points", lambda group: [point])
    listed = run("matchers")
    assert listed.exit_code == 0
    assert "sift" in listed.stdout
    cause = "(ModuleNotFoundError: No module named 'no_such_module')"
    assert f"the matcher plug-in theirs is left out {cause}" in listed.stderr
    result = run("doctor")
    assert f"the matcher plug-in theirs gives nothing {cause}: mend or uninstall" in result.stdout
    assert result.stderr == ""
