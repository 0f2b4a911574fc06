"""Finds the grid of blocks that strong compression leaves in an image.

JPEG, WebP and tiles of JPEG 2000 code blocks by themselves; at their edges the image steps. The
steps of a whole image, averaged along each line, make a comb, whose harmonics stand out of the
spectrum of any ground.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from imatch.core.types import BoolArray
from imatch.raster.image import GeoImage

# Periods sought, pixels, and how finely, as a share of what the image's length resolves. Ground has
# power of its own at longer ones.
_SHORTEST, _LONGEST, _FINE = 5.0, 18.0, 0.2
# Harmonics looked at, and by how many times the usual power each of the first two and all of them
# together stand out.
_HARMONICS, _EACH, _TOGETHER = 4, 6.0, 30.0
# How high the further harmonics together are, against the first. Edges are sharp: JPEG of quality 5
# to 15 on training images, resized or not, shows 0.27 to 5; what interpolation leaves between the
# pixels of an enlarged image is smooth, and shows less than 0.1.
_SHARP = 0.2
# Padding of the spectrum, and fewest steps and lines that tell something.
_PADDED, _FEWEST = 8, 96
# From this relative step on blocks move what is correlated: of JPEG that is a quality of about 15.
# Periods of two images are one within this share.
_STRONG, _ALIKE = 1.0, 0.02
# Lines looked at, at most.
_ACROSS = 512


@dataclass(frozen=True)
class Comb:
    """Edges at ``phase + k * period`` pixels.

    Attributes:
        period: Pixels.
        phase: Of an edge, pixels, 0 to the period.
        step: How much larger the steps at the edges are than elsewhere, as a share of these.
        power: How far the harmonics stand out, times the usual power.
    """

    period: float
    phase: float
    step: float
    power: float


BlockGrid: TypeAlias = tuple[float, float]
"""Blocks of two images lie on one another at shifts of ``offset + k * period``: both in pixels."""


def common_blocks(ref: GeoImage, tgt: GeoImage) -> tuple[BlockGrid | None, BlockGrid | None]:
    """Finds the blocks of strong compression that two images share and returns their grids.

    Args:
        ref: The reference.
        tgt: The target.

    Returns:
        Along x and along y the period and the offset of shifts at which blocks lie on blocks; None
        where one of the two has none, or others.
    """
    found: list[BlockGrid | None] = []
    for axis in (1, 0):
        combs = [block_comb(image.pixels, image.valid, axis) for image in (ref, tgt)]
        one, other = combs
        if (
            one is None
            or other is None
            or min(one.step, other.step) < _STRONG
            or abs(one.period - other.period) > _ALIKE * one.period
        ):
            found.append(None)
            continue
        found.append((one.period, (other.phase - one.phase) % one.period))
    return found[0], found[1]


def block_comb(pixels: NDArray[np.float32], valid: BoolArray, axis: int) -> Comb | None:
    """Finds the edges of blocks across columns or lines and returns where they are.

    Args:
        pixels: (C, H, W).
        valid: (H, W) pixels that count.
        axis: 1 for edges between columns, 0 for those between lines.

    Returns:
        None where there are no such edges.
    """
    steps = _steps(pixels, valid, axis)
    if steps is None:
        return None
    count = len(steps)
    spectrum = np.fft.rfft(steps, _PADDED * count)
    power = np.abs(spectrum) ** 2
    # Of noise the median power is the mean times ln 2.
    power /= max(float(np.median(power)) / np.log(2), 1e-12)

    def at(frequency: NDArray[np.float64]) -> NDArray[np.int64]:
        return np.rint(frequency * _PADDED * count).astype(np.int64)

    last = len(power) - 1
    # Fine enough that the last harmonic of the shortest period is not missed.
    frequencies = np.arange(1 / _LONGEST, 1 / _SHORTEST, _FINE / (_HARMONICS * count))
    harmonics = np.stack(
        [
            np.where(k * frequencies < 0.5, power[np.minimum(at(k * frequencies), last)], 0)
            for k in range(1, _HARMONICS + 1)
        ]
    )
    good = (harmonics[:2].min(axis=0) >= _EACH) & (harmonics.sum(axis=0) >= _TOGETHER)
    if not good.any():
        return None
    best = int(np.where(good, harmonics.sum(axis=0), 0).argmax())
    period = 1 / float(frequencies[best])
    first = spectrum[at(frequencies[best : best + 1])][0]
    phase = (-np.angle(first) / (2 * np.pi) * period + 0.5) % period
    beyond = np.array([k / period for k in range(2, _HARMONICS + 1) if k / period < 0.5])
    turned = spectrum[at(beyond)] * np.exp(2j * np.pi * beyond * (phase - 0.5))
    if turned.real.sum() < _SHARP * np.abs(first):
        return None
    step = float(np.abs(first)) / count * period
    return Comb(period, float(phase), step, float(harmonics[:, best].sum()))


def _steps(pixels: NDArray[np.float32], valid: BoolArray, axis: int) -> NDArray[np.float64] | None:
    """(N,) size of the steps to the next column or line, against those around it."""
    if axis == 0:
        pixels, valid = pixels.transpose(0, 2, 1), valid.T
    every = max(1, valid.shape[0] // _ACROSS)
    pixels, valid = pixels[:, ::every], valid[::every]
    both = valid[:, 1:] & valid[:, :-1]
    seen = both.sum(axis=0)
    if len(seen) < _FEWEST or (seen >= _FEWEST // 2).mean() < 0.5:
        return None
    size = np.zeros(len(seen))
    for band in pixels:
        step = np.minimum(np.abs(np.diff(band, axis=1)), _ceiling(band))
        size += np.where(both, step, 0).sum(axis=0) / np.maximum(seen, 1)
    size = np.where(seen >= _FEWEST // 2, size, np.nan)
    size = np.where(np.isfinite(size), size, np.nanmedian(size))
    # Ground is rougher here than there.
    kernel = np.ones(41)
    around = np.convolve(size, kernel, "same") / np.convolve(np.ones_like(size), kernel, "same")
    return np.asarray(size / np.maximum(around, 1e-9) - 1)


def _ceiling(band: NDArray[np.float32]) -> float:
    """A step beyond which a single edge of the ground would weigh too much."""
    step = np.abs(np.diff(band[::7], axis=1))
    return 4 * float(step.mean()) + 1e-6
