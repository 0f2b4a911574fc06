from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from imatch.datasets.sample import PairSample

MakePair = Callable[..., PairSample]
_HEADER = "case,source,variant,tag,ref,tgt," + ",".join(
    f"{kind}{row}{column}" for kind in "wh" for row in range(3) for column in range(3)
)


def texture(size: int, seed: int, bands: int = 1) -> NDArray[np.float32]:
    """(bands, size, size) smooth random ground with structure at several scales."""
    rng = np.random.default_rng(seed)
    total = np.zeros((bands, size, size), np.float32)
    for cells in (4, 12, 30):
        for band in range(bands):
            knots = rng.random((cells, cells)).astype(np.float32)
            total[band] += cv2.resize(knots, (size, size), interpolation=cv2.INTER_CUBIC)
    low, high = total.min(), total.max()
    return np.asarray((total - low) / (high - low), dtype=np.float32)


@pytest.fixture
def make_pair() -> MakePair:
    """A pair of one texture, darker on the second date and shifted by whole pixels."""

    def make(
        size: int = 64, seed: int = 0, bands: int = 1, shift: tuple[int, int] = (0, 0)
    ) -> PairSample:
        x, y = shift
        ground = texture(size + 16, seed, bands)
        a = np.ascontiguousarray(ground[:, 8 : 8 + size, 8 : 8 + size])
        b = np.ascontiguousarray(ground[:, 8 - y : 8 - y + size, 8 - x : 8 - x + size])
        valid = np.ones((size, size), bool)
        return PairSample(
            a,
            (0.8 * b + 0.1).astype(np.float32),
            valid,
            valid.copy(),
            np.array([[1, 0, x], [0, 1, y], [0, 0, 1.0]]),
            0.1,
            ~valid,
            np.array([[20.5, 30.25], [40.0, 12.0]], np.float32),
            np.array([1.0, 2.0], np.float32),
            place=f"place {seed}",
            dates=("2020-06-01", "2020-12-01"),
            source="texture",
        )

    return make


@dataclass(frozen=True)
class Listed:
    """Pairs in memory."""

    pairs: Sequence[PairSample]

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, index: int) -> PairSample:
        return self.pairs[index]


def ground(size: int, seed: int) -> PairSample:
    """Two dates of a textured ground, known to a tenth of a pixel, with two named places."""
    rng = np.random.default_rng(seed)
    total = np.zeros((size, size), np.float32)
    for cells in (6, 14, 28):
        knots = rng.random((cells, cells)).astype(np.float32)
        total += cv2.resize(knots, (size, size), interpolation=cv2.INTER_NEAREST)
    image = (cv2.GaussianBlur(total, (0, 0), 0.8) / 3)[None].astype(np.float32)
    seen = np.ones((size, size), bool)
    return PairSample(
        image,
        (0.9 - 0.7 * image).astype(np.float32),
        seen,
        seen.copy(),
        np.eye(3),
        0.1,
        ~seen,
        np.array([[20.0, 20], [40, 31]], np.float32),
        np.array([1.0, 2.0], np.float32),
        place=f"place {seed}",
        source="texture",
    )


@pytest.fixture
def pairs() -> Listed:
    return Listed([ground(64, seed) for seed in range(4)])


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """A table of four grounds twice each, and an unrelated pair; targets are warped by 5 px."""
    lines = [_HEADER]
    truth = "1,0,5,0,1,0,0,0,1"
    for number in range(4):
        image = np.random.default_rng(number).integers(0, 255, (80, 80), dtype=np.uint8)
        image[:] = cv2.GaussianBlur(image, (0, 0), 2)
        names = f"{number}a.png", f"{number}b.png"
        cv2.imwrite(str(tmp_path / names[0]), image)
        cv2.imwrite(str(tmp_path / names[1]), 255 - image)
        source = "sar" if number < 3 else "map"
        lines += [
            f"{number}_{variant},{source},{variant},,{','.join(names)},{truth},{truth}"
            for variant in ("near", "free")
        ]
    lines.append(f"no,sar,unrelated,,0a.png,1b.png,{truth}," + ",".join(["nan"] * 9))
    path = tmp_path / "cases.csv"
    path.write_text("\n".join(lines) + "\n")
    return path
