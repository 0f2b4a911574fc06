"""What a learnt network is told of an image, and how its maps of two images correlate.

The network is `imatch.models.fields`; this room knows it as a function of arrays. Its maps are
correlated at every shift, normalised by the energy that both have in common there (as in Padfield,
"Masked object registration in the Fourier domain", IEEE TIP 2012). Whether there is a peak is told
by spectra divided by the root of their modulus, half the way to phase correlation (Kuglin & Hines
1975), where it lies by plain ones.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from typing import NamedTuple, TypeAlias

import cv2
import numpy as np
import scipy.fft
from numpy.typing import NDArray

from imatch.core.types import BoolArray, Rendered
from imatch.geometry.alignment.orientation import orientation_field, warp_image

#: Pixels of an image along a pixel of its maps.
STRIDE = 2
#: Scales of the doubled directions, pixels.
SCALES = (1.0, 2.0)
# Standard deviations at which values are cut, side of the window of the local normalisation and
# what is added to the image before its logarithm and to the window's deviation.
_CUT, _WINDOW, _DARK, _FLAT = 3.0, 15, 0.03, 0.05
# Pixels next to invalid ground that tell nothing.
_RIM = 4
# Shifts that share less of the energy than this part of the most are not looked at; frequencies
# below this share of the mean modulus are noise.
_LEAST_COMMON, _WEAK = 0.35, 0.1
_PADDED = 1.5
# Turns (degrees), logarithms of scale and reach (pixels) of the rounds that pull a transform tight,
# and the reach before.
_ROUNDS = ((1.5, 0.02, 8), (0.75, 0.01, 4), (0.35, 0.005, 4), (0.17, 0.003, 3))
_REACH = 12

#: Bands, directions and ground seen of an image (`FieldInput`) to its (C, h, w) maps.
FieldFunction: TypeAlias = Callable[
    [NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]], NDArray[np.float32]
]


class FieldInput(NamedTuple):
    """What the network is told.

    Attributes:
        bands: (4, H, W) three standardised bands and the locally normalised logarithm of grey.
        directions: (2 K, h, w) doubled directions of K scales at half size, real and imaginary.
        seen: (1, h, w) 1 on valid ground away from its border, else 0.
    """

    bands: NDArray[np.float32]
    directions: NDArray[np.float32]
    seen: NDArray[np.float32]


class Spectrum(NamedTuple):
    """Maps of an image in frequency space.

    Attributes:
        maps: (C, U, V), plain or divided by the root of their common modulus.
        energy: (U, V) of the sum of squares.
        shape: (height, width) of the padded maps.
    """

    maps: NDArray[np.complex64]
    energy: NDArray[np.complex64]
    shape: tuple[int, int]


def field_input(image: Rendered) -> FieldInput:
    """Standardises an image of three bands and finds its directions.

    Args:
        image: (3, H, W).
    """
    # Resampling overshoots.
    image = Rendered(np.clip(image.pixels, 0, 1), image.valid)
    seen = image.valid.astype(np.float32)
    count = max(float(seen.sum()), 1.0)
    mean = (image.pixels * seen).sum(axis=(1, 2), keepdims=True) / count
    spread = ((image.pixels - mean) ** 2 * seen).sum(axis=(1, 2), keepdims=True) / count
    bands = (image.pixels - mean) / np.sqrt(spread + 1e-6)
    log = np.log(image.pixels.mean(axis=0) + np.float32(_DARK)) * seen
    weight = np.maximum(_box(seen), 1e-3)
    local = _box(log) / weight
    variance = np.maximum(_box(log * log) / weight - local * local, 0)
    whole = np.concatenate([bands, ((log - local) / np.sqrt(variance + _FLAT**2))[None]])
    kernel = np.ones((2 * _RIM + 1,) * 2, np.uint8)
    inner = cv2.erode(image.valid.astype(np.uint8), kernel, borderValue=1)
    halves = [_halved(orientation_field(image, sigma)) for sigma in SCALES]
    return FieldInput(
        np.asarray(np.clip(whole, -_CUT, _CUT) * seen, dtype=np.float32),
        np.stack([part for half in halves for part in (half.real, half.imag)]),
        inner[None, ::STRIDE, ::STRIDE].astype(np.float32),
    )


def transformed(
    maps: NDArray[np.float32], shape: tuple[int, int], *, flat: bool = True
) -> Spectrum:
    """Transforms maps (C, h, w), padded with zeros, for `correlation`.

    Flattened spectra tell best whether there is a peak, plain ones where it lies.
    """
    spectrum = scipy.fft.rfft2(maps, shape)
    if flat:
        modulus = np.sqrt((np.abs(spectrum) ** 2).sum(axis=0) + 1e-8)
        spectrum = spectrum / np.sqrt(modulus + _WEAK * modulus.mean())
    return Spectrum(spectrum, scipy.fft.rfft2((maps**2).sum(axis=0), shape), shape)


def correlation(ref: Spectrum, tgt: Spectrum) -> tuple[NDArray[np.float64], BoolArray]:
    """Correlates the maps of two images at every shift, normalised by their common energy.

    Returns:
        (height, width) correlation in standard deviations of the surface, circular, and where the
        images have enough in common.
    """
    surface = scipy.fft.irfft2((ref.maps.conj() * tgt.maps).sum(axis=0), ref.shape)
    common = scipy.fft.irfft2(ref.energy.conj() * tgt.energy, ref.shape)
    enough = common > max(_LEAST_COMMON * float(common.max()), 1e-3)
    height = np.where(enough, surface / np.sqrt(np.maximum(common, 1e-4)), 0.0)
    if enough.any():
        height /= max(float(np.sqrt((height[enough] ** 2).mean())), 1e-12)
    return height, enough


def warp_maps(
    maps: NDArray[np.float32], matrix: NDArray[np.float64], size: tuple[int, int]
) -> NDArray[np.float32]:
    """Resamples maps (C, h, w) by a (3, 3) output to input pixel; beyond them is nothing."""
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return np.stack([cv2.warpAffine(plane, matrix[:2], size, flags=flags) for plane in maps])


class SensorFields:
    """Maps of a reference, with which those of a target that lies roughly on it are correlated.

    Args:
        describe: The network.
        ref: (3, H, W) reference.
    """

    def __init__(self, describe: FieldFunction, ref: Rendered) -> None:
        self._describe, self._size = describe, ref.size
        height, width = ref.valid.shape
        # Maps are half as wide as the image, and padded by half.
        self._shape = (
            int(scipy.fft.next_fast_len(round(_PADDED * height / STRIDE), real=True)),
            int(scipy.fft.next_fast_len(round(_PADDED * width / STRIDE), real=True)),
        )
        #: (C, h, w) maps of the reference.
        self.maps = describe(*field_input(ref))
        self._flat = transformed(self.maps, self._shape)
        self._plain = transformed(self.maps, self._shape, flat=False)
        self._y, self._x = (np.fft.fftfreq(side, 1 / side) * STRIDE for side in self._shape)

    def tightened(
        self, tgt: Rendered, matrix: NDArray[np.float64], *, turning: bool = True
    ) -> NDArray[np.float64]:
        """Pulls a transform tight: shift, turn and scale, each round in smaller steps.

        Args:
            tgt: (3, H', W') target.
            matrix: (3, 3) reference pixel to target pixel, right to some pixels.
            turning: Whether it may turn and scale.

        Returns:
            (3, 3) where the maps correlate best; the given one where they have nothing in common.
        """
        maps = self.posed(tgt, matrix)
        best = self._place(maps, np.eye(3), _REACH)
        if best is None:
            return matrix
        for turn, scale, reach in _ROUNDS if turning else ():
            tried = product((-turn, 0.0, turn), (-scale, 0.0, scale))
            found = [
                self._place(maps, best[1] @ similarity(self._size, np.radians(a), np.exp(s)), reach)
                for a, s in tried
            ]
            best = max((one for one in found if one is not None), key=_height, default=best)
        return np.asarray(matrix @ best[1])

    def peak(
        self, tgt: Rendered, matrix: NDArray[np.float64], reach: float, apart: float
    ) -> tuple[float, float]:
        """Correlates a target and returns how high its place stands out.

        Args:
            tgt: (3, H', W') target.
            matrix: (3, 3) reference pixel to target pixel.
            reach: How far from there its true place may be, pixels.
            apart: From how far on a place is another one, pixels.

        Returns:
            The highest correlation within reach and the highest of other places, in standard
            deviations of the surface; 0 where the images have nothing in common.
        """
        spectrum = transformed(self.posed(tgt, matrix), self._shape)
        surface, enough = correlation(self._flat, spectrum)
        top = self._highest(surface, enough, reach)
        if top is None:
            return 0.0, 0.0
        around = STRIDE * np.array(self._shape)
        away = np.hypot(
            ((self._y - self._y[top[0]] + around[0] / 2) % around[0] - around[0] / 2)[:, None],
            (self._x - self._x[top[1]] + around[1] / 2) % around[1] - around[1] / 2,
        )
        others = surface[enough & (away > apart)]
        return float(surface[top]), float(others.max(initial=0.0))

    def repetition(self, maps: NDArray[np.float32], apart: float) -> float:
        """Correlates the reference's maps, and a target's, with themselves.

        Args:
            maps: (C, h, w) of a target on the reference's pixels.
            apart: From how far on a shift is no neighbour, pixels.

        Returns:
            How much both repeat themselves at one and the same shift, from 0 to 1: the highest
            autocorrelation that both have.
        """
        own = [self._plain, transformed(maps, self._shape, flat=False)]
        surfaces, enough = zip(*(correlation(one, one) for one in own), strict=True)
        away = np.hypot(self._y[:, None], self._x) > apart
        both = np.minimum(*(surface / max(surface[0, 0], 1e-12) for surface in surfaces))
        return float(both[away & enough[0] & enough[1]].max(initial=0.0))

    def posed(self, tgt: Rendered, matrix: NDArray[np.float64]) -> NDArray[np.float32]:
        """(C, h, w) maps of a target on the reference's pixels."""
        return self._describe(*field_input(warp_image(tgt, matrix, self._size, rough=True)))

    def _place(
        self, maps: NDArray[np.float32], turned: NDArray[np.float64], reach: float
    ) -> tuple[float, NDArray[np.float64]] | None:
        """Turns a target's maps and returns their best correlation, and with which transform."""
        there = np.diag([1 / STRIDE, 1 / STRIDE, 1]) @ turned @ np.diag([STRIDE, STRIDE, 1])
        moved = warp_maps(maps, there, maps.shape[:0:-1])
        spectrum = transformed(moved, self._shape, flat=False)
        surface, enough = correlation(self._plain, spectrum)
        top = self._highest(surface, enough, reach)
        if top is None:
            return None
        row, column = top
        shift = np.eye(3)
        shift[0, 2] = self._x[column] + STRIDE * _vertex(np.roll(surface[row], 1 - column)[:3])
        shift[1, 2] = self._y[row] + STRIDE * _vertex(np.roll(surface[:, column], 1 - row)[:3])
        return float(surface[top]), turned @ shift

    def _highest(
        self, surface: NDArray[np.float64], enough: BoolArray, reach: float
    ) -> tuple[int, int] | None:
        near = enough & (np.abs(self._y)[:, None] <= reach) & (np.abs(self._x) <= reach)
        if not near.any():
            return None
        row, column = np.unravel_index(np.where(near, surface, -np.inf).argmax(), surface.shape)
        return int(row), int(column)


