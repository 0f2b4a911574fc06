"""Errors of an alignment that no number of windows averages out: bent ground and appearance.

A bootstrap over windows tells how far chance may have moved an answer. Two things move all of it at
once. The ground may not follow the transform (`imatch.geometry.alignment.coherence`). And season
and sun move shadows and edges, by other amounts in each band: the scatter between bands is a random
effect, an uncertainty of type B in the sense of the GUM (JCGM 100:2008), and stands for what all
bands share as well.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from shapely import STRtree, points

from imatch.core.types import BoolArray, Rendered
from imatch.geometry.acceptance import judge_bound
from imatch.geometry.alignment import coherence
from imatch.geometry.alignment.fine_alignment import (
    AGREES,
    AlignedImages,
    Aligner,
    Alignment,
    reliable_peaks,
)
from imatch.geometry.alignment.refine import CorrelationWindows, Displacements, measure
from imatch.geometry.alignment.slow_bend import slow_bend, tells_of_bend
from imatch.geometry.estimate import BandShift, Estimate
from imatch.geometry.fit import least_squares
from imatch.geometry.transform import apply_matrix

NORMAL_95 = 1.96

_Windows: TypeAlias = tuple[NDArray[np.float64], NDArray[np.float64], float]
"""(N, 2) centres, reference pixels, (N, 2) displacements, target pixels, and the side."""

#: What departs from a transform does so in places, and most of all at the rim, which no window
#: looks beyond: more than a normal error would.
BENT_95 = 3.7
# A covariance counts from so many times its standard error; what was sought far, where peaks of
# clouds and floods come in, from more: of 42 training pairs of OMBRIA that were sought far 4 then
# seem bent by over 1 px, at 1.8 times 16, and of 36 with rows displaced by 4 to 8 px all do.
_SIGNIFICANT, _SIGNIFICANT_FAR = 1.8, 3.5
# From this variance on, square pixels, or below this share of agreeing windows, displacements are
# sought so much further: what lies beyond the first search would be missed.
_BENT, _AGREEING, _FURTHER = 0.2, 0.9, 20
_FEWEST_WINDOWS = 4
# Windows of half the side, about as many as see each place as often as whole ones; their side.
_COUNT, _LEAST_SIDE = 640, 24
# A share of agreeing windows from which those of half the side are asked, where whole ones tell of
# less than this variance, square pixels.
_MOSTLY, _FAINT = 0.6, 0.01
# What counts little, and yet keeps a fit determined.
_UNSEEN = 1e-6
# A bend that is fitted follows the ground less than wholly.
_SLOW = 1.15
# Places at which a bend is asked for, about as many.
_PLACES = 2000


@dataclass(frozen=True)
class AppearanceRules:
    """How far season and sun may move all windows alike.

    On 189 of OMBRIA's training tiles, whose truth is the median of their scene's others, 95 %
    intervals hold 95.2 % in x and in y with these, and 79 and 82 % without
    (``experiments.benchmarks.trust appearance``). The likeliest values there are 0.39, 0.11 and
    0.18, and hold 96 %; the scatter's factor is kept as an earlier trial on other pairs gave it,
    since OMBRIA's tiles show little forest in low sun, where bands part most.

    The unit of `shared` and `alone` is pixels for each unit of the natural logarithm of one over
    the correlation: what looks the same was not moved.

    Attributes:
        scatter: Times the standard deviation between bands.
        shared: What all bands share.
        alone: The same where a single band is all there is.
    """

    scatter: float = 1.5 / 1.96
    shared: float = 0.06
    alone: float = 0.17


APPEARANCE = AppearanceRules()


class Departures:
    """How far the ground of an aligned pair departs from its transform.

    Args:
        images: The aligned pair.
        alignment: Its windows.
    """

    def __init__(self, images: AlignedImages, alignment: Alignment) -> None:
        self._images, self._alignment = images, alignment
        reliable = alignment.reliable
        self._windows: _Windows = (
            alignment.matches.ref_xy[reliable],
            alignment.residual[reliable],
            alignment.side,
        )

    def misfit(self) -> NDArray[np.float64]:
        """Measures departures that neighbours share.

        Returns:
            (2,) standard deviation along x and y, target pixels.
        """
        first, second = self._images.fields
        scale, agree = self._images.scale, self._alignment.agree
        variance = _variance(
            [
                *coherence.of_windows(*self._windows),
                *_scaled(coherence.of_lines(first, second), scale),
            ]
        )
        if agree >= _MOSTLY and variance.max() < _FAINT:
            smaller = coherence.of_windows(*self._half_windows)
            variance = np.maximum(variance, _variance(smaller))
        if reaches_further(np.sqrt(variance), agree):
            further = [
                *coherence.of_windows(*self._far_windows(), far=True),
                *_scaled(coherence.of_lines(first, second, _FURTHER, far=True), scale),
            ]
            variance = np.maximum(variance, _variance(further, _SIGNIFICANT_FAR))
        return np.asarray(np.sqrt(variance))

    def bend(self) -> float:
        """Measures a slow bend, up to the rim.

        Returns:
            Target pixels that the bend stays below at 95 % of the overlap that windows tell of, and
            that the shear of an affine transform moves what no window bears out by.
        """
        images = self._images
        y, x = np.nonzero(images.common)
        step = max(1, len(x) // _PLACES)
        places = apply_matrix(images.to_ref, np.column_stack([x, y])[::step].astype(np.float64))
        xy, residual, side = self._windows
        if not tells_of_bend(xy, side):
            xy, residual, side = self._half_windows
        moved = slow_bend(xy, residual, side, places)
        slow = _SLOW * float(np.quantile(np.hypot(*moved.T), 0.95)) if len(moved) else 0.0
        return math.hypot(slow, _sheared(self._alignment, places))

    @cached_property
    def _half_windows(self) -> _Windows:
        """Reliable windows of half the side: they show ground that whole ones average out."""
        native = self._alignment.side / float(self._images.to_ref[0, 0])
        side = max(_LEAST_SIDE, round(native / 2))
        moved = self._measured(CorrelationWindows(side=side, count=_COUNT))
        agrees = np.hypot(*moved.shift.T) < AGREES / self._images.scale
        return self._located(moved, reliable_peaks(moved.peak, agrees))

    def _far_windows(self) -> _Windows:
        """Windows sought so far that a part which lies elsewhere is found."""
        moved = self._measured(CorrelationWindows(radius=_FURTHER))
        return self._located(moved, moved.peak >= _least_peak(self._alignment))

    def _measured(self, windows: CorrelationWindows) -> Displacements:
        moved = measure(*self._images.fields, self._images.common, windows)
        found = np.isfinite(moved.shift).all(axis=1)
        return replace(
            moved,
            centre=moved.centre[found],
            shift=moved.shift[found],
            peak=moved.peak[found],
            ratio=moved.ratio[found],
        )

    def _located(self, moved: Displacements, kept: BoolArray) -> _Windows:
        to_ref = self._images.to_ref
        xy = apply_matrix(to_ref, moved.centre[kept])
        return xy, moved.shift[kept] * self._images.scale, moved.side * float(to_ref[0, 0])


def _sheared(alignment: Alignment, places: NDArray[np.float64]) -> float:
    """Target pixels by which shear moves the (M, 2) places that no agreeing window sees.

    Images of one ground are rarely sheared; a part of a bent one is, and its shear ends there.
    """
    agrees = np.hypot(*alignment.residual.T) < AGREES
    if alignment.kind in ("translation", "similarity") or not agrees.any() or not len(places):
        return 0.0
    seen = alignment.matches.ref_xy[agrees]
    beyond = coherence.nearest(STRtree(points(seen)), places)[0] > alignment.side
    there = apply_matrix(alignment.matrix, places)
    even = least_squares(
        "similarity", places, there, np.where(beyond, _UNSEEN, 1.0).astype(np.float64)
    )
    off = np.hypot(*(there - apply_matrix(even, places)).T)
    return float(np.quantile(np.where(beyond, off, 0.0), 0.95))


def band_shifts(images: Sequence[AlignedImages]) -> list[BandShift]:
    """Measures the displacement that each band shows by itself, in the same windows.

    Args:
        images: The aligned pair, once for each band.

    Returns:
        One for each in which enough windows agree, called by its number from 0.
    """
    found = []
    for number, pair in enumerate(images):
        first, second = pair.fields
        moved = measure(first, second, pair.common, CorrelationWindows())
        with np.errstate(invalid="ignore"):
            agrees = np.hypot(*moved.shift.T) < AGREES / pair.scale
        if agrees.sum() < _FEWEST_WINDOWS:
            continue
        x, y = moved.shift[agrees].mean(axis=0) * pair.scale
        strength = float(moved.peak[agrees].mean())
        found.append(BandShift((float(x), float(y)), strength, str(number)))
    return found


def band_shifts_of(ref: Rendered, tgt: Rendered, matrix: NDArray[np.float64]) -> list[BandShift]:
    """The displacement that other bands show from a transform (3, 3) found without them."""
    return band_shifts(split_bands(Aligner(ref, tgt).images(matrix)))


def split_bands(images: AlignedImages) -> list[AlignedImages]:
    """The pair once for each band; once where all bands are the same."""
    planes = len(images.ref.pixels)
    if planes == 1 or np.array_equal(images.ref.pixels[0], images.ref.pixels[1]):
        return [images]
    return [
        replace(
            images,
            ref=Rendered(images.ref.pixels[band : band + 1], images.ref.valid),
            tgt=Rendered(images.tgt.pixels[band : band + 1], images.tgt.valid),
        )
        for band in range(planes)
    ]


def appearance(bands: Sequence[BandShift], strength: float) -> NDArray[np.float64]:
    """Standard deviation of what season and sun may have moved all windows by.

    Args:
        bands: What each band says.
        strength: Mean correlation of the agreeing windows of all bands together.

    Returns:
        (2,) along x and y, working target pixels.
    """
    rules = APPEARANCE
    lost = math.log(1 / min(max(strength, 0.05), 1.0))
    if len(bands) < 2:
        return np.full(2, rules.alone * lost)
    scatter = np.array([band.offset for band in bands]).std(axis=0, ddof=1)
    return np.asarray(np.hypot(rules.scatter * scatter, rules.shared * lost))


def with_bands(found: Estimate, more: Sequence[BandShift]) -> Estimate:
    """An estimate whose bounds hold what bands say that it was not found in.

    Args:
        found: With the bounds of its own bands.
        more: What the others say.
    """
    bands = (*found.bands, *more)
    strength = float(np.mean([band.strength for band in found.bands or more]))
    seen = np.maximum(appearance(bands, strength), 0)
    grown = NORMAL_95**2 * (seen**2 - np.array(found.appearance) ** 2)
    x, y = np.sqrt(np.maximum(np.array(found.ci95) ** 2 + grown, np.array(found.statistical) ** 2))
    corner = math.sqrt(max(found.corner_ci95**2 + float(grown.sum()), found.corner_statistical**2))
    found = replace(
        found,
        ci95=(float(x), float(y)),
        corner_ci95=corner,
        appearance=(float(seen[0]), float(seen[1])),
        bands=bands,
    )
    status, reason = judge_bound(found, "the bands disagree too much")
    return replace(found, status=status, reason=reason)


def grown(found: Estimate, half: float, doubt: str) -> Estimate:
    """An estimate whose bounds hold one more error, judged anew.

    Args:
        found: As the images show it.
        half: Half-width of the 95 % interval of each coordinate of that error, working pixels.
        doubt: What it comes from, to end the sentence of a refusal.
    """
    x, y = np.hypot(found.ci95, half)
    corner = math.hypot(found.corner_ci95, half, half)
    found = replace(found, ci95=(float(x), float(y)), corner_ci95=corner)
    status, reason = judge_bound(found, doubt)
    return replace(found, status=status, reason=reason)


def grid_bound(found: Estimate, side: float) -> Estimate:
    """An estimate no finer than its pixels, whose edges stand on the grid and not on the ground.

    Args:
        found: As the images show it.
        side: Side of a measured pixel, working pixels: the edges hold the answer anywhere in it.
    """
    return grown(found, 0.475 * side, f"both images repeat each pixel {side:.0f} times")


def located_bound(found: Estimate, error: float) -> Estimate:
    """An estimate no finer than the ground control points that locate its images.

    Args:
        found: As the images show it.
        error: Root mean square distance of a GCP from where the others put it, working pixels: so
            far may the spline err between them.
    """
    half = NORMAL_95 * error / math.sqrt(2)
    return grown(found, half, f"the GCPs agree with one another only to {error:.1f} working px")


def widened(
    found: Estimate, bent: NDArray[np.float64], seen: NDArray[np.float64], slow: float = 0.0
) -> Estimate:
    """An estimate whose bounds hold the systematic errors as well as chance.

    Args:
        found: With the bounds of chance alone.
        bent: (2,) standard deviation of the ground from the transform, working target pixels.
        seen: (2,) that of the appearance.
        slow: What a slow bend stays below at 95 % of the overlap, working target pixels: it adds to
            the bound of the whole, not to the interval of its middle.
    """
    x, y = np.hypot(found.statistical, np.hypot(BENT_95 * bent, NORMAL_95 * seen))
    corner = math.hypot(found.corner_statistical, *(BENT_95 * bent), *(NORMAL_95 * seen), slow)
    return replace(
        found,
        ci95=(float(x), float(y)),
        corner_ci95=corner,
        misfit=(float(bent[0]), float(bent[1])),
        appearance=(float(seen[0]), float(seen[1])),
    )


def reaches_further(misfit: NDArray[np.float64], agree: float) -> bool:
    """Whether so large a (2,) misfit, or so few agreeing windows, ask for a wider search."""
    return bool((misfit**2).max() > _BENT or agree < _AGREEING)


def misfit_of(
    found: Sequence[coherence.Coherence], *, far: bool = False, times: float = _SIGNIFICANT
) -> NDArray[np.float64]:
    """(2,) standard deviation along x and y of the largest variance that stands out of chance.

    Args:
        found: What neighbours share.
        far: Whether they were sought far.
        times: How many standard errors stand out where they were not.
    """
    return np.asarray(np.sqrt(_variance(found, _SIGNIFICANT_FAR if far else times)))


def _variance(
    found: Sequence[coherence.Coherence], times: float = _SIGNIFICANT
) -> NDArray[np.float64]:
    none = np.zeros(2)
    return np.asarray(np.maximum.reduce([none, *(c.significant(times) for c in found)]))


def _scaled(found: Sequence[coherence.Coherence], scale: float) -> list[coherence.Coherence]:
    return [one.scaled(scale) for one in found]


def _least_peak(alignment: Alignment) -> float:
    reliable = alignment.matches.scores[alignment.reliable]
    return float(reliable.min()) if len(reliable) else 0.0
