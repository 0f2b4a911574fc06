"""Phase correlation (Kuglin and Hines 1975): small shifts, to a fraction of a pixel."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

from imatch.core.types import Matches, Rendered
from imatch.matchers.base import DEFAULTS, Matcher, MatcherOptions

Grey: TypeAlias = NDArray[np.float32]
Vector: TypeAlias = NDArray[np.float64]

# A taper w makes neighbouring frequencies alike: of n phases, n (Σw²)² / (N Σw⁴) are independent.
_HANN_SHARE = 0.26


@dataclass(frozen=True)
class Window:
    """Layout and acceptance of correlation windows.

    Attributes:
        largest: Side of a window in pixels; halved, down to `smallest`, until three fit across.
        smallest: Least side.
        least_valid: Share of a window that must be valid ground on both sides.
        least_evidence: Least weight of the evidence for a window's shift, in natural logarithms:
            chance alone reaches it at one given shift with probability exp(-evidence).
        rounds: How often a window follows its own peak.
    """

    largest: int = 128
    smallest: int = 32
    least_valid: float = 0.6
    least_evidence: float = 9.0
    rounds: int = 3


class Phase(Matcher):
    """One tie point per window of a half-overlapping grid.

    The shift of the whole image is found first, then the rest of it in each window. It knows
    shifts only: the images must agree in rotation and scale, as two georeferenced ones do.

    Args:
        options: How it runs.
        window: How windows are laid out and judged.
    """

    channels = 1
    guard = 0

    def __init__(self, options: MatcherOptions = DEFAULTS, window: Window | None = None) -> None:
        super().__init__(options)
        self.window = window or Window()

    def _match(self, ref: Rendered, tgt: Rendered) -> Matches:
        width, height = (max(pair) for pair in zip(ref.size, tgt.size, strict=True))
        shift = _peak(*(_on_canvas(image, width, height) for image in (ref, tgt)))
        side = self._side(min(*ref.size, *tgt.size))
        points = [
            found
            for y in _starts(ref.size[1], side)
            for x in _starts(ref.size[0], side)
            if (found := self._match_window(ref, tgt, np.array([x, y]), side, shift)) is not None
        ]
        table = np.array(points, dtype=np.float64).reshape(-1, 5)
        return Matches(table[:, :2], table[:, 2:4], table[:, 4])

    def _side(self, extent: int) -> int:
        side = self.window.largest
        while side > self.window.smallest and side * 3 > extent:
            side //= 2
        return min(side, extent)

    def _match_window(
        self, ref: Rendered, tgt: Rendered, start: NDArray[np.int64], side: int, shift: Vector
    ) -> tuple[float, float, float, float, float] | None:
        """Matches one window; returns (ref x, ref y, tgt x, tgt y, score), or None."""
        first = self._window(ref, start, side)
        if first is None:
            return None
        whole = np.rint(shift).astype(np.int64)
        for _ in range(self.window.rounds):
            second = self._window(tgt, start + whole, side)
            if second is None:
                return None
            rest = _peak(first[0], second[0])
            # Beyond a quarter of the window they share too little ground: a peak there is chance.
            if np.abs(rest).max() > side / 4:
                return None
            step = np.rint(rest).astype(np.int64)
            if not step.any():
                break
            whole = whole + step
        else:
            return None
        fraction, coherence, count = _plane(first[0], second[0])
        evidence = _HANN_SHARE * min(first[1], second[1]) * count * coherence**2
        if np.abs(fraction).max() > 1.0 or evidence < self.window.least_evidence:
            return None
        x, y = (float(v) for v in start + (side - 1) / 2)
        dx, dy = (float(v) for v in whole + fraction)
        return x, y, x + dx, y + dy, coherence

    def _window(
        self, image: Rendered, start: NDArray[np.int64], side: int
    ) -> tuple[Grey, float] | None:
        """A window ready for correlation and the share of it that is valid ground.

        None off the image or with too little ground.
        """
        x, y = start
        if x < 0 or y < 0 or x + side > image.size[0] or y + side > image.size[1]:
            return None
        at = (slice(y, y + side), slice(x, x + side))
        valid = image.valid[at].astype(np.float32)
        share = float(valid.mean())
        if share < self.window.least_valid:
            return None
        return _prepared(image.pixels[0][at], valid), share


def _starts(extent: int, side: int) -> list[int]:
    """Returns the starts of half-overlapping windows that reach both ends evenly."""
    count = max(1, round(2 * (extent - side) / side) + 1)
    return sorted({int(v) for v in np.linspace(0, max(extent - side, 0), count)})


def _on_canvas(image: Rendered, width: int, height: int) -> Grey:
    """The whole image ready for correlation, on a canvas, first pixel on first pixel."""
    ready = _prepared(image.pixels[0], image.valid.astype(np.float32))
    return np.pad(ready, ((0, height - image.size[1]), (0, width - image.size[0])))


def _peak(first: Grey, second: Grey) -> Vector:
    """Displacement (x, y) of the second patch, to about a third of a pixel."""
    (x, y), _ = cv2.phaseCorrelate(first, second)
    return np.array([x, y])


def _plane(first: Grey, second: Grey) -> tuple[Vector, float, int]:
    """Displacement of a patch that lies less than a pixel away, from the plane of phases.

    A shift turns the cross spectrum's phase in proportion to frequency. The slope is fitted over
    the lower half of the spectrum, where resampling has left the phases alone, weighted by
    magnitude, and phases that disagree by over a quarter turn are left out (Stone, Orchard, Chang
    and Martucci 2001, doi:10.1109/36.957286). On smooth images it is ten times as precise as the
    centroid of the correlation's peak, which their narrow spectrum draws towards whole pixels.

    Returns:
        The displacement (x, y); the coherence, which is the mean resultant length of what is left
        of the phases, 1 where they all agree and about ``1/sqrt(n)`` where they are random (the
        Rayleigh test: chance exceeds R with probability ``exp(-n R²)``); and the number of phases.
    """
    spectrum = np.fft.rfft2(second) * np.conj(np.fft.rfft2(first))
    fy, fx = np.fft.fftfreq(first.shape[0])[:, None], np.fft.rfftfreq(first.shape[1])[None]
    radius = np.hypot(fx, fy)
    low = (radius > 0) & (radius < 0.25)
    slope = -2 * np.pi * np.column_stack([(fx + 0 * fy)[low], (fy + 0 * fx)[low]])
    phase, magnitude = np.angle(spectrum[low]), np.abs(spectrum[low])
    shift = np.zeros(2)
    for _ in range(3):
        rest = np.angle(np.exp(1j * (phase - slope @ shift)))
        weight = np.where(np.abs(rest) < np.pi / 2, magnitude, 0.0)
        normal = slope.T @ (slope * weight[:, None])
        shift = shift + np.linalg.lstsq(normal, slope.T @ (weight * rest), rcond=None)[0]
    coherence = float(np.abs(np.exp(1j * (phase - slope @ shift)).mean()))
    return np.asarray(shift), coherence, len(phase)


def _prepared(pixels: Grey, valid: Grey) -> Grey:
    """Ground about zero, fading out towards the frame and towards invalid ground."""
    weight = cv2.createHanningWindow((pixels.shape[1], pixels.shape[0]), cv2.CV_32F)
    if not valid.all():
        # The blurred mask is 1/2 at its own border, so this fades from there inwards.
        weight = weight * np.clip(2 * cv2.GaussianBlur(valid, (0, 0), 3.0) - 1, 0, 1)
    total = float(weight.sum())
    mean = float((pixels * weight).sum()) / total if total else 0.0
    return np.asarray((pixels - mean) * weight, dtype=np.float32)
