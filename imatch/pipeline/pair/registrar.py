"""Registrars: two rendered images in, a judged estimate out.

A single matcher with a robust estimate is one registrar; the cascade `auto` is another. The
pipeline around them reads files and speaks of metres; they do not.
"""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from imatch.core.errors import ConfigError
from imatch.core.types import Matches, Rendered
from imatch.geometry.alignment.judge import verify
from imatch.geometry.estimate import Estimate, EstimateOptions, estimate
from imatch.geometry.transform_limits import Limits
from imatch.matchers import MATCHERS, load_matcher
from imatch.pipeline.pair.config import MatchConfig

if TYPE_CHECKING:
    from imatch.matchers import Matcher
    from imatch.matchers.feature_cache import FeatureCache

Stage = Callable[[str], None]

#: Longest side, pixels, at which a matcher without a detector sees what is refined afterwards.
ROUGH_SIDE = 640
# How far two products' geocoding may disagree before the answer is rather a fluke.
_GEOCODED = Limits(prior_rotation_deg=15.0, prior_scale=1.2)
#: Name of whoever has tie points of the user's own.
POINTS = "points"
_RANK = {"failed": 0, "uncertain": 1, "ok": 2}
# Settings that `imatch.matchers.base.MatcherOptions` repeats.
_OF_MATCHERS = ("max_keypoints", "device", "seed", "weights")
# Settings that decide what is loaded; the others may be others for each pair.
_OF_MODELS = ("matcher", *_OF_MATCHERS, "refine", "points_only")


class Registrar(ABC):
    """Registers one rendered image onto another, by settings of its own.

    Args:
        config: All settings of a match.

    Attributes:
        config: The same.
        channels: Bands it wants to see, 1 or 3.
    """

    channels: Literal[1, 3]

    def __init__(self, config: MatchConfig) -> None:
        self.config = config

    @property
    def name(self) -> str:
        """The name that users type for it."""
        return self.config.matcher

    @abstractmethod
    def solve(
        self,
        ref: Rendered,
        tgt: Rendered,
        *,
        geocoded: bool = False,
        within: float | None = None,
        alike: bool = True,
        proposed: Matches | None = None,
        on_stage: Stage = lambda _text: None,
    ) -> Estimate:
        """Find the transform from `ref` to `tgt`.

        Args:
            ref: Reference.
            tgt: Target.
            geocoded: Whether both stand on one map grid, so that the answer is near the identity.
            within: How near it surely is, working pixels; None where that is not known.
            alike: Whether one kind of sensor made both. Of two kinds `auto` takes what whole images
                agree on where windows do not decide; a single matcher needs windows in any case.
            proposed: Tie points that someone has for the pair, working pixels, to be looked at
                beside what is found here.
            on_stage: Told what is being done.
        """

    @property
    @abstractmethod
    def weights_used(self) -> dict[str, str]:
        """sha256 of the checkpoints in use, by weight name."""

    def estimate_options(self, geocoded: bool, within: float | None = None) -> EstimateOptions:
        """The settings as `estimate` takes them."""
        config = self.config
        limits = replace(_GEOCODED, prior_shift=within) if geocoded else Limits()
        return EstimateOptions(config.model, config.threshold_px, config.seed, limits)

    def configured(self, config: MatchConfig) -> Registrar:
        """This registrar with other settings for a pair; both share what is loaded.

        Args:
            config: All settings.

        Raises:
            ConfigError: One that decides what is loaded differs.
        """
        for name in _OF_MODELS:
            own, wanted = getattr(self.config, name), getattr(config, name)
            if wanted != own:
                raise ConfigError(
                    f"is {own!r} in the loaded registrar, which cannot make it {wanted!r}",
                    subject=name,
                    hint="leave it out, or load a registrar with it",
                )
        other = copy.copy(self)
        other.config = config
        return other


#: What a match is asked with: settings, or a registrar that was loaded with them before.
Asked: TypeAlias = "MatchConfig | Registrar"


