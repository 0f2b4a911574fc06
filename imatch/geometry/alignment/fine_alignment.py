"""Coarse-to-fine alignment of a rough transform by windowed correlation."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from imatch.core.types import BoolArray, Matches, Rendered
from imatch.geometry.acceptance import EVIDENCE, Evidence
from imatch.geometry.alignment.orientation import orientation_field, shrink, warp_image
from imatch.geometry.alignment.refine import CorrelationWindows, measure
from imatch.geometry.fit import residuals, reweighted
from imatch.geometry.robust import search
from imatch.geometry.transform import ModelKind, apply_matrix

# A window agrees with a transform when it is displaced from it by less than this, pixels.
AGREES = 1.5
_FEWEST_WINDOWS = 6
# Differences of scale are evened out in this many steps an octave.
_STEPS = 3
# Where fewer windows agree the fit may have stopped short: it goes on while more come to agree.
_DOUBTFUL = 0.5
_FURTHER = 4
# Log-odds from which more rounds are worth their time: of 157 training alignments that came to
# stand above 0, none had begun below, and the rounds raised none of them by more than 0.8.
_WORTH = -2.0
# A window is reliable when it correlates this well, compared with the median of the agreeing ones.
_RELIABLE = 0.7
# Shorter side of an image below which it is not reduced, pixels.
_SHORTER = 64


def reliable_peaks(peak: NDArray[np.float64], agrees: BoolArray) -> BoolArray:
    """Finds the windows that correlate as the agreeing ones do, wherever they lie; returns a mask.

    Args:
        peak: (N,) correlation of windows.
        agrees: (N,) bool, whether they lie where they should.
    """
    return np.asarray(peak >= _RELIABLE * np.median(peak[agrees]) if agrees.any() else agrees)


@dataclass(frozen=True, eq=False)
class Alignment:
    """An aligned transform and the agreement of its correlation windows.

    Attributes:
        kind: Transform kind that was fitted.
        matrix: (3, 3) reference pixel to target pixel.
        matches: One tie point a window; the score is its correlation, clipped to [0, 1].
        agree: Share of all windows that agree with the transform within 1.5 pixels.
        strength: Mean correlation of the agreeing windows.
        spread: Root of the mean square of what the agreeing windows lie off, pixels of the level it
            was measured on. About 0.9 where they agree by chance, less where they see one ground.
        explained: Share of the windows which correlate as the agreeing ones do that agree, too. Low
            where the ground moved in several ways (relief seen from two sides): the transform then
            holds in parts only.
        independent: Windows that do not overlap, as far as the common ground has room for them in
            the image that shows it with fewer pixels.
        overlap: Share that is common of the image that shows less ground.
        window: Side of the windows, pixels of the level it was measured on.
        side: Side of the windows, reference pixels.
    """

    kind: ModelKind
    matrix: NDArray[np.float64]
    matches: Matches
    agree: float
    strength: float
    spread: float
    explained: float
    independent: float
    overlap: float
    window: float
    side: float

    @property
    def residual(self) -> NDArray[np.float64]:
        """(N, 2) displacement of each window from the transform, target pixels."""
        return self.matches.tgt_xy - apply_matrix(self.matrix, self.matches.ref_xy)

    @property
    def reliable(self) -> BoolArray:
        """(N,) windows that correlate as the agreeing ones do, wherever they lie."""
        return reliable_peaks(self.matches.scores, np.hypot(*self.residual.T) < AGREES)


@dataclass(frozen=True, eq=False)
class AlignedImages:
    """Both images of a pair on the reference's pixels, at the finest level.

    Attributes:
        ref: The reference.
        tgt: The target, resampled onto it by the transform.
        scale: Target pixels per pixel of these.
        to_ref: (3, 3) pixel of these to reference pixel.
    """

    ref: Rendered
    tgt: Rendered
    scale: float
    to_ref: NDArray[np.float64]

    @property
    def common(self) -> BoolArray:
        """(H, W) ground both of them see."""
        return self.ref.valid & self.tgt.valid

    @cached_property
    def fields(self) -> tuple[NDArray[np.complex64], NDArray[np.complex64]]:
        """(H, W) directions of both, as far as both see the ground."""
        first, second = orientation_field(self.ref), orientation_field(self.tgt)
        first[~self.common], second[~self.common] = 0, 0
        return first, second


_Level: TypeAlias = tuple[
    Rendered, Rendered, NDArray[np.float64], NDArray[np.float64], NDArray[np.complex64]
]
"""Both images reduced, the (3, 3) matrices to their pixels, and the reference's directions."""


