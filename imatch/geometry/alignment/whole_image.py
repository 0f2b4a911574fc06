"""Aligns two images of different sensors by the correlation of the whole of them at once.

Two kinds of sensor (a radar and a camera, a map and the ground) agree in the sum of their edges and
hardly in any one window. Here the whole images are correlated at every shift, turn and scale, in
maps that a network has learnt to agree in across sensors (`imatch.geometry.sensor_field`). How far
the answer is pinned down, the parts of the image tell: their correlation surfaces are summed along
every small similarity, with the parts drawn anew (a block bootstrap, Künsch 1989).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import cv2
import numpy as np
import scipy.fft
from numpy.typing import NDArray

from imatch.core.types import BoolArray, Matches, Rendered
from imatch.geometry.alignment.orientation import shrink
from imatch.geometry.sensor_field import STRIDE, FieldFunction, SensorFields
from imatch.geometry.sensor_search import search_places
from imatch.geometry.transform import apply_matrix

# Longest side of the images that are correlated, pixels.
_SIDE = 512
# How many places of the search are pulled tight, and what they may stand below the best of them,
# standard deviations.
_FOLLOWED, _BELOW = 5, 2.0
# Corners of a place near another one, such as the given, move less than this in the mean, pixels.
# One far from the given has to stand so many standard deviations higher: by that the best of some
# 10^8 positions exceeds that of 10^5 by chance.
_HERE, _FAR = 30.0, 1.0
# How far the answer may lie from where its correlation is highest; what lies further from there
# than the second is another position, pixels.
_NEAR, _APART = 6, 10
# From how far on what looks like the ground itself is its repetition, pixels.
_REPEATED = 16
# Parts along the longer side; how far their surfaces reach and how far the sum of all may move,
# pixels; how far the corners may move besides by turn and by scale, in so many steps of pixels.
_PARTS, _PART_REACH, _MOVED, _TURNED, _STEP = 6, 20, 11, 4, 1.25
_FEWEST_PARTS, _DRAWS = 8, 60


@dataclass(frozen=True, eq=False)
class WholeAlignment:
    """A similarity that two whole images support.

    Attributes:
        matrix: (3, 3) reference to target, pixels.
        matches: N tie points, of each part of the image with its neighbours; scored by correlation.
        agrees: (N,) whether they lie where the transform says.
        peak: Height of the correlation, standard deviations of its surface, less `_FAR` where that
            is far from the given position.
        lead: What it exceeds the highest of other positions by, in the same unit; near the given
            position `_FAR` more, which those have to stand higher by.
        likeness: Correlation of the parts, in standard deviations of chance, their mean.
        centre: (D, 2) what the middle moves by when the parts are drawn anew, target pixels.
        corners: (D, 4, 2) the same of the corners.
        side: Side of the parts, reference pixels.
        repetition: How much both images repeat themselves at one shift, from 0 to 1.
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
    repetition: float

    @property
    def scatter(self) -> float:
        """Root of the mean square of what the corners move by, target pixels."""
        return float(np.sqrt((self.corners**2).sum(axis=2).mean()))


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
    """Two images that are correlated as a whole.

    Args:
        ref: Reference image.
        tgt: Target image.
        describe: Makes the maps that they are compared by.
    """

    def __init__(self, ref: Rendered, tgt: Rendered, describe: FieldFunction) -> None:
        small_ref, self._ref_scale = shrink(ref, _SIDE)
        self._tgt, self._tgt_scale = shrink(tgt, _SIDE)
        self._size, self._describe = small_ref.size, describe
        self._fields = SensorFields(describe, small_ref)

    def align(
        self,
        given: Sequence[NDArray[np.float64]] = (),
        *,
        turning: bool = True,
        within: float | None = None,
    ) -> WholeAlignment | None:
        """Finds the place where the images correlate best, and pulls it tight.

        Args:
            given: (3, 3) rough transforms, reference to target, that are followed up besides.
            turning: Whether the answer may turn and scale the target.
            within: How far the middle may lie from the same pixel, reference pixels; None for
                anywhere.

        Returns:
            The alignment, or None where the images have too little in common.
        """
        back = np.linalg.inv(self._ref_scale)
        here = self._tgt_scale @ back
        places = search_places(
            self._describe,
            self._fields.maps,
            self._size,
            self._tgt,
            2 * _FOLLOWED,
            zoom=float(here[0, 0]),
            turning=turning,
            within=None if within is None else (here, within * float(self._ref_scale[0, 0])),
        )
        standing = [place.score - self._far(place.matrix, here) for place in places]
        best = sorted(zip(standing, range(len(places)), strict=True), reverse=True)[:_FOLLOWED]
        rough = [places[i].matrix for one, i in best if one > best[0][0] - _BELOW]
        rough += [self._tgt_scale @ matrix @ back for matrix in given]
        tight = [self._fields.tightened(self._tgt, one, turning=turning) for one in rough]
        found = list[tuple[float, float, int]]()
        for number, matrix in enumerate(tight):
            height, other = self._fields.peak(self._tgt, matrix, _NEAR, _APART)
            far = self._far(matrix, here)
            if height > 0:
                found.append((height - far, height - other + _FAR - far, number))
        if not found:
            return None
        peak, lead, number = max(found)
        # Of other turns and scales, too, there may be one that fits almost as well.
        others = [one for one, _, i in found if self._gap(tight[i], tight[number]) > _HERE]
        lead = min(lead, peak - max(others, default=-np.inf))
        return self._measured(tight[number], peak, lead, turning)

    def _far(self, matrix: NDArray[np.float64], here: NDArray[np.float64]) -> float:
        """What a place far from the given one has to stand higher by, standard deviations."""
        return _FAR if self._gap(matrix, here) > _HERE else 0.0

    def _gap(self, one: NDArray[np.float64], other: NDArray[np.float64]) -> float:
        """How far two transforms put the reference's corners apart, their mean, pixels."""
        width, height = self._size
        corners = np.array([[0, 0], [width, 0], [width, height], [0, height]], dtype=np.float64)
        gap = apply_matrix(one, corners) - apply_matrix(other, corners)
        return float(np.hypot(*gap.T).mean())

    def _measured(
        self, found: NDArray[np.float64], peak: float, lead: float, turning: bool
    ) -> WholeAlignment | None:
        posed = self._fields.posed(self._tgt, found)
        parts = self._parts(posed)
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
            peak,
            lead,
            float((middle / parts.chance).mean()),
            moved[:, 0],
            moved[:, 1:],
            parts.side / float(self._ref_scale[0, 0]),
            self._fields.repetition(posed, _REPEATED),
        )

    def _parts(self, posed: NDArray[np.float32]) -> _Parts:
        """Correlates the parts of the reference's maps with the target's around them."""
        own_maps, reach = self._fields.maps, _PART_REACH // STRIDE
        _, height, width = own_maps.shape
        side = int(np.ceil(max(width, height) / _PARTS))
        length, span = scipy.fft.next_fast_len(side + 2 * reach), 2 * reach + 1
        padded = np.pad(posed, ((0, 0), (reach, reach), (reach, reach)))
        surfaces, figures, places = [], [], []
        for top, left in product(range(0, height, side), range(0, width, side)):
            own = own_maps[:, top : top + side, left : left + side]
            rows, columns = own.shape[1:]
            around = padded[:, top : top + rows + 2 * reach, left : left + columns + 2 * reach]
            surface, common = (
                _correlation(one, other, length)[:span, :span]
                for one, other in ((own, around), (_energy(own), _energy(around)))
            )
            if common[reach, reach] <= 1e-3:
                continue
            opposite = posed[:, top : top + rows, left : left + columns]
            energy = np.sqrt(float(_energy(own).sum()) * float(_energy(opposite).sum()))
            surfaces.append(_at_every_pixel(surface))
            figures.append((np.sqrt(common[reach, reach]), max(energy, 1e-9)))
            places.append((left + (columns - 1) / 2, top + (rows - 1) / 2, top, left))
        numbers = np.array(figures, dtype=np.float64).reshape(-1, 2)
        at = np.array(places, dtype=np.float64).reshape(-1, 4)
        row, column = (at[:, 2:] // side).astype(np.int64).T
        reached = 2 * _PART_REACH + 1
        return _Parts(
            np.array(surfaces, dtype=np.float32).reshape(-1, reached, reached),
            numbers[:, 0],
            numbers[:, 1],
            STRIDE * at[:, :2],
            row,
            column,
            STRIDE * side,
        )

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
    one: NDArray[np.float32], other: NDArray[np.float32], length: int
) -> NDArray[np.float64]:
    """Sum over maps (C, h, w) of their correlations at every shift, circular."""
    shape = (length, length)
    spectrum = np.conj(scipy.fft.rfft2(one, shape)) * scipy.fft.rfft2(other, shape)
    return np.asarray(scipy.fft.irfft2(spectrum.sum(axis=0), shape), dtype=np.float64)


def _at_every_pixel(surface: NDArray[np.float64]) -> NDArray[np.float32]:
    """A surface of steps of maps, (S, S), at steps of pixels."""
    side = STRIDE * (len(surface) - 1) + 1
    matrix = np.array([[1 / STRIDE, 0, 0], [0, 1 / STRIDE, 0]])
    flags = cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP
    fine = cv2.warpAffine(
        surface.astype(np.float32),
        matrix,
        (side, side),
        flags=flags,
        borderMode=cv2.BORDER_REPLICATE,
    )
    return np.asarray(fine, dtype=np.float32)


def _energy(maps: NDArray[np.float32]) -> NDArray[np.float32]:
    """(1, h, w) sum of the squares of maps (C, h, w)."""
    return np.asarray((maps**2).sum(axis=0, keepdims=True), dtype=np.float32)
