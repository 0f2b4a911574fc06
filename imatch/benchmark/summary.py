"""The summary of a benchmark: one JSON-ready document behind every table and plot."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from imatch.benchmark.detectors import MEASURES, DetectorResult
from imatch.benchmark.metrics import (
    AUC_PX,
    FALSE_ACCEPT_PX,
    LEVELS,
    STATED,
    WITHIN_PX,
    auc,
    observed_coverage,
    recall,
)
from imatch.benchmark.results import OUTCOMES, Result
from imatch.benchmark.runner import BenchPlan, Run
from imatch.core.io.jsontext import json_values

SCHEMA = "imatch.bench/1"
#: The imaginary matcher that answers where any of the real ones is right.
ORACLE = "any right (oracle)"

#: Sources whose truth is good to a pixel, that together decide.
SENTINEL_2 = frozenset({"ombria", "ua_overview", "alps_b08"})
#: Sources whose two images come of two kinds of sensor, or of a sensor and a map.
CROSS_SENSOR = ("ir", "nir", "map", "sar")
CLEAR, CLOUD, SNOW, SNOW_CLOUD, FLOOD = (
    "clear / clear",
    "cloud on either side",
    "snow / clear",
    "snow / cloud",
    "flood",
)
CONDITIONS = (CLEAR, CLOUD, SNOW, SNOW_CLOUD, FLOOD)


def condition(result: Result) -> str | None:
    """Returns the season or weather that a positive pair spans, None where its tag does not say.

    Tags are ``reference/target``, each ``clear``, ``snow`` or something with ``cloud`` in it; all
    pairs of OMBRIA span a flood.
    """
    if not result.positive:
        return None
    if result.source == "ombria":
        return FLOOD
    sides = result.tag.split("/")
    if len(sides) != 2:
        return None
    snow = any("snow" in side for side in sides)
    cloud = any("cloud" in side for side in sides)
    if snow:
        return SNOW_CLOUD if cloud else SNOW
    if cloud:
        return CLOUD
    return CLEAR if sides == ["clear", "clear"] else None


def _of_source(source: str, *variants: str) -> Callable[[Result], bool]:
    return lambda result: result.source == source and result.variant in variants


def _in_condition(name: str) -> Callable[[Result], bool]:
    return lambda result: result.source == "ua_overview" and condition(result) == name


#: The rows by which matchers are compared, those without a case left out: who belongs to each.
GROUPS: dict[str, Callable[[Result], bool]] = {
    "ombria near": _of_source("ombria", "near"),
    "ombria free": _of_source("ombria", "free"),
    "ua_overview near": _of_source("ua_overview", "near"),
    "ua_overview free": _of_source("ua_overview", "free"),
    **{f"– of these {name}": _in_condition(name) for name in (CLEAR, CLOUD, SNOW, SNOW_CLOUD)},
    "alps_b08 near + free": _of_source("alps_b08", "near", "free"),
    "Sentinel-2 together": lambda result: result.positive and result.source in SENTINEL_2,
    "brenta_ndvi near + free": _of_source("brenta_ndvi", "near", "free"),
    "srif free": _of_source("srif", "near", "free"),
    "starainj free": _of_source("starainj", "near", "free"),
    **{
        f"{source} {variant}": _of_source(source, variant)
        for source in CROSS_SENSOR
        for variant in ("near", "free")
    },
    "all positives": lambda result: result.positive,
}


def summarise(run: Run, plan: BenchPlan) -> dict[str, Any]:
    """Returns the figures of a benchmark as a document.

    Args:
        run: The results.
        plan: What was to be run.

    Returns:
        A JSON-ready document; figures that do not exist are None.
    """
    matchers = [config.matcher for config in plan.configs]
    by_matcher = {name: [r for r in run.results if r.matcher == name] for name in matchers}
    document = {
        "schema": SCHEMA,
        "run": {
            **dict(plan.origin),
            "root": str(plan.root),
            **plan.identity(),
            "size_rule": "longest side of the pair, at least the setting"
            if plan.fit_size
            else "the setting",
            "sittings": run.sessions,
        },
        "false_accept_px": FALSE_ACCEPT_PX,
        "matchers": {
            name: _matcher(rows, [d for d in run.detectors if d.matcher == name])
            for name, rows in by_matcher.items()
        },
    }
    if len(matchers) > 1:
        document["oracle"] = {"name": ORACLE, **_breakdown(_oracle(by_matcher), scores)}
    document["never_right"] = _never_right(by_matcher)
    plain: dict[str, Any] = json_values(document)
    return plain


def scores(rows: Sequence[Result]) -> dict[str, Any]:
    """Returns recall and AUC over the positive cases; what the truth is not known to counts as met.

    Returns:
        ``{"n", "within": {px: share}, "auc": {px: area}, "median_error_px"}``; the median is over
        the answers alone.
    """
    positive = [row for row in rows if row.positive]
    errors = np.array([row.score_px for row in positive])
    known = np.array([row.tol_px for row in positive])
    answered = errors[np.isfinite(errors)]
    return {
        "n": len(errors),
        "within": {f"{px:g}": recall(errors, np.maximum(px, known)) for px in WITHIN_PX},
        "auc": {f"{px:g}": auc(errors, px) for px in AUC_PX},
        "median_error_px": float(np.median(answered)) if len(answered) else None,
    }


def false_accept_rate(rows: Sequence[Result]) -> dict[str, Any]:
    """Returns how often an answer that was called ``ok`` is wrong, over all cases.

    Returns:
        ``{"count", "share", "positive", "unrelated", "n_unrelated", "cases"}``.
    """
    false = [row for row in rows if row.false_accept]
    return {
        "count": len(false),
        "share": len(false) / len(rows) if rows else None,
        "positive": sum(row.positive for row in false),
        "unrelated": sum(not row.positive for row in false),
        "n_unrelated": sum(not row.positive for row in rows),
        "cases": [row.case for row in false],
    }


def calibration(rows: Sequence[Result]) -> dict[str, Any]:
    """Returns how often stated intervals of the shift contain the truth, over the ``ok`` rows.

    Returns:
        ``{"rows", "intervals", "stated", "observed", "both_axes", "levels"}``: an interval is one
        axis of one row; ``levels`` rescales the stated interval as a normal distribution would.
    """
    stated = [row.shift_errors for row in rows if row.status == "ok" and row.positive]
    stated = [axes for axes in stated if axes]
    axes = [axis for row in stated for axis in row]
    errors, halves = (np.array([axis[i] for axis in axes]) for i in range(2))
    observed = observed_coverage(errors, halves)
    return {
        "rows": len(stated),
        "intervals": len(axes),
        "stated": STATED,
        "observed": float((np.abs(errors) <= halves).mean()) if axes else None,
        "both_axes": float(np.mean([all(abs(e) <= h for e, h in row) for row in stated]))
        if stated
        else None,
        "median_half_width_px": float(np.median(halves)) if axes else None,
        "levels": [
            {"stated": level, "observed": share}
            for level, share in zip(LEVELS, observed, strict=True)
        ],
    }


def costs(rows: Sequence[Result]) -> dict[str, Any]:
    """Returns time and memory.

    Returns:
        ``{"seconds": {"median", "p95"}, "peak_mb"}``.
    """
    seconds = [row.seconds for row in rows if np.isfinite(row.seconds)]
    memory = [row.peak_mb for row in rows if np.isfinite(row.peak_mb)]
    return {
        "seconds": {
            "median": float(np.median(seconds)) if seconds else None,
            "p95": float(np.percentile(seconds, 95)) if seconds else None,
        },
        "peak_mb": max(memory) if memory else None,
    }


def _matcher(rows: Sequence[Result], keypoints: Sequence[DetectorResult]) -> dict[str, Any]:
    return {
        "n": len(rows),
        "status": {status: sum(row.status == status for row in rows) for status in OUTCOMES},
        **_breakdown(rows, _group),
        "false_accepts": false_accept_rate(rows),
        "calibration": calibration(rows),
        **costs(rows),
        "stages": _stages(rows),
        "detectors": _detectors(keypoints),
        "errors": [{"case": r.case, "error": r.error} for r in rows if r.status == "error"],
    }


def _group(rows: Sequence[Result]) -> dict[str, Any]:
    """Returns the figures of a group: scores, refusals, false accepts and the median time."""
    false = sum(row.false_accept for row in rows)
    return {
        **scores(rows),
        "ok": sum(row.status == "ok" for row in rows),
        "false_accepts": false,
        "median_seconds": costs(rows)["seconds"]["median"],
    }


def _breakdown(
    rows: Sequence[Result], figures: Callable[[Sequence[Result]], dict[str, Any]]
) -> dict[str, Any]:
    """Returns the figures of all rows and of each group, condition, source, variant and tag."""
    positive = [row for row in rows if row.positive]

    def split(items: Sequence[Result], key: Callable[[Result], str | None]) -> dict[str, Any]:
        values = [value for value in dict.fromkeys(map(key, items)) if value]
        return {value: figures([r for r in items if key(r) == value]) for value in values}

    conditions = split(positive, condition)
    groups = {title: [r for r in rows if holds(r)] for title, holds in GROUPS.items()}
    return {
        "overall": figures(rows),
        "groups": {title: figures(part) for title, part in groups.items() if part},
        "robustness": {name: conditions[name] for name in CONDITIONS if name in conditions},
        "by_source": split(positive, lambda row: row.source),
        "by_variant": split(rows, lambda row: row.variant),
        "by_tag": split(positive, lambda row: row.tag and f"{row.source}: {row.tag}"),
    }


def _oracle(by_matcher: dict[str, list[Result]]) -> list[Result]:
    """Returns the best answer that any matcher gave to each positive case."""
    together = zip(*by_matcher.values(), strict=True)
    best = [min(rows, key=lambda row: row.score_px) for rows in together]
    return [row for row in best if row.positive]


def _never_right(by_matcher: dict[str, list[Result]]) -> list[dict[str, str]]:
    """Returns the positive cases on which no matcher came within the widest threshold."""
    hopeless = []
    for rows in zip(*by_matcher.values(), strict=True):
        if rows[0].positive and min(row.score_px for row in rows) > WITHIN_PX[-1]:
            one = rows[0]
            hopeless.append(
                {
                    "case": one.case,
                    "source": one.source,
                    "variant": one.variant,
                    "tag": one.tag,
                    "said": ", ".join(f"{row.matcher} {row.status}" for row in rows),
                }
            )
    return hopeless


def _stages(rows: Sequence[Result]) -> dict[str, Any]:
    """Returns the counts of each stage of a cascade, and the time of pairs that end there."""
    ran = [row for row in rows if row.status != "error"]
    stages = [stage for stage in dict.fromkeys(row.found_by for row in ran) if stage]
    parts = {stage: [row for row in ran if row.found_by == stage] for stage in stages}
    return {
        stage: {
            "n": len(part),
            "ok": sum(row.status == "ok" for row in part),
            "false_accepts": sum(row.false_accept for row in part),
            **costs([row for row in part if row.status == "ok"])["seconds"],
        }
        for stage, part in parts.items()
    }


def _detectors(rows: Sequence[DetectorResult]) -> dict[str, Any] | None:
    if not rows:
        return None

    def means(part: Sequence[DetectorResult]) -> dict[str, Any]:
        figures: dict[str, Any] = {"n": len(part)}
        for name in (*MEASURES, "n_ref", "n_tgt", "n_matches"):
            values = [v for row in part if np.isfinite(v := float(getattr(row, name)))]
            figures[name] = float(np.mean(values)) if values else None
        return figures

    sources = dict.fromkeys(row.source for row in rows)
    return {
        "overall": means(rows),
        "by_source": {s: means([row for row in rows if row.source == s]) for s in sources},
    }
