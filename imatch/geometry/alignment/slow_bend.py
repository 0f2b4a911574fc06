"""How far the ground bends away from a transform, slowly, as far as windows tell of it.

A bend is fitted, and so known at the rim of the windows as well, where none has its centre.
"""

from __future__ import annotations

import numpy as np
from numpy.polynomial.polynomial import polyvander2d
from numpy.typing import NDArray
from shapely import STRtree, points

from imatch.geometry.alignment.coherence import nearest

# Degrees of a slow bend, the first that the windows determine is taken; rounds of its fit, and
# residuals, in units of their median, from which a window counts less.
_DEGREES, _ROUNDS, _OUTLYING = (3, 2), 5, 2.0
# Independent windows must be so many times the terms of a bend.
_SPARE = 2
# A window bears a model out where it lies so near to it, pixels: closely, and just so.
_CLOSE, _CONSISTENT = 1.0, 1.5
# A bend that leaves windows unexplained, and that less than so many times as many bear out closely
# as do the transform alone, was fitted to chance, below clouds say: the windows that bear the
# transform out are fitted then.
_EXPLAINED, _GAIN = 0.9, 1.1


def slow_bend(
    centre: NDArray[np.float64],
    residual: NDArray[np.float64],
    side: float,
    places: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Fits a polynomial of third degree to what windows depart from the transform by.

    Its own uncertainty stays in: where few windows tell of a bend, so much of one is possible.
    Beyond the windows that bear it out, below clouds say, a polynomial tells of nothing but itself.

    Args:
        centre: (N, 2) centres of the windows.
        residual: (N, 2) displacements from the transform, pixels.
        side: Side of the windows, pixels.
        places: (M, 2) where it is wanted.

    Returns:
        (L, 2) displacement at those of them that such windows show; 0 where the windows do not
        determine it.
    """
    none = np.zeros((len(places), 2))
    if len(centre) == 0 or len(places) == 0:
        return none
    known_at = np.vstack([centre, places])
    low, high = known_at.min(axis=0), known_at.max(axis=0)
    middle, half = (low + high) / 2, np.maximum((high - low) / 2, 1e-9)
    straight = np.hypot(*residual.T)
    for degree in _DEGREES:
        least = _needed(degree)
        if _independent(centre, side) < least:
            continue
        known = _terms((centre - middle) / half, degree)
        factors, off = _fitted(known, residual)
        told = off < _CONSISTENT
        close = (off < _CLOSE).mean()
        if close < min(_EXPLAINED, _GAIN * (straight < _CLOSE).mean()):
            told = straight < _CONSISTENT
            if _independent(centre[told], side) < least:
                continue
            factors, _ = _fitted(known[told], residual[told])
        if not told.any():
            return none
        near = nearest(STRtree(points(centre[told])), places)[0] <= side
        if not near.any():
            return none[:0]
        return np.asarray(_terms((places[near] - middle) / half, degree) @ factors)
    return none


def tells_of_bend(centre: NDArray[np.float64], side: float) -> bool:
    """Returns whether windows determine a bend: (N, 2) centres and their side, pixels."""
    return len(centre) > 0 and _independent(centre, side) >= _needed(_DEGREES[-1])


def _needed(degree: int) -> int:
    return _SPARE * (degree + 1) * (degree + 2) // 2


def _independent(centre: NDArray[np.float64], side: float) -> int:
    """Counts the squares of a window's side in which windows have their centres."""
    return len(np.unique(np.floor(centre / side).astype(np.int64), axis=0))


def _fitted(
    terms: NDArray[np.float64], residual: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Returns the factors (T, 2) of (N, T) terms, fitted robustly, and (N,) what is left over."""
    weight = np.ones((len(terms), 1))
    for _ in range(_ROUNDS):
        factors = np.linalg.lstsq(terms * weight, residual * weight, rcond=None)[0]
        off = np.hypot(*(residual - terms @ factors).T)
        usual = _OUTLYING * max(float(np.median(off)), 1e-6)
        weight = 1 / np.sqrt(1 + (off[:, None] / usual) ** 2)
    return np.asarray(factors), np.asarray(off)


def _terms(at: NDArray[np.float64], degree: int) -> NDArray[np.float64]:
    powers = np.add.outer(np.arange(degree + 1), np.arange(degree + 1)).ravel()
    return np.asarray(polyvander2d(at[:, 0], at[:, 1], [degree, degree])[:, powers <= degree])
