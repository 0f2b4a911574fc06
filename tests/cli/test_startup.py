"""What must not be imported, and how fast that makes the beginning."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.support.startup import run_fresh

SAMPLE = [str(path) for path in sorted(Path(__file__).parents[2].glob("data/sample/*.tif"))]
HEAVY = ("torch", "kornia", "cv2", "numpy", "rasterio", "pydantic", "rich", "matplotlib")


def imported_by(statement: str) -> list[str]:
    code = f"import sys\n{statement}\nprint(*sys.modules, file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return [name for name in HEAVY if name in done.stderr.split()]


def test_importing_the_package_imports_nothing_heavy() -> None:
    assert imported_by("import imatch; dir(imatch)") == []


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["--version"],
        ["doctor", "-h"],
        ["weights", "-h"],
        ["index", "-h"],
        ["search", "-h"],
    ],
)
def test_help_imports_nothing_heavy(arguments: list[str]) -> None:
    run = f"from imatch.cli import cli; cli.main({arguments!r}, standalone_mode=False)"
    assert imported_by(run) == []


def test_help_on_settings_imports_their_model_alone() -> None:
    run = "from imatch.cli import cli; cli.main(['match', '--help'], standalone_mode=False)"
    assert imported_by(run) == ["pydantic"]


def test_an_unknown_matcher_is_refused_without_importing_torch() -> None:
    run = (
        "from imatch.cli import cli; "
        "cli.main(['match', 'a', 'b', '-m', 'sfit'], standalone_mode=False)"
    )
    assert "torch" not in imported_by(run)


def test_exports_need_no_torch() -> None:
    run = (
        "import pkgutil, imatch.export\n"
        "for module in pkgutil.iter_modules(imatch.export.__path__, 'imatch.export.'):\n"
        "    __import__(module.name)"
    )
    found = imported_by(run)
    assert "matplotlib" in found
    assert not {"torch", "kornia"} & set(found)


def test_sift_needs_no_torch() -> None:
    assert "torch" not in imported_by("import imatch; imatch.load_matcher('sift')")


def test_a_pair_that_needs_no_network_loads_no_library_for_others() -> None:
    matching = f"import imatch; assert imatch.match(*{SAMPLE}).status == 'ok'"
    loaded = run_fresh(matching)[0].modules
    assert "scipy.fft" in loaded
    networks, pages, tables = {"torch", "kornia"}, {"matplotlib", "jinja2"}, {"pandas", "geopandas"}
    # SciPy's parts are loaded when they are first named, and take longer than all others.
    rarely = "interpolate", "linalg", "ndimage", "optimize", "sparse", "spatial", "stats"
    parts = {f"scipy.{name}" for name in rarely}
    others = {"pyogrio", "rich", "filelock"}
    assert not loaded & (networks | pages | tables | parts | others)


def test_help_comes_within_half_a_second() -> None:
    def seconds() -> float:
        start = time.perf_counter()
        subprocess.run([sys.executable, "-m", "imatch", "--help"], capture_output=True, check=True)
        return time.perf_counter() - start

    # The best of several: a busy machine is not the program's fault.
    assert min(seconds() for _ in range(5)) < 0.5
