"""The default registrar: a cascade of searches that stops at the first certain answer.

Every stage proposes rough transforms; each is pulled tight by local correlation and put to the same
test, so a stage can only add answers, never a different standard of truth. Cheap stages come first:
the neighbourhood of the identity, then the rotations and scales by which two products of one place
usually differ, then any rotation, then any scale, and matchers that learnt the seasons last. Two
kinds of sensor, of which no small window tells, may be accepted by the whole images.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from imatch.core.errors import ConfigError
from imatch.core.types import Matches, Rendered
from imatch.geometry.acceptance import BY_WHOLE_IMAGES, EVIDENCE
from imatch.geometry.alignment.coarse_search import (
    ANY,
    FREE,
    NEAR,
    THOROUGH,
    WIDE,
    CoarseGrid,
    Hypothesis,
    coarse_search,
)
from imatch.geometry.alignment.fine_alignment import Aligner, Alignment
from imatch.geometry.alignment.judge import judge_alignment, judge_whole_image, reconciled
from imatch.geometry.alignment.orientation import shrink
from imatch.geometry.alignment.whole_image import WholeImages
from imatch.geometry.estimate import Estimate, EstimateOptions, estimate, failed
from imatch.geometry.fit import least_squares
from imatch.geometry.transform import apply_matrix
from imatch.geometry.transform_limits import off_centre
from imatch.matchers import MATCHERS, load_matcher
from imatch.models.weights import require_weights
from imatch.pipeline.pair.config import MatchConfig
from imatch.pipeline.pair.registrar import POINTS, Registrar, Stage, matcher_options

if TYPE_CHECKING:
    from imatch.geometry.sensor_field import FieldFunction
    from imatch.matchers import Matcher
    from imatch.matchers.feature_cache import FeatureCache

# Longest side of the images that the learnt matchers see, pixels, and most points they may take.
_LEARNT_SIDE = 640
_LEARNT_BUDGET = 1024
# After which search the whole images of two kinds of sensor are correlated.
_LAST_NARROW = "thorough"
# The network by whose maps they are compared.
_FIELD = "field-cross"
# Height of a search's peak, standard deviations of its surface, below which it is not followed up.
_LEAST_PEAKS = {"near": 5.0, "free": 6.2, "thorough": 6.6, "any": 6.5, "wide": 6.3}
# How many of a search's rough transforms are aligned, and next to how many the thorough one looks.
_FOLLOWED, _LOOKED_AT = 3, 12
# Strips narrower than this, pixels, and longer than so many times their width, are not sought at
# any scale: of training pairs the likeliest wrong alignments of every search are those of strips,
# and one of 251 pairs of different ground of the benchmark, 256 by 100 px, was `ok` by that search.
_NARROW, _LONG = 128, 2.0
# Alignments whose corners lie closer than this share of the image are one and the same.
_SAME_PLACE = 0.02


@dataclass(frozen=True, eq=False)
class Candidate:
    """A proposed transform after alignment.

    Attributes:
        odds: Log-odds that it is right.
        stage: Who proposed it.
        alignment: It.
    """

    odds: float
    stage: str
    alignment: Alignment


class Proposals(NamedTuple):
    """What a search proposes.

    Attributes:
        search: Its name.
        matrices: (3, 3) rough transforms, reference to target, best first.
    """

    search: str
    matrices: list[NDArray[np.float64]]


class Auto(Registrar):
    """Registers by a cascade of coarse searches and learnt matchers.

    Args:
        config: All settings of a match.
        cache: Where features of keypoint matchers are kept on disk; None for memory only.

    Raises:
        ConfigError: It is asked not to refine.
        WeightsError: A checkpoint of its matchers is missing or corrupt.
    """

    channels: Literal[1, 3] = 3
    #: The matchers asked last, in this order; their weights come with imatch.
    learnt: tuple[str, ...] = ("superpoint-s2", "loftr-s2")
    #: When an alignment is believed.
    evidence = EVIDENCE

    def __init__(
        self, config: MatchConfig | None = None, *, cache: FeatureCache | None = None
    ) -> None:
        super().__init__(config or MatchConfig())
        if self.config.refine is False:
            raise ConfigError(
                f"{self.name} always refines", subject="refine", hint="choose a single matcher"
            )
        # Found and verified now; the libraries behind them are loaded when their turn comes, which
        # most pairs never see.
        self._weights = {
            weights: require_weights(
                weights, self.config.weights.get(weights), fetch=self.config.fetch
            ).sha256
            for weights in (*(w for name in self.learnt for w in MATCHERS[name].weights), _FIELD)
        }
        self._options = matcher_options(self.config, cache)
        self._options["max_keypoints"] = min(self.config.max_keypoints, _LEARNT_BUDGET)
        self._loaded: dict[str, Matcher] = {}
        self._field: FieldFunction | None = None

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
        """See `Registrar.solve`."""
        options, none = self.estimate_options(geocoded, within), Matches()
        for image, name in ((ref, "reference"), (tgt, "target")):
            if not image.valid.any() or np.ptp(image.pixels[:, image.valid]) == 0:
                blank = failed(none, f"the {name} shows one value everywhere")
                return replace(blank, found_by=self.name)
        aligner, candidates = Aligner(ref, tgt), list[Candidate]()
        given = [] if proposed is None else [_of_points(proposed, ref, tgt, options)]

        def tried(proposals: Proposals) -> list[Candidate]:
            return [
                candidate
                for candidate in self.aligned(aligner, proposals)
                if within is None or off_centre(candidate.alignment.matrix, ref.size) <= within
            ]

        stages = self.stages(ref, tgt, options, geocoded=geocoded, on_stage=on_stage)
        for proposals in chain(given, stages):
            candidates += tried(proposals)
            sure = any(candidate.odds >= self.evidence.stop for candidate in candidates)
            if not alike and (sure or proposals.search == _LAST_NARROW):
                alike = True  # Asked once.
                found = self.answer(aligner, candidates, ref, tgt, options)
                if sure and found.status == "ok":
                    return found
                on_stage("correlating the whole images")
                turning = options.model != "translation"
                images = WholeImages(ref, tgt, self._field_function())
                rough = [matrix for one in given for matrix in one.matrices]
                whole = images.align(rough, turning=turning, within=options.limits.prior_shift)
                if whole is not None:
                    # Where windows bear it out they tell it more exactly.
                    candidates += tried(Proposals("whole", [whole.matrix]))
                    judged = judge_whole_image(whole, ref.valid, tgt.valid, options)
                    judged = replace(judged, found_by=BY_WHOLE_IMAGES)
                    found = self.answer(aligner, candidates, ref, tgt, options)
                    if judged.status == "ok":
                        one = reconciled(judged, found)
                        # Where both are sure of different places neither is right by itself.
                        if "ok" in (one.status, found.status):
                            return one
            if sure:
                break
        on_stage("certifying")
        return self.answer(aligner, candidates, ref, tgt, options)

    def aligned(self, aligner: Aligner, proposals: Proposals) -> list[Candidate]:
        """Aligns the best proposals of a search and drops those without correlation."""
        found = [a for m in proposals.matrices if (a := aligner.align(m)) is not None]
        evidence = self.evidence.after(proposals.search)
        return [Candidate(evidence.log_odds(one), proposals.search, one) for one in found]

    def answer(
        self,
        aligner: Aligner,
        candidates: Sequence[Candidate],
        ref: Rendered,
        tgt: Rendered,
        options: EstimateOptions,
    ) -> Estimate:
        """Judges the best of all candidates and returns its estimate."""
        if not candidates:
            none = Matches()
            where = "" if options.limits.prior_shift is None else " within the geocoding's error"
            reason = f"no part of the images correlates{where}"
            return replace(failed(none, reason), found_by=self.name)
        best = max(candidates, key=lambda candidate: candidate.odds)
        rivals = [
            candidate.odds
            for candidate in candidates
            if _contradict(candidate.alignment, best.alignment, ref, tgt)
        ]
        rival = max(rivals, default=-math.inf)
        found = judge_alignment(
            aligner,
            best.alignment,
            ref.valid,
            tgt.valid,
            options,
            self.evidence.after(best.stage),
            rival,
        )
        return replace(found, found_by=best.stage)

    def stages(
        self,
        ref: Rendered,
        tgt: Rendered,
        options: EstimateOptions,
        *,
        geocoded: bool = False,
        on_stage: Stage = lambda _text: None,
    ) -> Iterator[Proposals]:
        """The searches, each with the rough transforms it proposes."""

        def correlate(
            grid: CoarseGrid, keep: int = _FOLLOWED, around: Sequence[Hypothesis] = ()
        ) -> Sequence[Hypothesis]:
            within = options.limits.prior_shift
            return coarse_search(ref, tgt, grid, keep, within=within, around=around)

        on_stage("correlating near the given position")
        yield _proposed("near", correlate(NEAR, 1))
        on_stage("correlating over rotations and scales")
        found = correlate(FREE, _LOOKED_AT)
        yield _proposed("free", found)
        on_stage("correlating more thoroughly")
        yield _proposed(_LAST_NARROW, correlate(THOROUGH, around=found))
        if not geocoded:
            on_stage("correlating over all rotations")
            yield _proposed("any", correlate(ANY))
            if not (_strip(ref) or _strip(tgt)):
                on_stage("correlating over all rotations and wide scales")
                yield _proposed("wide", correlate(WIDE))
        for name in self.learnt:
            on_stage(f"matching with {name}")
            yield Proposals(name, self.proposed_by(name, ref, tgt, options))

    def proposed_by(
        self, name: str, ref: Rendered, tgt: Rendered, options: EstimateOptions
    ) -> list[NDArray[np.float64]]:
        """Matches reduced images and returns the transform as a proposal to be refined.

        Args:
            name: One of `learnt`.
            ref: Reference.
            tgt: Target.
            options: How the estimate is made of its matches.

        Returns:
            (3, 3) reference to target, or nothing.
        """
        small_ref, ref_scale = shrink(ref, _LEARNT_SIDE)
        small_tgt, tgt_scale = shrink(tgt, _LEARNT_SIDE)
        matches = self._matcher(name).match(small_ref, small_tgt)
        found = estimate(matches, small_ref.valid, small_tgt.valid, options)
        if found.transform is None:
            return []
        return [np.linalg.inv(tgt_scale) @ found.transform.matrix @ ref_scale]

    @property
    def weights_used(self) -> dict[str, str]:
        """sha256 of the checkpoints of the matchers asked last, by weight name."""
        return self._weights

    def _field_function(self) -> FieldFunction:
        if self._field is None:
            from imatch.models.fields.weights import field_function, load_field_network

            given = self.config.weights.get(_FIELD)
            self._field = field_function(load_field_network(require_weights(_FIELD, given)))
        return self._field

    def _matcher(self, name: str) -> Matcher:
        if name not in self._loaded:
            self._loaded[name] = load_matcher(name, **self._options)
        return self._loaded[name]


def _proposed(search: str, found: Sequence[Hypothesis]) -> Proposals:
    """What a coarse search proposes; of it only what stands out is to be aligned.

    Of the last narrow one at least the best, whatever its height: a look at one costs little.
    """
    high = sum(one.score >= _LEAST_PEAKS[search] for one in found)
    high = max(high, int(search == _LAST_NARROW))
    return Proposals(search, [one.matrix for one in found[: min(high, _FOLLOWED)]])


def _of_points(
    points: Matches, ref: Rendered, tgt: Rendered, options: EstimateOptions
) -> Proposals:
    """What tie points propose: their consensus, or where they are too few for one, all of them."""
    found = estimate(points, ref.valid, tgt.valid, options)
    if found.transform is not None:
        return Proposals(POINTS, [found.transform.matrix])
    return Proposals(POINTS, [least_squares("similarity", points.ref_xy, points.tgt_xy)])


def _strip(image: Rendered) -> bool:
    """Whether an image is too narrow for a search over all scales."""
    return min(image.size) < _NARROW and max(image.size) > _LONG * min(image.size)


def _contradict(one: Alignment, other: Alignment, ref: Rendered, tgt: Rendered) -> bool:
    """Whether two alignments put the reference at different places of the target."""
    width, height = ref.size
    corners = np.array([[0, 0], [width, 0], [width, height], [0, height]])
    gap = apply_matrix(one.matrix, corners) - apply_matrix(other.matrix, corners)
    return bool(np.hypot(*gap.T).mean() > _SAME_PLACE * max(tgt.size))
