"""Judges an alignment: the simplest adequate transform, its accuracy and its status."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from imatch.core.types import BoolArray, Rendered
from imatch.geometry.acceptance import (
    EVIDENCE,
    WHOLE,
    WINDOWS,
    Evidence,
    judge_matches,
    judge_whole,
    judge_windows,
)
from imatch.geometry.alignment.fine_alignment import AGREES, AlignedImages, Aligner, Alignment
from imatch.geometry.alignment.overlays import DOUBT_OF_EDGES, borne_out
from imatch.geometry.alignment.rivals import rival_shifts
from imatch.geometry.alignment.systematic import (
    NORMAL_95,
    Departures,
    appearance,
    band_shifts,
    split_bands,
    widened,
)
from imatch.geometry.alignment.whole_image import WholeAlignment
from imatch.geometry.estimate import Estimate, EstimateOptions, assess, failed
from imatch.geometry.fit import residuals
from imatch.geometry.model_selection import select_kind
from imatch.geometry.robust import search
from imatch.geometry.transform import MODEL_KINDS, ModelKind, Transform, apply_matrix
from imatch.geometry.transform_limits import implausibility

# Neighbouring windows overlap, so their errors go together over somewhat more than one window.
_BLOCK = 96.0
# Share of the squared error a richer transform kind must save: windows feel relief and shadow.
_GAIN_OF_KIND = 0.15
# An alignment with which fewer windows agree may be right only in part.
_PARTIAL = 0.5
# Windows of which fewer agree are those of two sensors, and decide nothing: a share chosen looking
# at maps of the benchmark, of which 10 to 32 % agreed.
_STRONG = 0.35
# Parts of an image that have to bear out what the whole says.
_FEWEST_PARTS = 4
# An affine transform must win over this many times the windows.
_GAIN = 1.2


def judge_alignment(
    aligner: Aligner,
    alignment: Alignment,
    ref_valid: BoolArray,
    tgt_valid: BoolArray,
    options: EstimateOptions,
    evidence: Evidence,
    rival: float = -math.inf,
) -> Estimate:
    """Choose the transform kind of an alignment, measure its accuracy and judge it.

    Args:
        aligner: The aligner that made it; it measures once more where another kind wins.
        alignment: The alignment.
        ref_valid: (H, W) valid ground of the reference.
        tgt_valid: (H', W') valid ground of the target.
        options: Transform kind wanted, limits and seed; the threshold is that of a window.
        evidence: How the odds are weighed and what they must reach.
        rival: Log-odds of the best alignment that contradicts this one.

    Returns:
        The estimate; its matches are the windows of the alignment.
    """
    options = replace(options, threshold=AGREES)
    odds = evidence.log_odds(alignment)
    if odds < evidence.found:
        reason = f"{alignment.agree:.0%} of the windows agree, no more than on unrelated ground"
        return failed(alignment.matches, reason)
    # The odds and what is explained are those of the alignment as it came, as they were learnt: a
    # richer transform agrees with more of any pair, unrelated ones too, and so proves nothing.
    explained = alignment.explained
    alignment = _with_shear(aligner, alignment, options)
    kinds = MODEL_KINDS if options.model == "auto" else (options.model,)
    # Windows that hardly correlate agree by chance with what bends most.
    told = alignment.reliable
    ref_xy, tgt_xy = alignment.matches.ref_xy[told], alignment.matches.tgt_xy[told]
    found = {k: m for k in kinds if (m := search(k, ref_xy, tgt_xy, AGREES)) is not None}
    shape = ref_valid.shape
    found = {k: m for k, m in found.items() if not implausibility(m, shape, options.limits)}
    if not found:
        return failed(alignment.matches, "no plausible transform aligns the images")
    kind = select_kind(found, ref_xy, tgt_xy, AGREES, options.seed, _BLOCK, _GAIN_OF_KIND)
    if kind != alignment.kind:
        alignment = aligner.refit(alignment, kind) or alignment
    kind, matrix, matches = alignment.kind, alignment.matrix, alignment.matches
    inlier = residuals(matrix, matches.ref_xy, matches.tgt_xy) < AGREES
    if inlier.sum() < 6 or implausibility(matrix, shape, options.limits):
        return failed(matches, "no plausible transform aligns the images")
    transform, reliable = Transform(kind, matrix), alignment.reliable
    estimate = assess(matches, inlier, transform, ref_valid, tgt_valid, options, _BLOCK, reliable)
    images = aligner.images(matrix)
    bands = tuple(band_shifts(split_bands(images)))
    seen = appearance(bands, alignment.strength)
    departures = Departures(images, alignment)
    bent, slow = departures.misfit(), departures.bend()
    estimate = widened(estimate, bent, seen, slow)
    own, excluded = _best_rivals(aligner, alignment, images, options, evidence)
    rival = max(rival, own)
    status, reason = judge_windows(
        estimate, alignment.agree, odds, explained, rival, excluded, evidence
    )
    if status == "ok" and not borne_out(images, alignment):
        status, reason = "uncertain", f"{reason}, {DOUBT_OF_EDGES}"
    return replace(estimate, status=status, reason=reason, evidence=odds, bands=bands)


def judge_whole_image(
    alignment: WholeAlignment,
    ref_valid: BoolArray,
    tgt_valid: BoolArray,
    options: EstimateOptions,
) -> Estimate:
    """Measures and judges what two whole images of different sensors agree on.

    Args:
        alignment: The alignment.
        ref_valid: (H, W) valid ground of the reference.
        tgt_valid: (H', W') valid ground of the target.
        options: Limits and seed.

    Returns:
        The estimate; its matches are the parts of the image, its intervals those of `WholeEvidence`
        and of the parts drawn anew.
    """
    kind: ModelKind = "translation" if options.model == "translation" else "similarity"
    matches, agrees, matrix = alignment.matches, alignment.agrees, alignment.matrix
    if implausibility(matrix, ref_valid.shape, options.limits):
        return failed(matches, "no plausible transform aligns the whole images")
    if agrees.sum() < _FEWEST_PARTS:
        return failed(matches, "too few parts of the images agree with the whole")
    options = replace(options, threshold=AGREES)
    given = matches, agrees, Transform(kind, matrix), ref_valid, tgt_valid, options
    found = assess(*given, alignment.side)
    # About the answer, not about the draws' mean: where that lies elsewhere the answer is off.
    drawn = np.stack([alignment.centre, *np.moveaxis(alignment.corners, 1, 0)], axis=1)
    half = NORMAL_95 * np.sqrt((drawn**2).mean(axis=0))
    x, y = np.hypot(half[0], WHOLE.systematic)
    chance = float(np.hypot(*half[1:].T).max())
    found = replace(
        found,
        ci95=(float(x), float(y)),
        corner_ci95=math.hypot(chance, WHOLE.systematic),
        statistical=(float(half[0, 0]), float(half[0, 1])),
        corner_statistical=chance,
        misfit=(WHOLE.systematic / NORMAL_95,) * 2,
    )
    status, reason = judge_whole(found, alignment, WHOLE)
    return replace(found, status=status, reason=reason, evidence=WHOLE.log_odds(alignment))


def reconciled(whole: Estimate, windows: Estimate) -> Estimate:
    """Returns what whole images say of two sensors, unless windows tell it better or object.

    Args:
        whole: What the whole images say; it is ``ok``.
        windows: What the windows say of the best alignment there is.
    """
    if windows.transform is None or not windows.evidence >= EVIDENCE.certain:
        return whole
    assert whole.transform is not None
    gap = apply_matrix(whole.transform.matrix, whole.matches.ref_xy)
    gap -= apply_matrix(windows.transform.matrix, whole.matches.ref_xy)
    if float(np.hypot(*gap.T).max()) > 2 * whole.corner_ci95:
        doubt = f"{windows.reason}, but the whole images agree elsewhere"
        return replace(windows, status="uncertain", reason=doubt)
    if windows.status == "ok":
        return windows
    if windows.inlier.mean() < _STRONG:
        return whole
    # Many windows agree, and refuse for a reason of their own; only a wide bound may be stated.
    if windows.corner_ci95 <= WINDOWS.corner:
        return windows
    bound = max(whole.corner_ci95, windows.corner_ci95)
    return replace(whole, corner_ci95=bound) if bound <= WHOLE.corner else windows


def verify(
    rough: Estimate, ref: Rendered, tgt: Rendered, options: EstimateOptions, *, refine: bool
) -> Estimate:
    """Holds a matcher's transform against local correlation and returns what that bears out.

    Matches agree on wrong transforms, too: of repeating, mirrored or other ground. They propose;
    the windows of the images decide, as of any proposal.

    Args:
        rough: What the matches say; it has a transform.
        ref: Reference.
        tgt: Target.
        options: Transform kind wanted, limits and seed.
        refine: Whether the windows' transform is the answer. Else the matches' is, and its bounds
            hold how far the two differ.
    """
    assert rough.transform is not None
    aligner = Aligner(ref, tgt)
    alignment = aligner.align(rough.transform.matrix)
    if alignment is None:
        doubt = "the matches agree, but no part of the images correlates where they say"
        return replace(rough, status="uncertain", reason=doubt)
    found = judge_alignment(aligner, alignment, ref.valid, tgt.valid, options, EVIDENCE)
    found = replace(found, found_by=rough.found_by, log10_nfa=rough.log10_nfa)
    if refine and found.transform is not None:
        return found
    return _limited_by_windows(rough, found, ref.valid.shape)


def _limited_by_windows(rough: Estimate, found: Estimate, shape: tuple[int, ...]) -> Estimate:
    """Limits a matcher's estimate to the status, evidence and bounds of the windows."""
    if found.transform is None or rough.transform is None:
        doubt = f"the matches agree, but {found.reason}"
        return replace(rough, status="uncertain", reason=doubt, evidence=found.evidence)
    corners = [[0, 0], [shape[1] - 1, 0], [shape[1] - 1, shape[0] - 1], [0, shape[0] - 1]]
    at = np.array([rough.centre, *corners])
    apart = apply_matrix(found.transform.matrix, at) - apply_matrix(rough.transform.matrix, at)
    x, y = np.hypot(np.hypot(rough.statistical, found.ci95), apart[0])
    corner = math.hypot(
        rough.corner_statistical, found.corner_ci95, float(np.hypot(*apart[1:].T).max())
    )
    moved = [(b.offset[0] + apart[0, 0], b.offset[1] + apart[0, 1]) for b in found.bands]
    status, reason = judge_matches(rough, found, corner)
    return replace(
        rough,
        status=status,
        reason=reason,
        evidence=found.evidence,
        ci95=(float(x), float(y)),
        corner_ci95=corner,
        misfit=found.misfit,
        appearance=found.appearance,
        bands=tuple(replace(b, offset=o) for b, o in zip(found.bands, moved, strict=True)),
    )


