"""Do stated confidence intervals hold the truth as often as they say?

Procedural landscapes (`imatch.datasets.synthetic.landscape`) are seen twice, in different seasons
and through random warps that are known exactly, and registered. An error is then an error of the
registration alone, and the share of 95 % intervals that hold the truth can be counted:

    python experiments/benchmarks/calibration.py -o calibration.json --limit 150 --jobs 2
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import sys
import time
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from affine import Affine
from numpy.typing import NDArray

from imatch.bench.environment import environment
from imatch.core.io.files import atomic_path
from imatch.core.types import Rendered
from imatch.datasets.synthetic.landscape import landscape
from imatch.datasets.synthetic.landscape_view import SEASONS, render_landscape
from imatch.geometry.estimate import EstimateOptions
from imatch.geometry.transform import apply_matrix
from imatch.pipeline.pair.config import make_config
from imatch.pipeline.pair.load import load_solver
from imatch.pipeline.pair.registrar import Registrar
from imatch.raster import GeoImage, render

# How far products of one place differ: degrees, scale, share of the side.
_VARIANTS = {"near": (2.0, 0.02, 0.03), "free": (30.0, 0.2, 0.1)}
_MARGIN = 1.3
_GROUPS = ("model", "variant", "found_by", "side", "difficulty")


def make_pair(seed: int) -> tuple[Rendered, Rendered, NDArray[np.float64], dict[str, Any]]:
    """Two views of a landscape, the exact (3, 3) matrix between them, and what they are."""
    rng = np.random.default_rng([seed, 77])
    size = int(rng.integers(256, 641)), int(rng.integers(256, 641))
    ground = landscape((round(_MARGIN * size[0]), round(_MARGIN * size[1])), seed)
    offset = [(big - side) / 2 for big, side in zip(ground.size, size, strict=True)]
    to_ref = np.array([[1, 0, -offset[0]], [0, 1, -offset[1]], [0, 0, 1.0]])
    variant = str(rng.choice(list(_VARIANTS)))
    turn, zoom, shift = _VARIANTS[variant]
    angle = np.radians(rng.uniform(-turn, turn))
    scale = float(np.exp(rng.uniform(-1, 1) * np.log1p(zoom)))
    a, b = scale * np.cos(angle), scale * np.sin(angle)
    x, y = (size[0] - 1) / 2, (size[1] - 1) / 2
    dx, dy = rng.uniform(-shift, shift, 2) * max(size)
    warp = np.array([[a, -b, x - a * x + b * y + dx], [b, a, y - b * x - a * y + dy], [0, 0, 1.0]])
    seasons = [str(s) for s in rng.permutation(SEASONS)[:2]]
    if rng.random() < 0.2:
        seasons[1] = seasons[0]
    hard = float(rng.uniform(0, 1))
    views, clouds = [], []
    for side, matrix in enumerate((to_ref, warp @ to_ref)):
        season = seasons[side]
        clouds.append(float(rng.uniform(0.05, 0.3 + 0.3 * hard) * (rng.random() < 0.3)))
        pixels, valid = render_landscape(
            ground,
            season,  # type: ignore[arg-type]
            matrix=matrix,
            size=size,
            year=int(rng.integers(0, 3)),
            noise=0.003 + 0.06 * hard**2,
            snow=float(rng.uniform(0.2, 1) * (season == "winter" and rng.random() < 0.5)),
            haze=float(rng.uniform(0, 0.3 + 0.4 * hard)),
            clouds=clouds[side],
            sun_azimuth=float(rng.uniform(110, 190)),
            seed=10 * seed + side,
        )
        image = GeoImage(pixels, valid, Affine.identity(), None, ("red", "green", "blue"))
        views.append(image)
    about = {
        "seed": seed,
        "variant": variant,
        "hard": hard,
        "size": size,
        "seasons": seasons,
        "clouds": clouds,
        "scale": scale,
        "turn_deg": float(np.degrees(angle)),
    }
    return render(views[0], 3), render(views[1], 3), warp, about


@lru_cache(maxsize=1)
def _solver(name: str) -> Registrar:
    return load_solver(make_config(matcher=name))


def measure(task: tuple[int, str]) -> dict[str, Any]:
    """Register one pair; what was stated and what is true, in target pixels."""
    seed, matcher = task
    ref, tgt, truth, row = make_pair(seed)
    solver = _solver(matcher)
    if solver.channels == 1:
        weights = np.array([0.299, 0.587, 0.114], np.float32)[:, None, None]
        ref = Rendered((weights * ref.pixels).sum(axis=0, keepdims=True), ref.valid)
        tgt = Rendered((weights * tgt.pixels).sum(axis=0, keepdims=True), tgt.valid)
    started = time.perf_counter()
    solution = solver.solve(ref, tgt, EstimateOptions())
    found = solution
    row |= {
        "status": found.status,
        "seconds": time.perf_counter() - started,
        "found_by": solution.found_by,
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


def main() -> None:
    """Measure, print a table and write the record."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("-o", "--out", type=Path, required=True, help="JSON file to write")
    parser.add_argument("-m", "--matcher", default="auto")
    parser.add_argument("--limit", type=int, default=150, help="number of pairs")
    parser.add_argument("--seed", type=int, default=0, help="first landscape")
    parser.add_argument("--jobs", type=int, default=1)
    args = parser.parse_args()
    record = environment(" ".join(["python", *sys.argv]))
    tasks = [(1000 * args.seed + i, args.matcher) for i in range(args.limit)]
    if args.jobs > 1:
        with multiprocessing.get_context("spawn").Pool(args.jobs) as pool:
            rows = pool.map(measure, tasks, chunksize=1)
    else:
        rows = [measure(task) for task in tasks]
    summary = summarise(rows)
    print_table(summary)
    with atomic_path(args.out, overwrite=True) as path:
        path.write_text(json.dumps(record | {"summary": summary, "pairs": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
