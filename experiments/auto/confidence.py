r"""How far to believe `auto`: the odds of an alignment, learnt, and its stated intervals, checked.

    python -m experiments.auto.confidence cases --data ../shared/data -o /tmp/imatch-tuning
    python -m experiments.auto.confidence fit /tmp/imatch-tuning/tuning_cases.csv \
        --data ../shared/data
    python -m experiments.auto.confidence intervals -o calibration.json --limit 60 --seed 1 --jobs 2

``fit`` learns when to believe an alignment (`imatch.geometry.acceptance`), on training places only
(`tests.support.tuning_cases`). It writes ``alignments.csv`` beside the cases (a row per hypothesis;
a second run goes on where the first stopped) and prints the weights and what they separate.

``intervals`` counts how many stated 95 % intervals hold the truth: procedural landscapes are seen
twice through warps that are known exactly (`tests.support.landscape_pair`), so that an error is one
of the registration alone.
"""

from __future__ import annotations

import argparse
import csv
import json
import multiprocessing
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from functools import lru_cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import rasterio
from numpy.typing import NDArray
from scipy.optimize import minimize

from imatch.bench.environment import environment
from imatch.core.io.files import atomic_path
from imatch.core.types import Rendered
from imatch.geometry.alignment.coarse_search import ANY, FREE, NEAR, WIDE, coarse_search
from imatch.geometry.alignment.fine_alignment import Aligner
from imatch.geometry.transform import apply_matrix
from imatch.pipeline.pair.config import make_config
from imatch.pipeline.pair.registrar import Registrar, load_registrar
from imatch.raster import array_source, render
from tests.support.landscape_pair import make_pair
from tests.support.tuning_cases import lean, write_tuning_cases

Row = dict[str, str | float]
FEATURES = ("agree", "strength", "independent")
_RECORDED = (*FEATURES, "explained")
_STAGES = {"near": (NEAR, 2), "free": (FREE, 3), "any": (ANY, 4), "wide": (WIDE, 4)}
# What products with these differences need not be asked.
_PLAIN = {"near": ("any", "wide"), "free": ("any", "wide"), "turned": ("wide",)}


def load(case: dict[str, str], data: Path) -> tuple[Rendered, Rendered, NDArray[np.float64]]:
    """Reference, presented target and truth of one case."""
    warp, truth = (
        np.array([float(case[f"{k}{i}{j}"]) for i in range(3) for j in range(3)]).reshape(3, 3)
        for k in "wh"
    )
    sides = []
    for name in ("ref", "tgt"):
        with rasterio.open(data / case[name]) as file:
            pixels = file.read()
        valid = np.ones(pixels.shape[1:], dtype=bool)
        if name == "tgt":
            if case.get("relief_px"):
                amplitude, seed = float(case["relief_px"]), int(case["relief_seed"])
                pixels = lean(pixels, amplitude, np.random.default_rng(seed))
            size = pixels.shape[2], pixels.shape[1]
            planes = [cv2.warpPerspective(p, warp, size, flags=cv2.INTER_CUBIC) for p in pixels]
            pixels = np.stack(planes)
            valid = cv2.warpPerspective(valid.astype(np.uint8), warp, size) > 0
        image = array_source(pixels, valid=valid).read()
        sides.append(render(image, 3 if len(pixels) >= 3 else 1))
    return sides[0], sides[1], truth


