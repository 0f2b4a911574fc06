"""What is fixed to the pixels of both images is not taken for ground."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from scipy.ndimage import shift as displaced

import imatch
from tests.support.pairs.trust.fixed import STRUCTURES, Mark

SIZE = (260, 250)
# Gaps that leave enough, and strong compression.
SEEDS = {"stripes": 4, "codec": 11, "band_gaps": 11}
Views = list[NDArray[np.uint8]]


def views(shift: tuple[float, float], seed: int = 3, *, other: bool = False) -> Views:
    """Two views (1, H, W) of one ground, displaced, or of two."""
    found = []
    for number, (x, y) in enumerate(((0.0, 0.0), shift)):
        rng = np.random.default_rng((seed, number if other else 0))
        wide = gaussian_filter(rng.normal(0, 110, (300, 310)), 1.4)
        wide += gaussian_filter(rng.normal(0, 900, (300, 310)), 9)
        seen = displaced(wide, (y, x), order=3)[25:275, 25:285]
        noisy = 120 + seen + np.random.default_rng(seed + number + 50).normal(0, 2, seen.shape)
        found.append(np.clip(np.round(noisy), 1, 255).astype(np.uint8)[None])
    return found


def matched(pair: Views, mark: Mark, **settings: Any) -> imatch.Registration:
    return imatch.match(mark(pair[0]), mark(pair[1]), **settings)


@pytest.mark.parametrize("shift", [(6.25, -4.5), (0.6, 0.8)])
@pytest.mark.parametrize("name", [name for name in STRUCTURES if name != "repeated"])
def test_the_interval_holds_the_ground(name: str, shift: tuple[float, float]) -> None:
    mark, about = STRUCTURES[name](SIZE, np.random.default_rng(SEEDS.get(name, 1)))
    r = matched(views(shift), mark)
    if name == "codec" and r.status != "ok":
        # What strong compression has left may say nothing.
        return
    assert r.status == "ok", (r.reason, about)
    assert r.shift_px is not None
    assert r.ci95_px is not None
    for found, half, truth in zip(r.shift_px, r.ci95_px, shift, strict=True):
        assert abs(found - truth) <= half + 0.03


@pytest.mark.parametrize("name", ["stamp", "frame", "dust", "detector"])
def test_a_structure_alone_registers_nothing(name: str) -> None:
    mark, about = STRUCTURES[name](SIZE, np.random.default_rng(4))
    r = matched(views((0, 0), other=True), mark, matcher="sift")
    assert r.status != "ok", (r.reason, about)


def test_an_answer_on_stamps_alone_says_so() -> None:
    rng = np.random.default_rng(0)
    layer = np.zeros(SIZE[::-1], dtype=bool)
    for x, y, w, h in rng.integers((0, 0, 5, 3), (250, 240, 40, 30), (10, 4)):
        layer[y : y + h, x : x + w] ^= True

    def mark(view: NDArray[np.uint8]) -> NDArray[np.uint8]:
        return np.where(layer, 0.4 * view + 150, view).astype(np.uint8)

    r = matched(views((0, 0), other=True), mark, matcher="sift")
    assert r.status != "ok"
    assert r.status == "failed" or "at the same pixels of both images" in r.reason
