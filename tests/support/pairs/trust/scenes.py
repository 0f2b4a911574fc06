"""Scenes for `imatch.register`: larger than what is matched whole, bent in ways tiles hide."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from tests.support.pairs.trust.bent import BENDS, STEEPEST
from tests.support.pairs.trust.ground import Ground, draw_ground, present, seen_twice
from tests.support.pairs.trust.pair import Bend, Points, TrustPair, Truth, log_uniform, near

Drawn = tuple[Bend, dict[str, Any]]
Size = tuple[int, int]

_RIM = 24
#: Longest sides, pixels; of real images only few are larger.
MOST = {"train": 900, "bench": 900, "made": 1200}
_SCENES = ("bmng", "ua_overview")
# Longest side of the images that give the rough answer, pixels: what they hide is sought in tiles.
_WORKING = (192, 768)


def wave(amplitude: float, period: float, phase: float, crest: float, along: float) -> Bend:
    """A sine whose crests run at one angle and whose displacement points at another, radians."""
    across = np.array([-np.sin(crest), np.cos(crest)])
    towards = amplitude * np.array([np.cos(along), np.sin(along)])

    def bend(xy: Points) -> Points:
        swing = np.sin(2 * np.pi * (xy @ across) / period + phase)
        return np.asarray(swing[:, None] * towards)

    return bend


def _jitter(amplitude: float, size: Size, rng: np.random.Generator) -> Drawn:
    """Jitter of a platform: crests along rows, along columns, or turned as an orbit is."""
    period = log_uniform(rng, 20, 400)
    crest = float(rng.choice([0.0, np.pi / 2, rng.uniform(-0.35, 0.35), rng.uniform(0, np.pi)]))
    along = float(rng.choice([crest, rng.uniform(0, 2 * np.pi)]))
    # Lines must not overtake one another.
    steep = abs(np.sin(along - crest)) * 2 * np.pi / period
    amplitude = min(amplitude, STEEPEST / max(steep, 1e-9))
    bend = wave(amplitude, period, float(rng.uniform(0, 2 * np.pi)), crest, along)
    about = {"period": period, "crest": float(np.degrees(crest)), "height": amplitude}
    return bend, about | {"along": float(np.degrees(along))}


def scene_bent(data: Path, split: str, rng: np.random.Generator) -> TrustPair:
    """Jitter of any direction, seams or relief of 1 to 5 px, on two dates or with noise."""
    ground = _ground(data, split, rng, one_date=bool(rng.random() < 0.5))
    name = str(rng.choice(["jitter", "steps", "relief"], p=[0.6, 0.2, 0.2]))
    amplitude = log_uniform(rng, 1, 5)
    draw = _jitter if name == "jitter" else BENDS[name]
    bend, about = draw(amplitude, ground.size, rng)
    return _pair(ground, bend, rng, {"bend": name, "amplitude": amplitude} | about)


def scene_smooth(data: Path, split: str, rng: np.random.Generator) -> TrustPair:
    """A smooth bend of up to 5 px that a displacement grid can follow."""
    ground = _ground(data, split, rng, one_date=bool(rng.random() < 0.5))
    name = str(rng.choice(["polynomial", "radial", "smooth"]))
    amplitude = log_uniform(rng, 0.5, 5)
    bend, about = BENDS[name](amplitude, ground.size, rng)
    return _pair(ground, bend, rng, {"bend": name, "amplitude": amplitude} | about)


def scene(data: Path, split: str, rng: np.random.Generator) -> TrustPair:
    """A scene that is not bent, on two dates or with noise."""
    one_date = bool(rng.random() < 0.5)
    ground = _ground(data, split, rng, one_date=one_date)
    return _pair(ground, None, rng, {"bend": "none", "one_date": one_date})


def _ground(data: Path, split: str, rng: np.random.Generator, *, one_date: bool) -> Ground:
    most = MOST[split]
    width, height = (int(v) for v in np.exp(rng.uniform(np.log(0.6 * most), np.log(most), 2)))
    given: dict[str, Any] = {"rim": _RIM, "one_date": one_date}
    if split != "made":
        given["sources"] = _SCENES
    return draw_ground(data, split, (width, height), rng, **given)


def _pair(
    ground: Ground, bend: Bend | None, rng: np.random.Generator, about: dict[str, Any]
) -> TrustPair:
    truth = Truth(near(ground.size, rng, turn=0.5), ground.shift, bend, ground.sd_px)
    pair = seen_twice(ground, truth, log_uniform(rng, 0.5, 8), rng)
    working = int(log_uniform(rng, *_WORKING))
    return present(
        TrustPair(pair.ref, pair.tgt, pair.truth, pair.params | about | {"working": working}), rng
    )