class MatcherRegistrar(Registrar):
    """Registers by one matcher and a robust estimate.

    Args:
        matcher: The matcher; what its options say replaces what the settings say of it.
        config: The settings. They name the matcher, and ``refine`` says whether what the matches
            agree on is pulled tight by local correlation, as `auto` does with every proposal. It
            decides in any case whether the answer is ``ok`` (`judge.verify`).
    """

    def __init__(self, matcher: Matcher, config: MatchConfig) -> None:
        made = {name: getattr(matcher.options, name) for name in _OF_MATCHERS}
        super().__init__(config.model_copy(update={**made, "weights": dict(made["weights"])}))
        self.matcher, self.channels = matcher, matcher.channels

    def solve(
        self,
        ref: Rendered,
        tgt: Rendered,
        *,
        geocoded: bool = False,
        within: float | None = None,
        alike: bool = True,  # noqa: ARG002
        proposed: Matches | None = None,
        on_stage: Stage = lambda _text: None,
    ) -> Estimate:
        """See `Registrar.solve`."""
        options = self.estimate_options(geocoded, within)
        on_stage(f"matching with {self.name}")
        matches = self.matcher.match(ref, tgt)

        def judged(matches: Matches, by: str) -> Estimate:
            on_stage("estimating")
            found = estimate(matches, ref.valid, tgt.valid, options)
            found = replace(found, found_by=by)
            if found.transform is None:
                return found
            on_stage("certifying")
            return verify(found, ref, tgt, options, refine=refined(self.config))

        found = judged(matches, self.name)
        if proposed is None or found.status == "ok":
            return found
        other = judged(proposed, POINTS)
        return other if _RANK[other.status] > _RANK[found.status] else found

    @property
    def weights_used(self) -> dict[str, str]:
        """See `Registrar.weights_used`."""
        return self.matcher.weights_used


class PointsRegistrar(Registrar):
    """Registers by given tie points alone; the images judge them.

    Args:
        config: The settings; nothing is loaded for them.
    """

    channels: Literal[1, 3] = 3

    @property
    def name(self) -> str:
        """See `Registrar.name`."""
        return POINTS

    def solve(
        self,
        ref: Rendered,
        tgt: Rendered,
        *,
        geocoded: bool = False,  # noqa: ARG002
        within: float | None = None,  # noqa: ARG002
        alike: bool = True,  # noqa: ARG002
        proposed: Matches | None = None,
        on_stage: Stage = lambda _text: None,
    ) -> Estimate:
        """See `Registrar.solve`.

        The answer is the transform of the points. It is ``ok`` if they say so themselves, by those
        held out from the fit, and if the windows of the images bear them out: points of another
        pair agree with one another, too.
        """
        points = Matches() if proposed is None else proposed
        options = self.estimate_options(geocoded=False)
        on_stage("estimating")
        found = estimate(points, ref.valid, tgt.valid, options)
        found = replace(found, found_by=POINTS)
        if found.transform is None:
            return found
        on_stage("certifying")
        held = verify(found, ref, tgt, options, refine=False)
        if found.status == "ok":
            return held
        return replace(held, status=found.status, reason=found.reason)

    @property
    def weights_used(self) -> dict[str, str]:
        """None."""
        return {}


def load_registrar(config: MatchConfig, *, cache: FeatureCache | None = None) -> Registrar:
    """Loads the registrar that settings name and returns it.

    Its checkpoints are verified now; networks are built when they are first used.

    Args:
        config: The settings.
        cache: Where features of keypoint matchers are kept on disk; None for memory only.

    Raises:
        MatcherError: The matcher is unknown.
        WeightsError: A checkpoint is missing or corrupt.
    """
    if config.points_only:
        return PointsRegistrar(config)
    row = MATCHERS[config.matcher]
    if row.kind == "cascade":
        registrar: Registrar = row.load()(config, cache=cache)
        return registrar
    # What is refined afterwards need not be precise, but quick.
    side = ROUGH_SIDE if refined(config) else None
    options = matcher_options(config, cache)
    return MatcherRegistrar(load_matcher(row.name, **options, max_side=side), config)


def matcher_options(config: MatchConfig, cache: FeatureCache | None) -> dict[str, Any]:
    """Settings as `load_matcher` takes them."""
    options = {name: getattr(config, name) for name in (*_OF_MATCHERS, "fetch")}
    return {**options, "cache": cache}


def registrar_key(config: MatchConfig) -> str:
    """Text of the settings that decide what is loaded: equal texts make equal registrars."""
    return config.model_dump_json(include={*_OF_MODELS, "fetch"})


def with_settings(asked: Asked | None, make: Callable[..., MatchConfig], **overrides: Any) -> Asked:
    """Replaces some settings, of a registrar those that do not decide what is loaded.

    Args:
        asked: Settings, or a registrar; the default settings when None.
        make: `make_config`, or a function like it.
        **overrides: The settings to replace.

    Raises:
        ConfigError: An unknown setting, an impossible value, or one that would need another
            registrar.
    """
    if isinstance(asked, Registrar):
        return asked.configured(make(asked.config, **overrides))
    return make(asked, **overrides)


def refined(config: MatchConfig) -> bool:
    """Whether a single matcher's answer is refined: as is asked, or as the matcher's row says."""
    if config.refine is not None:
        return config.refine
    return config.matcher in MATCHERS and MATCHERS[config.matcher].refined
