"""One pair of the benchmark of trust registered, and what was stated held against the truth."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from imatch.core.errors import ImatchError
from imatch.export.quality.changes import changed_ground
from imatch.export.quality.views import ViewPair
from imatch.geometry.accuracy import overlap_mask
from imatch.pipeline.pair.config import MatchConfig, make_config
from imatch.pipeline.pair.match import match
from imatch.pipeline.pair.registrar import Registrar, load_registrar
from imatch.pipeline.registration.geo_correction import GeoCorrection
from imatch.pipeline.registration.result import Registration
from imatch.pipeline.scene.register import register_scene
from imatch.raster import Source
from tests.support.pairs.trust.kinds import KINDS, make_pair
from tests.support.pairs.trust.pair import Points, Side, TrustPair, pixel_grid

COLUMNS = (
    "kind",
    "split",
    "seed",
    "params",
    "matcher",
    "status",
    "reason",
    "found_by",
    "model",
    "shift_x_px",
    "shift_y_px",
    "ci95_x_px",
    "ci95_y_px",
    "corner_ci95_px",
    "at_x",
    "at_y",
    "truth_x_px",
    "truth_y_px",
    "truth_sd_px",
    "error_median_px",
    "error_95_px",
    "error_max_px",
    "bound_share",
    "wrong",
    "evidence",
    "evidence_kind",
    "coverage",
    "seconds",
    "certificate",
    "common_px",
    "changed_px",
    "told_px",
    "outlined_px",
    "hit_px",
)
Row = dict[str, Any]

# A wrong answer is off by more than this and by more than it says.
WRONG_PX = 3.0
# Places at which an answer is held against the truth, about as many.
_PLACES = 900
# Longest side of the view in which a report outlines changed ground, pixels.
_REPORT_PX = 900
# 95 % of the lengths of normal errors in two components lie within this many deviations.
_CIRCULAR_95 = 2.448


@dataclass(frozen=True)
class Task:
    """A pair and who is to register it.

    Attributes:
        kind: Of `tests.support.pairs.trust.kinds.KINDS`.
        split: ``train``, ``bench`` or ``made``.
        seed: Of the pair.
        data: Folder of the real images.
        matchers: Rows of `imatch matchers`; ``+refine`` or ``-refine`` may follow a name.
    """

    kind: str
    split: str
    seed: int
    data: Path
    matchers: tuple[str, ...]


def config_of(matcher: str) -> MatchConfig:
    """The settings that a matcher's name and ending ask for.

    Example:
        >>> config_of("sift+refine").refine, config_of("loftr-s2").refine
        (True, None)
    """
    for ending, refine in (("+refine", True), ("-refine", False)):
        if matcher.endswith(ending):
            return make_config(matcher=matcher.removesuffix(ending), refine=refine)
    return make_config(matcher=matcher)


@lru_cache(maxsize=8)
def _registrar(matcher: str) -> Registrar:
    return load_registrar(config_of(matcher))


def measure(task: Task) -> list[Row]:
    """A row for each matcher of a task."""
    pair = make_pair(task.kind, task.split, task.seed, task.data)
    about = {"kind": task.kind, "split": task.split, "seed": task.seed}
    about["params"] = json.dumps(pair.params, separators=(",", ":"), default=float)
    whole = KINDS[task.kind].whole
    return [about | {"matcher": name} | judge(pair, name, whole=whole) for name in task.matchers]


def judge(pair: TrustPair, matcher: str, *, whole: bool = False) -> Row:
    """Register a pair, or a whole scene, and compare what is stated with the truth."""
    started = time.perf_counter()
    images, registrar = (pair.ref.source(), pair.tgt.source()), _registrar(matcher)
    try:
        if whole:
            found = register_scene(*images, registrar, size=pair.params["working"])
        else:
            found = match(*images, registrar)
    except ImatchError as error:
        seconds = time.perf_counter() - started
        return {"status": "error", "reason": str(error), "seconds": seconds, "wrong": 0}
    certificate = found.certificate
    row: Row = {
        "status": found.status,
        "reason": found.reason,
        "found_by": found.provenance.get("found_by", ""),
        "model": found.model,
        "corner_ci95_px": certificate.corner_ci95_px,
        "evidence": certificate.evidence,
        "evidence_kind": certificate.evidence_kind,
        "coverage": found.coverage,
        "seconds": found.seconds,
        "certificate": json.dumps(certificate.to_dict(), separators=(",", ":")),
    }
    if found.shift_px is not None and found.ci95_px is not None:
        row |= dict(zip(("shift_x_px", "shift_y_px"), found.shift_px, strict=True))
        row |= dict(zip(("ci95_x_px", "ci95_y_px"), found.ci95_px, strict=True))
    held = _held(pair, found)
    if pair.changed is not None and found.transform is not None:
        row |= _outlined(found, *images, pair.changed)
    wrong = pair.truth is None
    if pair.truth is not None and "error_95_px" in held:
        bound = certificate.corner_ci95_px
        wrong = held["error_95_px"] > max(WRONG_PX, 0.0 if bound is None else bound)
    return row | held | {"wrong": int(found.status == "ok" and wrong)}


def _held(pair: TrustPair, found: Registration) -> Row:
    """The truth where the answer speaks of it, and how far the answer is off everywhere."""
    if pair.truth is None or found.transform is None:
        return {}
    centre = _centre(found)
    to_tgt = GeoCorrection.of(found).from_reference(pair.tgt.source().info)
    true_shift = (pair.truth.to_tgt(centre) - pair.given(centre))[0]
    row: Row = {
        "at_x": centre[0, 0],
        "at_y": centre[0, 1],
        "truth_x_px": true_shift[0],
        "truth_y_px": true_shift[1],
        "truth_sd_px": pair.truth.sd_px,
    }
    places, there = seen_by_both(pair)
    if len(places) == 0:
        return row
    error = np.hypot(*(to_tgt(places) - there).T)
    # Without a bound nothing is promised.
    bound = found.certificate.corner_ci95_px
    allowed = np.hypot(np.inf if bound is None else bound, _CIRCULAR_95 * pair.truth.sd_px)
    return row | {
        "error_median_px": float(np.median(error)),
        "error_95_px": float(np.quantile(error, 0.95)),
        "error_max_px": float(error.max()),
        "bound_share": float((error <= allowed).mean()),
    }


def _outlined(found: Registration, ref: Source, tgt: Source, changed: NDArray[np.bool_]) -> Row:
    """The ground that a report outlines as changed against the truth, pixels of its view.

    Returns:
        What both images show, what changed of it, of that what the report tells of, what it
        outlines, and what of that changed.
    """
    pair = ViewPair(found, ref, tgt)
    view = pair.view(pair.overlap(_REPORT_PX))
    told = changed_ground(view)
    assert view.after is not None
    common = view.ref.valid & view.after.valid
    x, y = np.round(view.frame.to_reference(pixel_grid(view.ref.size))).astype(np.int64).T
    height, width = changed.shape
    truth = changed[np.clip(y, 0, height - 1), np.clip(x, 0, width - 1)]
    truth = truth.reshape(common.shape) & common
    nothing = np.zeros_like(truth)
    outlined, seen = (nothing, nothing) if told is None else (told.changed, told.told)
    return {
        "common_px": int(common.sum()),
        "changed_px": int(truth.sum()),
        "told_px": int((truth & seen).sum()),
        "outlined_px": int(outlined.sum()),
        "hit_px": int((truth & outlined).sum()),
    }


def _centre(found: Registration) -> Points:
    """(1, 2) the place that `Registration.shift_px` speaks of: the middle of the overlap."""
    shown = found.preview
    assert shown is not None
    assert shown.matrix is not None
    rows, columns = np.nonzero(overlap_mask(shown.matrix, shown.ref_valid, shown.tgt_valid))
    height, width = shown.ref_valid.shape
    scale = np.array([found.reference.width / width, found.reference.height / height])
    return np.asarray((np.array([[columns.mean(), rows.mean()]]) + 0.5) * scale - 0.5)


def seen_by_both(pair: TrustPair) -> tuple[Points, Points]:
    """Places of a regular grid that both images show, in pixels of each.

    Returns:
        (N, 2) reference pixels, and (N, 2) target pixels.
    """
    assert pair.truth is not None
    known = pair.ref.known
    step = max(1, int(np.sqrt(known.size / _PLACES)))
    y, x = np.nonzero(known[step // 2 :: step, step // 2 :: step])
    places = np.column_stack([x, y]).astype(np.float64) * step + step // 2
    there = pair.truth.to_tgt(places)
    shown = _shown(pair.tgt, there)
    return places[shown], there[shown]


def _shown(side: Side, xy: Points) -> NDArray[np.bool_]:
    """(N,) bool, whether an image shows a position."""
    known = side.known
    height, width = known.shape
    finite = np.asarray(np.isfinite(xy).all(axis=1))
    at = np.round(np.where(finite[:, None], xy, -1)).astype(np.int64)
    inside = finite & (at >= 0).all(axis=1) & (at[:, 0] < width) & (at[:, 1] < height)
    shown = np.zeros(len(xy), dtype=bool)
    shown[inside] = known[at[inside, 1], at[inside, 0]]
    return shown
