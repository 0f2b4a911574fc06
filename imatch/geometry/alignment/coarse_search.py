"""Exhaustive coarse search: every rotation, scale and shift, by correlation of directions.

Where the ground has changed so much that no keypoint is found again, the layout of its edges as a
whole still correlates. A reduced target is turned and scaled through a grid of angles and factors;
one FFT a grid point gives all shifts at once.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, NamedTuple

import cv2
import numpy as np
import scipy.fft
from numpy.typing import NDArray

from imatch.core.opencv import without_opencv_threads
from imatch.core.types import Rendered
from imatch.geometry.alignment.orientation import orientation_field, shrink, warp_field
from imatch.geometry.alignment.refine import fft_in_place

if TYPE_CHECKING:
    from cv2.typing import MatLike


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
# Any rotation and up to twice the size, beyond the scales of ANY, on few pixels, which forgive wide
# steps: of 4 degrees, by which a quarter of a turn is divided, so that quarters share their work.
WIDE = CoarseGrid(
    tuple(90.0 * quarter - 180 + 90 / 23 * step for quarter in range(4) for step in range(23)),
    tuple(np.exp([s for s in _steps(0.72, 19) if abs(s) > 0.3])),
    side=112,
)
# The same as FREE on more pixels: a weaker likeness stands out from more noise. Which rotations and
# scales are worth it, FREE tells: of 50 training pairs of two seasons under clouds, of radar, maps
# and infrared the best of this grid lies next to one of the five best of that.
THOROUGH = CoarseGrid(_steps(33, 34), tuple(np.exp(_steps(0.24, 13))), side=256)


# Hypotheses of which no corner lies further apart than this share of the image are one.
_APART = 0.1
# Shorter side of a strip that is kept if possible, pixels, and its longest side, so many times as
# long as that of other images.
_SHORTER, _MOST = 64, 6
# A step of FREE, degrees and logarithm of scale, and a little more.
_BESIDE = (3.01, 0.0601)
# Reduced images up to this longest side, pixels, are not worth a second thread (`_workers`).
_ALONE = 72
# Side of the transforms in sides of the reduced images; frequencies weaker than this share of the
# mean are not lifted.
_PADDED, _WEAK = 1.25, 0.1


def coarse_search(
    ref: Rendered,
    tgt: Rendered,
    grid: CoarseGrid,
    keep: int = 4,
    *,
    within: float | None = None,
    around: Sequence[Hypothesis] = (),
) -> Sequence[Hypothesis]:
    """The best rough transforms of a grid of rotations and scales.

    Args:
        ref: Reference image.
        tgt: Target image.
        grid: What to try.
        keep: How many distinct hypotheses to return.
        within: How far the middle of the reference may move, pixels; None for as far as it likes.
        around: Only rotations and scales next to those of one of these are tried; none for all.

    Returns:
        At most `keep` hypotheses, best first, no two of them alike.
    """
    long_ref, long_tgt = (_longer_side(image.size, grid.side) for image in (ref, tgt))
    small_ref, ref_scale = shrink(ref, long_ref)
    small_tgt, tgt_scale = shrink(tgt, long_tgt)
    first, second = orientation_field(small_ref), orientation_field(small_tgt)
    parts = np.ascontiguousarray(second.real), np.ascontiguousarray(second.imag)
    strip = max(long_ref, long_tgt) > grid.side
    longest = max(*small_ref.size, *small_tgt.size)
    # A quarter of an image of padding tells every shift that leaves three eighths in common from
    # its opposite; what lies beyond wraps onto it.
    side, most = scipy.fft.next_fast_len(int(_PADDED * longest), real=True), int(1.6 * longest)
    width, height = small_tgt.size
    # The common factor of the two reductions, so that scales mean full-size pixels.
    zoom = tgt_scale[0, 0] / ref_scale[0, 0]
    back, forth = np.linalg.inv(tgt_scale), ref_scale
    middle = np.array([(ref.size[0] - 1) / 2, (ref.size[1] - 1) / 2, 1.0])
    uprights = [_quarter_turn(quarter, small_ref.size) @ forth for quarter in range(4)]
    beside = [_turn_and_scale(hypothesis.matrix) for hypothesis in around]

    @cache
    def conjugate(shape: tuple[int, int], quarter: int) -> NDArray[np.complex64]:
        """Of the spectrum of the reference, turned by quarters of a turn."""
        turned = _turned_by(first, quarter)
        return np.asarray(np.conj(_spectrum(turned.real, turned.imag, shape)))

    def at_angle(angle: float, quarters: Sequence[int]) -> list[_Peak]:
        return [peak for scale in grid.scales for peak in at(angle, quarters, scale)]

    def at(angle: float, group: Sequence[int], scale: float) -> Iterator[_Peak]:
        quarters = tuple(q for q in group if not around or _beside(angle + 90 * q, scale, beside))
        if not quarters:
            return
        turn = math.radians(angle)
        a, b = scale * zoom * math.cos(turn), scale * zoom * math.sin(turn)
        c, s = abs(math.cos(turn)), abs(math.sin(turn))
        extents = width * c + height * s, width * s + height * c
        across, down = (min(math.ceil(extent / (scale * zoom)), most) for extent in extents)
        x, y = (across - 1) / 2, (down - 1) / 2
        matrix = np.array(
            [[a, -b, (width - 1) / 2 - a * x + b * y], [b, a, (height - 1) / 2 - b * x - a * y]]
        )
        shape = side, side
        if strip:
            # A square round a strip would be empty for the most part.
            shape = _cyclic(down, small_ref.size[1]), _cyclic(across, small_ref.size[0])
        spectrum = _spectrum(*warp_field(parts, matrix, (across, down)), shape)
        for quarter in quarters:
            product = conjugate(shape, quarter) * spectrum
            mean = float(product[0, 0].real) / product.size
            fft_in_place(product[None], inverse=True)
            surface = cv2.extractChannel(product.view(np.float32).reshape(*shape, 2), 0)
            if within is None:
                best = int(surface.argmax())
            else:
                stays = tgt_scale @ middle - np.append(matrix[:, 2], 0)
                stays = np.linalg.solve(matrix[:, :2], stays[:2]) - (uprights[quarter] @ middle)[:2]
                near = _near(surface.shape, stays, within * forth[0, 0])
                best = int(np.where(near, surface, -np.inf).argmax())
            # Not by `numpy.std`, which takes four times as long.
            variance = float(np.vdot(surface, surface)) / surface.size - mean**2
            score = float(surface.flat[best]) / max(math.sqrt(max(variance, 0.0)), 1e-12)
            yield _Peak(score, quarter, matrix, (across, down), shape[::-1], best)

    def transform(peak: _Peak) -> Hypothesis:
        upright = uprights[peak.quarter]
        seen = small_ref.size if peak.quarter % 2 == 0 else small_ref.size[::-1]
        # Of the shifts that look the same the one with the most in common.
        moved, period = np.array(divmod(peak.at, peak.period[0])[::-1]), np.array(peak.period)
        central = (np.array(peak.canvas) - seen) / 2
        shift, matrix = np.eye(3), np.vstack([peak.matrix, [0, 0, 1]])
        shift[:2, 2] = moved - period * np.round((moved - central) / period)
        return Hypothesis(back @ matrix @ shift @ upright, peak.score)

    groups = [(angle, (0,)) for angle in grid.angles] if strip else _by_quarters(grid.angles)
    with _workers(longest) as pool:
        peaks = [peak for row in pool.map(at_angle, *zip(*groups, strict=True)) for peak in row]
    peaks.sort(key=lambda peak: -peak.score)
    return distinct(map(transform, peaks), ref.size, keep, _APART * max(ref.size))


class _Peak(NamedTuple):
    """The highest point of a surface, of which few ever become a transform.

    Attributes:
        score: Its height in standard deviations of the surface.
        quarter: Quarters of a turn by which the reference is turned.
        matrix: (2, 3) pixel of the resampled target to pixel of the reduced one.
        canvas: (width, height) of the resampled target.
        period: (width, height) of the surface.
        at: Its flat index.
    """

    score: float
    quarter: int
    matrix: NDArray[np.float64]
    canvas: tuple[int, int]
    period: tuple[int, int]
    at: int


@contextmanager
def _workers(longest: int) -> Iterator[ThreadPoolExecutor]:
    """Threads that share the work on reduced images of so many pixels.

    The transforms run outside the interpreter's lock; the order of the results, and so the answer,
    does not depend on the threads. Of small images they are so short that threads wait for that
    lock most of the time, OpenCV's own for work: there one takes half of the processor's time.
    """
    alone = longest <= _ALONE
    with (
        without_opencv_threads() if alone else nullcontext(),
        ThreadPoolExecutor(1 if alone else os.cpu_count()) as pool,
    ):
        yield pool


def _cyclic(*sides: int) -> int:
    """Side of a transform that holds both images of a strip, pixels."""
    return int(scipy.fft.next_fast_len(int(1.3 * max(sides)) + 8, real=True))


def _turn_and_scale(matrix: NDArray[np.float64]) -> tuple[float, float]:
    """Rotation, degrees, and logarithm of the scale of a rough transform."""
    a, b = float(matrix[0, 0]), float(matrix[1, 0])
    return math.degrees(math.atan2(b, a)), math.log(math.hypot(a, b))


def _beside(angle: float, scale: float, around: Sequence[tuple[float, float]]) -> bool:
    """Whether a rotation, degrees, and a scale lie within a step of `FREE` of others."""
    size = math.log(scale)
    return any(
        abs((angle - turn + 180) % 360 - 180) <= _BESIDE[0] and abs(size - log) <= _BESIDE[1]
        for turn, log in around
    )


def _near(shape: tuple[int, ...], shift: NDArray[np.float64], reach: float) -> NDArray[np.bool_]:
    """(H, W) whether a shift of a cyclic surface lies within `reach` of another, or next to it."""
    y, x = (
        (np.arange(side) - at + side / 2) % side - side / 2
        for side, at in zip(shape, shift[::-1], strict=True)
    )
    return np.asarray(np.hypot(y[:, None], x) <= max(reach, 1.0))


def _spectrum(real: MatLike, imag: MatLike, shape: tuple[int, int]) -> NDArray[np.complex64]:
    """(H, W) spectrum of a field, of which both parts are given, once made as large as a shape.

    It is divided by the root of the modulus that the spectra of both parts have in common, which
    narrows the peak (between correlation and phase correlation) and lifts it over the others: of
    pairs of two seasons of the training split from 1.6 times the second to 2.6 times.
    """
    field = _folded(np.asarray(cv2.merge([real, imag]), np.float32), shape)
    spectrum = np.zeros((*shape, 2), np.float32)
    spectrum[: field.shape[0], : field.shape[1]] = field
    cv2.dft(spectrum, dst=spectrum)
    # Plane by plane, of which NumPy is quicker than of complex numbers.
    first, second = cv2.split(spectrum)
    power = first * first
    power += second * second
    weight = power + _opposite(power)
    weight *= 0.5
    np.sqrt(weight, out=weight)
    weight += np.float32(_WEAK * weight.mean() + 1e-12)
    np.sqrt(weight, out=weight)
    np.reciprocal(weight, out=weight)
    first *= weight
    second *= weight
    return np.asarray(cv2.merge([first, second]).view(np.complex64)[..., 0])


def _opposite(power: NDArray[np.float32]) -> NDArray[np.float32]:
    """(H, W) what a spectrum has at the opposite frequencies."""
    turned, found = cv2.flip(power, -1), np.empty_like(power)
    found[0, 0], found[0, 1:], found[1:, 0] = power[0, 0], turned[-1, :-1], turned[:-1, -1]
    found[1:, 1:] = turned[:-1, :-1]
    return found


def _folded(part: NDArray[np.float32], shape: tuple[int, int]) -> NDArray[np.float32]:
    """An image, of which what exceeds a shape is added at its beginning, as shifts wrap."""
    for axis, side in enumerate(shape):
        if part.shape[axis] > side:
            inner, outer = np.split(part, [side], axis=axis)
            part = inner.copy()
            part[tuple(slice(n) for n in outer.shape)] += outer
    return part


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


def distinct(
    found: Iterable[Hypothesis], size: tuple[int, int], keep: int, apart: float
) -> list[Hypothesis]:
    """The first hypotheses whose corners do not all lie where those of another one do.

    Args:
        found: Best first.
        size: (width, height) of the reference.
        keep: How many are wanted.
        apart: How far a corner has to lie from another's, target pixels, along x or y.
    """
    width, height = size
    corners = np.array([[0, 0, 1], [width, 0, 1], [width, height, 1], [0, height, 1]], dtype=float)
    chosen: list[Hypothesis] = []
    centres: list[NDArray[np.float64]] = []
    for hypothesis in found:
        place = corners @ hypothesis.matrix[:2].T
        if all(np.abs(place - other).max() > apart for other in centres):
            chosen.append(hypothesis)
            centres.append(place)
        if len(chosen) == keep:
            break
    return chosen
