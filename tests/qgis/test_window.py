"""The window of the real QGIS, on a screen of its own (see `window.py`)."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from PIL import Image

from tests.qgis.conftest import SAMPLE, Qgis


def test_the_sample_is_registered_in_the_window(qgis: Qgis, tmp_path: Path) -> None:
    screen = shutil.which("xvfb-run")
    if screen is None:
        pytest.skip("no screen for the window of QGIS: apt-get install xvfb xauth")
    shot = tmp_path / "qgis.png"
    environment = {**qgis.environment, "IMATCH_SHOT": str(shot), "IMATCH_SAMPLE": str(SAMPLE)}
    del environment["QT_QPA_PLATFORM"]
    config = qgis.environment["QGIS_CUSTOM_CONFIG_PATH"]
    script = str(Path(__file__).with_name("window.py"))
    arguments = ["--nologo", "--noversioncheck", "--profiles-path", config, "--code", script]
    done = subprocess.run(
        [screen, "-a", "-s", "-screen 0 1600x1000x24", qgis.window, *arguments],
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    told = json.loads(shot.with_suffix(".json").read_text())
    assert "error" not in told, told["error"]
    # Only the reference had to be chosen: the target was the layer that was selected.
    assert told["offered"] == ["bouconne_2018-11"] * 2
    assert re.search(r"ok ± \d+(\.\d+)? m: \d+ of \d+ windows agree", told["log"])
    assert "measuring tiles" in told["log"]
    points, registered, *sources = told["layers"]
    bound = r"ok ± \d+(\.\d+)? m"
    assert re.fullmatch(rf"bouconne_2018-11 tie points: {bound} \(residuals × \d+\)", points)
    assert re.fullmatch(rf"bouconne_2018-11 registered: {bound}", registered)
    assert sources == ["bouconne_2018-11", "bouconne_2018-08"]
    assert told["legend"][0] == "under 0.25 px"
    assert told["like_its_source"]
    pictures = [shot, shot.with_name("qgis_dialog.png")]
    for picture in pictures:
        with Image.open(picture) as image:
            assert len(image.convert("RGB").getcolors(1 << 24) or ()) > 100  # Something is drawn.
            # Those of the documentation are made so.
            if "IMATCH_PICTURES" in os.environ:
                place = Path(os.environ["IMATCH_PICTURES"], picture.name)
                image.convert("RGB").save(place, optimize=True)
