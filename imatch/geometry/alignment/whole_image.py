"""Aligns two images by the correlation of all their directions at once.

Two kinds of sensor (a radar and a camera, a map and the ground) agree in the sum of their edges and
hardly in any one window. Here the whole images are correlated at every shift, normalised by the
energy that both have in common there (as in Padfield, "Masked object registration in the Fourier
domain", IEEE TIP 2012), and the best turn and scale are sought around each rough transform. The
spectra are divided by the root of their modulus, half the way to phase correlation (Kuglin & Hines
1975): what stands out of the surface does so twice as clearly. How far the answer is pinned down,
the parts of the image tell: their correlation surfaces are summed along every small similarity,
with the parts drawn anew (a block bootstrap, Künsch 1989). Where it lies in the end, and how far it
stands out, is told by maps that a network has learnt to agree in across sensors
(`imatch.geometry.sensor_field`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import product

import numpy as np
import scipy.fft
from numpy.typing import NDArray

from imatch.core.types import BoolArray, Matches, Rendered
from imatch.geometry.alignment.orientation import orientation_field, shrink, warp_field
from imatch.geometry.sensor_field import FieldFunction, SensorFields, similarity
from imatch.geometry.transform import apply_matrix

# Longest side of the images that are correlated, pixels.
_SIDE = 512
# Shifts that share less of the energy than this part of the most are not looked at.
_LEAST_COMMON = 0.35
# How far a rough transform may be off, pixels, and how many of them are followed up.
_REACH, _FOLLOWED = 24, 2
# What a position far from the given one has to exceed it by, standard deviations: the best of some
# 10^8 positions is so much higher by chance than that of 10^6.
_FAR = 1.0
# Turns (degrees), logarithms of scale and reach (pixels) of the rounds that pull it tight.
_ROUNDS = ((1.5, 0.02, 12), (0.75, 0.01, 6), (0.35, 0.005, 6), (0.17, 0.003, 3), (0.08, 0.0015, 2))
# Frequencies below this share of the mean modulus are noise, and are not raised.
_WEAK = 0.1
# What lies further from the peak than this is another position, pixels.
_APART = 10
# Parts along the longer side; how far their surfaces reach and how far the sum of all may move,
# pixels; how far the corners may move besides by turn and by scale, in so many steps of pixels.
_PARTS, _PART_REACH, _MOVED, _TURNED, _STEP = 6, 20, 11, 4, 1.25
_FEWEST_PARTS, _DRAWS = 8, 60
# How far the surface of a part and its neighbours is looked at for a tie point, pixels.
_NEAR = 6


@dataclass(frozen=True, eq=False)
class WholeAlignment:
    """A similarity that two whole images support.

    Attributes:
        matrix: (3, 3) reference to target, pixels.
        matches: N tie points, of each part of the image with its neighbours; scored by correlation.
        agrees: (N,) whether they lie where the transform says.
        peak: Height of the learnt maps' correlation, standard deviations of its surface.
        lead: What it exceeds the highest of other positions by, in the same unit.
        likeness: Correlation of the parts, in standard deviations of chance, their mean.
        centre: (D, 2) what the middle moves by when the parts are drawn anew, target pixels.
        corners: (D, 4, 2) the same of the corners.
        side: Side of the parts, reference pixels.
    """

    matrix: NDArray[np.float64]
    matches: Matches
    agrees: BoolArray
    peak: float
    lead: float
    likeness: float
    centre: NDArray[np.float64]
    corners: NDArray[np.float64]
    side: float

    @property
    def scatter(self) -> float:
        """Root of the mean square of what the corners move by, target pixels."""
        return float(np.sqrt((self.corners**2).sum(axis=2).mean()))


@dataclass(frozen=True, eq=False)
class _Peak:
    """A transform of reduced pixels, and the correlation there."""

    height: float
    matrix: NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class _Parts:
    """Correlation surfaces of the parts of an aligned pair.

    Attributes:
        surface: (T, S, S) correlation of each part with the target shifted by -R to R.
        chance: (T,) its standard deviation by chance, at no shift.
        energy: (T,) what a perfect correlation would be at no shift.
        centre: (T, 2) middle of each part, pixels.
        row: (T,) its row, counted in parts.
        column: (T,) its column.
        side: Side of a part, pixels.
    """

    surface: NDArray[np.float32]
    chance: NDArray[np.float64]
    energy: NDArray[np.float64]
    centre: NDArray[np.float64]
    row: NDArray[np.int64]
    column: NDArray[np.int64]
    side: int


class WholeImages:
    """Two images whose directions are correlated as a whole.

    Args:
        ref: Reference image.
        tgt: Target image.
        describe: Makes the maps that the aligned images are compared by.
    """

    def __init__(self, ref: Rendered, tgt: Rendered, describe: FieldFunction) -> None:
        small_ref, self._ref_scale = shrink(ref, _SIDE)
        small_tgt, self._tgt_scale = shrink(tgt, _SIDE)
        self._field, self._other = orientation_field(small_ref), orientation_field(small_tgt)
        self._size = small_ref.size
        self._small, self._describe = (small_ref, small_tgt), describe
        self._shape = tuple(
            scipy.fft.next_fast_len(int(1.5 * max(sides)))
            for sides in zip(small_ref.valid.shape, small_tgt.valid.shape, strict=True)
        )
        spectrum = scipy.fft.fft2(self._field, self._shape)
        self._spectrum, self._flat = np.conj(spectrum), np.conj(_flattened(spectrum))
        self._energy = np.conj(scipy.fft.rfft2(_squared(self._field), self._shape))

    def align(
        self, rough: Sequence[NDArray[np.float64]], *, near: int = 0, turning: bool = True
    ) -> WholeAlignment | None:
        """Pulls the best of some rough transforms tight.

        Args:
            rough: (3, 3) reference to target, pixels of the images.
            near: How many of them, the first ones, come of a search near the given position only;
                the others have to exceed them.
            turning: Whether the answer may turn and scale what is rough.

        Returns:
            The alignment, or None where the images have too little in common.
        """
        there, back = self._tgt_scale, np.linalg.inv(self._ref_scale)
        found = [
            (peak, -_FAR if number >= near else 0.0)
            for number, matrix in enumerate(rough)
            if (peak := self._peak(there @ matrix @ back, _REACH)) is not None
        ]
        best = sorted(found, key=_standing, reverse=True)[:_FOLLOWED]
        tight = [(self._tightened(peak, turning), less) for peak, less in best]
        if not tight:
            return None
        return self._measured(max(tight, key=_standing)[0].matrix, turning)

    def _peak(self, matrix: NDArray[np.float64], reach: int, *, flat: bool = True) -> _Peak | None:
        """The highest correlation within reach of a transform; None without common ground.

        Flattened spectra tell best whether there is a peak, plain ones where it lies.
        """
        warped = warp_field(self._other, matrix, self._size)
        shape = self._shape
        spectrum = scipy.fft.fft2(warped, shape)
        product_ = self._flat * _flattened(spectrum) if flat else self._spectrum * spectrum
        surface = scipy.fft.ifft2(product_).real
        common = scipy.fft.irfft2(self._energy * scipy.fft.rfft2(_squared(warped), shape), shape)
        enough = common > max(_LEAST_COMMON * float(common.max()), 1e-3)
        y, x = (np.fft.fftfreq(side, 1 / side) for side in shape)
        near = enough & (np.abs(y)[:, None] <= reach) & (np.abs(x) <= reach)
        if not near.any():
            return None
        height = np.where(enough, surface / np.sqrt(np.maximum(common, 1e-9)), 0.0)
        height /= max(float(np.sqrt((height[enough] ** 2).mean())), 1e-12)
        row, column = divmod(int(np.where(near, height, -np.inf).argmax()), shape[1])
        shift = np.eye(3)
        shift[:2, 2] = x[column], y[row]
        return _Peak(float(height[row, column]), matrix @ shift)

    def _tightened(self, rough: _Peak, turning: bool) -> _Peak:
        peak = self._peak(rough.matrix, _REACH, flat=False) or rough
        for turn, scale, reach in _ROUNDS if turning else ((0.0, 0.0, _REACH),):
            tried = product((-turn, 0.0, turn), (-scale, 0.0, scale)) if turning else [(0.0, 0.0)]
            found = [
                self._peak(
                    peak.matrix @ similarity(self._size, np.radians(a), np.exp(s)),
                    reach,
                    flat=False,
                )
                for a, s in tried
            ]
            peak = max((one for one in found if one is not None), key=_height, default=peak)
        told = self._peak(peak.matrix, _NEAR)
        return rough if told is None else replace(told, matrix=peak.matrix)

    def _measured(self, rough: NDArray[np.float64], turning: bool) -> WholeAlignment | None:
        small_ref, small_tgt = self._small
        fields = SensorFields(self._describe, small_ref)
        found = fields.tightened(small_tgt, rough, turning=turning)
        height, other = fields.peak(small_tgt, found, _NEAR, _APART)
        parts = self._parts(warp_field(self._other, found, self._size))
        if len(parts.surface) < _FEWEST_PARTS:
            return None
        back = np.linalg.inv(self._tgt_scale)
        ref_xy, shift, score = _tie_points(parts)
        matches = Matches(
            apply_matrix(np.linalg.inv(self._ref_scale), ref_xy),
            apply_matrix(back @ found, ref_xy + shift),
            score,
        )
        # From pixels of the reduced reference to those of the target.
        linear = (back @ found)[:2, :2]
        moved = self._drawn(parts, turning) @ linear.T
        middle = parts.surface[:, _PART_REACH, _PART_REACH]
        matrix = back @ found @ self._ref_scale
        return WholeAlignment(
            matrix / matrix[2, 2],
            matches,
            np.asarray(np.hypot(*shift.T) < 0.5 * _NEAR),
            height,
            height - other,
            float((middle / parts.chance).mean()),
            moved[:, 0],
            moved[:, 1:],
            parts.side / float(self._ref_scale[0, 0]),
        )

    def _parts(self, warped: NDArray[np.complex64]) -> _Parts:
        """Correlates the parts of the reference with the target around them."""
        width, height = self._size
        side, reach = int(np.ceil(max(width, height) / _PARTS)), _PART_REACH
        length = scipy.fft.next_fast_len(side + 2 * reach)
        padded = np.pad(warped, reach)
        span = 2 * reach + 1
        surfaces, figures, places = [], [], []
        for top, left in product(range(0, height, side), range(0, width, side)):
            own = self._field[top : top + side, left : left + side]
            rows, columns = own.shape
            around = padded[top : top + rows + 2 * reach, left : left + columns + 2 * reach]
            surface, common = (
                _correlation(one, other, length)[:span, :span]
                for one, other in ((own, around), (_squared(own), _squared(around)))
            )
            if common[reach, reach] <= 1e-3:
                continue
            opposite = warped[top : top + rows, left : left + columns]
            energy = np.sqrt(float(_squared(own).sum()) * float(_squared(opposite).sum()))
            surfaces.append(surface)
            figures.append((np.sqrt(common[reach, reach]), max(energy, 1e-9)))
            places.append((left + (columns - 1) / 2, top + (rows - 1) / 2, top, left))
        numbers = np.array(figures, dtype=np.float64).reshape(-1, 2)
        at = np.array(places, dtype=np.float64).reshape(-1, 4)
        row, column = (at[:, 2:] // side).astype(np.int64).T
        stacked = np.array(surfaces, dtype=np.float32).reshape(-1, span, span)
        return _Parts(stacked, numbers[:, 0], numbers[:, 1], at[:, :2], row, column, side)

    def _drawn(self, parts: _Parts, turning: bool) -> NDArray[np.float64]:
        """Draws the parts anew and returns where middle and corners then lie, (D, 5, 2) pixels."""
        middle = (np.array(self._size) - 1) / 2
        corners = np.array([(-1, -1), (1, -1), (1, 1), (-1, 1)]) * middle
        half = float(np.hypot(*middle))
        steps = np.arange(-_TURNED, _TURNED + 1) * _STEP / half if turning else np.zeros(1)
        small = list(product(steps, steps))
        away = parts.centre - middle
        sums = np.concatenate([_moved(parts.surface, away, *each) for each in small], axis=1)
        count, span = len(parts.surface), 2 * _MOVED + 1
        drawn = np.random.default_rng(0).multinomial(count, np.full(count, 1 / count), size=_DRAWS)
        best = (drawn.astype(np.float32) @ sums).argmax(axis=1)
        which, at = np.divmod(best, span**2)
        y, x = np.divmod(at, span)
        shift = np.column_stack([x, y]) - _MOVED
        turn, scale = np.array(small)[which].T
        return np.stack(
            [shift + _turned(place, turn, scale) for place in (np.zeros(2), *corners)], axis=1
        )


def _tie_points(
    parts: _Parts,
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Sums the surface of each part and of its neighbours, and returns where that is highest.

    Returns:
        (N, 2) middles of the parts, (N, 2) displacements, pixels, and (N,) correlation in [0, 1].
    """
    inner = slice(_PART_REACH - _NEAR, _PART_REACH + _NEAR + 1)
    surface = parts.surface[:, inner, inner]
    apart = np.maximum(
        np.abs(parts.row[:, None] - parts.row), np.abs(parts.column[:, None] - parts.column)
    )
    beside = (apart <= 1).astype(np.float32)
    summed = np.einsum("ab,byx->ayx", beside, surface)
    span = 2 * _NEAR + 1
    y, x = np.divmod(summed.reshape(len(summed), -1).argmax(axis=1), span)
    top = summed[np.arange(len(summed)), y, x]
    score = np.clip(top / (beside @ parts.energy), 0.0, 1.0)
    shift = np.column_stack([x, y]) - float(_NEAR)
    return parts.centre, shift, score.astype(np.float64)


