"""Exhaustive coarse search: every rotation, scale and shift, by correlation of directions.

Where the ground has changed so much that no keypoint is found again, the layout of its edges as a
whole still correlates. A reduced target is turned and scaled through a grid of angles and factors;
one FFT a grid point gives all shifts at once.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from typing import TypeAlias

import numpy as np
import scipy.fft
from numpy.typing import NDArray

from imatch.core.types import Rendered
from imatch.geometry.alignment.orientation import orientation_field, shrink, warp_field

Spectra: TypeAlias = tuple[NDArray[np.complex64], NDArray[np.complex64]]


@dataclass(frozen=True)
class Hypothesis:
    """A rough transform to be refined and tested.

    Attributes:
        matrix: (3, 3) reference pixel to target pixel.
        score: Height of its correlation peak in standard deviations of the surface.
    """

    matrix: NDArray[np.float64]
    score: float


@dataclass(frozen=True)
class CoarseGrid:
    """The rotations and scales tried.

    Attributes:
        angles: Degrees.
        scales: Target pixels per reference pixel.
        side: Longer side of the reduced images, pixels.
    """

    angles: tuple[float, ...]
    scales: tuple[float, ...]
    side: int = 160


def _steps(limit: float, count: int) -> tuple[float, ...]:
    return tuple(float(v) for v in np.linspace(-limit, limit, count))


# As two geocoded products differ; as two images without geocoding do; any rotation at all.
NEAR = CoarseGrid(_steps(2, 3), tuple(np.exp(_steps(0.02, 3))))
FREE = CoarseGrid(_steps(33, 23), tuple(np.exp(_steps(0.24, 9))))
ANY = CoarseGrid(tuple(float(a) for a in range(-180, 180, 3)), tuple(np.exp(_steps(0.24, 9))))
# Any rotation and up to twice the size, on few pixels, which forgive wide steps.
WIDE = CoarseGrid(
    tuple(float(a) for a in range(-180, 180, 4)), tuple(np.exp(_steps(0.72, 19))), side=112
)
# The same as FREE on more pixels: a weaker likeness stands out from more noise.
THOROUGH = CoarseGrid(_steps(33, 34), tuple(np.exp(_steps(0.24, 13))), side=256)


# Shorter side of a strip that is kept if possible, pixels, and its longest side, so many times as
# long as that of other images.
_SHORTER, _MOST = 64, 6


def coarse_search(
    ref: Rendered,
    tgt: Rendered,
    grid: CoarseGrid,
    keep: int = 4,
    *,
    within: float | None = None,
) -> Sequence[Hypothesis]:
    """The best rough transforms of a grid of rotations and scales.

    Args:
        ref: Reference image.
        tgt: Target image.
        grid: What to try.
        keep: How many distinct hypotheses to return.
        within: How far the middle of the reference may move, pixels; None for as far as it likes.

    Returns:
        At most `keep` hypotheses, best first, no two of them alike.
    """
    long_ref, long_tgt = (_longer_side(image.size, grid.side) for image in (ref, tgt))
    small_ref, ref_scale = shrink(ref, long_ref)
    small_tgt, tgt_scale = shrink(tgt, long_tgt)
    first, second = orientation_field(small_ref), orientation_field(small_tgt)
    strip = max(long_ref, long_tgt) > grid.side
    longest = max(*small_ref.size, *small_tgt.size)
    # Half an image of padding keeps a shift from wrapping onto its opposite.
    side = scipy.fft.next_fast_len(int(1.6 * longest))
    width, height = small_tgt.size
    centre = np.array([(width - 1) / 2, (height - 1) / 2])
    # The common factor of the two reductions, so that scales mean full-size pixels.
    zoom = tgt_scale[0, 0] / ref_scale[0, 0]
    back, forth = np.linalg.inv(tgt_scale), ref_scale
    middle = np.array([(ref.size[0] - 1) / 2, (ref.size[1] - 1) / 2, 1.0])

    @cache
    def spectrum(shape: tuple[int, int], quarters: int) -> Spectra:
        """Of the reference, turned by quarters of a turn."""
        real, imaginary = _spectra(_turned_by(first, quarters), shape)
        return np.conj(real), np.conj(imaginary)

    def at_angle(angle: float, quarters: Sequence[int]) -> list[Hypothesis]:
        return [h for scale in grid.scales for h in at(angle, quarters, scale)]

    def at(angle: float, quarters: Sequence[int], scale: float) -> Iterator[Hypothesis]:
        turn = np.radians(angle)
        a, b = scale * zoom * np.cos(turn), scale * zoom * np.sin(turn)
        if strip:
            # A square round a strip would be empty for the most part.
            c, s = abs(np.cos(turn)), abs(np.sin(turn))
            extents = width * c + height * s, width * s + height * c
            canvas = [int(np.ceil(extent / (scale * zoom))) for extent in extents]
            across, down = (
                scipy.fft.next_fast_len(int(1.3 * max(own, its)) + 8)
                for own, its in zip(canvas, small_ref.size, strict=True)
            )
        else:
            extent = np.hypot(width, height) if angle % 90 else max(width, height)
            canvas = [min(int(np.ceil(extent / (scale * zoom))), side)] * 2
            across = down = side
        matrix = np.array([[a, -b, 0], [b, a, 0], [0, 0, 1]])
        matrix[:2, 2] = centre - matrix[:2, :2] @ ((np.array(canvas) - 1) / 2)
        warped = _spectra(warp_field(second, matrix, (canvas[0], canvas[1])), (down, across))
        for quarter in quarters:
            real, imaginary = spectrum((down, across), quarter)
            product = real * warped[0]
            product += imaginary * warped[1]
            surface = scipy.fft.irfft2(product, (down, across), overwrite_x=True)
            upright = _quarter_turn(quarter, small_ref.size) @ forth
            if within is None:
                peak = int(surface.argmax())
            else:
                stays = np.linalg.solve(matrix, tgt_scale @ middle) - upright @ middle
                near = _near(surface.shape, stays[:2], within * forth[0, 0])
                peak = int(np.where(near, surface, -np.inf).argmax())
            y, x = divmod(peak, across)
            shift = np.eye(3)
            shift[:2, 2] = (
                x - across if x > across // 2 else x,
                y - down if y > down // 2 else y,
            )
            score = float(surface.flat[peak]) / max(float(surface.std()), 1e-12)
            yield Hypothesis(back @ matrix @ shift @ upright, score)

    # The transforms run outside the interpreter's lock, so threads share the work; the order of
    # the results, and so the answer, does not depend on them.
    groups = [(angle, (0,)) for angle in grid.angles] if strip else _by_quarters(grid.angles)
    with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
        found = [h for row in pool.map(at_angle, *zip(*groups, strict=True)) for h in row]
    found.sort(key=lambda h: -h.score)
    return _distinct(found, ref.size, keep)


def _near(shape: tuple[int, ...], shift: NDArray[np.float64], reach: float) -> NDArray[np.bool_]:
    """(H, W) whether a shift of a cyclic surface lies within `reach` of another, or next to it."""
    y, x = (
        (np.arange(side) - at + side / 2) % side - side / 2
        for side, at in zip(shape, shift[::-1], strict=True)
    )
    return np.asarray(np.hypot(y[:, None], x) <= max(reach, 1.0))


def _spectra(field: NDArray[np.complex64], shape: tuple[int, int]) -> Spectra:
    """Half spectra of the real and the imaginary part: all that the real correlation needs."""
    # SciPy wants its input contiguous, or copies it row by row.
    parts = np.ascontiguousarray(field.real), np.ascontiguousarray(field.imag)
    real, imaginary = (scipy.fft.rfft2(part, shape) for part in parts)
    return real, imaginary


def _by_quarters(angles: Sequence[float]) -> list[tuple[float, tuple[int, ...]]]:
    """Angles in groups a quarter of a turn apart: the first one, and the quarters beyond it.

    A quarter of a turn needs no resampling, so that a group shares what costs most.
    """
    groups: dict[float, tuple[float, tuple[int, ...]]] = {}
    for angle in angles:
        first, quarters = groups.get(round(angle % 90, 6), (angle, ()))
        quarter = round((angle - first) / 90) % 4
        groups[round(angle % 90, 6)] = first, (*quarters, quarter)
    return list(groups.values())


def _turned_by(field: NDArray[np.complex64], quarters: int) -> NDArray[np.complex64]:
    """A field turned by quarters of a turn; its directions, of doubled angle, change sign."""
    sign = np.float32(-1 if quarters % 2 else 1)
    return np.asarray(np.rot90(field, -quarters) * sign, dtype=np.complex64)


def _quarter_turn(quarters: int, size: tuple[int, int]) -> NDArray[np.float64]:
    """(3, 3) pixel of an image of (width, height) to its pixel once it is turned by quarters."""
    width, height = size
    matrix = np.eye(3)
    for _ in range(quarters):
        matrix = np.array([[0, -1, height - 1], [1, 0, 0], [0, 0, 1.0]]) @ matrix
        width, height = height, width
    return matrix


def _longer_side(size: tuple[int, int], side: int) -> int:
    """Returns the length to reduce the longer side to, pixels; more for a strip."""
    longer, shorter = max(size), min(size)
    if shorter * side >= _SHORTER * longer:
        return side
    return min(longer, max(side, round(_SHORTER * longer / shorter), 1), _MOST * side)


def _distinct(found: list[Hypothesis], size: tuple[int, int], keep: int) -> list[Hypothesis]:
    width, height = size
    corners = np.array([[0, 0, 1], [width, 0, 1], [width, height, 1], [0, height, 1]], dtype=float)
    chosen: list[Hypothesis] = []
    centres: list[NDArray[np.float64]] = []
    for hypothesis in found:
        place = corners @ hypothesis.matrix[:2].T
        if all(np.abs(place - other).max() > 0.1 * max(size) for other in centres):
            chosen.append(hypothesis)
            centres.append(place)
        if len(chosen) == keep:
            break
    return chosen
