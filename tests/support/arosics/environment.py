"""AROSICS's own environment: it needs GDAL's bindings and an older numpy."""

from __future__ import annotations

import shutil
import subprocess
import venv
from pathlib import Path

from imatch.core.errors import ImatchError

WORKER = Path(__file__).with_name("worker.py")


def install(folder: Path) -> Path:
    """Make AROSICS's environment where there is none; give its interpreter.

    Args:
        folder: Where the virtual environment is, or shall be.

    Raises:
        ImatchError: GDAL's headers are missing, or pip failed.
    """
    python = folder / "bin" / "python"
    if python.exists() and _works(python):
        return python
    config = shutil.which("gdal-config")
    if config is None:
        raise ImatchError(
            "was not found", subject="gdal-config", hint="run apt-get install libgdal-dev g++"
        )
    gdal = subprocess.run([config, "--version"], capture_output=True, text=True, check=True)
    version = f"gdal=={gdal.stdout.strip()}"
    venv.create(folder, with_pip=True, clear=True)
    pip = [str(python), "-m", "pip", "install", "--quiet"]
    # In this order: the bindings look for numpy while they are built and go without it, silently,
    # when isolation hides it; the others want isolation, for setuptools newer than GDAL bears.
    steps = (
        ["setuptools<80", "wheel", "numpy<2"],
        ["--no-build-isolation", "--no-cache-dir", version],
        [version, "numpy<2", "arosics"],
    )
    for step in steps:
        done = subprocess.run([*pip, *step], capture_output=True, text=True, check=False)
        if done.returncode:
            last = (done.stderr.strip().splitlines() or ["pip failed"])[-1]
            raise ImatchError(last, subject=" ".join(step), hint=f"see {' '.join(pip)}")
    if not _works(python):
        raise ImatchError("was installed and cannot be imported", subject="arosics")
    return python


def _works(python: Path) -> bool:
    check = "import arosics; from osgeo import gdal_array"
    return subprocess.run([python, "-c", check], capture_output=True, check=False).returncode == 0


def version_of(python: Path) -> str:
    """The version of AROSICS in its environment."""
    version = "import importlib.metadata as m; print(m.version('arosics'))"
    found = subprocess.run([python, "-c", version], capture_output=True, text=True, check=True)
    return found.stdout.strip()
