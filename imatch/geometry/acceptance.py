"""When a registration is ``ok``: the one place where numbers decide, whatever found the transform.

Points are the matches of a keypoint or dense matcher, windows those of local correlation, tiles the
windows of a whole scene, ways the pairs that tie an image of a stack. Each kind has its rules here,
and each number names where it was learnt; none was fitted to a benchmark.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal, TypeAlias

from scipy.special import bdtrc

if TYPE_CHECKING:
    from imatch.geometry.alignment.fine_alignment import Alignment
    from imatch.geometry.alignment.whole_image import WholeAlignment
    from imatch.geometry.estimate import Estimate

Status: TypeAlias = Literal["ok", "uncertain", "failed"]
Verdict: TypeAlias = tuple[Status, str]
"""A status and its reason, one sentence."""


@dataclass(frozen=True)
class PointRules:
    """What the matches of one matcher need for ``ok``, learnt on training places.

    The false-alarm number is that of `imatch.geometry.robust`; `experiments/README.md` has the
    figures.

    Attributes:
        found: log10 of the false-alarm number above which nothing was found at all.
        certain: log10 of the false-alarm number below which the agreement is beyond chance.
        inliers: Fewest distinct inliers.
        coverage: Least share of the overlap's cells with an inlier.
        corner: Largest 95 % uncertainty of a mapped corner, in units of the inlier threshold.
    """

    found: float = -1.0
    certain: float = -12.0
    inliers: int = 10
    coverage: float = 0.08
    corner: float = 3.0


@dataclass(frozen=True)
class Evidence:
    """Weights of the log-odds that an alignment is right, and what the odds must reach for ``ok``.

    The figures of an alignment are weighed by logistic regression on alignments of training pairs
    whose truth is known: right ones, wrong ones of the same place, and different places, strips and
    thumbnails included (`experiments/benchmarks/trust.py`). Small windows agree by chance, so their
    side counts; and chance prefers images that hardly overlap.

    Attributes:
        agree: Weight of the logarithm of the share of agreeing windows.
        strength: Of their correlation.
        independent: Of the number of independent windows.
        spread: Of what the agreeing windows lie off, pixels, at least `least_spread`.
        window: Of the side of a window, pixels.
        overlap: Of the share of the images that is common.
        offset: Added to the sum.
        least_spread: Below it, more agreement tells no more.
        hopeless: Log-odds on reduced images below which a rough transform is given up: the least of
            310 right ones has -9.2.
        distant: The same at full resolution, some still to be pulled tight: the least of 713 right
            ones that came to be believed began at -8.2.
        found: Log-odds below which nothing was found.
        certain: Log-odds from which an alignment is believed, once all stages have had their say.
            The best of 106 training pairs of different ground have 1.5, 0.1 and -1.2; by their
            slope one of 3000 reaches this. 163 of 172 of one ground do.
        stop: Log-odds from which the other stages need not be asked.
        margin: How far the best alignment must exceed one that contradicts it.
        standing: Log-odds from which another position may be one of several of repeating ground.
        repeating: The margin over such a position: other ground has none.
        alike: The margin over its odds on as much ground: on ground of blocks it is 1.4 or more.
    """

    agree: float = 7.762
    strength: float = 2.223
    independent: float = 2.806
    spread: float = -2.75
    window: float = 5.909
    overlap: float = 2.804
    offset: float = -16.612
    least_spread: float = 0.2
    hopeless: float = -10.0
    distant: float = -10.0
    found: float = -1.0
    certain: float = 3.5
    stop: float = 4.0
    margin: float = 2.0
    standing: float = 1.5
    repeating: float = 5.0
    alike: float = 1.0

    def after(self, search: str) -> Evidence:
        """The evidence asked of what a search among many positions proposes (`FAR_SEARCHES`)."""
        return replace(self, offset=self.offset - FAR_SEARCHES.get(search, 0.0))

    def rivalled(self, odds: float, rival: float) -> bool:
        """Whether a position of these odds does not stand out from another of those."""
        return odds - rival < (self.repeating if rival >= self.standing else self.margin)

    def log_odds(self, alignment: Alignment) -> float:
        """Natural logarithm of the odds that an alignment is right."""
        spread = self.spread * _log(max(alignment.spread, self.least_spread))
        figures = ("agree", "strength", "independent", "window", "overlap")
        others = (getattr(self, name) * _log(getattr(alignment, name)) for name in figures)
        return float(self.offset + spread + sum(others))


@dataclass(frozen=True)
class WindowRules:
    """What the windows of an aligned pair need for ``ok`` beside their odds.

    Attributes:
        coverage: Least share of the overlap's cells with an agreeing window.
        explained: Least share that agrees of the windows that correlate as well as the agreeing
            ones: less was not seen of any right alignment in training
            (`experiments/benchmarks/trust.py`), not even where the ground leans with its height.
        corner: Largest 95 % uncertainty of a mapped corner, working pixels.
    """

    coverage: float = 0.1
    explained: float = 0.3
    corner: float = 6.0


@dataclass(frozen=True)
class WholeEvidence:
    """Weights of the log-odds that two whole images of different sensors lie as an alignment says.

    Fitted to training pairs of radar, maps and infrared, and of other, mirrored, adjacent ground.

    Attributes:
        peak: Weight of the logarithm of the correlation's height.
        lead: Of what that exceeds the best other position by.
        scatter: Of what the corners move by, pixels, at least `least_scatter`.
        likeness: Of the parts' correlation.
        offset: Added to the sum.
        least_lead: Least share of the height that it leads by: less is ground that repeats itself.
        repeating: Most that both may repeat themselves at one shift: none of 345 right alignments
            has more than 0.41, 11 of 12 of lattices have 0.47 or more.
        least_scatter: Below it, steps of whole pixels tell no more.
        certain: Log-odds from which an alignment is believed: the best of 259 wrong ones has 0.6.
            The highest are too few to tell how many in a thousand would reach it.
        corner: Largest 95 % uncertainty of a mapped corner, working pixels.
        systematic: 95 % of what sensors show apart (labels, roofs, layover), working pixels.
    """

    peak: float = 2.955
    lead: float = 1.915
    scatter: float = -2.202
    likeness: float = 1.555
    offset: float = -5.881
    least_lead: float = 0.25
    repeating: float = 0.45
    least_scatter: float = 0.5
    certain: float = 3.0
    corner: float = 12.0
    systematic: float = 2.5

    def log_odds(self, alignment: WholeAlignment) -> float:
        """Natural logarithm of the odds that an alignment is right."""
        return (
            self.peak * _log(alignment.peak)
            + self.lead * _log(alignment.lead)
            + self.scatter * _log(max(alignment.scatter, self.least_scatter))
            + self.likeness * _log(alignment.likeness)
            + self.offset
        )


@dataclass(frozen=True)
class TileRules:
    """What the windows and tiles of a scene need for ``ok`` (`experiments/benchmarks/scene.py`).

    Attributes:
        points: Fewest agreeing windows.
        windows: Least share of agreeing windows; of unrelated ground a twentieth agrees.
        tiles: Least share of tiles that agree with those around them.
        clouded: The same under clouds, where so many cannot agree by chance.
        by_chance: Share of tiles that agree by chance.
        chance: Largest probability of so many by chance.
        coverage: Least share of the overlap's cells with a tie point.
        corner: Largest 95 % uncertainty of a mapped corner, pixels of the finest level.
    """

    points: int = 30
    windows: float = 0.15
    tiles: float = 1 / 3
    clouded: float = 1 / 5
    by_chance: float = 1 / 40
    chance: float = 1e-6
    coverage: float = 0.1
    corner: float = 6.0


EVIDENCE, WINDOWS, TILES, WHOLE = Evidence(), WindowRules(), TileRules(), WholeEvidence()
#: What is taken off the log-odds of what a search over all rotations, or wide scales, proposes: the
#: best of many wrong positions looks better.
FAR_SEARCHES = {"any": 1.5, "wide": 3.0}
#: What `Estimate.found_by` says of an answer that whole images bear out, and no windows.
BY_WHOLE_IMAGES = "whole images"
#: Largest 95 % uncertainty of a mapped corner of an image of a stack, pixels: as of a pair.
STACK_CORNER_PX = 6.0


def judge_points(
    found: Estimate, inliers: int, log10_nfa: float, threshold: float, rules: PointRules
) -> Verdict:
    """Judges the matches of one matcher.

    Args:
        found: What was estimated from them.
        inliers: How many agree.
        log10_nfa: log10 of the number of false alarms.
        threshold: Largest residual of an inlier, working pixels.
        rules: What they need.
    """
    total = len(found.inlier)
    if inliers < rules.inliers:
        return (
            "uncertain",
            f"only {inliers} tie points agree, {rules.inliers} are needed to be sure",
        )
    if log10_nfa > rules.certain:
        return "uncertain", f"{inliers} of {total} matches agree, which chance could still explain"
    if found.coverage < rules.coverage:
        return "uncertain", f"the tie points cover only {found.coverage:.0%} of the overlap"
    if found.corner_ci95 > rules.corner * threshold:
        return "uncertain", "the tie points do not pin down the image's corners"
    return "ok", f"{inliers} of {total} matches agree, over {found.coverage:.0%} of the overlap"


def judge_matches(rough: Estimate, found: Estimate, corner: float) -> Verdict:
    """Judges the matches of one matcher by the windows of the images they align.

    Args:
        rough: What the matches say.
        found: What the windows say, judged.
        corner: 95 % uncertainty of a mapped corner, working pixels, the difference included.
    """
    if found.status != "ok":
        return "uncertain", found.reason
    share = f"{int(rough.inlier.sum())} of {len(rough.inlier)} matches agree"
    if not corner <= WINDOWS.corner:
        return "uncertain", f"{share}, but the corners only to {corner:.1f} working px"
    return "ok", f"{share}; {found.reason}"


def judge_bound(found: Estimate, doubt: str) -> Verdict:
    """Judges an answer anew whose bound has grown since.

    Args:
        found: With its present bound.
        doubt: What made it grow, to end the sentence of a refusal.
    """
    if found.status == "ok" and not found.corner_ci95 <= WINDOWS.corner:
        return "uncertain", f"{found.reason}, but {doubt}"
    return found.status, found.reason


def judge_windows(
    found: Estimate,
    agree: float,
    odds: float,
    explained: float,
    rival: float,
    excluded: float,
    evidence: Evidence,
) -> Verdict:
    """Judges the correlation windows of an aligned pair.

    Args:
        found: What was estimated from them.
        agree: Share of the windows that agree.
        odds: Log-odds that the alignment is right.
        explained: Share that agrees of those that correlate as well.
        rival: Log-odds of the best alignment that contradicts it.
        excluded: The same of those that the geocoding's stated error excludes.
        evidence: What the odds must reach.
    """
    share = f"{agree:.0%} of the windows agree"
    if odds < evidence.certain:
        return "uncertain", f"{share}, which chance could still explain"
    if evidence.rivalled(odds, rival):
        return "uncertain", f"{share}, but another position fits almost as well"
    if explained < WINDOWS.explained:
        return "uncertain", f"{share}; as many others correlate as well and lie elsewhere"
    if found.coverage < WINDOWS.coverage:
        return "uncertain", f"{share}, but they cover only {found.coverage:.0%} of the overlap"
    if found.corner_ci95 > WINDOWS.corner:
        return "uncertain", f"{share}, but they do not pin down the image's corners"
    prior = "; where others fit as well, the stated error of the geocoding decides"
    decided = prior if evidence.rivalled(odds, excluded) else ""
    return "ok", f"{share}, over {found.coverage:.0%} of the overlap{decided}"


def judge_whole(found: Estimate, alignment: WholeAlignment, rules: WholeEvidence) -> Verdict:
    """Judges the whole images of a pair of different sensors.

    Args:
        found: What was estimated of them.
        alignment: What that stands on.
        rules: What they need.
    """
    if rules.log_odds(alignment) < rules.certain:
        return "uncertain", "the whole images correlate no more than chance could explain"
    repeats = alignment.repetition > rules.repeating
    if repeats or alignment.lead < rules.least_lead * alignment.peak:
        return "uncertain", "the whole images agree, but another position fits almost as well"
    if found.coverage < WINDOWS.coverage:
        return "uncertain", f"the whole images agree, but cover only {found.coverage:.0%}"
    if not found.corner_ci95 <= rules.corner:
        return "uncertain", "the whole images agree, but do not pin down the corners"
    share = f"{int(found.inlier.sum())} of {len(found.inlier)} parts bear it out"
    return "ok", f"the whole images agree, where windows alone do not decide; {share}"


def doubt_of_tiles(agree: int, tiles: int, points: int, sought: int) -> str | None:
    """Says why the windows of a scene are not to be believed, None if they are.

    Args:
        agree: Tiles that agree with those around them.
        tiles: Tiles in which a displacement was found.
        points: Windows that agree.
        sought: Windows that were correlated.
    """
    if sought == 0:
        return "no tile shows valid ground with structure on both images"
    if not _enough_tiles(agree, tiles):
        return f"only {agree} of {tiles} tiles agree with those around them"
    if points < TILES.points:
        return f"only {points} of {sought} windows agree, {TILES.points} are needed"
    if points < TILES.windows * sought:
        return f"only {points} of {sought} windows agree"
    return None


def _enough_tiles(agree: int, tiles: int) -> bool:
    """Whether so many tiles that agree bear out the rough answer."""
    if agree >= TILES.tiles * tiles:
        return True
    by_chance = float(bdtrc(agree - 1, tiles, TILES.by_chance))
    return agree >= TILES.clouded * tiles and by_chance < TILES.chance


def judge_tiles(found: Estimate, sought: int, agree: int, tiles: int, scale: float) -> Verdict:
    """Judges the windows of a scene that one model explains.

    Args:
        found: What was estimated from them, working pixels.
        sought: Windows that were correlated.
        agree: Tiles that agree with those around them.
        tiles: Tiles in which a displacement was found.
        scale: Pixels of the finest level per working pixel.
    """
    count = f"{int(found.inlier.sum())} of {sought} windows agree, in {agree} of {tiles} tiles"
    if found.coverage < TILES.coverage:
        return "uncertain", f"{count}, but they cover only {found.coverage:.0%} of the overlap"
    if not found.corner_ci95 * scale <= TILES.corner:
        if found.corner_statistical * scale <= TILES.corner and max(found.misfit) > 0:
            return "uncertain", f"{count}, but between them the ground departs from their transform"
        return "uncertain", f"{count}, but they do not pin down the image's corners"
    return "ok", f"{count}, over {found.coverage:.0%} of the overlap"


def judge_stacked(
    pairs: int, sure: float, agreeing: float, against: int, bound_px: float
) -> Verdict:
    """Judges an image of a stack that pairs tie to the reference.

    Args:
        pairs: Pairs that count and touch it.
        sure: Independent ways of sure pairs to the reference.
        agreeing: Independent ways of any pairs that agree.
        against: Sure pairs that contradict it.
        bound_px: 95 % uncertainty of its corners, pixels.
    """
    tie = f"{pairs} pairs tie it" if pairs > 1 else "1 pair ties it"
    if sure < 1:
        return "uncertain", f"{tie}, but no way to the reference is one of sure pairs"
    if against >= sure:
        others = "1 sure pair contradicts" if against == 1 else f"{against} contradict"
        return "uncertain", f"{tie}, but {others} it as firmly"
    if not bound_px <= STACK_CORNER_PX:
        return "uncertain", f"{tie}, but its corners only to {bound_px:.0f} px"
    if sure > 1:
        return "ok", f"{tie}, by {sure:g} ways that check one another"
    if agreeing > 1:
        return "ok", f"{tie}, checked by uncertain pairs only"
    return "ok", f"{tie}, which nothing else checks"


def _log(value: float) -> float:
    return math.log(max(value, 1e-3))
