"""Agreement of the images themselves, window by window, before and after registration.

The tie points made the registration, so they speak for it. Here windows at the images' own
resolution are laid on a regular grid, wherever tie points may be, and their fields of gradient
directions (`imatch.geometry.alignment.orientation`) are correlated as they came and as registered.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from imatch.core.types import BoolArray, Rendered
from imatch.export.quality.residuals import Residuals
from imatch.export.quality.views import ChipView, ViewFrame, ViewPair
from imatch.geometry.alignment.orientation import orientation_field
from imatch.geometry.alignment.refine import CorrelationWindows, measure

Finding: TypeAlias = Literal["supported", "contradicted", "silent"]

_MOST_CELLS, _SIDE = 6, 192
_LEAST_VALID = 0.5
# Windows of a cell whose peak stands out so much are believed, if there are a few of them.
_RATIO, _LEAST_WINDOWS = 1.15, 3
_WINDOWS = CorrelationWindows(side=64, count=9, radius=20)
# Agreement this many times what displaced windows reach by chance is no chance.
_BEYOND = 4.0
_NEAR_PX, _OFF_PX, _SHARED_PX = 16, 1.5, 1.5


@dataclass(frozen=True, eq=False)
class QualityCell:
    """The agreement of one window of a regular grid.

    Attributes:
        row: Row of the grid, from the top.
        column: Column of the grid, from the left.
        view: The window.
        agreement_before: Correlation of directions of the pair as it came, -1 to 1; NaN where too
            little ground is valid.
        agreement_after: The same as registered.
        chance: Spread of the correlation of displaced windows.
        offset_before: (x, y) displacement seen in the window as it came, pixels of the window; NaN
            where its parts do not agree on one, or beyond 20 pixels.
        offset_after: The same as registered.
        tie_points: Tie points that agree in the cell's share of the overlap.
        check_points: Those of them that were held out.
        rmse_px: Root mean square of their residuals after registration, target pixels.
    """

    row: int
    column: int
    view: ChipView
    agreement_before: float
    agreement_after: float
    chance: float
    offset_before: tuple[float, float]
    offset_after: tuple[float, float]
    tie_points: int
    check_points: int
    rmse_px: float

    @property
    def finding(self) -> Finding:
        """Returns whether the window supports or contradicts the registration, or neither."""
        before, after = self.agreement_before, self.agreement_after
        if not np.isfinite(after):
            return "silent"
        margin = 3 * self.chance
        # Where an offset can be seen it has to be small; a blurred image still correlates beside.
        off = bool(np.hypot(*self.offset_after) > _OFF_PX)
        if before - after > margin or (off and before > _BEYOND * self.chance):
            return "contradicted"
        if after > _BEYOND * self.chance and not off:
            return "supported"
        return "silent"

    def to_dict(self) -> dict[str, Any]:
        """Returns the figures of the window, JSON-ready."""
        frame = self.view.frame
        return {
            "row": self.row,
            "column": self.column,
            "reference_window_px": [
                frame.left,
                frame.top,
                frame.left + frame.step * frame.width,
                frame.top + frame.step * frame.height,
            ],
            "agreement_before": self.agreement_before,
            "agreement_after": self.agreement_after,
            "chance": self.chance,
            "offset_before_px": list(self.offset_before),
            "offset_after_px": list(self.offset_after),
            "tie_points": self.tie_points,
            "check_points": self.check_points,
            "rmse_px": self.rmse_px,
            "finding": self.finding,
        }


def measure_cells(
    pair: ViewPair, overlap: ViewFrame, points: Residuals | None
) -> list[QualityCell]:
    """Measures the agreement in windows on a regular grid over the overlap.

    Args:
        pair: The images.
        overlap: The part of the reference to be covered.
        points: Tie points to be counted.

    Returns:
        At most 6 x 6 cells; none without a transform.
    """
    if pair.after is None:
        return []
    extent = np.array(overlap.size) * overlap.step
    step = pair.coarser_step(np.array([overlap.left, overlap.top]) + extent / 2)
    # Smaller overlaps have fewer cells, smallest ones one of their own size.
    count = np.clip(extent / (step * _SIDE), 1, _MOST_CELLS).astype(int)
    side = np.maximum(8, np.minimum(_SIDE, extent / step)).astype(int)
    cells = []
    for row in range(count[1]):
        for column in range(count[0]):
            share = extent / count
            low = (overlap.left, overlap.top) + share * (column, row)
            corner = low + (share - side * step) / 2
            corner = np.floor(np.maximum(corner, 0))
            frame = ViewFrame(float(corner[0]), float(corner[1]), step, int(side[0]), int(side[1]))
            inside = np.zeros(0, dtype=bool)
            if points is not None:
                inside = ((points.ref_xy >= low) & (points.ref_xy < low + share)).all(axis=1)
            cells.append(_cell(row, column, pair.view(frame), points, inside))
    return cells


def _cell(
    row: int, column: int, view: ChipView, points: Residuals | None, inside: BoolArray
) -> QualityCell:
    assert view.after is not None
    before, _, offset_before = _agreement(view.ref, view.before)
    after, chance, offset_after = _agreement(view.ref, view.after)
    tie_points = int(inside.sum())
    rmse, check = float("nan"), 0
    if points is not None and tie_points:
        rmse = float(np.sqrt((points.after[inside] ** 2).sum(axis=1).mean()))
        check = int(points.check[inside].sum())
    return QualityCell(
        row,
        column,
        view,
        before,
        after,
        chance,
        offset_before,
        offset_after,
        tie_points,
        check,
        rmse,
    )


def _agreement(first: Rendered, second: Rendered) -> tuple[float, float, tuple[float, float]]:
    """Returns the correlation of gradient directions, its spread by chance, and the offset seen."""
    unseen = float("nan"), float("nan")
    valid = first.valid & second.valid
    if valid.mean() < _LEAST_VALID:
        return float("nan"), float("nan"), unseen
    fields = [orientation_field(Rendered(image.pixels, valid)) for image in (first, second)]
    surface = _surface(*fields)
    rows, columns = (np.minimum(np.arange(n), n - np.arange(n)) for n in surface.shape)
    far = np.maximum(rows[:, None], columns) >= min(_NEAR_PX, min(surface.shape) // 4)
    chance = float(surface[far].std())
    found = measure(fields[0], fields[1], valid, _WINDOWS)
    sure = np.isfinite(found.shift).all(axis=1) & (found.ratio > _RATIO)
    return float(surface[0, 0]), chance, _common(found.shift[sure], len(found))


def _common(shifts: NDArray[np.float64], windows: int) -> tuple[float, float]:
    """Returns the (x, y) shift that most windows share, NaN where they share none."""
    least = min(_LEAST_WINDOWS, max(1, windows))
    if len(shifts) >= least:
        middle = np.median(shifts, axis=0)
        near = np.hypot(*(shifts - middle).T) <= _SHARED_PX
        if near.sum() >= max(least, len(shifts) / 2):
            x, y = shifts[near].mean(axis=0)
            return float(x), float(y)
    return float("nan"), float("nan")


def _surface(first: NDArray[np.complex64], second: NDArray[np.complex64]) -> NDArray[np.float64]:
    """Returns the (H, W) cross-correlation by cyclic displacement, zero displacement at [0, 0]."""
    product = np.conj(np.fft.fft2(first)) * np.fft.fft2(second)
    energy = float(np.sqrt((np.abs(first) ** 2).sum() * (np.abs(second) ** 2).sum()))
    return np.asarray(np.fft.ifft2(product).real / max(energy, 1e-9))


def count_findings(cells: list[QualityCell]) -> dict[Finding, int]:
    """Returns the number of windows of each finding."""
    names: tuple[Finding, ...] = ("supported", "contradicted", "silent")
    return {name: sum(cell.finding == name for cell in cells) for name in names}


def findings_text(cells: list[QualityCell]) -> str:
    """Describes the findings in a sentence."""
    if not cells:
        return "There is no transform to look at."
    counts = count_findings(cells)
    total = len(cells)
    text = (
        f"{counts['supported']} of {total} windows support the registration, "
        f"{counts['contradicted']} contradict it, {counts['silent']} say nothing"
    )
    known = [cell for cell in cells if np.isfinite(cell.agreement_after)]
    if known:
        before = float(np.median([cell.agreement_before for cell in known]))
        after = float(np.median([cell.agreement_after for cell in known]))
        text += f"; the median agreement went from {before:.2f} to {after:.2f}"
    offsets = [np.hypot(*cell.offset_after) for cell in cells]
    seen = [offset for offset in offsets if np.isfinite(offset)]
    if seen:
        text += f", and the median offset still to be seen is {np.median(seen):.2f} px"
    return text + "."
