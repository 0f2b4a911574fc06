"""What the benchmarks of cost measure, on inputs that take seconds."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import rasterio

from tests.support.costs.batches import of_tree
from tests.support.costs.cluster import written_chips
from tests.support.costs.writing import writing_rows
from tests.support.scenes.shifted import make_scenes


def test_a_batch_is_told_by_its_stages(tmp_path: Path) -> None:
    row = of_tree(Path.cwd(), written_chips(tmp_path, 2, 64), "phase")
    assert row["pairs"] == sum(row["counts"].values()) == 2
    assert {"opening", "reading", "solving", "rest"} <= row["stages"].keys()
    assert 0 < row["beyond_solving_ms"] < row["processor_ms"]


@pytest.mark.skipif(shutil.which("gdalwarp") is None, reason="needs GDAL's gdalwarp")
def test_gdalwarp_writes_the_pixels_that_register_writes(tmp_path: Path) -> None:
    make_scenes(tmp_path, 1024, 3)
    rows = list(writing_rows(tmp_path, "tif", {"this": Path.cwd()}, 1))
    assert [row["what"] for row in rows] == ["register", "apply", "gdalwarp"]
    # What the target shows of the reference, shifted by 137 and -86 px.
    inner = np.s_[:, 110:-20, 20:-160]
    with rasterio.open(tmp_path / "applied" / "tgt.tif") as one:
        ours = one.read()[inner].astype(float)
    with rasterio.open(tmp_path / "gdalwarp.tif") as other:
        theirs = other.read()[inner].astype(float)
    assert other.shape == one.shape == (1024, 1024)
    assert other.transform == one.transform
    # GDAL interpolates positions to an eighth of a pixel unless it is told otherwise.
    assert np.abs(ours - theirs).mean() < 0.05 * ours.std()