def alignments(job: tuple[dict[str, str], Path]) -> list[Row]:
    """What every stage proposes for a case, pulled tight, with its distance from the truth."""
    cv2.setNumThreads(1)
    case, data = job
    ref, tgt, truth = load(case, data)
    width, height = ref.size
    corners = np.array([[0, 0], [width - 1, 0], [width - 1, height - 1], [0, height - 1]])
    aligner = Aligner(ref, tgt)
    rows: list[Row] = []
    for stage, (grid, keep) in _STAGES.items():
        if stage in _PLAIN.get(case["variant"], ()):
            continue
        for hypothesis in coarse_search(ref, tgt, grid, keep):
            found = aligner.align(hypothesis.matrix)
            if found is None:
                continue
            error = float("nan")
            if np.isfinite(truth).all():
                gap = apply_matrix(found.matrix, corners) - apply_matrix(truth, corners)
                error = float(np.hypot(*gap.T).mean())
            rows.append(
                {
                    **{k: case[k] for k in ("case", "source", "variant", "tag")},
                    "stage": stage,
                    "score": hypothesis.score,
                    **{k: float(getattr(found, k)) for k in _RECORDED},
                    "error": error,
                }
            )
    # A case without any alignment is done, too.
    return rows or [{"case": case["case"], "stage": "none"}]


def weigh(rows: list[dict[str, str]]) -> None:
    """Weigh the features and say what the weights separate."""
    usable, label = [], []
    for row in rows:
        if row["stage"] == "none":
            continue
        error = float(row["error"])
        if row["variant"] == "unrelated" or error > 10:
            label.append(-1.0)
        elif error < 3:
            label.append(1.0)
        else:
            continue
        usable.append(row)
    y = np.array(label)
    x = np.log(np.maximum([[float(r[k]) for k in FEATURES] for r in usable], 1e-3))
    design = np.column_stack([x, np.ones(len(x))])
    # Both classes count alike, so the odds are those of an even prior.
    weight = np.where(y > 0, 1 / (y > 0).sum(), 1 / (y < 0).sum())

    def loss(beta: NDArray[np.float64]) -> float:
        fitted = (weight * np.logaddexp(0, -y * (design @ beta))).sum()
        return float(fitted + 1e-4 * (beta[:-1] ** 2).sum())

    beta = minimize(loss, np.zeros(design.shape[1])).x
    odds = design @ beta
    print(dict(zip((*FEATURES, "offset"), np.round(beta, 3).tolist(), strict=True)))
    order = np.argsort(odds)
    print("highest wrong:")
    for i in [i for i in order[::-1] if y[i] < 0][:10]:
        print(f"  {odds[i]:6.2f}", {k: usable[i][k] for k in ("case", "variant", "stage", "error")})
    print("lowest right:")
    for i in [i for i in order if y[i] > 0][:10]:
        print(f"  {odds[i]:6.2f}", {k: usable[i][k] for k in ("case", "variant", "stage", "error")})
    for limit in np.arange(-1, 6.5, 0.5):
        wrong, right = (odds[y < 0] >= limit).sum(), (odds[y > 0] >= limit).mean()
        print(f"  at {limit:4.1f}: {wrong} of {(y < 0).sum()} wrong pass, {right:.1%} of right")


_GROUPS = ("model", "variant", "found_by", "side", "difficulty")


@lru_cache(maxsize=1)
def _registrar(name: str) -> Registrar:
    return load_registrar(make_config(matcher=name))


def measure(task: tuple[int, str]) -> dict[str, Any]:
    """Register one pair; what was stated and what is true, in target pixels."""
    seed, matcher = task
    ref, tgt, truth, row = make_pair(seed)
    registrar = _registrar(matcher)
    if registrar.channels == 1:
        weights = np.array([0.299, 0.587, 0.114], np.float32)[:, None, None]
        ref = Rendered((weights * ref.pixels).sum(axis=0, keepdims=True), ref.valid)
        tgt = Rendered((weights * tgt.pixels).sum(axis=0, keepdims=True), tgt.valid)
    started = time.perf_counter()
    found = registrar.solve(ref, tgt)
    row |= {
        "status": found.status,
        "seconds": time.perf_counter() - started,
        "found_by": found.found_by,
    }
    if found.transform is None:
        return row
    width, height = ref.size
    corners = np.array([[0, 0], [width - 1, 0], [width - 1, height - 1], [0, height - 1]])
    at = np.vstack([found.centre, corners])
    error = found.transform.apply(at) - apply_matrix(truth, at)
    lengths = np.hypot(*error[1:].T)
    return row | {
        "model": found.transform.kind,
        "error": error[0].tolist(),
        "ci95": list(found.ci95),
        "corner_error_mean": float(lengths.mean()),
        "corner_error_max": float(lengths.max()),
        "corner_ci95": found.corner_ci95,
        "rmse": found.rmse,
        "coverage": found.coverage,
        "evidence": found.evidence,
        "inliers": int(found.inlier.sum()),
    }


