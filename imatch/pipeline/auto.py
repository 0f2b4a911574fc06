"""The default: a cascade that stops as soon as an answer is certain.

Every stage proposes rough transforms; each is pulled tight by local correlation and put to the same
test, so a stage can only add answers, never a different standard of truth. Cheap stages come first:
the neighbourhood of the identity, then all rotations and scales two products of one place usually
have, then keypoints, then any rotation at all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from imatch.core.types import Matches, Rendered
from imatch.geometry.align import Aligner
from imatch.geometry.certify import certify
from imatch.geometry.coarse import ANY, FREE, NEAR, CoarseGrid, coarse_search
from imatch.geometry.estimate import Estimate, EstimateOptions, estimate, failed
from imatch.pipeline.solve import Solution, Solver, Stage

if TYPE_CHECKING:
    from imatch.matchers import Matcher

_RANK = {"ok": 2, "uncertain": 1, "failed": 0}


class Auto(Solver):
    """The cascade.

    Args:
        keypoints: Makes the matcher of the keypoint stage, when it is first needed; None leaves
            that stage out.
    """

    name = "auto"
    channels: Literal[1, 3] = 3

    def __init__(self, keypoints: Callable[[], Matcher] | None = None) -> None:
        self._make = keypoints
        self._matcher: Matcher | None = None

    def solve(
        self,
        ref: Rendered,
        tgt: Rendered,
        options: EstimateOptions,
        *,
        geocoded: bool = False,
        on_stage: Stage = lambda _text: None,
    ) -> Solution:
        """See `Solver.solve`."""
        aligner = Aligner(ref, tgt)
        best = Solution(
            Matches(), failed(Matches(), "the images have nothing in common"), self.name
        )
        for stage, proposals in self._stages(ref, tgt, options, geocoded, on_stage):
            for matrix in proposals:
                alignment = aligner.align(matrix)
                if alignment is None:
                    continue
                alignment, found = certify(aligner, alignment, ref.valid, tgt.valid, options)
                solution = Solution(alignment.matches, found, stage)
                if _better(solution, best):
                    best = solution
            if best.estimate.status == "ok":
                break
        return best

    def _stages(
        self,
        ref: Rendered,
        tgt: Rendered,
        options: EstimateOptions,
        geocoded: bool,
        on_stage: Stage,
    ) -> Iterator[tuple[str, list[NDArray[np.float64]]]]:
        def correlate(grid: CoarseGrid, keep: int) -> list[NDArray[np.float64]]:
            return [h.matrix for h in coarse_search(ref, tgt, grid, keep)]

        on_stage("correlating near the given position")
        yield "near", correlate(NEAR, 2)
        on_stage("correlating over rotations and scales")
        yield "free", correlate(FREE, 3)
        if self._make is not None:
            on_stage("matching keypoints")
            self._matcher = self._matcher or self._make()
            found: Estimate = estimate(self._matcher.match(ref, tgt), ref.valid, tgt.valid, options)
            yield "keypoints", [] if found.transform is None else [found.transform.matrix]
        if not geocoded:
            on_stage("correlating over all rotations")
            yield "any", correlate(ANY, 4)

    @property
    def weights_used(self) -> Mapping[str, str]:
        """See `Solver.weights_used`."""
        return {} if self._matcher is None else self._matcher.weights_used


def _better(new: Solution, old: Solution) -> bool:
    def key(solution: Solution) -> tuple[int, float]:
        return _RANK[solution.estimate.status], float(np.nan_to_num(solution.estimate.evidence))

    return key(new) > key(old)
