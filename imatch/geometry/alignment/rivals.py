"""Other positions at which two aligned images correlate: repeating ground.

Rows of trees, fields of one width and city blocks look alike at every period. Whether another
position fits is therefore asked of the images: aligned, they are correlated at every shift, and
each peak that comes near the one at no shift is a rival to be tested like any other proposal. The
correlation is normalised by what both see at each shift (Padfield, "Masked object registration in
the Fourier domain", IEEE TIP 2012).
"""

from __future__ import annotations

import cv2
import numpy as np
import scipy.fft
from numpy.typing import NDArray

from imatch.core.types import BoolArray

# Longest side of the ground that is looked at, pixels.
_SIDE = 384
# Positions closer than this are one and the same, pixels: windows look as far by themselves.
_APART = 6
# A rival's least correlation, as a share of that at no shift.
_NEAR_AS_HIGH = 0.5
# Least share of the ground that is common at a shift.
_COMMON = 0.25


def rival_shifts(
    first: NDArray[np.complex64], second: NDArray[np.complex64], valid: BoolArray, keep: int = 3
) -> NDArray[np.float64]:
    """Finds the shifts at which two aligned fields of directions correlate nearly as well.

    Args:
        first: (H, W) directions of the reference.
        second: (H, W) directions of the target resampled onto the reference.
        valid: (H, W) ground both of them see.
        keep: How many shifts to return at most.

    Returns:
        (K, 2) displacements (x, y) of the target, pixels, best first.
    """
    part = _central(valid)
    seen = valid[part].astype(np.float32)
    if seen.sum() < _COMMON * seen.size or min(seen.shape) < 4 * _APART:
        return np.zeros((0, 2))
    # A direction that prevails everywhere correlates at any shift, and says nothing.
    surface = _correlation(_centred(first[part], seen), _centred(second[part], seen), seen)
    height, width = surface.shape
    y, x = np.arange(height) - height // 2, np.arange(width) - width // 2
    near = (np.abs(y)[:, None] <= _APART) & (np.abs(x) <= _APART)
    centre = float(surface[near].max())
    if not centre > 0:
        return np.zeros((0, 2))
    top = cv2.dilate(surface, np.ones((2 * _APART + 1, 2 * _APART + 1), np.uint8))
    peaks = (surface == top) & ~near & (surface >= _NEAR_AS_HIGH * centre)
    rows, columns = np.nonzero(peaks)
    order = np.argsort(-surface[rows, columns], kind="stable")[:keep]
    return np.column_stack([x[columns[order]], y[rows[order]]]).astype(np.float64)


def _central(valid: BoolArray) -> tuple[slice, slice]:
    """Returns the middle of the valid ground, which is searched for rivals."""
    sides = []
    for axis, length in enumerate(valid.shape):
        some = np.flatnonzero(valid.any(axis=1 - axis))
        middle = int(some.mean()) if len(some) else length // 2
        start = int(np.clip(middle - _SIDE // 2, 0, max(length - _SIDE, 0)))
        sides.append(slice(start, min(start + _SIDE, length)))
    return sides[0], sides[1]


def _centred(field: NDArray[np.complex64], seen: NDArray[np.float32]) -> NDArray[np.complex64]:
    return np.asarray((field - field.sum() / seen.sum()) * seen, dtype=np.complex64)


def _correlation(
    first: NDArray[np.complex64], second: NDArray[np.complex64], seen: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Normalised correlation at every shift, none at the middle; 0 where too little is common."""
    shape = tuple(scipy.fft.next_fast_len(int(1.5 * side)) for side in seen.shape)
    surface = scipy.fft.ifft2(
        np.conj(scipy.fft.fft2(first, shape)) * scipy.fft.fft2(second, shape)
    ).real
    mask = scipy.fft.rfft2(seen, shape)
    energy = [scipy.fft.rfft2(np.abs(field) ** 2, shape) for field in (first, second)]

    def sums(one: NDArray[np.complex64], other: NDArray[np.complex64]) -> NDArray[np.float32]:
        return np.asarray(scipy.fft.irfft2(np.conj(one) * other, shape), dtype=np.float32)

    common = sums(mask, mask)
    product = np.maximum(sums(energy[0], mask), 0) * np.maximum(sums(mask, energy[1]), 0)
    enough = common >= _COMMON * float(seen.sum())
    surface = np.where(enough, surface / np.sqrt(np.maximum(product, 1e-12)), 0)
    return np.asarray(scipy.fft.fftshift(surface), dtype=np.float32)
