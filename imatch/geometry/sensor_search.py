"""Searches all shifts, turns and scales of a target by the maps that a network makes of it.

As `imatch.geometry.alignment.coarse_search` does by directions, of which two sensors share less.
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from itertools import groupby, product

import numpy as np
import scipy.fft
from numpy.typing import NDArray

from imatch.core.types import Rendered
from imatch.geometry.alignment.coarse_search import Hypothesis, distinct
from imatch.geometry.alignment.orientation import warp_image
from imatch.geometry.sensor_field import (
    STRIDE,
    FieldFunction,
    correlation,
    field_input,
    similarity,
    transformed,
    warp_maps,
)

# Turns (degrees) and logarithms of scale, turns in groups for which the target is described once,
# and the longest side of the maps, reduced by means. Of 12 training pairs of radar maps of 96
# pixels in steps of 1.5 degrees find the same as those of 64 in steps of 2.
_TURNS, _SCALES, _GROUP = np.linspace(-33, 33, 34), np.linspace(-0.24, 0.24, 13), 6.0
_LONGEST, _PADDED = 64, 1.5
# Positions whose corners all lie closer together than this are one, pixels.
_ALIKE = 16


def search_places(
    describe: FieldFunction,
    maps: NDArray[np.float32],
    size: tuple[int, int],
    tgt: Rendered,
    keep: int,
    *,
    zoom: float = 1.0,
    turning: bool = True,
    within: tuple[NDArray[np.float64], float] | None = None,
) -> list[Hypothesis]:
    """Finds where a target turned by up to 33 degrees and scaled by up to a quarter may lie.

    Args:
        describe: The network.
        maps: (C, h, w) of the reference.
        size: (width, height) of the reference.
        tgt: (3, H', W') target.
        keep: How many places to return.
        zoom: Target pixels per reference pixel where neither is scaled.
        turning: Whether it may turn and scale.
        within: (3, 3) where the target is said to lie, reference pixel to target pixel, and how far
            from there the middle may be, reference pixels; None for anywhere.

    Returns:
        The best places, no two of them alike, highest first.
    """
    turns, scales = (_TURNS, _SCALES) if turning else (np.zeros(1), np.zeros(1))
    # The canvas holds the larger of the two, of the target what is not turned out of it.
    wide, high = np.ceil(np.maximum(size, np.array(tgt.size) / zoom)).astype(int).tolist()
    factor = max(1, round(max(wide, high) / (STRIDE * _LONGEST)))
    step = STRIDE * factor
    reduced_size = -(-wide // step), -(-high // step)
    width, height = (int(scipy.fft.next_fast_len(round(_PADDED * n), True)) for n in reduced_size)
    own = transformed(_reduced(maps, factor), (height, width))
    y, x = (np.fft.fftfreq(side, 1 / side) * step for side in (height, width))
    # From pixels of the reduced maps.
    first = STRIDE * (factor - 1) / 2
    full = np.array([[step, 0, first], [0, step, first], [0, 0, 1.0]])
    middle = np.array([(size[0] - 1) / 2, (size[1] - 1) / 2, 1.0])

    def described(about: float) -> NDArray[np.float32]:
        extent = _extent(tgt.size, about)
        upright = _about_middles(extent, tgt.size, about, 1.0)
        turned = warp_image(tgt, upright, extent, rough=True)
        return _reduced(describe(*field_input(turned)), factor)

    def around(nearest: int, turned: NDArray[np.float32]) -> list[Hypothesis]:
        """Turns that are nearest to a multiple of `_GROUP`, at all scales."""
        about = np.radians(nearest * _GROUP)
        extent = _extent(tgt.size, about)
        upright = _about_middles(extent, tgt.size, about, 1.0)
        found = list[Hypothesis]()
        for turn, scale in product(groups[nearest], scales):
            rest = np.radians(turn) - about
            matrix = _about_middles((wide, high), extent, rest, zoom * float(np.exp(scale)))
            moved = warp_maps(turned, np.linalg.inv(full) @ matrix @ full, reduced_size)
            surface, enough = correlation(own, transformed(moved, (height, width)))
            if within is not None:
                stays = np.linalg.solve(upright @ matrix, within[0] @ middle) - middle
                away = np.hypot((y - stays[1])[:, None], x - stays[0])
                enough = enough & (away <= max(within[1], step))
            if enough.any():
                at = np.where(enough, surface, -np.inf).argmax()
                row, column = np.unravel_index(at, surface.shape)
                shift = np.eye(3)
                shift[:2, 2] = x[column], y[row]
                found.append(Hypothesis(upright @ matrix @ shift, float(surface[row, column])))
        return found

    groups = {key: list(of) for key, of in groupby(turns, lambda turn: round(turn / _GROUP))}
    # The network has threads of its own; the transforms run outside the interpreter's lock.
    maps_of = [described(np.radians(nearest * _GROUP)) for nearest in groups]
    with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
        places = [place for found in pool.map(around, groups, maps_of) for place in found]
    places.sort(key=lambda place: -place.score)
    return distinct(places, size, keep, _ALIKE)


def _about_middles(
    size: tuple[int, int], other: tuple[int, int], turn: float, scale: float
) -> NDArray[np.float64]:
    """(3, 3) pixel of an image to that of another: turn (radians), scale, middle to middle."""
    matrix = similarity((1, 1), turn, scale)
    matrix[:2, 2] = (np.array(other) - 1) / 2 - matrix[:2, :2] @ ((np.array(size) - 1) / 2)
    return matrix


def _extent(size: tuple[int, int], turn: float) -> tuple[int, int]:
    """(width, height) of what holds an image turned by an angle (radians)."""
    (width, height), c, s = size, abs(np.cos(turn)), abs(np.sin(turn))
    return int(np.ceil(width * c + height * s)), int(np.ceil(width * s + height * c))


def _reduced(maps: NDArray[np.float32], factor: int) -> NDArray[np.float32]:
    """Means of blocks of maps (C, h, w); beyond the border is nothing."""
    count, height, width = maps.shape
    even = np.pad(maps, ((0, 0), (0, -height % factor), (0, -width % factor)))
    blocks = even.reshape(count, even.shape[1] // factor, factor, -1, factor)
    return np.ascontiguousarray(blocks.mean(axis=(2, 4)))
