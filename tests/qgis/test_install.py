from __future__ import annotations

import ast
import configparser
import hashlib
import re
import stat
import sys
import zipfile
from pathlib import Path

import pytest
from click.testing import CliRunner

import imatch
from imatch.cli import cli
from imatch.core.errors import InputError, OutputError
from imatch.qgis.install import (
    PACKAGE,
    PUBLISHED_FIELDS,
    install_plugin,
    package_plugin,
    plugin_files,
    profile_folders,
)
from imatch.qgis.plugin import executable

ROOT = Path(__file__).parents[2]
PLUGIN = ROOT / "imatch" / "qgis" / "plugin"


@pytest.fixture
def profile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A profile of a QGIS that was started once."""
    monkeypatch.setenv("QGIS_CUSTOM_CONFIG_PATH", str(tmp_path))
    folder = tmp_path / "profiles" / "default"
    (folder / "QGIS").mkdir(parents=True)
    return folder


def test_the_command_installs_into_the_default_profile(profile: Path) -> None:
    done = CliRunner().invoke(cli, ["qgis", "install"])
    assert done.exit_code == 0, done.output
    plugin = profile / "python" / "plugins" / PACKAGE
    assert f"wrote {plugin}" in done.output
    names = {path.name for path in plugin.iterdir()}
    assert names == {name for name, _ in plugin_files()} | {executable.NOTE}
    assert {"__init__.py", "metadata.txt", "icon.svg", "LICENSE", "provider.py"} <= names
    assert (profile / "QGIS" / "QGIS3.ini").read_text() == f"[PythonPlugins]\n{PACKAGE}=true\n"


def test_it_notes_the_imatch_that_installed_it(profile: Path, tmp_path: Path) -> None:
    (plugin,) = install_plugin(executable=tmp_path / "imatch")
    assert (plugin / executable.NOTE).read_text() == f"{tmp_path / 'imatch'}\n"


def test_installing_again_replaces_what_was_there(profile: Path) -> None:
    (plugin,) = install_plugin()
    (plugin / "old.py").touch()
    (plugin / "provider.py").write_text("broken")
    assert install_plugin() == [plugin]
    assert not (plugin / "old.py").exists()
    assert (plugin / "provider.py").read_bytes() == (PLUGIN / "provider.py").read_bytes()


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("", f"[PythonPlugins]\n{PACKAGE}=true\n"),
        ("[qgis]\na=1\n", f"[qgis]\na=1\n\n[PythonPlugins]\n{PACKAGE}=true\n"),
        (
            "[PythonPlugins]\nother=true\n\n[qgis]\na=\\xb1\n",
            f"[PythonPlugins]\n{PACKAGE}=true\nother=true\n\n[qgis]\na=\\xb1\n",
        ),
        (f"[PythonPlugins]\n{PACKAGE}=false\n", f"[PythonPlugins]\n{PACKAGE}=true\n"),
    ],
)
def test_it_is_switched_on_and_other_settings_stay(before: str, after: str, profile: Path) -> None:
    settings = profile / "QGIS" / "QGIS3.ini"
    settings.write_text(before)
    for _ in range(2):
        install_plugin()
        assert settings.read_text() == after


def test_a_profile_is_a_name_or_a_folder(profile: Path, tmp_path: Path) -> None:
    (profile.parent / "work").mkdir()
    (tmp_path / "elsewhere").mkdir()
    assert profile_folders("work") == [profile.parent / "work"]
    assert profile_folders(str(tmp_path / "elsewhere")) == [tmp_path / "elsewhere"]
    with pytest.raises(InputError, match="nosuch: is no profile of QGIS; there are default, work"):
        profile_folders("nosuch")


def test_without_qgis_the_next_step_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("QGIS_CUSTOM_CONFIG_PATH", str(tmp_path))
    done = CliRunner().invoke(cli, ["qgis", "install"])
    assert done.exit_code == 1
    assert "default: is no profile of QGIS; start QGIS once" in done.output
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(sys.platform != "linux", reason="where profiles lie on Linux")
def test_each_major_version_of_qgis_gets_the_plugin(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("QGIS_CUSTOM_CONFIG_PATH", raising=False)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    for version in ("QGIS3", "QGIS4"):
        (tmp_path / "QGIS" / version / "profiles" / "default").mkdir(parents=True)
    assert len(install_plugin()) == 2
    assert sorted(path.name for path in tmp_path.rglob("*.ini")) == ["QGIS3.ini", "QGIS4.ini"]


def test_a_folder_that_cannot_be_written_is_told(profile: Path) -> None:
    (profile / "python").touch()
    with pytest.raises(OutputError, match=r"plugins: (File exists|Not a directory)"):
        install_plugin()


def test_the_zip_is_the_same_each_time_whoever_makes_it(tmp_path: Path) -> None:
    digests = set()
    for name in ("a.zip", "b.zip"):
        assert package_plugin(tmp_path / name) == list(PUBLISHED_FIELDS)
        digests.add(hashlib.sha256((tmp_path / name).read_bytes()).hexdigest())
    assert len(digests) == 1
    with zipfile.ZipFile(tmp_path / "a.zip") as archive:
        assert {entry.date_time[0] for entry in archive.infolist()} == {1980}
        modes = {stat.filemode(entry.external_attr >> 16) for entry in archive.infolist()}
    assert modes == {"?rw-r--r--"}


def test_the_command_packs_what_the_plugin_repository_takes(tmp_path: Path) -> None:
    """Its published checks: github.com/qgis/QGIS-Plugins-Website, plugins/validator.py."""
    out, home = tmp_path / "imatch_qgis.zip", "https://example.org/imatch"
    arguments = ["qgis", "package", str(out), "--repository", home, "--email", "a@example.org"]
    done = CliRunner().invoke(cli, arguments)
    assert (done.exit_code, done.output) == (0, f"wrote {out}\n")
    assert out.stat().st_size < 25_000_000
    with zipfile.ZipFile(out) as archive:
        names = archive.namelist()
        assert archive.testzip() is None
        parser = configparser.ConfigParser()  # With interpolation, as there.
        parser.optionxform = str  # type: ignore[assignment, method-assign]
        parser.read_string(archive.read(f"{PACKAGE}/metadata.txt").decode("utf-8"))
    assert {name.split("/")[0] for name in names} == {PACKAGE}
    assert PACKAGE.isidentifier()
    assert re.fullmatch(r"[A-Za-z][A-Za-z0-9-_]+", PACKAGE)
    assert not [name for name in names if ".." in name or ".pyc" in name or "__pycache__" in name]
    needed = {f"{PACKAGE}/{name}" for name in ("__init__.py", "metadata.txt", "LICENSE")}
    assert needed <= set(names)
    general = dict(parser["general"])
    required = {"name", "description", "version", "qgisMinimumVersion", "author", "about"}
    assert required | set(PUBLISHED_FIELDS) <= set(general)
    assert all(value.strip() for value in general.values())
    assert "/" not in general["author"]
    assert f"{PACKAGE}/{general['icon']}" in names
    assert general["icon"].endswith(".png")
    assert general["version"] == imatch.__version__
    assert general["tracker"] == f"{home}/issues"
    assert general["hasProcessingProvider"] == "yes"
    # Its name and its description are asked not to say what it is.
    assert "plugin" not in general["name"].lower()


def test_without_addresses_it_says_what_the_repository_will_miss(tmp_path: Path) -> None:
    out = tmp_path / "a.zip"
    done = CliRunner().invoke(cli, ["qgis", "package", str(out)])
    assert "also wants: email, homepage, repository, tracker" in done.output
    again = CliRunner().invoke(cli, ["qgis", "package", str(out)])
    assert (again.exit_code, "already exists" in again.output) == (1, True)
    assert CliRunner().invoke(cli, ["qgis", "package", str(out), "--overwrite"]).exit_code == 0
    with pytest.raises(OutputError, match=r"a\.tar: is no \.zip"):
        package_plugin(tmp_path / "a.tar")


def test_the_plugin_carries_the_licence_of_the_package() -> None:
    assert dict(plugin_files())["LICENSE"] == (ROOT / "LICENSE").read_bytes()


@pytest.mark.parametrize("path", sorted(PLUGIN.glob("*.py")), ids=lambda path: path.name)
def test_the_plugin_runs_in_the_python_of_qgis(path: Path) -> None:
    """Python 3.9 on Windows with QGIS 3.22, with nothing but QGIS and the standard library."""
    tree = ast.parse(path.read_text(encoding="utf-8"), feature_version=(3, 9))
    imported = {
        node.module.split(".")[0]
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module and not node.level
    }
    imported |= {
        alias.name.split(".")[0]
        for node in ast.walk(tree)
        if isinstance(node, ast.Import)
        for alias in node.names
    }
    assert imported <= sys.stdlib_module_names | {"qgis", "processing", "osgeo"}
