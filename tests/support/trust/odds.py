"""Fits the odds that an alignment is right to the alignments of training cases."""

from __future__ import annotations

import csv
from pathlib import Path

import cv2
import numpy as np
import rasterio
from numpy.typing import NDArray
from scipy.optimize import minimize

from imatch.core.pool import map_processes
from imatch.core.types import Rendered
from imatch.geometry.alignment.coarse_search import ANY, FREE, NEAR, WIDE, coarse_search
from imatch.geometry.alignment.fine_alignment import Aligner
from imatch.geometry.transform import apply_matrix
from imatch.raster import array_source, render
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


def learn(folder: Path, data: Path, count: int, seed: int, jobs: int) -> None:
    """Make the training cases and the table of their alignments where missing, and weigh them.

    Args:
        folder: Gets ``tuning_cases.csv`` with the crops it needs, and ``alignments.csv``, a row a
            hypothesis; a second run goes on where the first stopped.
        data: Folder of the real images.
        count: OMBRIA pairs; others in proportion.
        seed: Of the cases.
        jobs: Processes.
    """
    listed, table = folder / "tuning_cases.csv", folder / "alignments.csv"
    if not listed.exists():
        print(f"{write_tuning_cases(data, folder, count, seed)} cases in {listed}")
    with listed.open(newline="") as file:
        cases = list(csv.DictReader(file))
    columns = ["case", "source", "variant", "tag", "stage", "score", *_RECORDED, "error"]
    if not table.exists():
        table.write_text(",".join(columns) + "\n")
    with table.open(newline="") as file:
        done = {row["case"] for row in csv.DictReader(file)}
    todo = [(case, data) for case in cases if case["case"] not in done]
    with table.open("a", newline="") as file:
        writer = csv.DictWriter(file, columns)
        for number, rows in enumerate(map_processes(alignments, todo, jobs), 1):
            writer.writerows(rows)
            file.flush()
            if number % 20 == 0:
                print(f"{number} of {len(todo)}", flush=True)
    with table.open(newline="") as file:
        weigh(list(csv.DictReader(file)))
