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

import numpy as np
import scipy.fft
from numpy.typing import NDArray

from imatch.core.types import Rendered
from imatch.geometry.alignment.orientation import orientation_field, shrink, warp_field
from imatch.geometry.alignment.refine import fft_in_place


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
# steps.
WIDE = CoarseGrid(
    tuple(float(a) for a in range(-180, 180, 4)),
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
    strip = max(long_ref, long_tgt) > grid.side
    longest = max(*small_ref.size, *small_tgt.size)
    # A quarter of an image of padding tells every shift that leaves three eighths in common from
    # its opposite; what lies beyond wraps onto it.
    side, most = scipy.fft.next_fast_len(int(_PADDED * longest), real=True), int(1.6 * longest)
    width, height = small_tgt.size
    centre = np.array([(width - 1) / 2, (height - 1) / 2])
    # The common factor of the two reductions, so that scales mean full-size pixels.
    zoom = tgt_scale[0, 0] / ref_scale[0, 0]
    back, forth = np.linalg.inv(tgt_scale), ref_scale
    middle = np.array([(ref.size[0] - 1) / 2, (ref.size[1] - 1) / 2, 1.0])
    uprights = [_quarter_turn(quarter, small_ref.size) @ forth for quarter in range(4)]

    @cache
    def conjugate(shape: tuple[int, int], quarter: int) -> NDArray[np.complex64]:
        """Of the spectrum of the reference, turned by quarters of a turn."""
        return np.asarray(np.conj(_spectrum(_turned_by(first, quarter), shape)))

    def at_angle(angle: float, quarters: Sequence[int]) -> list[Hypothesis]:
        return [h for scale in grid.scales for h in at(angle, quarters, scale)]

    def at(angle: float, group: Sequence[int], scale: float) -> Iterator[Hypothesis]:
        quarters = tuple(q for q in group if not around or _beside(angle + 90 * q, scale, around))
        if not quarters:
            return
        turn = np.radians(angle)
        a, b = scale * zoom * np.cos(turn), scale * zoom * np.sin(turn)
        c, s = abs(np.cos(turn)), abs(np.sin(turn))
        extents = width * c + height * s, width * s + height * c
        canvas = [min(int(np.ceil(extent / (scale * zoom))), most) for extent in extents]
        across = down = side
        if strip:
            # A square round a strip would be empty for the most part.
            across, down = (
                scipy.fft.next_fast_len(int(1.3 * max(own, its)) + 8, real=True)
                for own, its in zip(canvas, small_ref.size, strict=True)
            )
        matrix = np.array([[a, -b, 0], [b, a, 0], [0, 0, 1]])
        matrix[:2, 2] = centre - matrix[:2, :2] @ ((np.array(canvas) - 1) / 2)
        warped = _spectrum(warp_field(second, matrix, (canvas[0], canvas[1])), (down, across))
        for quarter in quarters:
            product = conjugate((down, across), quarter) * warped
            mean = float(product[0, 0].real) / product.size
            fft_in_place(product[None], inverse=True)
            surface = np.ascontiguousarray(product.real)
            upright = uprights[quarter]
            if within is None:
                peak = int(surface.argmax())
            else:
                stays = np.linalg.solve(matrix, tgt_scale @ middle) - upright @ middle
                near = _near(surface.shape, stays[:2], within * forth[0, 0])
                peak = int(np.where(near, surface, -np.inf).argmax())
            seen = small_ref.size if quarter % 2 == 0 else small_ref.size[::-1]
            # Of the shifts that look the same the one with the most in common.
            moved, period = np.array(divmod(peak, across)[::-1]), np.array([across, down])
            central = (np.array(canvas) - seen) / 2
            shift = np.eye(3)
            shift[:2, 2] = moved - period * np.round((moved - central) / period)
            # Not by `numpy.std`, which takes four times as long.
            variance = float(np.vdot(surface, surface)) / surface.size - mean**2
            score = float(surface.flat[peak]) / max(float(np.sqrt(max(variance, 0.0))), 1e-12)
            yield Hypothesis(back @ matrix @ shift @ upright, score)

    # The transforms run outside the interpreter's lock, so threads share the work; the order of
    # the results, and so the answer, does not depend on them.
    groups = [(angle, (0,)) for angle in grid.angles] if strip else _by_quarters(grid.angles)
    with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
        found = [h for row in pool.map(at_angle, *zip(*groups, strict=True)) for h in row]
    found.sort(key=lambda h: -h.score)
    return distinct(found, ref.size, keep, _APART * max(ref.size))


def _beside(angle: float, scale: float, around: Sequence[Hypothesis]) -> bool:
    """Whether a rotation, degrees, and a scale lie within a step of `FREE` of a rough transform."""
    for one in around:
        a, b = one.matrix[0, 0], one.matrix[1, 0]
        turned = (angle - np.degrees(np.arctan2(b, a)) + 180) % 360 - 180
        if abs(turned) <= _BESIDE[0] and abs(np.log(scale / np.hypot(a, b))) <= _BESIDE[1]:
            return True
    return False


def _near(shape: tuple[int, ...], shift: NDArray[np.float64], reach: float) -> NDArray[np.bool_]:
    """(H, W) whether a shift of a cyclic surface lies within `reach` of another, or next to it."""
    y, x = (
        (np.arange(side) - at + side / 2) % side - side / 2
        for side, at in zip(shape, shift[::-1], strict=True)
    )
    return np.asarray(np.hypot(y[:, None], x) <= max(reach, 1.0))


def _spectrum(field: NDArray[np.complex64], shape: tuple[int, int]) -> NDArray[np.complex64]:
    """(H, W) spectrum of a field, which is made as large as a shape.

    It is divided by the root of the modulus that the spectra of its real and of its imaginary part
    have in common, which narrows the peak (between correlation and phase correlation) and lifts it
    over the others: of pairs of two seasons of the training split from 1.6 times the second to 2.6
    times.
    """
    folded = _folded(field, shape)
    spectrum = np.zeros(shape, np.complex64)
    spectrum[: folded.shape[0], : folded.shape[1]] = folded
    fft_in_place(spectrum[None])
    power = spectrum.real**2 + spectrum.imag**2
    modulus = np.sqrt((power + _mirrored(power)) / 2)
    spectrum *= 1 / np.sqrt(modulus + _WEAK * modulus.mean() + np.float32(1e-12))
    return spectrum


def _mirrored(power: NDArray[np.float32]) -> NDArray[np.float32]:
    """(H, W) what a spectrum has at the opposite frequencies."""
    found = np.empty_like(power)
    found[0, 0] = power[0, 0]
    found[0, 1:], found[1:, 0] = power[0, :0:-1], power[:0:-1, 0]
    found[1:, 1:] = power[:0:-1, :0:-1]
    return found


def _folded(part: NDArray[np.complex64], shape: tuple[int, int]) -> NDArray[np.complex64]:
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
    found: Sequence[Hypothesis], size: tuple[int, int], keep: int, apart: float
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
