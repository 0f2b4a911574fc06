from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from imatch.core.io.jsontext import to_json
from imatch.core.io.tables import write_rows
from imatch.core.settings import load_settings
from imatch.datasets.chip_files import Coding, write_chip
from imatch.datasets.manifest import (
    CHIPS,
    KEYPOINTS,
    MANIFEST,
    PAIRS,
    SCHEMA,
    ChipRow,
    KeypointRow,
    PairRow,
)
from imatch.datasets.pairs import Key
from imatch.datasets.sample import PairSample
from imatch.training.loftr.config import LoFTRConfig


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
                "steps=4",
                "batch_size=2",
                "validate_every=4",
                "checkpoint_every=2",
                "log_every=1",
                "device=cpu",
                "precision=fp32",
                "validation.pairs=2",
                "validation.size=64",
                "trackers=[]",
                *overrides,
            ],
        )

    return make


SIDE = 96


def _chip(site: int, date: str, split: str = "train") -> ChipRow:
    return ChipRow(
        site=f"s/p/x{site}",
        split=split,
        source="s",
        place="p",
        date=date,
        season="unknown",
        tag="",
        path=f"chips/s/p/x{site}/{date}.tif",
        width=SIDE,
        height=SIDE,
        bands=3,
        dtype="uint8",
        gsd_m=10.0,
        crs="",
        left=0.0,
        bottom=0.0,
        right=0.0,
        top=0.0,
        valid=1.0,
        cloud=0.0,
        low="0 0 0",
        high="255 255 255",
        scene_low="0 0 0",
        scene_high="255 255 255",
        image="i.tif",
    )


def _pair(a: ChipRow, b: ChipRow, **values: Any) -> PairRow:
    nothing = float("nan")
    given: dict[str, Any] = {
        "dx": 0.0,
        "dy": 0.0,
        "sigma_px": 0.1,
        "log_odds": 2.0,
        "measured": "chip",
        "given_dx": nothing,
        "given_dy": nothing,
        "apart": 0.5,
        "changed": "",
        "changed_share": 0.0,
        "tag": "clear/clear",
    }
    return PairRow(
        site=a.site, split=a.split, source=a.source, a=a.path, b=b.path, **(given | values)
    )


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
        two = [_chip(site, date, split) for date in ("20180101", "20180701")]
        unknown = "sigma_px" in told
        sample = ground(SIDE, site, (6, -4) if unknown else (0, 0))
        for row, pixels in zip(two, (sample.a, sample.b), strict=True):
            stored = np.repeat(np.rint(255 * pixels).astype(np.uint8), 3, axis=0)
            valid = np.ones((SIDE, SIDE), bool)
            write_chip(
                folder / row.path, stored, valid, coding=Coding("uint8"), bands=("r", "g", "b")
            )
        rows += two
        pairs.append(_pair(*two, **told))
    write_rows(folder / CHIPS, ChipRow, rows)
    write_rows(folder / PAIRS, PairRow, pairs)
    write_rows(folder / KEYPOINTS, KeypointRow, [])
    document = {
        "schema": SCHEMA,
        "sha256": "ab",
        "config": {"chip": SIDE},
        "counts": {"train": {}, "val": {}},
        "sources": {"s": {}},
    }
    (folder / MANIFEST).write_text(to_json(document))
    return folder
