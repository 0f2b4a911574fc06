from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd

from imatch.export import write
from imatch.export.tables import columns
from imatch.pipeline.registration.result import Registration


def test_csv_gives_back_every_digit(registration: Registration, tmp_path: Path) -> None:
    write(registration, tmp_path / "r.csv")
    with (tmp_path / "r.csv").open(newline="") as file:
        table = pd.DataFrame(list(csv.DictReader(file))).astype(float)
    points = registration.tie_points
    np.testing.assert_array_equal(table[["ref_x", "ref_y"]], points.ref_xy)
    np.testing.assert_array_equal(table[["tgt_x", "tgt_y"]], points.tgt_xy)
    np.testing.assert_array_equal(table[["map_x", "map_y"]], points.map_xy)
    np.testing.assert_array_equal(table[["dx_px", "dy_px"]], points.residual_xy)
    np.testing.assert_array_equal(table["residual_m"], points.residual_m)
    np.testing.assert_array_equal(table["inlier"] == 1, points.inlier)
    np.testing.assert_array_equal(table["check"] == 1, points.check)
    np.testing.assert_array_equal(table["id"], np.arange(len(points)))


def test_csv_leaves_empty_what_is_unknown(
    make: Callable[..., Registration], tmp_path: Path
) -> None:
    write(make(status="failed", geocoded=False), tmp_path / "r.csv")
    with (tmp_path / "r.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 200
    assert "map_x" not in rows[0]
    assert {row["residual_px"] + row["residual_m"] + row["dx_px"] for row in rows} == {""}
    assert {row["inlier"] for row in rows} == {"0"}


def test_an_empty_csv_still_has_its_header(
    make: Callable[..., Registration], tmp_path: Path
) -> None:
    write(make(status="failed", n=0, outliers=0), tmp_path / "r.csv")
    (header,) = (tmp_path / "r.csv").read_text().splitlines()
    assert header.split(",") == [*columns(make()), "map_x", "map_y"]


def test_npz_loads_without_pickle(every: Registration, tmp_path: Path) -> None:
    write(every, tmp_path / "r.npz")
    n = len(every.tie_points)
    with np.load(tmp_path / "r.npz", allow_pickle=False) as file:
        loaded = dict(file)
    shapes = {name: array.shape for name, array in loaded.items()}
    assert shapes == {
        **dict.fromkeys(["ref_xy", "tgt_xy", "residual_xy", "map_xy"], (n, 2)),
        **dict.fromkeys(["scores", "residual_m", "inlier", "check"], (n,)),
        "matrix": (3, 3),
        "map_matrix": (3, 3),
        "metadata": (),
    }
    np.testing.assert_array_equal(loaded["tgt_xy"], every.tie_points.tgt_xy)
    assert loaded["inlier"].dtype == bool
    if every.matrix is None:
        assert np.isnan(loaded["matrix"]).all(), "a failure is never an identity"
    else:
        np.testing.assert_array_equal(loaded["matrix"], every.matrix)
    metadata = json.loads(str(loaded["metadata"]))
    assert metadata["status"] == every.status
    assert "tie_points" not in metadata