def _moved(
    surface: NDArray[np.float32], away: NDArray[np.float64], turn: float, scale: float
) -> NDArray[np.float32]:
    """(T, M) surfaces of all parts around where a small turn and scale moves them to."""
    x, y = np.round(_turned(away, turn, scale)).astype(np.int64).T + _PART_REACH
    cut = [
        one[b - _MOVED : b + _MOVED + 1, a - _MOVED : a + _MOVED + 1]
        for one, a, b in zip(surface, x, y, strict=True)
    ]
    return np.asarray(np.stack(cut).reshape(len(surface), -1))


def _turned(
    away: NDArray[np.float64],
    turn: NDArray[np.float64] | float,
    scale: NDArray[np.float64] | float,
) -> NDArray[np.float64]:
    """(N, 2) what a small turn (radians) and scale (share) move places away from the middle by."""
    x, y = away[..., 0], away[..., 1]
    return np.stack(
        np.broadcast_arrays(scale * x - turn * y, turn * x + scale * y), axis=-1
    ).astype(np.float64)


def _correlation(
    one: NDArray[np.complexfloating] | NDArray[np.floating],
    other: NDArray[np.complexfloating] | NDArray[np.floating],
    length: int,
) -> NDArray[np.float64]:
    shape = (length, length)
    product_ = np.conj(scipy.fft.fft2(one, shape)) * scipy.fft.fft2(other, shape)
    return np.asarray(scipy.fft.ifft2(product_).real)


def _flattened(spectrum: NDArray[np.complexfloating]) -> NDArray[np.complexfloating]:
    """A spectrum divided by the root of its modulus, weak frequencies by less."""
    modulus = np.abs(spectrum)
    return np.asarray(spectrum / np.sqrt(modulus + _WEAK * modulus.mean() + 1e-12))


def _squared(field: NDArray[np.complex64]) -> NDArray[np.float32]:
    return np.asarray(field.real**2 + field.imag**2)


def _standing(peak: tuple[_Peak, float]) -> float:
    return peak[0].height + peak[1]


def _height(peak: _Peak) -> float:
    return peak.height