def _best_rivals(
    aligner: Aligner,
    alignment: Alignment,
    images: AlignedImages,
    options: EstimateOptions,
    evidence: Evidence,
) -> tuple[float, float]:
    """Log-odds of the best position that the images themselves offer beside this one.

    Returns:
        Of those that can be true, and of those that a geocoding excludes which is known to less
        than half the way there.
    """
    first, second = images.fields
    best, excluded, scale = -math.inf, -math.inf, np.linalg.inv(images.to_ref)
    within = options.limits.prior_shift
    # All neighbours on a lattice, of which those further off say nothing of the nearer ones.
    keep = 3 if within is None else 8
    for shift in rival_shifts(first, second, images.common, keep):
        moved = np.eye(3)
        moved[:2, 2] = shift
        matrix = alignment.matrix @ images.to_ref @ moved @ scale
        limits = replace(options.limits, prior_shift=None)
        if implausibility(matrix, images.ref.valid.shape, limits):
            continue
        other = aligner.refit(replace(alignment, matrix=matrix), "similarity")
        if other is None:
            continue
        # Less ground is less sure, and yet as likely where it looks the same.
        even = replace(other, overlap=alignment.overlap, independent=alignment.independent)
        alike = evidence.log_odds(even) + evidence.alike - evidence.repeating
        odds = max(evidence.log_odds(other), alike)
        if within is not None and float(np.hypot(*shift)) * images.scale > 2 * within:
            excluded = max(excluded, odds)
        else:
            best = max(best, odds)
    return best, excluded


def _with_shear(aligner: Aligner, alignment: Alignment, options: EstimateOptions) -> Alignment:
    """Returns the alignment, refitted as affine where many more windows then agree.

    A similarity right in one part of a sheared or tilted view loses the rest, beyond the reach of
    its windows; from the coarsest level an affine transform finds it again.
    """
    if alignment.agree > _PARTIAL or options.model in ("translation", "similarity"):
        return alignment
    affine = aligner.align(alignment.matrix, "affine")
    if affine is None or affine.agree < _GAIN * alignment.agree:
        return alignment
    return affine
