"""From a configuration to the solver it names."""

from __future__ import annotations

from typing import TYPE_CHECKING

from imatch.matchers import load_matcher
from imatch.pipeline.config import MatchConfig
from imatch.pipeline.solve import MatcherSolver, Solver

if TYPE_CHECKING:
    from imatch.matchers.feature_cache import FeatureCache


def load_solver(config: MatchConfig, *, cache: FeatureCache | None = None) -> Solver:
    """Make what a configuration asks for; checkpoints are verified now, loaded on first use.

    Args:
        config: The settings.
        cache: Where features of keypoint matchers are kept on disk; None for memory only.

    Raises:
        MatcherError: The matcher is unknown.
        WeightsError: A checkpoint is missing or corrupt.
    """
    matcher = load_matcher(
        config.matcher,
        max_keypoints=config.max_keypoints,
        device=config.device,
        seed=config.seed,
        weights=config.weights,
        fetch=config.fetch,
        cache=cache,
    )
    return matcher if isinstance(matcher, Solver) else MatcherSolver(config.matcher, matcher)
