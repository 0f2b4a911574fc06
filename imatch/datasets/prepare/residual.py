"""How two dates of one chip lie to each other, measured by our own correlation.

The residual is the translation in which windows' directions of edges agree
(`imatch.geometry.alignment.fine_alignment`); how far to trust it follows from the windows
themselves.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from imatch.core.types import BoolArray, Rendered
from imatch.geometry.acceptance import Evidence
from imatch.geometry.alignment.fine_alignment import AGREES, Aligner, Alignment
from imatch.geometry.alignment.orientation import orientation_field, warp_image
from imatch.geometry.transform import apply_matrix

#: Largest residual believed, pixels: geocoded products are closer.
MAX_RESIDUAL_PX = 8.0
# What no number of windows averages away, pixels: on procedural landscapes the error is 0.02 px,
# but real shadows and relief move with the sun.
_FLOOR_PX = 0.05
# Ground is changed where directions of edges, pooled with this sigma in pixels, correlate less. On
# training places that calls 85 to 94 % of other ground changed, and 1 to 2 % of the same ground in
# another season.
_POOL_PX, _UNLIKE = 12.0, 0.10
# Pooled directions weaker than this share of the usual say nothing.
_FLAT = 0.35


@dataclass(frozen=True)
class Residual:
    """``p_b = p_a + (dx, dy)`` between two chips.

    Attributes:
        dx: Pixels to the right; 0 where unknown.
        dy: Pixels down.
        sigma: Standard deviation of both, pixels; NaN where the residual is unknown.
        log_odds: Natural logarithm of the odds that it is right; NaN where nothing was measured.
    """

    dx: float
    dy: float
    sigma: float
    log_odds: float

    @property
    def known(self) -> bool:
        """Whether it may be relied on."""
        return bool(np.isfinite(self.sigma))

    @property
    def matrix(self) -> NDArray[np.float64]:
        """(3, 3) pixel of a to pixel of b."""
        return np.array([[1, 0, self.dx], [0, 1, self.dy], [0, 0, 1.0]])


UNKNOWN = Residual(0.0, 0.0, float("nan"), float("nan"))


def measure_residual(a: Rendered, b: Rendered, start: tuple[float, float] = (0.0, 0.0)) -> Residual:
    """Measure the translation between two chips of one place.

    Args:
        a: The first chip.
        b: The second.
        start: What is known of (dx, dy) beforehand.

    Returns:
        The residual; `UNKNOWN`, with the odds, where the windows do not agree well enough.
    """
    rough = np.array([[1, 0, start[0]], [0, 1, start[1]], [0, 0, 1.0]])
    found = Aligner(a, b).align(rough, "translation")
    if found is None:
        return UNKNOWN
    rule = Evidence()
    odds = rule.log_odds(found)
    dx, dy = (float(v) for v in found.matrix[:2, 2])
    if odds < rule.certain or max(abs(dx), abs(dy)) > MAX_RESIDUAL_PX:
        return Residual(0.0, 0.0, float("nan"), odds)
    return Residual(dx, dy, _sigma(found), odds)


def _sigma(found: Alignment) -> float:
    """Standard error of the translation, one axis, from the windows that agree with it."""
    off = found.matches.tgt_xy - apply_matrix(found.matrix, found.matches.ref_xy)
    off = off[np.hypot(*off.T) < AGREES]
    spread = 1.4826 * float(np.median(np.abs(off - np.median(off, axis=0))))
    count = max(1.0, found.agree * found.independent)
    return float(np.hypot(spread / np.sqrt(count), _FLOOR_PX))


def unlike(a: Rendered, b: Rendered, residual: Residual) -> BoolArray:
    """Ground of `a` that `b` does not show again: large patches whose edges have nothing in common.

    Seasons turn colours and leave the edges of fields, woods and shores; what has lost these too
    (a flood, a cloud, a clearing) is taken for changed. Flat ground says nothing either way.

    Args:
        a: The first chip.
        b: The second.
        residual: How they lie to each other; nothing is called changed where that is unknown.

    Returns:
        (H, W) bool in the frame of `a`.
    """
    if not residual.known:
        return np.zeros(a.valid.shape, dtype=bool)
    moved = warp_image(b, residual.matrix, a.size)
    first, second = orientation_field(a), orientation_field(moved)
    common = a.valid & moved.valid
    product = _pooled((first * np.conj(second)).real.astype(np.float32))
    energy = [
        _pooled((field.real**2 + field.imag**2).astype(np.float32)) for field in (first, second)
    ]
    usual = [float(np.median(part[common])) if common.any() else 0.0 for part in energy]
    either = (energy[0] > _FLAT * usual[0]) | (energy[1] > _FLAT * usual[1])
    likeness = product / np.maximum(np.sqrt(energy[0] * energy[1]), 1e-9)
    return np.asarray((likeness < _UNLIKE) & either & common)


def _pooled(field: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.asarray(cv2.GaussianBlur(field, (0, 0), _POOL_PX), dtype=np.float32)
