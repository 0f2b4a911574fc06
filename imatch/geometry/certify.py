"""Judge an alignment: the simplest adequate transform, its accuracy, and whether to believe it."""

from __future__ import annotations

from dataclasses import dataclass, replace

from imatch.core.types import BoolArray
from imatch.geometry.align import AGREES, Aligner, Alignment
from imatch.geometry.estimate import Estimate, EstimateOptions, assess, failed
from imatch.geometry.fit import residuals
from imatch.geometry.plausible import implausibility
from imatch.geometry.robust import search
from imatch.geometry.select import select_kind
from imatch.geometry.transform import MODEL_KINDS, Transform

# Neighbouring windows overlap, so their errors go together over about one window.
_BLOCK = 64.0


@dataclass(frozen=True)
class Evidence:
    """What an alignment needs to be believed.

    Learnt on training places (`experiments/auto`), never on the benchmark: there 337 alignments of
    unrelated ground stay below 0.6, and right ones start at 1.0.

    Attributes:
        found: Below this nothing was found.
        certain: From this on the alignment is beyond chance.
        agree: Least share of windows that agree.
        coverage: Least share of the overlap's cells with an agreeing window.
        corner: Largest 95 % uncertainty of a mapped corner, working pixels.
    """

    found: float = 0.6
    certain: float = 0.8
    agree: float = 0.2
    coverage: float = 0.1
    corner: float = 6.0


def certify(
    aligner: Aligner,
    alignment: Alignment,
    ref_valid: BoolArray,
    tgt_valid: BoolArray,
    options: EstimateOptions,
    evidence: Evidence | None = None,
) -> tuple[Alignment, Estimate]:
    """Choose the transform kind of an alignment, measure its accuracy and judge it.

    Args:
        aligner: The aligner that made it; it measures once more where another kind wins.
        alignment: The alignment.
        ref_valid: (H, W) valid ground of the reference.
        tgt_valid: (H', W') valid ground of the target.
        options: Transform kind wanted, limits and seed; the threshold is that of a window.
        evidence: What is needed.

    Returns:
        The alignment whose windows are the tie points, and the estimate about them.
    """
    need, options = evidence or Evidence(), replace(options, threshold=AGREES)
    kinds = MODEL_KINDS if options.model == "auto" else (options.model,)
    ref_xy, tgt_xy = alignment.matches.ref_xy, alignment.matches.tgt_xy
    found = {k: m for k in kinds if (m := search(k, ref_xy, tgt_xy, AGREES)) is not None}
    shape = ref_valid.shape
    found = {k: m for k, m in found.items() if not implausibility(m, shape, options.limits)}
    if not found:
        return alignment, failed(alignment.matches, "no plausible transform aligns the images")
    kind = select_kind(found, ref_xy, tgt_xy, AGREES, options.seed, _BLOCK)
    # A richer transform agrees with more of any pair, unrelated ones too: the evidence is that of
    # the alignment as it came.
    evident = alignment
    if kind != alignment.kind:
        alignment = aligner.refit(alignment, kind) or alignment
    kind, matrix, matches = alignment.kind, alignment.matrix, alignment.matches
    inlier = residuals(matrix, matches.ref_xy, matches.tgt_xy) < AGREES
    if inlier.sum() < 6 or implausibility(matrix, shape, options.limits):
        return alignment, failed(matches, "no plausible transform aligns the images")
    estimate = assess(
        matches, inlier, Transform(kind, matrix), ref_valid, tgt_valid, options, _BLOCK
    )
    estimate = replace(estimate, evidence=evident.evidence)
    return alignment, _judged(estimate, alignment, need)


def _judged(estimate: Estimate, alignment: Alignment, need: Evidence) -> Estimate:
    matches = alignment.matches
    if estimate.evidence < need.found:
        return failed(matches, "the images correlate no more than unrelated ground does")
    share = f"{alignment.agree:.0%} of the windows agree"
    if estimate.evidence < need.certain:
        reason = f"{share}, which chance could still explain"
    elif alignment.agree < need.agree:
        reason = f"only {share}"
    elif estimate.coverage < need.coverage:
        reason = f"{share}, but they cover only {estimate.coverage:.0%} of the overlap"
    elif estimate.corner_ci95 > need.corner:
        reason = f"{share}, but they do not pin down the image's corners"
    else:
        return replace(
            estimate, status="ok", reason=f"{share}, over {estimate.coverage:.0%} of the overlap"
        )
    return replace(estimate, status="uncertain", reason=reason)
