"""Registrations from documents that say what no registration can be."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from affine import Affine
from click.testing import CliRunner

from imatch.cli import cli
from imatch.geometry.transform import Transform
from imatch.pipeline.registration.geo_correction import GeoCorrection
from imatch.pipeline.registration.io import read_registration, write_json
from imatch.pipeline.registration.result import ImageSummary, Registration, TiePoints

PLACE = (10.0, 0.0, 356_000.0, 0.0, -10.0, 4_835_000.0)
IMAGE = ImageSummary("tgt.tif", 40, 30, ("1",), "EPSG:32631", PLACE, (10.0, 10.0))
NONE = TiePoints(
    np.zeros((0, 2)), np.zeros((0, 2)), np.zeros(0), np.zeros(0, bool), np.zeros(0, bool),
    np.zeros((0, 2)), np.zeros(0),
)  # fmt: skip
WHOLE = Registration(
    "ok", "", IMAGE, IMAGE, "sift", 0.1, NONE,
    Transform("translation", np.eye(3)), np.eye(3),
)  # fmt: skip


def _changed(path: Path, where: tuple[str, ...], value: Any) -> Path:
    write_json(WHOLE, path)
    document = json.loads(path.read_text())
    inner = document
    for name in where[:-1]:
        inner = inner[name]
    inner[where[-1]] = value
    path.write_text(json.dumps(document))
    return path


def test_a_whole_one_is_usable(tmp_path: Path) -> None:
    write_json(WHOLE, tmp_path / "r.json")
    assert GeoCorrection.of(read_registration(tmp_path / "r.json")).on_map


@pytest.mark.parametrize(
    ("where", "value"),
    [
        ("map_matrix", [1, 2, 3]),
        ("map_matrix", [[0, 0, 0]] * 3),
        ("map_matrix", [[1, 1, 0], [1, 1, 0], [0, 0, 1]]),
        ("map_matrix", [[1e-320, 0, 0], [0, 1e-320, 0], [0, 0, 1]]),
        ("map_matrix", [[None, 0, 0], [0, 1, 0], [0, 0, 1]]),
        ("map_matrix", "identity"),
        ("map_matrix", {"a": 1}),
        ("matrix", [[1, 0, 0], [0, 0, 0], [0, 0, 1]]),
        ("target.width", -1),
        ("target.width", 0),
        ("target.width", 1e308),
        ("target.height", "many"),
        ("target.height", 10**30),
        ("reference.width", None),
        ("reference.width", [1]),
        ("reference.crs", "EPSG:999999"),
        ("reference.crs", ["EPSG:32631"]),
        ("reference.crs", "a\0b"),
        ("reference.transform", [1, 2, 3]),
        ("reference.transform", [0] * 6),
        ("reference.transform", [1e308, 0, 0, 0, -1e308, 0]),
        ("reference.transform", [1e-12, 0, 356_000, 0, -1e-12, 4_835_000]),
        ("reference.transform", [10**400, 0, 0, 0, -10, 0]),
        ("reference.transform", [[10], 0, 0, 0, -10, 0]),
        ("target.path", [1]),
        ("local", {"kind": "spline", "origin": [0, 0], "step": [0, 0], "coefficients": []}),
        (
            "local",
            {"kind": "spline", "origin": [0, 0], "step": [1, 1], "coefficients": [[[1e999]]]},
        ),
        ("tie_points", {}),
        ("tie_points.score", "text"),
        ("certificate", None),
    ],
)
@pytest.mark.filterwarnings("ignore:overflow")
def test_apply_says_what_makes_no_sense(tmp_path: Path, where: str, value: Any) -> None:
    result = _changed(tmp_path / "r.json", tuple(where.split(".")), value)
    image = tmp_path / "image.tif"
    profile = {"driver": "GTiff", "width": 40, "height": 30, "count": 1, "dtype": "uint8"}
    with rasterio.open(image, "w", crs="EPSG:32631", transform=Affine(*PLACE), **profile) as out:
        out.write(np.ones((1, 30, 40), np.uint8))
    done = CliRunner().invoke(
        cli, ["apply", str(result), str(image), "-o", str(tmp_path / "out")], catch_exceptions=False
    )
    assert done.exit_code == 1, done.output
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"imatch: error: {result}: ")
    assert "this is a bug" not in line
    assert not (tmp_path / "out").exists()
