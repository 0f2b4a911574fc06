"""What a global transform leaves unexplained: displacements that neighbouring windows share.

The error of one window is chance; an error that its neighbour, which sees other pixels, has as well
is ground that the transform does not follow: relief, seams, a scanner's jitter. Its variance is the
covariance of neighbours, to which chance does not add. Jitter shorter than a window shows in
whole lines: of every few of them the displacement is measured twice, in alternate segments.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from shapely import STRtree, points

from imatch.core.types import BoolArray
from imatch.geometry.alignment.refine import fft_in_place, peaks

# Neighbours lie one side of a window apart, to within this share of it.
_NEAR = 0.15
_FEWEST_PAIRS = 6
# The quantile of the residuals that a bound is to hold, and where the normal distribution has it.
_NEARLY_ALL, _NORMAL = 0.99, 1.96
# Windows that speak for one place.
_FEW = 4
# Variance that resampling may fake, square pixels.
_LEAST = 1e-3
# Lines measured together and length of a segment, pixels.
_LINES, _SEGMENT = 8, 64
_FEWEST_BANDS = 8
# A share of bands in which a displacement is found twice: else the ground tells nothing of lines.
_SEEN = 0.3
# A band, or a window and its neighbour, are found twice in one place where they are to within this,
# pixels.
_ALIKE = 1.0
# Of windows sought far so many blocks have to be found twice, further from the transform than this,
# pixels: of 83 training pairs with clouds or in other seasons none has more than one, of 16 bent
# ones that lie off by more than 3 px eleven have three or more.
_DEPARTING, _AWAY = 3, 2.0
# Lines that depart by more than this variance, square pixels, are found twice where they are, some
# of them at least: what only a line at the rim of a cloud shows, and chance, does not go beyond it.
_FOUND_ALONE, _TWICE = 0.25, 2
# Of lines sought far, a share that has to be found twice: some are by chance. Of cloudy pairs up to
# 0.05 were, of jittered training pairs mostly over 0.2; the cloudy ones are the benchmark's, since
# training data shows no clouds.
_MANY = 0.1
# Covariance of lines, square pixels, from which a few of them are asked how far they depart.
_TOLD = 0.02
# Least correlation of a band, as a share of what is usual.
_CORRELATED = 0.6
# Least energy of a band, as a share of what is usual.
_FULL = 0.5


#: Offsets of bands of rows and of columns.
LineOffsets: TypeAlias = tuple[NDArray[np.float64] | None, NDArray[np.float64] | None]


@dataclass(frozen=True)
class Coherence:
    """Covariance of neighbours along x and y, its standard error, and the variance behind it.

    Attributes:
        shared: (x, y) covariance, square pixels; below zero by chance where there is none.
        error: (x, y) its standard error.
        variance: (x, y) of the ground from the transform; more than the covariance where
            neighbours stand so far apart that they share only a part, or where a few places depart
            much further than the others.
    """

    shared: tuple[float, float]
    error: tuple[float, float]
    variance: tuple[float, float]

    def significant(self, times: float) -> NDArray[np.float64]:
        """(2,) the variance where the covariance exceeds `times` its error, 0 elsewhere."""
        stands_out = np.array(self.shared) > np.maximum(times * np.array(self.error), _LEAST)
        return np.where(stands_out, np.array(self.variance), 0.0)

    def scaled(self, factor: float) -> Coherence:
        """The same in pixels of another size, `factor` of which make one of these."""
        x, y = factor**2 * np.array([self.shared, self.error, self.variance]).T
        return Coherence((x[0], y[0]), (x[1], y[1]), (x[2], y[2]))


def of_windows(
    centre: NDArray[np.float64],
    residual: NDArray[np.float64],
    side: float,
    *,
    far: bool = False,
) -> list[Coherence]:
    """Measures what neighbouring windows share, across and down.

    Args:
        centre: (N, 2) centres of the windows.
        residual: (N, 2) displacements from the transform, pixels.
        side: Side of the windows, pixels: neighbours so far apart share no pixel.
        far: Whether they were sought so far that some found another place, in clouds or floods:
            only what neighbours share counts then.

    Returns:
        One for neighbours across and one for those down, where there are enough.
    """
    found = []
    tree = STRtree(points(centre))
    excess = np.zeros(2) if far else _excess(tree, centre, residual, side)
    for step in ((side, 0.0), (0.0, side)):
        distance, other = nearest(tree, centre + step)
        pairs = np.flatnonzero(distance < _NEAR * side)
        if len(pairs) < _FEWEST_PAIRS:
            continue
        one, two = residual[pairs], residual[other[pairs]]
        # Windows overlap: about so many pairs are independent.
        cell = np.floor(centre[pairs] / side).astype(np.int64)
        _, block = np.unique(cell, axis=0, return_inverse=True)
        count = max(int(block.max()) + 1, 2)
        coherence = _coherence(one, two, count, excess)
        # A few that found one place far off by chance share much, and say nothing of the others.
        found.append(_told_by_many(coherence, one * two, block))
        if far and (departing := _departing(one, two, block)) is not None:
            found.append(departing)
    return found


def _departing(
    one: NDArray[np.float64], two: NDArray[np.float64], block: NDArray[np.int64]
) -> Coherence | None:
    """Measures what windows share that were found far off twice, by themselves and a neighbour.

    Chance hardly ever puts two windows in one place of a wide search: a seam does so in few blocks,
    which scatter as much as those of clouds.

    Args:
        one: (N, 2) displacements, pixels.
        two: (N, 2) those of their neighbours.
        block: (N,) index of the block that a pair lies in.

    Returns:
        The coherence of those found twice, None where too few of them lie far off.
    """
    alike = np.abs(one - two).max(axis=1) < _ALIKE
    mean = (one + two) / 2
    away = alike & (np.hypot(*mean.T) > _AWAY)
    if len(np.unique(block[away])) < max(_DEPARTING, _MANY * len(np.unique(block))):
        return None
    count = len(np.unique(block[alike]))
    return _coherence(one[alike], two[alike], count, _tail(mean[alike]))


def _told_by_many(
    found: Coherence, product: NDArray[np.float64], block: NDArray[np.int64]
) -> Coherence:
    """A covariance whose error is no less than what its blocks scatter by.

    Args:
        found: As it came of all pairs alike.
        product: (N, 2) of the displacements of each pair.
        block: (N,) index of the block that a pair lies in: those of one are not independent.
    """
    count = np.bincount(block)
    if len(count) < 2:
        return found
    total = np.column_stack([np.bincount(block, values) for values in product.T])
    scatter = (total / count[:, None]).std(axis=0, ddof=1) / np.sqrt(len(count))
    x, y = np.maximum(found.error, scatter)
    return replace(found, error=(float(x), float(y)))


def _excess(
    tree: STRtree, centre: NDArray[np.float64], residual: NDArray[np.float64], side: float
) -> NDArray[np.float64]:
    """(2,) variance of the windows beyond their noise.

    The noise is what three in a row depart from a straight line by: across or down, whichever is
    less, since ground that bends along one of them adds to it.
    """
    noise = np.full(2, np.inf)
    for step in ((side, 0.0), (0.0, side)):
        near = [nearest(tree, centre + np.multiply(sign, step)) for sign in (1, -1)]
        inside = np.flatnonzero((near[0][0] < _NEAR * side) & (near[1][0] < _NEAR * side))
        if len(inside) < _FEWEST_PAIRS:
            continue
        before, after = residual[near[1][1][inside]], residual[near[0][1][inside]]
        bend = before - 2 * residual[inside] + after
        noise = np.minimum(noise, (bend**2).mean(axis=0) / 6)
    excess = np.maximum((residual**2).mean(axis=0) - noise, 0.0)
    # A window that errs alone is chance; several in one place are ground that departs.
    own, other = tree.query(points(centre), predicate="dwithin", distance=side / 2)
    count = np.bincount(own, minlength=len(centre))
    total = np.column_stack([np.bincount(own, values[other]) for values in residual.T])
    smooth = (total / count[:, None])[count >= _FEW]
    return np.asarray(np.maximum(excess, _tail(smooth)) if len(smooth) else excess)


def nearest(
    tree: STRtree, at: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Distance and index of the window nearest to each of (N, 2) places."""
    pairs, distance = tree.query_nearest(points(at), return_distance=True, all_matches=False)
    return distance, pairs[1]


