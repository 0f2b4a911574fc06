"""From a configuration to the solver it names."""

from __future__ import annotations

from typing import TYPE_CHECKING

from imatch.core.errors import ConfigError
from imatch.matchers import MATCHERS, load_matcher
from imatch.pipeline.config import MatchConfig
from imatch.pipeline.solve import MatcherSolver, Solver

if TYPE_CHECKING:
    from imatch.matchers import Matcher
    from imatch.matchers.feature_cache import FeatureCache


ROUGH_SIDE = 640
"""Longest side, pixels, at which a matcher without a detector sees what is refined afterwards."""


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
        # What is refined afterwards need not be precise, but quick.
        max_side=ROUGH_SIDE if _refined(config) else None,
    )
    return as_solver(matcher, config)


def as_solver(loaded: Solver | Matcher, config: MatchConfig) -> Solver:
    """What was loaded, as something that answers pairs.

    Args:
        loaded: A solver, which stays as it was made, or a matcher.
        config: Names it, and says whether its answers are refined; where it does not, the
            matcher's row does.

    Raises:
        ConfigError: A solver that refines by itself is asked not to.
    """
    if isinstance(loaded, Solver):
        if config.refine is False and not isinstance(loaded, MatcherSolver):
            raise ConfigError(
                f"{loaded.name} always refines", subject="refine", hint="choose a single matcher"
            )
        return loaded
    return MatcherSolver(config.matcher, loaded, refine=_refined(config))


def _refined(config: MatchConfig) -> bool:
    if config.refine is not None:
        return config.refine
    return config.matcher in MATCHERS and MATCHERS[config.matcher].refined
