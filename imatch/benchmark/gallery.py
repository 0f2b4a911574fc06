"""Figures of single results: the images, and checkerboards by the answer and by the truth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from imatch.benchmark.cases import Case
from imatch.benchmark.prepare_case import PreparedCase, longest_side, prepare_case
from imatch.benchmark.results import Result
from imatch.core.errors import ImatchError
from imatch.core.types import BoolArray
from imatch.export.images import Window, checkerboard, jpeg, thumbnail
from imatch.geometry.accuracy import overlap_mask
from imatch.pipeline.pair.config import MatchConfig
from imatch.pipeline.registration.result import Preview
from imatch.raster import read_pair, render

#: Pictures of one matcher's worst answers, and of its false accepts.
PER_MATCHER = 8
_SIDE, _QUALITY = 240, 82
# Side of the part that the checkerboards show.
_DETAIL_PX = 240
# Worst answers are those that are not even good, yet not false accepts.
_WORTH_SEEING_PX = 1.0


@dataclass(frozen=True)
class ResultFigure:
    """A result with its images and checkerboards.

    Attributes:
        result: The result.
        panels: (title, JPEG) pairs.
    """

    result: Result
    panels: tuple[tuple[str, bytes], ...]


def worst(results: Sequence[Result], matcher: str) -> list[Result]:
    """Returns a matcher's accepted answers of largest error that are no false accepts."""
    rows = [
        row
        for row in results
        if row.matcher == matcher
        and row.positive
        and row.status == "ok"
        and not row.false_accept
        and row.score_px > _WORTH_SEEING_PX
    ]
    return sorted(rows, key=lambda row: -row.score_px)


def false_accepts(results: Sequence[Result], matcher: str) -> list[Result]:
    """Returns a matcher's false accepts, unrelated pairs first, then by error."""
    rows = [row for row in results if row.matcher == matcher and row.false_accept]
    return sorted(rows, key=lambda row: (row.positive, -row.score_px))


def result_figures(
    results: Sequence[Result], cases: Mapping[str, Case], root: Path, config: MatchConfig
) -> list[ResultFigure]:
    """Draws results; one whose images cannot be read any more is left out.

    Args:
        results: Which; the first `PER_MATCHER` are drawn.
        cases: The cases by name.
        root: Folder that their paths start from.
        config: The settings they ran with.
    """
    made = []
    for result in results[:PER_MATCHER]:
        case = cases[result.case]
        try:
            views = prepare_case(case, root, config)
        except ImatchError:
            continue
        made.append(ResultFigure(result, _panels(result, case, views)))
    return made


def _panels(
    result: Result, case: Case, views: tuple[PreparedCase, PreparedCase]
) -> tuple[tuple[str, bytes], ...]:
    pair = read_pair(*(view.source() for view in views), size=longest_side(*views))
    ref, tgt = (render(image, 3) for image in (pair.ref, pair.tgt))
    colour = [
        np.moveaxis(np.round(image.pixels * 255), 0, 2).astype(np.uint8) for image in (ref, tgt)
    ]
    nothing = np.zeros((0, 2))
    preview = Preview(
        colour[0], colour[1], ref.valid, tgt.valid, nothing, nothing, None, None, common_grid=False
    )
    panels = [("reference", _jpeg(colour[0])), ("target", _jpeg(colour[1]))]
    fits = (("by the answer", result.matrix), ("by the truth", case.truth))
    for title, matrix in fits:
        if matrix is not None:
            window = _detail(overlap_mask(matrix, ref.valid, tgt.valid))
            panels.append((title, _jpeg(checkerboard(preview, matrix, window))))
    return tuple(panels)


def _detail(overlap: BoolArray) -> Window:
    """Returns a window about the overlap's centre, small enough to show a misfit."""
    rows, columns = np.nonzero(overlap)
    height, width = overlap.shape
    middle = (columns.mean(), rows.mean()) if len(rows) else (width / 2, height / 2)
    w, h = min(width, _DETAIL_PX), min(height, _DETAIL_PX)
    left = int(np.clip(middle[0] - w / 2, 0, width - w))
    top = int(np.clip(middle[1] - h / 2, 0, height - h))
    return left, top, left + w, top + h


def _jpeg(image: NDArray[np.uint8]) -> bytes:
    return jpeg(thumbnail(image, _SIDE), _QUALITY)
