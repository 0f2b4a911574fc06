"""The wheel and the source distribution, and what a user has who installs the wheel.

The environment that it is installed into is fresh, but borrows the libraries of this one: torch is
not downloaded once more, and no library is. What is asked is whether the wheel is whole.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

import pytest
from filelock import FileLock

import imatch

ROOT = Path(__file__).parents[1]
SAMPLE = [str(path) for path in sorted((ROOT / "data/sample").glob("*.tif"))]
MOST_BYTES = 10_000_000

pytest.importorskip("build", reason="the packages are built by `build`, of the extra `dev`")


@dataclass(frozen=True)
class Installed:
    """A wheel, where it came from and an environment with it.

    Attributes:
        sdist: The source distribution.
        wheel: The wheel, built from it.
        python: The environment's interpreter.
        home: An empty folder to work in.
    """

    sdist: Path
    wheel: Path
    python: Path
    home: Path

    def run(self, *command: str) -> str:
        """Run a command of the environment outside the source tree; what it prints."""
        clean = {name: text for name, text in os.environ.items() if name != "PYTHONPATH"}
        done = subprocess.run(
            [str(self.python.with_name(command[0])), *command[1:]],
            cwd=self.home,
            env=clean,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert "Error" not in done.stderr, done.stderr
        return done.stdout


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Installed:
    base = tmp_path_factory.getbasetemp()
    # Workers share one; those that come later find it made.
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "package"
    with FileLock(folder.with_suffix(".lock")):
        if not (folder / "home").exists():
            _install(folder)
    (wheel,), (sdist,) = ((folder / "dist").glob(kind) for kind in ("*.whl", "*.tar.gz"))
    return Installed(sdist, wheel, _interpreter(folder), folder / "home")


def _install(folder: Path) -> None:
    # A copy: building leaves files beside the sources, and takes up what earlier builds left.
    unversioned = (ROOT / ".gitignore").read_text(encoding="utf-8").split()
    ignored = shutil.ignore_patterns(".git", *(pattern.strip("/") for pattern in unversioned))
    shutil.copytree(ROOT, folder / "source", ignore=ignored)
    # The wheel is built from the source distribution.
    options = ["--no-isolation", "--outdir", str(folder / "dist")]
    _python("-m", "build", *options, str(folder / "source"))
    _python("-m", "venv", "--without-pip", str(folder / "env"))
    python = _interpreter(folder)
    (wheel,) = (folder / "dist").glob("*.whl")
    _python("-m", "pip", "--python", str(python), "install", "--no-deps", "--no-index", str(wheel))
    where = "import sysconfig; print(sysconfig.get_path('purelib'))"
    own = subprocess.run([python, "-c", where], capture_output=True, text=True, check=True).stdout
    borrowed = [path for path in sys.path if Path(path).name == "site-packages"]
    Path(own.strip(), "borrowed.pth").write_text("\n".join(borrowed), encoding="utf-8")
    (folder / "home").mkdir()


def _interpreter(folder: Path) -> Path:
    return folder / ("env/Scripts/python.exe" if os.name == "nt" else "env/bin/python")


def _python(*arguments: str) -> None:
    done = subprocess.run([sys.executable, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("chosen", "policy"), [({}, "passive"), ({"OMP_WAIT_POLICY": "active"}, "active")]
)
def test_threads_wait_asleep_unless_told_otherwise(chosen: dict[str, str], policy: str) -> None:
    """Before torch is there, whose threads ask only once."""
    program = "import imatch, os, sys; print(os.environ['OMP_WAIT_POLICY'], 'torch' in sys.modules)"
    environment = {k: v for k, v in os.environ.items() if k != "OMP_WAIT_POLICY"} | chosen
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == [policy, "False"]


def test_what_is_built_is_whole_and_well_formed(installed: Installed) -> None:
    ours = {
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "imatch").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    with zipfile.ZipFile(installed.wheel) as archive:
        names = set(archive.namelist())
    assert {name for name in names if ".dist-info/" not in name} == ours
    assert f"imatch-{imatch.__version__}.dist-info/licenses/LICENSE" in names
    assert installed.wheel.stat().st_size <= MOST_BYTES
    with tarfile.open(installed.sdist) as archive:
        packed = {name.partition("/")[2] for name in archive.getnames()}
    # All that `make test` needs, so that what is distributed can be tested.
    around = ["Makefile", "pyproject.toml", "setup.cfg", "CHANGELOG.md", "LICENSE", "CITATION.cff"]
    tested = [path for room in ("tests", "experiments") for path in (ROOT / room).rglob("*.py")]
    sample = [*(ROOT / "data").rglob("*.tif"), *(ROOT / "data").rglob("*.py")]
    needed = {path.relative_to(ROOT).as_posix() for path in [*tested, *sample]}
    assert ours | needed | set(around) <= packed
    for tool, command in {
        "twine": ["twine", "check", "--strict", str(installed.wheel), str(installed.sdist)],
        "check_wheel_contents": ["check_wheel_contents", str(installed.wheel)],
    }.items():
        pytest.importorskip(tool, reason=f"{tool} is of the extra `dev`")
        _python("-m", *command)


def test_an_installed_wheel_registers_the_sample(installed: Installed) -> None:
    told = json.loads(
        installed.run(
            "python",
            "-c",
            "import json, imatch, importlib.metadata as m;"
            "print(json.dumps([imatch.__file__, imatch.__version__, m.version('imatch')]))",
        )
    )
    assert Path(told[0]).is_relative_to(installed.python.parents[1])
    assert told[1:] == [imatch.__version__] * 2
    assert "register" in installed.run("imatch", "--help")
    # A scene's report is a page from the package's templates.
    outputs = ["-o", "result.json", "--report", "report.html"]
    installed.run("imatch", "register", "--offline", *SAMPLE, "registered.tif", *outputs)
    assert json.loads((installed.home / "result.json").read_text())["status"] == "ok"
    assert "<html" in (installed.home / "report.html").read_text(encoding="utf-8")
    assert (installed.home / "registered.tif").exists()


def test_an_installed_wheel_packs_the_plugin_of_qgis(installed: Installed) -> None:
    installed.run("imatch", "qgis", "package", "plugin.zip")
    with zipfile.ZipFile(installed.home / "plugin.zip") as archive:
        assert archive.read("imatch_qgis/LICENSE") == (ROOT / "LICENSE").read_bytes()
        plugin = ROOT / "imatch/qgis/plugin"
        files = {path.name for path in plugin.iterdir() if path.is_file()}
        packed = {name.partition("/")[2] for name in archive.namelist()}
    assert packed == files | {"LICENSE"}


@pytest.mark.parametrize(
    "name",
    [
        "models/shipped/superpoint-s2.safetensors",
        "models/shipped/loftr-s2.safetensors",
        "models/shipped/field-cross.safetensors",
        "retrieval/decisions/same.json",
        "retrieval/embedders/vocabularies/vlad-superpoint-s2.safetensors",
        "export/templates/page.html.j2",
    ],
)
def test_an_installed_wheel_holds_its_data(name: str, installed: Installed) -> None:
    read = (
        "import sys, hashlib, importlib.resources as r;"
        "print(hashlib.sha256(r.files('imatch').joinpath(sys.argv[1]).read_bytes()).hexdigest())"
    )
    expected = hashlib.sha256((ROOT / "imatch" / name).read_bytes()).hexdigest()
    assert installed.run("python", "-c", read, name).strip() == expected


def test_a_strict_type_checker_takes_a_program_that_uses_the_wheel(installed: Installed) -> None:
    pytest.importorskip("mypy", reason="mypy is of the extra `dev`")
    shutil.copy(ROOT / "tests/typed/follow_a_place.py", installed.home)
    # What the check of the sources, with the same settings, has learnt of the libraries.
    cache = installed.home / ".mypy_cache"
    if (ROOT / ".mypy_cache").exists():
        shutil.copytree(ROOT / ".mypy_cache", cache, dirs_exist_ok=True)
    arguments = ["--strict", f"--config-file={ROOT / 'setup.cfg'}", f"--cache-dir={cache}"]
    python = f"--python-executable={installed.python}"
    done = subprocess.run(
        [sys.executable, "-m", "mypy", *arguments, python, "follow_a_place.py"],
        cwd=installed.home,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
