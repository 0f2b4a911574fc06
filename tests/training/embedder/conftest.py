from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from affine import Affine
from numpy.typing import NDArray
from rasterio.crs import CRS

from imatch.core.settings import load_settings
from imatch.datasets.chip_files import Coding, write_chip
from imatch.datasets.manifest import (
    ChipRow,
)
from imatch.training.embedder.config import EmbedderConfig
from tests.support.data_sets import write_tables
from tests.support.training_runs import FOUR_STEPS

SIDE = 40
GSD = 10.0
LEFT, TOP = 356_000.0, 4_835_000.0
SEASONS = {"20180115": "dec-feb", "20180420": "mar-may", "20180715": "jun-aug"}
CRS_NAME = "EPSG:32631"


def ground(column: int, row: int) -> NDArray[np.float32]:
    """(3, SIDE, SIDE) ground of one tile."""
    rng = np.random.default_rng([7, column, row])
    knots = rng.random((3, 5, 5)).astype(np.float32)
    return np.stack(
        [cv2.resize(band, (SIDE, SIDE), interpolation=cv2.INTER_CUBIC) for band in knots]
    )


def box(column: int, row: int) -> tuple[float, float, float, float]:
    """Left, bottom, right, top of a tile."""
    left, top = LEFT + column * SIDE * GSD, TOP - row * SIDE * GSD
    return left, top - SIDE * GSD, left + SIDE * GSD, top


def write_data(folder: Path, columns: int, rows: int) -> Path:
    """A prepared data set: a grid of tiles in three seasons, the last row for validation."""
    chips = []
    for row in range(rows):
        for column in range(columns):
            base = ground(column, row)
            left, bottom, right, top = box(column, row)
            site = f"grid/T31/x{column}_y{row}"
            for number, (date, season) in enumerate(SEASONS.items()):
                seen = np.clip(60 + 120 * base * (1 - 0.15 * number), 0, 255).astype(np.uint8)
                path = f"chips/{site}/{date}.tif"
                write_chip(
                    folder / path,
                    seen,
                    np.ones((SIDE, SIDE), dtype=bool),
                    coding=Coding("uint8"),
                    bands=("red", "green", "blue"),
                    transform=Affine(GSD, 0, left, 0, -GSD, top),
                    crs=CRS.from_user_input(CRS_NAME),
                )
                low, high = (
                    " ".join(f"{np.percentile(band, p):g}" for band in seen) for p in (1, 99)
                )
                split = "val" if row == rows - 1 else "train"
                chips.append(
                    ChipRow(
                        site, split, "grid", "T31", date, season, "", path, SIDE, SIDE, 3, "uint8",
                        GSD, CRS_NAME, left, bottom, right, top, 1.0, 0.0, low, high, low, high,
                        f"{date}.tif",
                    )
                )  # fmt: skip
    write_tables(folder, SIDE, chips, sha256="0" * 64)
    return folder


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six by five tiles: 24 training places, 6 validation places."""
    return write_data(tmp_path_factory.mktemp("data"), 6, 5)


Configure = Callable[..., EmbedderConfig]


@pytest.fixture
def configure(data: Path) -> Configure:
    """Settings of a run of seconds."""

    def make(*overrides: str) -> EmbedderConfig:
        return load_settings(
            EmbedderConfig,
            None,
            [
                f"data.chips={data}",
                "data.size=32",
                "model.start=scratch",
                "model.dim=8",
                *FOUR_STEPS,
                "batch_size=4",
                *overrides,
            ],
        )

    return make
