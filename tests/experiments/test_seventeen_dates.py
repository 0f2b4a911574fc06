"""The experiment behind the figures: dates are moved as it says, and counted as it says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import rasterio

from experiments.stack.seventeen_dates import VARIANTS, Outcome, moved, present, table
from imatch.raster import open_source


@pytest.mark.parametrize("variant", list(VARIANTS))
def test_moves_stay_within_what_their_variant_allows(variant: str) -> None:
    turn, zoom, shift = VARIANTS[variant]
    rng = np.random.default_rng(0)
    middle = np.array([99.5, 49.5, 1])
    for _ in range(50):
        matrix = moved((200, 100), variant, rng)
        scale = np.hypot(matrix[0, 0], matrix[1, 0])
        assert abs(np.log(scale)) <= np.log1p(zoom) + 1e-12
        assert abs(np.degrees(np.arctan2(matrix[1, 0], matrix[0, 0]))) <= turn
        assert np.abs((matrix @ middle - middle)[:2]).max() <= shift * 200 + 1e-9


def test_dates_are_written_moved_and_what_lies_beyond_is_missing(tmp_path: Path) -> None:
    ground = cv2.GaussianBlur(
        np.random.default_rng(1).integers(1, 255, (80, 100)).astype(np.float32), (0, 0), 3
    )
    ground = 40 + 150 * (ground - ground.min()) / np.ptp(ground)
    path = tmp_path / "T_20190101.tif"
    profile: dict[str, Any] = {
        "driver": "GTiff",
        "width": 100,
        "height": 80,
        "count": 1,
        "dtype": "uint8",
        "crs": "EPSG:32636",
        "transform": rasterio.Affine(100, 0, 0, 0, -100, 0),
    }
    with rasterio.open(path, "w", **profile) as out:
        out.write(ground.astype(np.uint8)[None])
    truth = present([path], tmp_path / "moved", "free", 1)
    image = open_source(tmp_path / "moved" / path.name).read()
    assert image.crs is None
    shown, mask = image.pixels[0], image.valid
    assert 0 < (~mask).mean() < 0.9
    # A pixel well inside shows the ground that the truth says it does.
    x, y = (truth["T_20190101"] @ [50, 40, 1])[:2]
    nearest = shown[round(float(y)), round(float(x))]
    assert nearest == pytest.approx(ground[40, 50], abs=12)
    again = present([path], tmp_path / "again", "free", 1)
    np.testing.assert_array_equal(again["T_20190101"], truth["T_20190101"])


def test_the_table_counts_what_is_accepted_and_right() -> None:
    def outcome(method: str, reference: str, date: str, status: str, error: float) -> Outcome:
        return Outcome("sift", "near", method, reference, date, status, error, 0.5)

    outcomes = [
        outcome("pairs", "a", "b", "ok", 0.2),
        outcome("pairs", "a", "c", "failed", float("nan")),
        outcome("pairs", "b", "a", "ok", 0.4),
        outcome("pairs", "b", "c", "ok", 9.0),
        outcome("joint", "a", "b", "ok", 0.1),
        outcome("joint", "a", "c", "ok", 0.3),
        outcome("joint", "b", "a", "uncertain", 0.1),
        outcome("joint", "b", "c", "ok", 0.7),
    ]
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in table(outcomes).splitlines()[2:]
    ]
    head = ["sift", "near"]
    # Mean, best and worst over both references; wrong ones; medians of all and of the same dates.
    assert rows[0] == [*head, "pairs", "1.0 of 1", "1", "1", "1", "0.400", "4.600", "7.280", "67%"]
    assert rows[1] == [*head, "joint", "1.5 of 1", "2", "1", "0", "0.300", "0.400", "0.620", "67%"]
