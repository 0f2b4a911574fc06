"""The default: a cascade that stops as soon as an answer is certain.

Every stage proposes rough transforms; each is pulled tight by local correlation and put to the same
test, so a stage can only add answers, never a different standard of truth. Cheap stages come first:
the neighbourhood of the identity, then all rotations and scales two products of one place usually
have, then keypoints, then any rotation at all.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from imatch.core.errors import WeightsError
from imatch.core.types import Matches, Rendered
from imatch.geometry.align import Aligner
from imatch.geometry.certify import certify
from imatch.geometry.coarse import ANY, FREE, NEAR, CoarseGrid, coarse_search
from imatch.geometry.estimate import EstimateOptions, estimate, failed
from imatch.matchers.base import DEFAULTS, Matcher, MatcherOptions
from imatch.matchers.registry import load_matcher
from imatch.pipeline.solve import Solution, Solver, Stage

_RANK = {"ok": 2, "uncertain": 1, "failed": 0}
_LOG = logging.getLogger(__name__)


class Auto(Matcher, Solver):
    """The cascade, as a solver of the pipeline and as a matcher for those who only want matches.

    The keypoint stage needs the checkpoints of ALIKED and LightGlue. Where they are missing and may
    not be fetched, the other stages do without them and `stages_skipped` says so.

    Args:
        options: As for any matcher.
    """

    name = "auto"
    channels: Literal[1, 3] = 3
    #: The matcher behind the keypoint stage.
    keypoints = "aliked-lightglue"

    def __init__(self, options: MatcherOptions = DEFAULTS) -> None:
        super().__init__(options)
        self.stages_skipped: list[str] = []
        self._keypoints: Matcher | None = None
        try:
            self._keypoints = load_matcher(self.keypoints, **vars(options))
        except WeightsError as error:
            if options.weights:
                raise
            _LOG.warning("auto goes on without keypoints: %s", error)
            self.stages_skipped.append("keypoints")

    def _match(self, ref: Rendered, tgt: Rendered) -> Matches:
        found = self.solve(ref, tgt, EstimateOptions(seed=self.options.seed))
        return found.matches.select(found.estimate.inlier)

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
        if self._keypoints is not None:
            on_stage(f"matching with {self.keypoints}")
            matches = self._keypoints.match(ref, tgt)
            found = estimate(matches, ref.valid, tgt.valid, options)
            yield "keypoints", [] if found.transform is None else [found.transform.matrix]
        if not geocoded:
            on_stage("correlating over all rotations")
            yield "any", correlate(ANY, 4)

    @property
    def weights_used(self) -> dict[str, str]:
        """sha256 of the checkpoints of the keypoint stage, by weight name."""
        return {} if self._keypoints is None else self._keypoints.weights_used


def _better(new: Solution, old: Solution) -> bool:
    def key(solution: Solution) -> tuple[int, float]:
        return _RANK[solution.estimate.status], float(np.nan_to_num(solution.estimate.evidence))

    return key(new) > key(old)
