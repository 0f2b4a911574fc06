from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from imatch.core.settings import load_settings
from imatch.datasets.chip_files import Coding, write_chip
from imatch.datasets.pairs import Key
from imatch.datasets.sample import PairSample
from imatch.training.loftr.config import LoFTRConfig
from tests.support.data_sets import chip_row, pair_row, write_tables
from tests.support.training_runs import FOUR_STEPS


@dataclass
class Listed:
    """Pairs in memory."""

    pairs: Sequence[PairSample]
    epoch: int = 0

    def __len__(self) -> int:
        return len(self.pairs)

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __getitem__(self, key: Key) -> PairSample:
        return self.pairs[key[1] if isinstance(key, tuple) else key]


def ground(size: int, seed: int, shift: tuple[int, int] = (0, 0)) -> PairSample:
    """Two dates of a textured ground, the second darker and moved, known to a tenth of a pixel."""
    rng = np.random.default_rng(seed)
    whole = size + 32
    total = np.zeros((whole, whole), np.float32)
    for cells in (6, 14, 28):
        knots = rng.random((cells, cells)).astype(np.float32)
        total += cv2.resize(knots, (whole, whole), interpolation=cv2.INTER_NEAREST)
    image = (cv2.GaussianBlur(total, (0, 0), 0.8) / 3).astype(np.float32)[None]
    x, y = shift
    a = image[:, 16 : 16 + size, 16 : 16 + size]
    b = image[:, 16 - y : 16 - y + size, 16 - x : 16 - x + size]
    seen = np.ones((size, size), bool)
    return PairSample(
        np.ascontiguousarray(a),
        np.ascontiguousarray(0.1 + 0.7 * b).astype(np.float32),
        seen,
        seen.copy(),
        np.array([[1, 0, x], [0, 1, y], [0, 0, 1.0]]),
        0.1,
        ~seen,
        place=f"place {seed}",
        source="texture",
    )


@pytest.fixture
def pairs() -> Listed:
    return Listed([ground(96, seed, (3 * seed, -seed)) for seed in range(4)])


Configure = Callable[..., LoFTRConfig]

TINY = (
    "model.dims=[8, 8, 12, 16]",
    "model.heads=2",
    "model.rounds=1",
    "model.fine_heads=2",
)


@pytest.fixture
def configure() -> Configure:
    """Settings of a run of seconds."""

    def make(*overrides: str, path: Path | None = None) -> LoFTRConfig:
        return load_settings(
            LoFTRConfig,
            path,
            [
                *TINY,
                "data.size=64",
                *FOUR_STEPS,
                "validation.pairs=2",
                "validation.size=64",
                *overrides,
            ],
        )

    return make


SIDE = 96


KINDS: tuple[dict[str, Any], ...] = (
    {},
    {},
    {"tag": "512 hard (gt=scene median)"},
    {"changed_share": 0.5},
    {"sigma_px": float("nan")},
    {"sigma_px": float("nan"), "tag": "256 hard (gt=scene median)"},
)
"""What is told of the training pairs; the last two are in truth moved by (6, -4)."""


@pytest.fixture(scope="session")
def chips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A prepared data set: two plain pairs, two hard ones, two of unknown residual, one to test."""
    folder = tmp_path_factory.mktemp("chips")
    rows, pairs = [], []
    for site, told in enumerate((*KINDS, {})):
        split = "train" if site < len(KINDS) else "val"
        two = [chip_row(site, date, SIDE, split=split) for date in ("20180101", "20180701")]
        unknown = "sigma_px" in told
        sample = ground(SIDE, site, (6, -4) if unknown else (0, 0))
        for row, pixels in zip(two, (sample.a, sample.b), strict=True):
            stored = np.repeat(np.rint(255 * pixels).astype(np.uint8), 3, axis=0)
            valid = np.ones((SIDE, SIDE), bool)
            write_chip(
                folder / row.path, stored, valid, coding=Coding("uint8"), bands=("r", "g", "b")
            )
        rows += two
        pairs.append(pair_row(*two, **({"tag": "clear/clear"} | told)))
    write_tables(folder, SIDE, rows, pairs)
    return folder
