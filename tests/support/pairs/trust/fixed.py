"""What is fixed to the pixels and not to the ground, marked as missing or not."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any, TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

from tests.support.pairs.trust.different import other
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


def _codec(size: Size, rng: np.random.Generator) -> Drawn:
    """Strong compression in blocks: JPEG, WebP, or JPEG 2000 in tiles.

    The image is a part of a larger one, so that the blocks begin at any pixel; and it may have been
    enlarged or reduced since, so that they have any side.
    """
    name = str(rng.choice([".jpg", ".jpg", ".webp", ".jp2"]))
    quality = int(rng.integers(3, 31))
    zoom = 1.0 if rng.random() < 0.6 else log_uniform(rng, 0.7, 1.6)
    stored = [max(16, round(side / zoom)) for side in size]
    before = [int(v) for v in rng.integers(0, 16, 2)]
    tile = int(2 ** rng.integers(5, 8)) if name == ".jp2" else 1 << 14
    flags = {
        ".jpg": [cv2.IMWRITE_JPEG_QUALITY, quality],
        ".webp": [cv2.IMWRITE_WEBP_QUALITY, max(1, quality - 3)],
        # Each tile has a header of some 300 bytes.
        ".jp2": [cv2.IMWRITE_JPEG2000_COMPRESSION_X1000, 2 * quality + 350_000 // tile**2],
    }[name]

    def mark(pixels: Pixels) -> Pixels:
        image = np.ascontiguousarray(np.moveaxis(pixels, 0, 2))
        if zoom != 1:
            image = np.asarray(cv2.resize(image, stored, interpolation=cv2.INTER_AREA), np.uint8)
        image = np.atleast_3d(image)
        image = np.pad(image, ((before[1], 0), (before[0], 0), (0, 0)), "reflect")
        # No tile so narrow that a codec refuses it.
        down, across = (
            [slice(a, a + tile if a + tile + 32 <= n else n) for a in range(0, n - 31, tile)]
            for n in image.shape[:2]
        )
        for y, x in product(down, across):
            image[y, x] = _encoded(image[y, x], name, flags)
        image = image[before[1] :, before[0] :]
        if zoom != 1:
            image = np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_CUBIC), np.uint8)
        return np.asarray(np.moveaxis(np.atleast_3d(image), 2, 0), dtype=np.uint8)

    about = {"codec": name, "quality": quality, "zoom": zoom, "phase": before, "tile": tile}
    return mark, about


def _encoded(image: Pixels, name: str, flags: list[int]) -> Pixels:
    """(h, w, C) written and read again."""
    bands = image.shape[2]
    _, code = cv2.imencode(name, np.ascontiguousarray(image), flags)
    out = cv2.imdecode(code, cv2.IMREAD_UNCHANGED if bands == 3 else cv2.IMREAD_GRAYSCALE)
    assert out is not None
    return np.asarray(np.atleast_3d(out)[:, :, :bands], dtype=np.uint8)


def _dust(size: Size, rng: np.random.Generator) -> Drawn:
    """Spots on the sensor that let less light through, and dead pixels."""
    width, height = size
    cover = np.zeros((height, width), np.float32)
    count = int(log_uniform(rng, 3, 60))
    for _ in range(count):
        at = int(rng.integers(width)), int(rng.integers(height))
        cv2.circle(cover, at, int(log_uniform(rng, 1, 12)), float(rng.uniform(0.2, 1)), -1)
    cover = np.asarray(cv2.GaussianBlur(cover, (0, 0), float(rng.uniform(0.3, 2))), np.float32)
    dead = rng.random((height, width)) < log_uniform(rng, 1e-5, 3e-3)
    level = int(rng.choice([0, 255]))

    def mark(pixels: Pixels) -> Pixels:
        out = np.round(pixels * (1 - cover)).astype(np.uint8)
        out[:, dead] = level
        return out

    return mark, {"spots": count, "dead": int(dead.sum())}


def _band_gaps(size: Size, rng: np.random.Generator) -> Drawn:
    """Scan-line gaps, a swath edge or dead lines in one band alone."""
    kind = str(rng.choice(["gaps", "edge", "lines"]))
    if kind == "gaps":
        mask = gaps(size, rng)
    elif kind == "edge":
        mask = swath_edge(size, rng)
    else:
        mask = np.zeros((size[1], size[0]), bool)
        lines = rng.random(size[0] if rng.random() < 0.5 else size[1]) < log_uniform(rng, 0.01, 0.1)
        mask |= lines[None] if len(lines) == size[0] else lines[:, None]
    band = int(rng.integers(3))
    value = 0 if rng.random() < 0.7 else int(rng.integers(1, 256))

    def mark(pixels: Pixels) -> Pixels:
        out = pixels.copy()
        out[band % len(pixels), mask] = value
        return out

    return mark, {"missing": kind, "band": band, "value": value, "share": float(mask.mean())}


def swath_edge(size: Size, rng: np.random.Generator) -> NDArray[np.bool_]:
    """(H, W) bool, True beyond a straight edge of any direction, 3 to 35 % of the image."""
    angle, share = float(rng.uniform(0, 2 * np.pi)), float(rng.uniform(0.03, 0.35))
    y, x = np.mgrid[: size[1], : size[0]].astype(np.float64)
    along = x * np.cos(angle) + y * np.sin(angle)
    return np.asarray(along > np.quantile(along, 1 - share))


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
    "codec": _codec,
    "detector": _detector,
    "dust": _dust,
    "band_gaps": _band_gaps,
}


def _shifted(data: Path, split: str, rng: np.random.Generator, low: int) -> tuple[TrustPair, Size]:
    """Two dates, or one with noise, displaced by up to 12 px, a third of them by up to 2.5."""
    size = draw_size(rng, low, 512)
    one_date = bool(rng.random() < 0.5)
    ground = draw_ground(data, split, size, rng, one_date=one_date)
    reach = 12.0 if rng.random() < 0.67 else 2.5
    shift = float(rng.uniform(-reach, reach)), float(rng.uniform(-reach, reach))
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


def other_fixed(data: Path, split: str, rng: np.random.Generator) -> TrustPair:
    """Two grounds with one structure at the same pixels of both, which nothing declares."""
    pair = present(other(data, split, rng), rng, depth="uint8")
    height, width = np.minimum(pair.ref.pixels.shape[1:], pair.tgt.pixels.shape[1:]).tolist()
    name = str(rng.choice(list(STRUCTURES)))
    mark, about = STRUCTURES[name]((width, height), rng)
    ref, tgt = (Side(mark(side.pixels[:, :height, :width])) for side in (pair.ref, pair.tgt))
    return TrustPair(ref, tgt, None, pair.params | {"structure": name} | about)


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


def band_collars(data: Path, split: str, rng: np.random.Generator) -> TrustPair:
    """Beyond a swath edge of its own for each band lies zero, which nothing declares."""
    pair, size = _shifted(data, split, rng, 128)
    pair = present(pair, rng)
    shared = rng.random() < 0.5
    fixed = [swath_edge(size, rng) for _ in range(3)]
    hit = rng.random(3) < 0.6
    hit[int(rng.integers(3))] = True
    sides = []
    for side in (pair.ref, pair.tgt):
        pixels = side.pixels.copy()
        for band in range(len(pixels)):
            if hit[band] or len(pixels) == 1:
                pixels[band, fixed[band] if shared else swath_edge(size, rng)] = 0
        sides.append(Side(pixels, side.valid))
    about = pair.params | {"collars": "shared" if shared else "own", "hit": hit.tolist()}
    return TrustPair(sides[0], sides[1], pair.truth, about)