def of_lines(
    first: NDArray[np.complex64],
    second: NDArray[np.complex64],
    reach: int = 6,
    *,
    far: bool = False,
) -> list[Coherence]:
    """Measures what lines share from end to end: displacement of rows, and of columns.

    Args:
        first: (H, W) directions of the reference.
        second: (H, W) directions of the target resampled onto the reference.
        reach: Largest displacement sought, pixels.
        far: Whether that is so far that some lines find another place, in clouds or floods: only
            those count then that are found twice in one place.

    Returns:
        One for rows and one for columns, where there are enough of them.
    """
    return of_offsets([line_offsets(first, second, reach)], far=far)


def line_offsets(
    first: NDArray[np.complex64], second: NDArray[np.complex64], reach: int = 6
) -> LineOffsets:
    """Measures every few lines twice, in alternate segments; returns the offsets of both measures.

    Args:
        first: (H, W) directions of the reference.
        second: (H, W) directions of the target resampled onto the reference.
        reach: Largest displacement sought, pixels.

    Returns:
        Of rows and of columns: (2, L, 2) displacement (x, y) of each of L bands of lines by either
        measure, NaN for none; None where there is too little ground.
    """
    rows, columns = row_offsets(first, second, reach), row_offsets(first.T, second.T, reach)
    return rows, None if columns is None else columns[:, :, ::-1]


