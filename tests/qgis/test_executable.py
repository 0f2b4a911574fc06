from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from imatch import __version__
from imatch.qgis.plugin import executable
from imatch.qgis.plugin.executable import (
    ExecutableError,
    candidates,
    check_version,
    clean_environment,
    find_executable,
    numbers,
    plugin_version,
)
from tests.qgis.conftest import script

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="its programs are shell scripts")


def test_the_plugin_has_the_version_of_the_package() -> None:
    assert plugin_version() == __version__


@pytest.mark.parametrize(
    "place",
    [
        ".local/bin",
        ".venv/bin",
        ".virtualenvs/maps/bin",
        ".local/share/pipx/venvs/imatch/bin",
        "miniforge3/envs/imatch/bin",
    ],
)
def test_usual_places_are_searched(
    place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr(executable, "_SHARED", ())
    monkeypatch.setattr(executable, "_PLUGIN", tmp_path / "none")
    (tmp_path / place).mkdir(parents=True)
    there = script(tmp_path / place / "imatch", "true")
    assert [path for path in candidates(tmp_path) if path.exists()] == [there]


def test_the_one_that_installed_the_plugin_comes_first_unless_it_is_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(executable, "_PLUGIN", tmp_path)
    (tmp_path / "path").mkdir()
    on_path = script(tmp_path / "path" / "imatch", "true")
    monkeypatch.setenv("PATH", str(on_path.parent))
    installer = script(tmp_path / "imatch", "true")
    (tmp_path / executable.NOTE).write_text(f"{installer}\n")
    assert find_executable() == installer
    installer.unlink()
    assert find_executable() == on_path


def test_without_any_the_next_step_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(executable, "_SHARED", ())
    monkeypatch.setattr(executable, "_PLUGIN", tmp_path)
    with pytest.raises(ExecutableError, match=r"pip install imatch, or name its executable"):
        find_executable()


def test_the_settings_win_and_are_told_when_they_are_wrong(tmp_path: Path) -> None:
    chosen = script(tmp_path / "mine", "true")
    assert find_executable(str(chosen)) == chosen
    chosen.chmod(0o644)
    with pytest.raises(ExecutableError, match=r"mine: cannot be run; Settings > Options"):
        find_executable(str(chosen))
    with pytest.raises(ExecutableError, match="gone: is not there"):
        find_executable(str(tmp_path / "gone"))


def test_a_version_is_asked_for(tmp_path: Path) -> None:
    newer = script(tmp_path / "newer", "echo imatch 99.0")
    assert check_version(newer) == "99.0"
    real = script(tmp_path / "real", f'exec "{sys.executable}" -m imatch "$@"')
    assert check_version(real) == __version__


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("echo imatch 0.1.0", rf"is imatch 0\.1\.0, older than this plugin \({__version__}\)"),
        ("echo Python 3.11", r"is no imatch that works \(Python 3.11\)"),
        ("echo 'No module named imatch' >&2; exit 1", r"works \(No module named imatch\)"),
        ("exit 3", "is no imatch that works; Settings"),
    ],
)
def test_what_does_not_do_is_told_in_one_line(line: str, why: str, tmp_path: Path) -> None:
    with pytest.raises(ExecutableError, match=why) as told:
        check_version(script(tmp_path / "imatch", line))
    assert "\n" not in str(told.value)


def test_what_is_no_program_is_told(tmp_path: Path) -> None:
    damaged = tmp_path / "imatch"
    damaged.write_bytes(b"\x7fELF damaged")
    damaged.chmod(0o755)
    with pytest.raises(ExecutableError, match="Exec format error"):
        check_version(damaged)


def test_versions_are_compared_as_numbers() -> None:
    assert numbers("0.10.0") > numbers("0.9.3")
    assert numbers("1.2.0rc1") == (1, 2, 0)
    assert numbers("none") == ()


def test_qgis_s_libraries_are_not_imatch_s(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PYTHONHOME", "PYTHONPATH", "GDAL_DATA", "PROJ_LIB"):
        monkeypatch.setenv(name, "/qgis")
    kept = clean_environment()
    assert "/qgis" not in kept.values()
    assert kept["PATH"] == os.environ["PATH"]
