"""What is fixed to the pixels and not to the ground, marked as missing or not."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

from tests.support.pairs.trust.ground import draw_ground, draw_size, present, seen_twice
from tests.support.pairs.trust.pair import (
    Side,
    TrustPair,
    Truth,
    log_uniform,
    similarity,
)

Pixels: TypeAlias = NDArray[np.uint8]
Mark: TypeAlias = Callable[[Pixels], Pixels]
"""(C, H, W) -> the same with a structure at the same pixels of every image."""
Drawn: TypeAlias = tuple[Mark, dict[str, Any]]
Size: TypeAlias = tuple[int, int]


def gaps(size: Size, rng: np.random.Generator, most: float = 0.67) -> NDArray[np.bool_]:
    """(H, W) bool, True in scan-line gaps of any slope, of one width or wider to one side.

    Args:
        size: (width, height).
        rng: Draws.
        most: Largest share of a period that is missing.
    """
    period = log_uniform(rng, 12, 60)
    width = min(float(rng.uniform(2, 20)), most * period)
    slope, phase = float(rng.uniform(-0.5, 0.5)), float(rng.uniform(0, period))
    y, x = np.mgrid[: size[1], : size[0]].astype(np.float64)
    along, across = (x, y) if rng.random() < 0.6 else (y, x)
    if rng.random() < 0.4:
        # Nothing is missing on the middle line of the swath, most at its edge.
        width = width * np.clip(along / along.max(), 0.1, 1)
    return np.asarray((across + slope * along + phase) % period < width)


def _stripes(size: Size, rng: np.random.Generator) -> Drawn:
    mask = gaps(size, rng)
    value = 0 if rng.random() < 0.7 else int(rng.integers(1, 256))

    def mark(pixels: Pixels) -> Pixels:
        out = pixels.copy()
        out[:, mask] = value
        return out

    return mark, {"share": float(mask.mean()), "value": value}


def _frame(size: Size, rng: np.random.Generator) -> Drawn:
    """A border of one colour, of its own width on each side, some of it a double line."""
    widths = np.maximum(rng.uniform(0, 0.12, 4) * min(size), 1).astype(int)
    grey, line = int(rng.integers(0, 256)), int(rng.integers(0, 256))
    double = bool(rng.random() < 0.4)

    def mark(pixels: Pixels) -> Pixels:
        out = pixels.copy()
        height, width = out.shape[1:]
        box = np.s_[widths[0] : height - widths[1], widths[2] : width - widths[3]]
        inner = np.zeros((height, width), bool)
        inner[box] = True
        out[:, ~inner] = grey
        if double:
            edge = inner & ~cv2.erode(inner.astype(np.uint8), np.ones((5, 5))).astype(bool)
            out[:, edge] = line
        return out

    return mark, {"widths": widths.tolist(), "value": grey}


def _seams(size: Size, rng: np.random.Generator) -> Drawn:
    """Detectors or mosaic pieces of their own brightness, with a line between them or not."""
    axis = int(rng.integers(2))
    count = int(rng.integers(1, 7))
    cuts = np.sort(rng.integers(4, size[axis] - 4, count))
    steps = rng.uniform(-25, 25, count + 1)
    line = rng.random() < 0.5
    level = int(rng.integers(0, 256))

    def mark(pixels: Pixels) -> Pixels:
        where = np.searchsorted(cuts, np.arange(size[axis]), side="right")
        step = steps[where]
        values = pixels + (step[None, None, :] if axis == 0 else step[None, :, None])
        out = np.clip(values, 0, 255).astype(np.uint8)
        if line:
            if axis == 0:
                out[:, :, cuts] = level
            else:
                out[:, cuts, :] = level
        return out

    return mark, {"seams": count, "axis": axis, "line": bool(line)}


def _stamp(size: Size, rng: np.random.Generator) -> Drawn:
    """Words, a logo or a graticule across both, opaque or half transparent."""
    layer = np.zeros((size[1], size[0]), np.uint8)
    kind = str(rng.choice(["text", "logo", "graticule"]))
    weight = int(rng.integers(1, 4))
    if kind == "text":
        for _ in range(int(rng.integers(1, 5))):
            at = int(rng.uniform(0, 0.4) * size[0]), int(rng.uniform(0.1, 1) * size[1])
            scale = float(rng.uniform(0.5, 1.8) * size[0] / 256)
            cv2.putText(layer, "(c) SAMPLE", at, cv2.FONT_HERSHEY_SIMPLEX, scale, 255, weight)
    elif kind == "logo":
        radius = int(rng.uniform(0.05, 0.2) * min(size))
        at = int(rng.uniform(0.1, 0.9) * size[0]), int(rng.uniform(0.1, 0.9) * size[1])
        cv2.circle(layer, at, radius, 255, -1)
        cv2.putText(layer, "GEO", at, cv2.FONT_HERSHEY_SIMPLEX, radius / 30, 0, weight)
    else:
        step = int(rng.integers(20, 90))
        layer[int(rng.integers(step)) :: step] = 255
        layer[:, int(rng.integers(step)) :: step] = 255
    grey, share = int(rng.choice([0, 255])), float(rng.uniform(0.4, 1))
    cover = share * (layer > 0)

    def mark(pixels: Pixels) -> Pixels:
        return np.asarray(np.round(pixels * (1 - cover) + grey * cover), dtype=np.uint8)

    return mark, {"stamp": kind, "share": float((layer > 0).mean()), "opaque": share}


def _repeated(size: Size, rng: np.random.Generator) -> Drawn:
    """Coarse pixels served on a fine grid."""
    factor = int(rng.integers(2, 9))
    phase = int(rng.integers(factor)), int(rng.integers(factor))

    def mark(pixels: Pixels) -> Pixels:
        height, width = pixels.shape[1:]
        rows, columns = (np.arange(n) + p for n, p in zip((height, width), phase, strict=True))
        edges = [np.unique(at // factor, return_index=True)[1] for at in (rows, columns)]
        total = np.add.reduceat(pixels.astype(np.float64), edges[0], axis=1)
        total = np.add.reduceat(total, edges[1], axis=2)
        counts = [np.diff([*e, n]) for e, n in zip(edges, (height, width), strict=True)]
        mean = total / np.outer(*counts)
        return np.round(mean.repeat(counts[0], axis=1).repeat(counts[1], axis=2)).astype(np.uint8)

    return mark, {"factor": factor, "phase": list(phase)}


def _jpeg(size: Size, rng: np.random.Generator) -> Drawn:
    quality = int(rng.integers(3, 21))

    def mark(pixels: Pixels) -> Pixels:
        image = np.ascontiguousarray(np.moveaxis(pixels, 0, 2))
        _, code = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])
        out = cv2.imdecode(code, cv2.IMREAD_UNCHANGED)
        assert out is not None
        return np.asarray(np.moveaxis(np.atleast_3d(out), 2, 0), dtype=np.uint8)

    return mark, {"quality": quality}


def _detector(size: Size, rng: np.random.Generator) -> Drawn:
    """Each detector column (or row) reads a little high or low, always the same."""
    axis = int(rng.integers(2))
    depth = log_uniform(rng, 1, 15)
    pattern = rng.normal(0, depth, size[axis])
    if rng.random() < 0.3:
        # Every n-th detector is one of its own kind.
        pattern *= np.arange(size[axis]) % int(rng.integers(2, 17)) == 0

    def mark(pixels: Pixels) -> Pixels:
        step = pattern[None, None, :] if axis == 0 else pattern[None, :, None]
        return np.clip(np.round(pixels + step), 0, 255).astype(np.uint8)

    return mark, {"axis": axis, "depth": depth}


STRUCTURES: dict[str, Callable[[Size, np.random.Generator], Drawn]] = {
    "stripes": _stripes,
    "frame": _frame,
    "seams": _seams,
    "stamp": _stamp,
    "repeated": _repeated,
    "jpeg": _jpeg,
    "detector": _detector,
}


def _shifted(data: Path, split: str, rng: np.random.Generator, low: int) -> tuple[TrustPair, Size]:
    """Two dates, or one with noise, displaced by a fraction of up to 12 px."""
    size = draw_size(rng, low, 512)
    one_date = bool(rng.random() < 0.5)
    ground = draw_ground(data, split, size, rng, one_date=one_date)
    shift = float(rng.uniform(-12, 12)), float(rng.uniform(-12, 12))
    truth = Truth(similarity(size, 0.0, 1.0, shift), ground.shift, None, ground.sd_px)
    pair = seen_twice(ground, truth, log_uniform(rng, 0.5, 6), rng)
    about = pair.params | {"one_date": one_date, "shift": list(shift)}
    return TrustPair(pair.ref, pair.tgt, truth, about), size


def pixel_fixed(data: Path, split: str, rng: np.random.Generator) -> TrustPair:
    """A structure at the same pixels of both, which nothing declares."""
    pair, size = _shifted(data, split, rng, 128)
    pair = present(pair, rng, depth="uint8")
    name = str(rng.choice(list(STRUCTURES)))
    mark, about = STRUCTURES[name](size, rng)
    ref, tgt = (Side(mark(side.pixels), side.valid) for side in (pair.ref, pair.tgt))
    return TrustPair(ref, tgt, pair.truth, pair.params | {"structure": name} | about)


def gaps_marked(data: Path, split: str, rng: np.random.Generator) -> TrustPair:
    """Scan-line gaps that are declared, by NaN, by a nodata value or by a mask; up to 40 %."""
    pair, size = _shifted(data, split, rng, 160)
    pair = present(pair, rng, depth="uint8")
    mask = gaps(size, rng, 0.4)
    how = str(rng.choice(["nan", "nodata", "valid"]))
    sides = []
    for side in (pair.ref, pair.tgt):
        missing = mask | ~side.known
        if how == "valid":
            pixels = side.pixels.copy()
            pixels[:, missing] = int(rng.integers(0, 256))
            sides.append(Side(pixels, ~missing))
        elif how == "nodata":
            pixels = side.pixels.copy()
            pixels[:, missing] = 0
            sides.append(Side(pixels, None, 0.0))
        else:
            values = side.pixels.astype(np.float32)
            values[:, missing] = np.nan
            sides.append(Side(values))
    about = pair.params | {"declared": how, "share": float(mask.mean())}
    return TrustPair(sides[0], sides[1], pair.truth, about)