def of_offsets(
    patches: Sequence[LineOffsets],
    *,
    tail: bool = False,
    least_alike: float = 0.0,
    far: bool = False,
) -> list[Coherence]:
    """Measures what lines share from end to end, in all patches together.

    Args:
        patches: `line_offsets` of each.
        tail: Whether the variance is as large as nearly all lines ask for: a few lines that depart
            far, in one of many patches, add little to the mean.
        least_alike: Share of lines that have to be found twice in one place: where fewer are, what
            a few of them share is another place that looks alike, on clouds or water.
        far: Whether lines that are not do not count.

    Returns:
        One for rows and one for columns, where there are enough of them.
    """
    found = []
    for axis in (0, 1):
        parts = [offsets for patch in patches if (offsets := patch[axis]) is not None]
        if not parts:
            continue
        offsets = np.concatenate(parts, axis=1)
        both: BoolArray = np.asarray(np.isfinite(offsets).all(axis=(0, 2)))
        if both.sum() < max(_FEWEST_BANDS, _SEEN * both.size):
            continue
        one, two = offsets[:, both]
        alike = np.abs(one - two).max(axis=1) < _ALIKE
        if alike.sum() < least_alike * both.size:
            continue
        if far:
            one, two, alike = one[alike], two[alike], alike[alike]
            if len(one) < max(_FEW, _MANY * both.sum()):
                continue
        told = tail and alike.any() and (one * two).mean(axis=0).max() > _TOLD
        least = _tail((one + two)[alike] / 2) if told else np.zeros(2)
        coherence = _coherence(one, two, len(one), least)
        away = alike & (np.abs(one + two).max(axis=1) > 2 * _ALIKE)
        if not tail and away.sum() < _TWICE:
            x, y = np.minimum(coherence.variance, _FOUND_ALONE)
            coherence = replace(coherence, variance=(float(x), float(y)))
        found.append(coherence)
    return found


def _tail(residual: NDArray[np.float64]) -> NDArray[np.float64]:
    """(2,) variance of a normal error as large as nearly all of (N, 2) residuals."""
    return np.asarray((np.quantile(np.abs(residual), _NEARLY_ALL, axis=0) / _NORMAL) ** 2)


def _coherence(
    one: NDArray[np.float64], two: NDArray[np.float64], count: int, least: NDArray[np.float64]
) -> Coherence:
    shared = (one * two).mean(axis=0)
    # What each has for itself is what chance has to work with.
    own = np.sqrt((one**2).mean(axis=0) * (two**2).mean(axis=0)) - np.maximum(shared, 0)
    error = np.maximum(own, 0) / np.sqrt(count)
    variance = np.maximum(shared, least)
    x, y = (tuple(float(v[axis]) for v in (shared, error, variance)) for axis in (0, 1))
    return Coherence((x[0], y[0]), (x[1], y[1]), (x[2], y[2]))


def row_offsets(
    first: NDArray[np.complex64], second: NDArray[np.complex64], reach: int
) -> NDArray[np.float64] | None:
    """(2, L, 2) displacement of each band of rows, by even and by odd segments; NaN for none."""
    height, width = first.shape
    margin = reach + 2
    tall, segment = _LINES + 2 * margin, min(_SEGMENT, width // 4)
    top = np.arange(0, height - tall + 1, _LINES)
    left = np.arange(0, width - segment + 1, segment) if segment >= 2 * margin else top[:0]
    if len(left) < 4 or len(top) < _FEWEST_BANDS:
        return None
    taper = np.hanning(segment + 2)[1:-1].astype(np.float32)
    inner = np.zeros(tall, dtype=np.float32)
    inner[margin : margin + _LINES] = 1
    cuts = [sliding_window_view(field, (tall, segment)) for field in (first, second)]
    offsets = np.full((2, len(top), 2), np.nan)
    for half in (0, 1):
        at = top[:, None], left[half::2][None]
        one = np.ascontiguousarray(cuts[0][at] * (inner[:, None] * taper))
        other = np.ascontiguousarray(cuts[1][at] * taper)
        energy = np.stack([(cut.real**2 + cut.imag**2).sum(axis=(1, 2, 3)) for cut in (one, other)])
        for cut in (one, other):
            fft_in_place(cut.reshape(-1, tall, segment))
        spectrum = (np.conj(one) * other).sum(axis=1)
        fft_in_place(spectrum, inverse=True)
        surface = spectrum.real.copy()
        # The target's lines are seen further up and down than the reference's.
        energy[1] *= _LINES / tall
        surface /= (np.sqrt(energy[0] * energy[1]) + 1e-9)[:, None, None]
        surface = np.fft.fftshift(surface, axes=(1, 2)).astype(np.float32)
        y, x = tall // 2, segment // 2
        near = surface[:, y - margin : y + margin + 1, x - margin : x + margin + 1]
        offsets[half], peak, _ = peaks(near, reach)
        # What correlates far less than the others does found something by chance: open water, say.
        offsets[half, peak < _CORRELATED * np.median(peak)] = np.nan
        # Hardly any ground, at the rim or between gaps, says nothing of its lines.
        offsets[half, energy.min(axis=0) < _FULL * np.median(energy.min(axis=0))] = np.nan
    return offsets