def summarise(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Shares and ratios over the pairs that were called ``ok``."""
    statuses = {s: sum(r["status"] == s for r in rows) for s in ("ok", "uncertain", "failed")}
    ok = [r for r in rows if r["status"] == "ok"]
    summary: dict[str, Any] = {"pairs": len(rows), "statuses": statuses}
    if not ok:
        return summary
    corner = np.array([r["corner_error_mean"] for r in ok])
    summary["ok_within_px"] = {str(k): float((corner < k).mean()) for k in (0.1, 0.3, 1, 3)}
    summary["median_corner_error_px"] = float(np.median(corner))
    summary["median_seconds"] = float(np.median([r["seconds"] for r in rows]))
    # A pair that is simply wrong is a false accept, which no interval can mend; it counts anyway.
    error = np.abs(np.array([r["error"] for r in ok]))
    ci95 = np.array([r["ci95"] for r in ok])
    far = np.array([r["corner_error_max"] for r in ok])
    bound = np.array([r["corner_ci95"] for r in ok])
    summary["centre"] = _calibration(error.ravel(), ci95.ravel())
    summary["corner"] = _calibration(far, bound)
    signed = np.array([r["error"] for r in ok if r["corner_error_max"] < 3])
    summary["centre"]["bias_xy_px"] = np.median(signed, axis=0).tolist()
    for r in ok:
        r["side"] = "up to 400 px" if min(r["size"]) <= 400 else "over 400 px"
        r["difficulty"] = ("easy", "middling", "hard")[min(int(3 * r["hard"]), 2)]
    for key in _GROUPS:
        groups = sorted({r[key] for r in ok})
        pick = {g: np.array([r[key] == g for r in ok]) for g in groups}
        summary[f"held_by_{key}"] = {
            g: {
                "pairs": int(p.sum()),
                "centre": float((error[p] <= ci95[p]).mean()),
                "corner": float((far[p] <= bound[p]).mean()),
            }
            for g, p in pick.items()
        }
    return summary


def _calibration(error: NDArray[np.float64], stated: NDArray[np.float64]) -> dict[str, Any]:
    """How often 95 % half-widths hold the error, and what would make it 95 %."""
    low, high = 0.0, 10.0
    for _ in range(40):
        middle = (low + high) / 2
        enough = (error <= np.hypot(stated, middle)).mean() >= 0.95
        low, high = (low, middle) if enough else (middle, high)
    return {
        "contained": float((error <= stated).mean()),
        "median_stated_px": float(np.median(stated)),
        "median_error_px": float(np.median(error)),
        # 1 when honest: for a normal error half the errors lie within 0.344 of the half-width.
        "median_error_over_stated": float(np.median(error / stated)),
        "spread_ratio": float(0.344 / np.median(error / stated)),
        "factor_for_95": float(np.quantile(error / stated, 0.95)),
        "floor_for_95_px": high,
    }


def print_table(summary: dict[str, Any]) -> None:
    """The summary for people."""
    print(f"{summary['pairs']} pairs: {summary['statuses']}")
    if "centre" not in summary:
        return
    within = ", ".join(f"{k} px {v:.0%}" for k, v in summary["ok_within_px"].items())
    print(f"ok within (mean corner error): {within}; median {summary['median_seconds']:.2f} s")
    print(
        f"{'':8}{'held':>7}{'stated':>9}{'error':>9}{'stated/true':>13}{'x for 95':>10}{'floor':>8}"
    )
    for name in ("centre", "corner"):
        c = summary[name]
        print(
            f"{name:8}{c['contained']:7.1%}{c['median_stated_px']:9.3f}{c['median_error_px']:9.3f}"
            f"{c['spread_ratio']:13.2f}{c['factor_for_95']:10.2f}{c['floor_for_95_px']:8.3f}"
        )
    x, y = summary["centre"]["bias_xy_px"]
    print(f"bias {x:+.4f} {y:+.4f} px")
    for key in _GROUPS:
        for group, held in summary[f"held_by_{key}"].items():
            print(
                f"{key:11}{group:14}{held['pairs']:4} pairs: "
                f"centre {held['centre']:6.1%}, corner {held['corner']:6.1%}"
            )


def cases(asked: argparse.Namespace) -> None:
    """Make the tuning cases."""
    count = write_tuning_cases(asked.data, asked.out, asked.count, asked.seed)
    print(f"{count} cases in {asked.out / 'tuning_cases.csv'}")


def fit(asked: argparse.Namespace) -> None:
    """Make the table of alignments where it is not complete, then weigh them."""
    with asked.cases.open() as file:
        cases = list(csv.DictReader(file))
    table = asked.cases.parent / "alignments.csv"
    columns = ["case", "source", "variant", "tag", "stage", "score", *_RECORDED, "error"]
    if not table.exists():
        table.write_text(",".join(columns) + "\n")
    with table.open() as file:
        done = {row["case"] for row in csv.DictReader(file)}
    todo = [(case, asked.data) for case in cases if case["case"] not in done]
    with ProcessPoolExecutor(asked.jobs) as pool, table.open("a", newline="") as file:
        writer = csv.DictWriter(file, columns)
        for count, rows in enumerate(pool.map(alignments, todo), 1):
            writer.writerows(rows)
            file.flush()
            if count % 20 == 0:
                print(f"{count} of {len(todo)}", flush=True)
    with table.open() as file:
        weigh(list(csv.DictReader(file)))


def intervals(asked: argparse.Namespace) -> None:
    """Measure, print a table and write the record."""
    record = environment(" ".join(["python", *sys.argv]))
    tasks = [(1000 * asked.seed + i, asked.matcher) for i in range(asked.limit)]
    if asked.jobs > 1:
        with multiprocessing.get_context("spawn").Pool(asked.jobs) as pool:
            rows = pool.map(measure, tasks, chunksize=1)
    else:
        rows = [measure(task) for task in tasks]
    summary = summarise(rows)
    print_table(summary)
    with atomic_path(asked.out, overwrite=True) as path:
        path.write_text(json.dumps(record | {"summary": summary, "pairs": rows}, indent=1) + "\n")


def parser() -> argparse.ArgumentParser:
    """The command line."""
    described = (__doc__ or "").splitlines()[0]
    whole = argparse.ArgumentParser(prog="experiments.auto.confidence", description=described)
    parts = whole.add_subparsers(required=True)
    part = parts.add_parser("cases", help="make tuning cases from the training split")
    part.set_defaults(run=cases)
    part.add_argument("--data", type=Path, required=True)
    part.add_argument("-o", "--out", type=Path, required=True)
    part.add_argument("--count", type=int, default=60, help="OMBRIA pairs; others in proportion")
    part.add_argument("--seed", type=int, default=7)
    part = parts.add_parser("fit", help="learn the odds that an alignment is right")
    part.set_defaults(run=fit)
    part.add_argument("cases", type=Path)
    part.add_argument("--data", type=Path, required=True)
    part.add_argument("--jobs", type=int, default=2)
    part = parts.add_parser("intervals", help="count the stated intervals that hold the truth")
    part.set_defaults(run=intervals)
    part.add_argument("-o", "--out", type=Path, required=True, help="JSON file to write")
    part.add_argument("-m", "--matcher", default="auto")
    part.add_argument("--limit", type=int, default=150, help="number of pairs")
    part.add_argument("--seed", type=int, default=0, help="first landscape")
    part.add_argument("--jobs", type=int, default=1)
    return whole


if __name__ == "__main__":
    asked = parser().parse_args()
    asked.run(asked)
