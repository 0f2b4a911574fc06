"""From a configuration to the solver it names."""

from __future__ import annotations

from imatch.matchers import load_matcher
from imatch.matchers.base import Matcher
from imatch.pipeline.auto import Auto
from imatch.pipeline.config import MatchConfig
from imatch.pipeline.solve import MatcherSolver, Solver

#: The matcher behind the keypoint stage of `auto`.
AUTO_KEYPOINTS = "aliked-lightglue"


def load_solver(config: MatchConfig) -> Solver:
    """Make what a configuration asks for; checkpoints are verified now, loaded on first use.

    Raises:
        MatcherError: The matcher is unknown.
        WeightsError: A checkpoint is missing or corrupt.
    """

    def matcher(name: str) -> Matcher:
        return load_matcher(
            name,
            max_keypoints=config.max_keypoints,
            device=config.device,
            seed=config.seed,
            weights=config.weights,
            fetch=config.fetch,
        )

    if config.matcher == Auto.name:
        return Auto(lambda: matcher(AUTO_KEYPOINTS))
    return MatcherSolver(config.matcher, matcher(config.matcher))