def similarity(size: tuple[int, int], turn: float, scale: float) -> NDArray[np.float64]:
    """(3, 3) turn (radians) and scale about the middle of an image of (width, height)."""
    middle = (np.array(size) - 1) / 2
    a, b = scale * np.cos(turn), scale * np.sin(turn)
    matrix = np.array([[a, -b, 0], [b, a, 0], [0, 0, 1.0]])
    matrix[:2, 2] = middle - matrix[:2, :2] @ middle
    return matrix


def _vertex(three: NDArray[np.float64]) -> float:
    """Where a parabola through three neighbours is highest, steps from the middle one."""
    bend = three[0] - 2 * three[1] + three[2]
    return float(np.clip((three[0] - three[2]) / (2 * bend), -0.5, 0.5)) if bend < 0 else 0.0


def _height(found: tuple[float, NDArray[np.float64]]) -> float:
    return found[0]


def _box(plane: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.asarray(cv2.blur(plane, (_WINDOW, _WINDOW)), dtype=np.float32)


def _halved(field: NDArray[np.complex64]) -> NDArray[np.complex64]:
    """Means of 2 by 2 pixels; beyond the border is nothing."""
    height, width = field.shape
    even = np.pad(field, ((0, height % STRIDE), (0, width % STRIDE)))
    parts = even.reshape(even.shape[0] // STRIDE, STRIDE, even.shape[1] // STRIDE, STRIDE)
    return np.asarray(parts.mean(axis=(1, 3)), dtype=np.complex64)
