"""Pairs of different ground: the only right answer is to refuse."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np

from tests.support.pairs.trust.ground import (
    Image,
    draw_ground,
    draw_size,
    draw_window,
    images,
    made_ground,
    present,
    read_window,
    shows_something,
)
from tests.support.pairs.trust.known import strip_size
from tests.support.pairs.trust.pair import (
    Planes,
    Side,
    TrustPair,
    log_uniform,
    pixel_grid,
    sample,
    similarity,
)

# Whole scenes, of which two windows show different ground; other images are windows already, some
# of one event overlapping.
_WHOLE = ("ua_overview", "bouconne", "bmng", "alps_b08", "brenta_ndvi", "ua_jp2_60m")
# One scene of the world at one scale; and tiles that two data sets share.
_GLOBAL = ("bmng",)
_SHARED_GROUND = {"ua_jp2_60m": "ua_overview"}
_TRIES = 2000
_SHARES = {"ombria": 3.0, "ua_overview": 2.0, "bmng": 2.0, "srif": 1.0, "alps_b08": 1.0}


def other(data: Path, split: str, rng: np.random.Generator) -> TrustPair:
    """Two events, or two scenes, or two far windows of one scene."""
    size = draw_size(rng)
    if split == "made":
        first, second = (made_ground(draw_size(rng), rng, one_date=True) for _ in range(2))
        both: dict[str, Any] = {"first": first.params, "second": second.params}
        return _pair(first.first, second.first, both, rng)
    return _other(data, split, size, rng)


def other_strips(data: Path, split: str, rng: np.random.Generator) -> TrustPair:
    """Strips of different ground: of two places, or mirrored."""
    size = strip_size(split, rng)
    if rng.random() < 0.4:
        return _mirrored(data, split, size, rng)
    return _other(data, split, size, rng, least=min(size))


def _other(
    data: Path, split: str, size: tuple[int, int], rng: np.random.Generator, *, least: int = 96
) -> TrustPair:
    for _ in range(_TRIES):
        a, b = _draw(data, split, rng), _draw(data, split, rng)
        if not _no_common_ground(a, b) and not (a.source in _WHOLE and a.date == b.date):
            continue
        found = _windows(a, b, size, rng, apart=_no_common_ground(a, b), least=least)
        if found is not None:
            return _pair(*found, rng)
    raise ValueError(f"{split} has no two windows of {size[0]} x {size[1]} pixels")


def other_date(data: Path, split: str, rng: np.random.Generator) -> TrustPair:
    """Another place of the same data set at another date."""
    size = draw_size(rng)
    for _ in range(_TRIES):
        a = _draw(data, split, rng)
        pool = [b for b in images(data, split) if b.source == a.source and b.date != a.date]
        b = pool[int(rng.integers(len(pool)))]
        if a.source not in _WHOLE and not _no_common_ground(a, b):
            continue
        found = _windows(a, b, size, rng, apart=a.source not in _WHOLE)
        if found is not None:
            return _pair(*found, rng)
    raise ValueError(f"{split} has no two dates of {size[0]} x {size[1]} pixels")


def adjacent(data: Path, split: str, rng: np.random.Generator) -> TrustPair:
    """Neighbouring windows of one scene that do not overlap, of one date or two."""
    size = draw_size(rng, 96, 320)
    for _ in range(_TRIES):
        a = _draw(data, split, rng)
        pool = [b for b in images(data, split) if b.place == a.place and b.date != a.date]
        # Only these lie on one pixel grid.
        same = not pool or a.source in ("srif", "starainj") or rng.random() < 0.5
        b = a if same else pool[int(rng.integers(len(pool)))]
        width, height = (min(n, side // 2 - 4) for n, side in zip(size, a.size, strict=True))
        if min(width, height) < 96:
            continue
        beside = rng.random() < 0.5
        # Apart by what two dates may lie off one another, and a little more.
        gap = int(rng.integers(4, 40))
        # A neighbour may begin a little higher or lower: its rows must not tell.
        slide = int(rng.integers(-20, 21))
        both = (2 * width + gap, height + 20) if beside else (width + 20, 2 * height + gap)
        both = min(both[0], a.size[0]), min(both[1], a.size[1])
        box = draw_window(a, both, rng)
        if box is None or min(both[0] - width, both[1] - height) < 0:
            continue
        left, top = box[:2]
        far = np.array([both[0] - width, 0] if beside else [0, both[1] - height])
        free = (both[1] - height) if beside else (both[0] - width)
        slide = int(np.clip(slide, -free, free))
        mine, yours = np.array([left, top]), np.array([left, top]) + far
        across = np.array([0, 1]) if beside else np.array([1, 0])
        if slide >= 0:
            yours = yours + slide * across
        else:
            mine = mine - slide * across
        if rng.random() < 0.5:
            mine, yours = yours, mine
        first = read_window(a, int(mine[0]), int(mine[1]), (width, height))
        second = read_window(b, int(yours[0]), int(yours[1]), (width, height))
        if shows_something(first) and shows_something(second):
            about: dict[str, Any] = {
                "ref": a.path.name,
                "tgt": b.path.name,
                "ref_at": [int(v) for v in mine],
                "tgt_at": [int(v) for v in yours],
            }
            return _pair(first, second, about, rng)
    raise ValueError(f"{split} has no neighbours of {size[0]} x {size[1]} pixels")


def mirrored(data: Path, split: str, rng: np.random.Generator) -> TrustPair:
    """The same ground mirrored, of one date or two, turned by any quarter and scaled."""
    return _mirrored(data, split, draw_size(rng), rng)


def _mirrored(data: Path, split: str, size: tuple[int, int], rng: np.random.Generator) -> TrustPair:
    ground = draw_ground(data, split, size, rng, rim=24, one_date=bool(rng.random() < 0.5))
    quarter = int(rng.integers(4))
    planes = np.ascontiguousarray(np.rot90(ground.second[:, :, ::-1], quarter, axes=(1, 2)))
    turn, scale = 0.0, 1.0
    if rng.random() < 0.5:
        turn, scale = float(rng.uniform(-10, 10)), log_uniform(rng, 0.8, 1.25)
    first = ground.first
    x, y = ground.rim
    ref = first[:, y : y + size[1], x : x + size[0]]
    if turn or scale != 1:
        seen = planes.shape[2], planes.shape[1]
        matrix = np.linalg.inv(similarity(seen, turn, scale, (0.0, 0.0)))
        grid = pixel_grid(seen)
        at = grid @ matrix[:2, :2].T + matrix[:2, 2]
        planes, inside = sample(planes, at, seen)
        planes[:, ~inside] = np.nan
    else:
        height, width = planes.shape[1:]
        out = (size[1], size[0]) if quarter % 2 else size
        x, y = (width - out[0]) // 2, (height - out[1]) // 2
        planes = planes[:, y : y + out[1], x : x + out[0]]
    about = ground.params | {"quarter": quarter, "turn": turn, "scale": scale}
    return _pair(ref, planes, about, rng)


def _draw(data: Path, split: str, rng: np.random.Generator) -> Image:
    pool = images(data, split)
    names = sorted({image.source for image in pool})
    share = np.array([_SHARES.get(name, 0.5) for name in names])
    name = str(rng.choice(names, p=share / share.sum()))
    own = [image for image in pool if image.source == name]
    return own[int(rng.integers(len(own)))]


def _no_common_ground(a: Image, b: Image) -> bool:
    """Whether no window of one can show ground of the other, so that a matcher could tell."""
    if a.source == b.source:
        # The aerial sets give one ground several names.
        return a.event != b.event and a.source not in ("srif", "starainj")
    pair = {a.source, b.source}
    return not any({one, two} == pair for one, two in _SHARED_GROUND.items())


def _windows(
    a: Image,
    b: Image,
    size: tuple[int, int],
    rng: np.random.Generator,
    *,
    apart: bool,
    least: int = 96,
) -> tuple[Planes, Planes, dict[str, Any]] | None:
    """A window of each, which share no ground."""
    width, height = (min(s) for s in zip(size, a.size, b.size, strict=True))
    if not apart and width * 2 > a.size[0] and height * 2 > a.size[1]:
        width, height = min(width, a.size[0] // 2 - 8), min(height, a.size[1] // 2 - 8)
    one, two = (draw_window(image, (width, height), rng) for image in (a, b))
    if min(width, height) < least or one is None or two is None:
        return None
    away = abs(one[0] - two[0]) >= width + 8 or abs(one[1] - two[1]) >= height + 8
    if not apart and not away:
        return None
    first = read_window(a, one[0], one[1], (width, height))
    second = read_window(b, two[0], two[1], (width, height))
    if not (shows_something(first) and shows_something(second)):
        return None
    about: dict[str, Any] = {
        "ref": a.path.name,
        "tgt": b.path.name,
        "ref_at": list(one[:2]),
        "tgt_at": list(two[:2]),
    }
    return first, second, about


def _pair(
    first: Planes, second: Planes, about: dict[str, Any], rng: np.random.Generator
) -> TrustPair:
    """Two windows as products, the second now and then as a negative or blurred."""
    if len(first) != len(second):
        first, second = (p.mean(axis=0, keepdims=True) for p in (first, second))
    if rng.random() < 0.15:
        second = np.asarray(255 - second, np.float32)
    if rng.random() < 0.3:
        sigma = float(rng.uniform(0.4, 1.2))
        second = np.stack([_blurred(plane, sigma) for plane in second])
    size = [first.shape[2], first.shape[1]]
    return present(TrustPair(Side(first), Side(second), None, dict(about) | {"size": size}), rng)


def _blurred(plane: Planes, sigma: float) -> Planes:
    known = np.isfinite(plane)
    out = cv2.GaussianBlur(np.nan_to_num(plane), (0, 0), sigma).astype(np.float32)
    out[~known] = np.nan
    return out
