"""Loads the registrar that a configuration names."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from imatch.core.errors import ConfigError
from imatch.matchers import MATCHERS, load_matcher
from imatch.pipeline.pair.config import MatchConfig
from imatch.pipeline.pair.registrar import MatcherRegistrar, Registrar

if TYPE_CHECKING:
    from imatch.matchers import Matcher
    from imatch.matchers.feature_cache import FeatureCache


ROUGH_SIDE = 640
"""Longest side, pixels, at which a matcher without a detector sees what is refined afterwards."""


# What a solver is made from; whatever else a configuration says is said anew of each pair.
_MADE_FROM = ("matcher", "max_keypoints", "device", "seed", "weights", "fetch", "refine")


def registrar_settings(config: MatchConfig) -> MatchConfig:
    """The part of a configuration that a solver is made from: equal parts make equal solvers."""
    return MatchConfig(**{name: getattr(config, name) for name in _MADE_FROM})


def load_registrar(config: MatchConfig, *, cache: FeatureCache | None = None) -> Registrar:
    """Make what a configuration asks for; checkpoints are verified now, loaded on first use.

    Nothing of the configuration but its `registrar_settings` has a part in it.

    Args:
        config: The settings.
        cache: Where features of keypoint matchers are kept on disk; None for memory only.

    Raises:
        MatcherError: The matcher is unknown.
        WeightsError: A checkpoint is missing or corrupt.
    """
    config = registrar_settings(config)
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
    return as_registrar(matcher, config)


def as_registrar(loaded: Registrar | Matcher, config: MatchConfig) -> Registrar:
    """What was loaded, as something that answers pairs.

    Args:
        loaded: A solver, which stays as it was made, or a matcher.
        config: Names it, and says whether its answers are refined; where it does not, the
            matcher's row does.

    Raises:
        ConfigError: A solver that refines by itself is asked not to.
    """
    if isinstance(loaded, Registrar):
        if config.refine is False and not isinstance(loaded, MatcherRegistrar):
            raise ConfigError(
                f"{loaded.name} always refines", subject="refine", hint="choose a single matcher"
            )
        return loaded
    return MatcherRegistrar(config.matcher, loaded, refine=_refined(config))


def settled(solver: Registrar, config: MatchConfig) -> MatchConfig:
    """A configuration as a solver that was loaded before has it.

    What the configuration leaves at its default is taken from the solver.

    Args:
        solver: The solver.
        config: What is asked.

    Returns:
        What is done.

    Raises:
        ConfigError: It says expressly what the solver was not made with.
    """
    asked, made = config.model_fields_set, _made_with(solver, config)
    for name, value in made.items():
        wanted = getattr(config, name)
        if name in asked and wanted != value and not (name == "refine" and wanted is None):
            raise ConfigError(
                f"is {value!r} in the loaded solver, which cannot make it {wanted!r}",
                subject=name,
                hint="leave it out, or load a solver with it",
            )
    return config.model_copy(update=made)


def _made_with(solver: Registrar, config: MatchConfig) -> dict[str, Any]:
    """What of a configuration was decided when a solver was loaded."""
    made: dict[str, Any] = {"matcher": solver.name}
    if isinstance(solver, MatcherRegistrar) and solver.refine != _refined(config):
        made["refine"] = solver.refine
    options = getattr(
        solver.matcher if isinstance(solver, MatcherRegistrar) else solver, "options", None
    )
    for name in ("max_keypoints", "device", "seed", "weights"):
        # Of a solver of another package only what it says of itself is known.
        if hasattr(options, name):
            made[name] = getattr(options, name)
    return made


def _refined(config: MatchConfig) -> bool:
    if config.refine is not None:
        return config.refine
    return config.matcher in MATCHERS and MATCHERS[config.matcher].refined
