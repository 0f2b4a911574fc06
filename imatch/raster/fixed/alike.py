"""Leaves out what two images show at the same pixels: fill, frames, stamps, lines, stripes.

Sensors and software put marks on pixels, not on the ground: gaps, frames, burnt-in text, dead and
uneven detectors, seams of detectors. Two images that bear them agree best pixel upon pixel.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

from imatch.core.types import BoolArray
from imatch.raster.image import GeoImage

# Equal pixels in a row that make a run, least pixels of a mark, and of how many values it may be.
_RUN, _LEAST, _VALUES = 4, 8, 4
# Least share of a patch of one value that is the same in both: water keeps no shore so exactly.
_SAME = 0.9
# A pixel stands alone when it departs from the median of its neighbours by so many times what is
# usual.
_ALONE = 8.0
# Where more of the ground beside the marks is the same in both, one is a copy of the other.
_COPIED = 0.5
# From this share of a band on, marks leave nothing of it.
_MOST = 0.5
# Lines looked at across, at most, and least correlation of two profiles, beside its significance.
_ACROSS, _LIKE, _SIGNIFICANT = 384, 0.15, 4.5
# Steps beyond so many times the mean one count as that many, in so many rounds.
_HUBER, _ROUNDS = 3.0, 6

Offset: TypeAlias = tuple[int, int]


def without_marks(ref: GeoImage, tgt: GeoImage, offset: Offset) -> tuple[GeoImage, GeoImage]:
    """Finds what two images show at the same pixels and returns them without it.

    Marks of one value become missing ground; what is added to whole lines is taken off.

    Args:
        ref: The reference.
        tgt: The target, of as many bands; others are returned as they are.
        offset: (x, y) from a reference pixel to the target pixel of the same number in its file.
    """
    if len(ref.pixels) != len(tgt.pixels):
        return ref, tgt
    parts = _common(ref.size, tgt.size, offset)
    if parts is None:
        return ref, tgt
    seen = ref.valid[parts[0]] & tgt.valid[parts[1]]
    marks = common_marks(ref.pixels[:, *parts[0]], tgt.pixels[:, *parts[1]], seen)
    mostly = np.array([band.sum() > _MOST * seen.sum() for band in marks])
    if mostly.any() and not mostly.all():
        # Such a band says nothing, and the others may.
        ref, tgt = _flat(ref, mostly), _flat(tgt, mostly)
        marks = marks[~mostly]
    marked = np.asarray(marks.any(axis=0), dtype=np.uint8)
    if marked.any():
        beside = cv2.dilate(marked, np.ones((3, 3), np.uint8)) > 0
        ref, tgt = _without(ref, parts[0], beside), _without(tgt, parts[1], beside)
    same = (ref.pixels[:, *parts[0]] == tgt.pixels[:, *parts[1]]).all(axis=0)
    left = ref.valid[parts[0]] & tgt.valid[parts[1]]
    if left.any() and same[left].mean() > _COPIED:
        return ref, tgt
    return _level_lines(ref, tgt, parts)


def common_marks(
    one: NDArray[np.float32], other: NDArray[np.float32], seen: BoolArray
) -> BoolArray:
    """Finds marks of one value at the same pixels of two images and returns where they are.

    Args:
        one: (C, H, W).
        other: (C, H, W).
        seen: (H, W) pixels that count.

    Returns:
        (C, H, W), True where the band has a mark in both.
    """
    marks = np.zeros(one.shape, dtype=bool)
    for first, second, found in zip(one, other, marks, strict=True):
        same = (first == second) & seen
        sure = _runs(first, same)
        if sure.sum() >= _LEAST:
            either = [_runs(band, seen) for band in (first, second)]
            values, counts = np.unique(first[sure], return_counts=True)
            for value in values[np.argsort(-counts, kind="stable")[:_VALUES]]:
                patch = (either[0] & (first == value)) | (either[1] & (second == value))
                found |= _same_patches(patch, sure & (first == value))
        if same.any():
            found |= same & _alone(first) & _alone(second)
        # Of one image twice all is the same, its ground as well.
        rest = seen & ~found
        if rest.any() and same[rest].mean() > _COPIED:
            found[:] = False
    return marks


def _same_patches(either: BoolArray, both: BoolArray) -> BoolArray:
    """(H, W) the patches of either image that are patches of both."""
    count, label = cv2.connectedComponents(either.astype(np.uint8), connectivity=8)
    total = np.bincount(label.ravel(), minlength=count)
    common = np.bincount(label[both], minlength=count)
    kept = (common >= _SAME * total) & (common >= _LEAST)
    kept[0] = False
    return np.asarray(kept[label])


def _runs(band: NDArray[np.float32], of: BoolArray) -> BoolArray:
    """(H, W) pixels of a run of equal ones along a line or a column, of some pixels."""
    found = np.zeros(band.shape, dtype=bool)
    for after, before, shape in (
        (np.s_[:, 1:], np.s_[:, :-1], (1, _RUN - 1)),
        (np.s_[1:], np.s_[:-1], (_RUN - 1, 1)),
    ):
        equal = (band[after] == band[before]) & of[after] & of[before]
        run = cv2.morphologyEx(equal.view(np.uint8), cv2.MORPH_OPEN, np.ones(shape, np.uint8)) > 0
        found[after] |= run
        found[before] |= run
    return found


def _alone(band: NDArray[np.float32]) -> BoolArray:
    """(H, W) pixels that have little in common with their neighbours."""
    off = np.abs(band - cv2.medianBlur(np.ascontiguousarray(band), 3))
    usual = float(off[::3, ::3].mean())
    return np.asarray(off > _ALONE * max(usual, 1e-6))


def _level_lines(
    ref: GeoImage, tgt: GeoImage, parts: tuple[tuple[slice, slice], ...]
) -> tuple[GeoImage, GeoImage]:
    """Both without what the same is added to whole columns, or lines, of both."""
    pixels = [ref.pixels, tgt.pixels]
    for axis in (1, 0):
        for band in range(len(ref.pixels)):
            steps = [line_steps(image.pixels[band], image.valid, axis) for image in (ref, tgt)]
            cut = [step[:, part[axis]][:, :-1] for step, part in zip(steps, parts, strict=True)]
            if not _alike(*cut):
                continue
            for number, (image, step) in enumerate(zip((ref, tgt), steps, strict=True)):
                if pixels[number] is image.pixels:
                    pixels[number] = image.pixels.copy()
                level = np.concatenate([[0], np.cumsum(step.mean(axis=0)[:-1])]).astype(np.float32)
                level -= np.median(level)
                plane = pixels[number][band]
                plane -= level if axis == 1 else level[:, None]
                plane[~image.valid] = 0
    return replace(ref, pixels=pixels[0]), replace(tgt, pixels=pixels[1])


def line_steps(band: NDArray[np.float32], valid: BoolArray, axis: int) -> NDArray[np.float64]:
    """Measures by how much each column is brighter than the one before and returns it.

    Args:
        band: (H, W).
        valid: (H, W) pixels that count.
        axis: 1 for columns, 0 for lines.

    Returns:
        (2, N) usual difference to the next, in the first and in the second half of the columns; 0
        for the last, and where nothing is seen.
    """
    if axis == 0:
        band, valid = band.T, valid.T
    every = max(1, len(band) // _ACROSS)
    band, valid = band[::every], valid[::every]
    middle = len(band) // 2
    halves = [_steps(band[part], valid[part]) for part in (np.s_[:middle], np.s_[middle:])]
    return np.pad(np.stack(halves), ((0, 0), (0, 1)))


def _steps(band: NDArray[np.float32], valid: BoolArray) -> NDArray[np.float64]:
    step = np.diff(band, axis=1)
    both = valid[:, 1:] & valid[:, :-1]
    step[~both] = 0
    count = np.maximum(both.sum(axis=0), 1)
    reach = _HUBER * float(np.abs(step).sum() / count.sum())
    # Huber's estimate of the middle: a median of whole numbers is one, too, and a pattern of less
    # than a grey level would stay.
    found = np.zeros(step.shape[1])
    for _ in range(_ROUNDS):
        left = np.clip(step - found.astype(np.float32), -reach, reach)
        left[~both] = 0
        found += left.sum(axis=0) / count
    return found


def _alike(one: NDArray[np.float64], other: NDArray[np.float64]) -> bool:
    """Whether steps (2, N) of two images agree beyond chance, one half with the other's other.

    Ground is another in the other half, even where both images show it at the same pixels.
    """
    count = one.shape[1]
    if count < 4 * _LEAST:
        return False
    one, other = (steps - steps.mean(axis=1, keepdims=True) for steps in (one, other))
    size = float(np.sqrt((one**2).sum() * (other**2).sum()))
    like = float((one * other[::-1]).sum()) / size if size > 0 else 0.0
    return bool(like > max(_LIKE, _SIGNIFICANT / np.sqrt(count)))


def _common(one: Offset, other: Offset, offset: Offset) -> tuple[tuple[slice, slice], ...] | None:
    """(rows, columns) of both that are the same pixels; None where there are too few."""
    parts: list[list[slice]] = [[], []]
    for axis in (1, 0):
        start = max(0, -offset[axis])
        stop = min(one[axis], other[axis] - offset[axis])
        if stop - start < 2 * _LEAST:
            return None
        parts[0].append(slice(start, stop))
        parts[1].append(slice(start + offset[axis], stop + offset[axis]))
    return tuple((rows, columns) for rows, columns in parts)


def _flat(image: GeoImage, bands: BoolArray) -> GeoImage:
    pixels = image.pixels.copy()
    pixels[bands] = 0
    return replace(image, pixels=pixels)


def _without(image: GeoImage, part: tuple[slice, slice], marked: BoolArray) -> GeoImage:
    valid = image.valid.copy()
    valid[part] &= ~marked
    pixels = image.pixels.copy()
    pixels[:, ~valid] = 0
    return replace(image, pixels=pixels, valid=valid)
