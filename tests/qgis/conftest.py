"""The real QGIS with the plugin in a profile of its own, for the tests that need it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from imatch.qgis.install import install_plugin

ROOT = Path(__file__).parents[2]
SAMPLE = ROOT / "data" / "sample"
REFERENCE, TARGET = SAMPLE / "bouconne_2018-08.tif", SAMPLE / "bouconne_2018-11.tif"
#: What QGIS runs.
collect_ignore = ["inside.py", "window.py"]
#: Set by `make test-qgis`.
WANTED = "IMATCH_TEST_QGIS"


@dataclass(frozen=True)
class Qgis:
    """A QGIS and a profile of it that holds the plugin.

    Attributes:
        process: The executable ``qgis_process``.
        window: The executable of the window.
        python: The Python that QGIS runs in.
        profile: The folder of the profile.
        imatch: The executable that the plugin runs.
    """

    process: str
    window: str
    python: str
    profile: Path
    imatch: Path

    @property
    def environment(self) -> dict[str, str]:
        """The environment of QGIS, without a screen."""
        config = self.profile.parents[1]
        runtime = config / "run"
        runtime.mkdir(mode=0o700, exist_ok=True)
        clean = {name: text for name, text in os.environ.items() if name != "PYTHONPATH"}
        return {
            **clean,
            "QGIS_CUSTOM_CONFIG_PATH": str(config),
            "QT_QPA_PLATFORM": "offscreen",
            "XDG_RUNTIME_DIR": str(runtime),
            "OMP_NUM_THREADS": "1",
            # Else statistics are written beside the sample.
            "GDAL_PAM_ENABLED": "NO",
        }

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Runs ``qgis_process``."""
        return subprocess.run(
            [self.process, *arguments],
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
        )


@pytest.fixture(scope="session")
def qgis(tmp_path_factory: pytest.TempPathFactory) -> Qgis:
    if not os.environ.get(WANTED):
        pytest.skip("the plugin in the real QGIS is tested by `make test-qgis`")
    # Debian's qgis_process is a script that hands its program options of the window.
    process = shutil.which("qgis_process.bin") or shutil.which("qgis_process")
    window = shutil.which("qgis.bin") or shutil.which("qgis")
    if process is None or window is None:
        pytest.skip("no QGIS here: apt-get install qgis python3-qgis qgis-providers xvfb xauth")
    python = os.environ.get("QGIS_PYTHON", "/usr/bin/python3")
    folder = tmp_path_factory.mktemp("qgis")
    profile = folder / "profiles" / "default"
    profile.mkdir(parents=True)
    imatch = script(folder / "imatch", f'exec "{sys.executable}" -m imatch "$@"')
    install_plugin(str(profile), executable=imatch)
    return Qgis(process, window, python, profile, imatch)


def script(path: Path, line: str) -> Path:
    """A program of one line of shell, which finds this source tree's imatch."""
    path.write_text(f'#!/bin/sh\nexport PYTHONPATH="{ROOT}"\n{line}\n', encoding="utf-8")
    path.chmod(0o755)
    return path