class Aligner:
    """Aligns one pair of images from any number of rough transforms.

    Args:
        ref: Reference image.
        tgt: Target image.
        evidence: By which rough transforms are given up.
    """

    def __init__(self, ref: Rendered, tgt: Rendered, evidence: Evidence = EVIDENCE) -> None:
        self._ref, self._tgt, self._evidence = ref, tgt, evidence
        full = max(*ref.size, *tgt.size)
        # A strip is not reduced so far that no window fits across it.
        least = _SHORTER * full / max(1, min(*ref.size, *tgt.size))
        self._sides = [s for s in (192, 384, 768) if least <= s < 0.75 * full] + [full]
        # One pyramid serves all hypotheses. A cache of a bound method would hold the instance, and
        # its images, until the next collection of cycles.
        self._levels: dict[tuple[int, float], _Level] = {}

    def align(
        self, matrix: NDArray[np.float64], kind: ModelKind = "similarity"
    ) -> Alignment | None:
        """Refine a rough transform.

        Args:
            matrix: (3, 3) reference to target, right to within about 3 % of the image.
            kind: Transform kind to fit.

        Returns:
            The alignment, or None where the windows support no transform near the given one.
        """
        found: Alignment | None = None
        for index, side in enumerate(self._sides):
            last = index == len(self._sides) - 1
            found = self._at_level(side, matrix, kind, first=index == 0, rounds=3 if last else 2)
            if found is None:
                return None
            odds = self._evidence.log_odds(found)
            if odds < (self._evidence.distant if last else self._evidence.hopeless):
                return None
            matrix = found.matrix
        return None if found is None else self._refined_further(found)

    def _refined_further(self, found: Alignment) -> Alignment:
        """Refits an alignment at full resolution for as long as more windows agree."""
        if self._evidence.log_odds(found) < _WORTH:
            return found
        for _ in range(_FURTHER):
            if found.agree > _DOUBTFUL:
                break
            better = self.refit(found, found.kind)
            if better is None or better.agree <= found.agree:
                break
            found = better
        return found

    def refit(self, alignment: Alignment, kind: ModelKind) -> Alignment | None:
        """Measure once more at full resolution, fitting another transform kind."""
        # The same windows as in `align`, where a small image has one level only.
        alone = len(self._sides) == 1
        return self._at_level(self._sides[-1], alignment.matrix, kind, first=alone, rounds=2)

    def images(self, matrix: NDArray[np.float64]) -> AlignedImages:
        """The pair at full resolution, the target resampled by a transform."""
        zoom = float(np.sqrt(abs(np.linalg.det(matrix[:2, :2]))))
        ref, tgt, ref_scale, tgt_scale, _ = self._level(self._sides[-1], _octave(zoom))
        current = tgt_scale @ matrix @ np.linalg.inv(ref_scale)
        back = np.asarray(np.linalg.inv(ref_scale), dtype=np.float64)
        warped = warp_image(tgt, current, ref.size)
        return AlignedImages(ref, warped, zoom * float(back[0, 0]), back)

    def _level(self, side: int, octave: float) -> _Level:
        if (side, octave) not in self._levels:
            self._levels[side, octave] = self._make_level(side, octave)
        return self._levels[side, octave]

    def _make_level(self, side: int, octave: float) -> _Level:
        # The finer of the two is reduced to the pixels of the coarser: magnified pixels would only
        # blur, skipped ones would alias.
        factor = side / self._sides[-1]
        ref_factor = factor * 2.0 ** min(octave, 0.0)
        tgt_factor = factor * 2.0 ** min(-octave, 0.0)
        ref, ref_scale = shrink(self._ref, round(ref_factor * max(self._ref.size)))
        tgt, tgt_scale = shrink(self._tgt, round(tgt_factor * max(self._tgt.size)))
        return ref, tgt, ref_scale, tgt_scale, orientation_field(ref)

    def _at_level(
        self, side: int, matrix: NDArray[np.float64], kind: ModelKind, *, first: bool, rounds: int
    ) -> Alignment | None:
        zoom = float(np.sqrt(abs(np.linalg.det(matrix[:2, :2]))))
        ref, tgt, ref_scale, tgt_scale, ref_field = self._level(side, _octave(zoom))
        current = tgt_scale @ matrix @ np.linalg.inv(ref_scale)
        for turn in range(rounds):
            # What is measured once more need not be exact.
            rough = turn == 0 or side != self._sides[-1]
            warped = warp_image(tgt, current, ref.size, rough=rough)
            windows = CorrelationWindows(
                side=48 if first else 64, radius=8 if first and turn == 0 else 6
            )
            common = ref.valid & warped.valid
            moved = measure(ref_field, orientation_field(warped), common, windows)
            usable = np.isfinite(moved.shift).all(axis=1)
            if usable.sum() < _FEWEST_WINDOWS:
                return None
            ref_xy = moved.centre[usable]
            tgt_xy = apply_matrix(current, ref_xy + moved.shift[usable])
            begin = search(kind, ref_xy, tgt_xy, 2.0) if turn == 0 else current
            if begin is None:
                return None
            refined = reweighted(kind, ref_xy, tgt_xy, begin, 2.0)
            step = np.abs(apply_matrix(refined, ref_xy) - apply_matrix(current, ref_xy)).max()
            current = refined
            if turn > 0 and step < 0.02:
                break
        off = residuals(current, ref_xy, tgt_xy)
        agrees = off < AGREES
        peak = moved.peak[usable]
        share = float(agrees.sum() / len(moved))
        strength = float(peak[agrees].mean()) if agrees.any() else 0.0
        spread = float(np.sqrt((off[agrees] ** 2).mean())) if agrees.any() else AGREES
        matches = Matches(
            apply_matrix(np.linalg.inv(ref_scale), ref_xy),
            apply_matrix(np.linalg.inv(tgt_scale), tgt_xy),
            np.clip(peak, 0.0, 1.0),
        )
        full = np.linalg.inv(tgt_scale) @ current @ ref_scale
        # Overlapping windows say the same thing twice, and so do the pixels of a magnified image:
        # only so many windows are independent, counted where the pixels are larger.
        enlarged = abs(float(np.linalg.det(current[:2, :2])))
        area = common.sum() * min(1.0, enlarged)
        independent = min(float(len(moved)), area / moved.side**2)
        explained = 0.0
        if agrees.any():
            reliable = peak >= _RELIABLE * float(np.median(peak[agrees]))
            explained = float((agrees & reliable).sum() / reliable.sum())
        smaller = min(float(ref.valid.sum()), float(tgt.valid.sum()) / enlarged)
        overlap = min(1.0, float(common.sum()) / max(smaller, 1.0))
        figures = share, strength, spread, explained, independent, overlap, float(moved.side)
        native = moved.side / float(ref_scale[0, 0])
        return Alignment(kind, full / full[2, 2], matches, *figures, native)


def _octave(zoom: float) -> float:
    """Returns the difference of scale in octaves, in the steps in which it is evened out."""
    return round(_STEPS * float(np.log2(zoom))) / _STEPS if zoom > 0 else 0.0
