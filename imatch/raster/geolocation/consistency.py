"""Whether ground control points agree with one another."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy
from numpy.typing import NDArray

#: Errors below this are nobody's contradiction, pixels.
_LEAST_PX = 1.0
#: Share of the distance to the nearest other GCP that one may be off: where it sticks out of all
#: others, and where it does not; and that the typical one may be off.
_ODD, _ANY, _TYPICAL = 0.1, 0.3, 0.1
#: How many times the typical standardised error sticks out.
_STICKS_OUT = 6.0


@dataclass(frozen=True, eq=False)
class LeftOutErrors:
    """Errors of GCPs predicted from all others, of those that can be.

    Attributes:
        pixels: (N,) distances, pixels.
        standardised: (N,) the same over the standard deviation that the spline gives to such a
            prediction but for one unknown factor: larger beyond the others than among them.
        spacing: (N,) distance to the nearest other GCP, pixels.
        at: (N, 2) column and row.
    """

    pixels: NDArray[np.float64]
    standardised: NDArray[np.float64]
    spacing: NDArray[np.float64]
    at: NDArray[np.float64]


def left_out_errors(rows: NDArray[np.float64]) -> LeftOutErrors:
    """Predict each GCP's pixel from its place by a thin-plate spline through the others.

    Without fitting N splines: the error at a point is its weight over its diagonal element of the
    inverse of the spline's matrix (Wahba, Spline Models for Observational Data, 1990, chapter 4).

    Args:
        rows: (N, 4) column, row, x and y; different places that do not lie on one line.
    """
    count = len(rows)
    coordinates = rows[:, 2:] - rows[:, 2:].mean(axis=0)
    coordinates = coordinates / np.abs(coordinates).max(axis=0)
    squared = scipy.spatial.distance.cdist(coordinates, coordinates, "sqeuclidean")
    matrix = np.zeros((count + 3, count + 3))
    with np.errstate(divide="ignore", invalid="ignore"):
        matrix[:count, :count] = np.where(squared > 0, squared * np.log(squared), 0)
    matrix[:count, count] = matrix[count, :count] = 1
    matrix[:count, count + 1 :] = coordinates
    matrix[count + 1 :, :count] = coordinates.T
    inverse = np.linalg.pinv(matrix) if count < 6 else np.linalg.inv(matrix)
    weights = inverse[:count, :count] @ rows[:, :2]
    share = np.abs(np.diagonal(inverse)[:count])
    # Where the others lie on one line, they predict nothing.
    predictable = share > 1e-9 * share.max()
    length = np.hypot(*weights[predictable].T)
    spacing = scipy.spatial.KDTree(rows[:, :2]).query(rows[:, :2], k=2)[0][:, 1]
    return LeftOutErrors(
        length / share[predictable],
        length / np.sqrt(share[predictable]),
        spacing[predictable],
        rows[predictable, :2],
    )


def contradiction(errors: LeftOutErrors) -> str | None:
    """Say where GCPs disagree by more than any bend between them explains.

    Args:
        errors: `left_out_errors`.

    Returns:
        A clause; None where they agree.
    """
    off = errors.pixels
    if not len(off):
        return None
    odd = errors.standardised > _STICKS_OUT * np.median(errors.standardised)
    wrong = (odd & (off > _ODD * errors.spacing)) | (off > _ANY * errors.spacing)
    wrong &= off > _LEAST_PX
    if wrong.any():
        worst = int(np.argmax(np.where(wrong, off, 0)))
        column, row = errors.at[worst]
        return (
            f"the one at column {column:.0f}, row {row:.0f} lies {off[worst]:.0f} px from where the"
            " others put it"
        )
    if np.median(off) > max(_LEAST_PX, _TYPICAL * float(np.median(errors.spacing))):
        return f"they lie {np.median(off):.0f} px from where the others put them"
    return None
