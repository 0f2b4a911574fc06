"""Pairs of one ground whose transform is known: exactly, or as well as real seasons are."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from imatch.datasets.synthetic.landscape import landscape
from imatch.datasets.synthetic.landscape_view import SEASONS, render_landscape
from tests.support.pairs.trust.ground import draw_ground, draw_size, present, seen_twice
from tests.support.pairs.trust.pair import (
    Side,
    TrustPair,
    Truth,
    log_uniform,
    near,
    pixel_grid,
    sample,
)

_RIM = 24


def exact(data: Path, split: str, rng: np.random.Generator) -> TrustPair:
    """A procedural landscape rendered twice, in two seasons; no image is warped into another."""
    size = draw_size(rng, 128, 512)
    seed = int(rng.integers(2**31))
    ground = landscape((size[0] + 2 * _RIM, size[1] + 2 * _RIM), seed)
    to_ref = np.array([[1, 0, -_RIM], [0, 1, -_RIM], [0, 0, 1.0]])
    matrix = near(size, rng)
    seasons = [str(s) for s in rng.permutation(SEASONS)[:2]]
    if rng.random() < 0.2:
        seasons[1] = seasons[0]
    hard = float(rng.uniform(0, 1))
    sides = []
    for side, warp in enumerate((to_ref, matrix @ to_ref)):
        season = seasons[side]
        pixels, valid = render_landscape(
            ground,
            season,  # type: ignore[arg-type]
            matrix=warp,
            size=size,
            year=int(rng.integers(0, 3)),
            noise=0.003 + 0.06 * hard**2,
            snow=float(rng.uniform(0.2, 1) * (season == "winter" and rng.random() < 0.5)),
            haze=float(rng.uniform(0, 0.3 + 0.4 * hard)),
            clouds=float(rng.uniform(0.05, 0.3 + 0.3 * hard) * (rng.random() < 0.2)),
            sun_azimuth=float(rng.uniform(110, 190)),
            seed=(seed + side) % 2**31,
        )
        if rng.random() < 0.3:
            sigma = float(rng.uniform(0.3, 1.0))
            pixels = np.stack([cv2.GaussianBlur(p, (0, 0), sigma) for p in pixels])
        sides.append(Side(255 * pixels ** log_uniform(rng, 0.7, 1.4), valid))
    about = {"size": list(size), "landscape": seed, "seasons": seasons, "hard": hard}
    return present(TrustPair(sides[0], sides[1], Truth(matrix), about), rng)


def warped(data: Path, split: str, rng: np.random.Generator) -> TrustPair:
    """One image warped onto itself, with noise, another gamma and a blur."""
    size = draw_size(rng)
    ground = draw_ground(data, split, size, rng, rim=_RIM, one_date=True)
    pair = seen_twice(ground, Truth(near(size, rng)), 0.0, rng)
    planes, gamma = pair.tgt.pixels, log_uniform(rng, 0.6, 1.6)
    sigma = float(rng.choice([0.0, rng.uniform(0.3, 1.5)]))
    if sigma > 0:
        planes = np.stack([cv2.GaussianBlur(p, (0, 0), sigma) for p in planes])
    planes = 255 * (np.clip(planes, 0, 255) / 255) ** gamma
    noise = log_uniform(rng, 0.5, 15)
    planes = planes + rng.normal(0, noise, planes.shape)
    tgt = Side(planes.astype(np.float32), pair.tgt.valid)
    about = pair.params | {"gamma": gamma, "blur": sigma, "noise": noise}
    return present(TrustPair(pair.ref, tgt, pair.truth, about), rng)


def seasons(data: Path, split: str, rng: np.random.Generator) -> TrustPair:
    """Two dates, as they are or with a known transform on the second."""
    size = draw_size(rng, 128, 512)
    ground = draw_ground(data, split, size, rng, rim=_RIM)
    moved = bool(rng.random() < 0.7)
    matrix = near(size, rng) if moved else np.eye(3)
    truth = Truth(matrix, ground.shift, None, ground.sd_px)
    if not moved:
        # Nothing is resampled: the pixels of both are the producer's.
        (x, y), (width, height) = ground.rim, size
        part = np.s_[:, y : y + height, x : x + width]
        about = ground.params | {"size": list(size), "moved": False}
        pair = TrustPair(Side(ground.first[part]), Side(ground.second[part]), truth, about)
        return present(pair, rng)
    pair = seen_twice(ground, truth, 0.0, rng)
    return present(TrustPair(pair.ref, pair.tgt, truth, pair.params | {"moved": True}), rng)


def clouded(data: Path, split: str, rng: np.random.Generator) -> TrustPair:
    """Two dates, each below clouds of its own that hide a tenth to seven tenths of it."""
    size = draw_size(rng, 192, 640)
    ground = draw_ground(data, split, size, rng, rim=_RIM)
    truth = Truth(near(size, rng), ground.shift, None, ground.sd_px)
    pair = seen_twice(ground, truth, 0.0, rng)
    shares = rng.uniform(0.1, 0.7, 2)
    ref, tgt = (
        Side(_below_clouds(side.pixels, float(share), rng), side.valid)
        for side, share in zip((pair.ref, pair.tgt), shares, strict=True)
    )
    return present(TrustPair(ref, tgt, truth, pair.params | {"clouds": shares.tolist()}), rng)


def _below_clouds(
    pixels: NDArray[np.float32], share: float, rng: np.random.Generator
) -> NDArray[np.float32]:
    """(C, H, W) the image below clouds of all sizes, brighter than its ground and uneven."""
    height, width = pixels.shape[1:]
    billows = np.zeros((height, width), np.float32)
    for step in (96, 48, 24, 12, 6, 3):
        shape = max(2, height // step), max(2, width // step)
        drawn = rng.normal(size=shape).astype(np.float32)
        billows += step * cv2.resize(drawn, (width, height), interpolation=cv2.INTER_CUBIC)
    above = (billows - np.quantile(billows, 1 - share)) / billows.std()
    opacity = np.clip(4 * above, 0, 1)
    bright = np.quantile(pixels, 0.98) * (1 + 0.15 * billows / billows.std())
    return np.asarray(pixels * (1 - opacity) + bright * opacity, dtype=np.float32)


def strips(data: Path, split: str, rng: np.random.Generator) -> TrustPair:
    """The overlap of neighbouring passes: 48 to 120 px wide, 300 to 1000 long."""
    size = strip_size(split, rng)
    return _plain(data, split, size, rng, reach=min(8.0, min(size) / 8), turn=0.3)


def strip_size(split: str, rng: np.random.Generator) -> tuple[int, int]:
    """(width, height) of a strip, 48 to 120 px wide and 300 to 1000 long, either way round."""
    across, along = int(rng.integers(48, 121)), int(log_uniform(rng, 300, 1001))
    most = {"train": 928, "bench": 1000, "made": 1000}[split]
    along = min(along, most)
    return (across, along) if rng.random() < 0.5 else (along, across)


def partial(data: Path, split: str, rng: np.random.Generator) -> TrustPair:
    """Two dates, or one with noise, of which 15 to 80 % of the area is common."""
    size = draw_size(rng, 96, 360)
    share = float(rng.uniform(0.15, 0.8))
    # The overlap's width over the image's is this to one power, its height's to the rest.
    part = float(rng.uniform(0, 1))
    apart = [
        round(side * (1 - share**own)) for side, own in zip(size, (part, 1 - part), strict=True)
    ]
    whole = size[0] + apart[0], size[1] + apart[1]
    one_date = bool(rng.random() < 0.3)
    ground = draw_ground(data, split, whole, rng, one_date=one_date)
    # The target begins where it is moved to, on either side of the reference.
    start = [int(way) * far for way, far in zip(rng.choice([0, 1], 2), apart, strict=True)]
    begin = [far - own for far, own in zip(apart, start, strict=True)]
    matrix = near(size, rng, turn=3.0)
    matrix = matrix @ np.array(
        [[1, 0, begin[0] - start[0]], [0, 1, begin[1] - start[1]], [0, 0, 1.0]]
    )
    truth = Truth(matrix, ground.shift, None, ground.sd_px)
    x, y = np.array(ground.rim) + begin
    ref = ground.first[:, y : y + size[1], x : x + size[0]]
    at = truth.to_ref(pixel_grid(size)) + np.array(ground.shift) + np.array([x, y])
    tgt, inside = sample(ground.second, at, size)
    tgt = tgt + rng.normal(0, log_uniform(rng, 0.5, 6), tgt.shape).astype(np.float32)
    about = ground.params | {"size": list(size), "one_date": one_date, "share": share}
    return present(TrustPair(Side(ref), Side(tgt, inside), truth, about), rng)


def small(data: Path, split: str, rng: np.random.Generator) -> TrustPair:
    """Images of 64 to 128 px."""
    size = draw_size(rng, 64, 128)
    return _plain(data, split, size, rng, reach=min(size) / 10, turn=1.0)


def _plain(
    data: Path,
    split: str,
    size: tuple[int, int],
    rng: np.random.Generator,
    *,
    reach: float,
    turn: float,
) -> TrustPair:
    """Two dates, or one with noise, a little displaced."""
    one_date = bool(rng.random() < 0.5)
    ground = draw_ground(data, split, size, rng, one_date=one_date)
    truth = Truth(near(size, rng, reach, turn), ground.shift, None, ground.sd_px)
    pair = seen_twice(ground, truth, log_uniform(rng, 0.5, 6), rng)
    about = pair.params | {"one_date": one_date}
    return present(TrustPair(pair.ref, pair.tgt, truth, about), rng)
