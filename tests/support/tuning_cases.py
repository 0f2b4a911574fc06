"""Tuning cases from the training split, in the columns of the benchmark.

Variants: ``near`` and ``free`` as in the benchmark, ``turned`` (any rotation), ``relief`` (any
rotation and size, and ground that leans with its height, as seen from two sides), ``unrelated``.
Blue Marble crops add real snow and real seasons over many landscapes.
"""

from __future__ import annotations

import csv
from pathlib import Path

import cv2
import numpy as np
import rasterio
from numpy.typing import NDArray

# Below this phase-correlation peak the measured residual between two dates is unknown.
_TRUSTED_RESPONSE = 0.05
_WARP = [f"w{i}{j}" for i in range(3) for j in range(3)]
_TRUTH = [f"h{i}{j}" for i in range(3) for j in range(3)]


def warp(variant: str, width: int, height: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """(3, 3) warp about the image centre, as two products of that variant differ."""
    limits = {
        "near": (2, 0.02, 12 / width),
        "free": (30, 0.2, 0.1),
        "turned": (180, 0.1, 0.05),
        "relief": (180, 0.5, 0.05),
    }
    turn, zoom, shift = limits[variant]
    angle = np.radians(rng.uniform(-turn, turn))
    scale = float(np.exp(rng.uniform(-1, 1) * np.log1p(zoom)))
    a, b = scale * np.cos(angle), scale * np.sin(angle)
    x, y = (width - 1) / 2, (height - 1) / 2
    dx, dy = rng.uniform(-shift, shift, 2) * width
    return np.array([[a, -b, x - a * x + b * y + dx], [b, a, y - b * x - a * y + dy], [0, 0, 1]])


def lean(
    pixels: NDArray[np.uint8], amplitude: float, rng: np.random.Generator
) -> NDArray[np.uint8]:
    """(C, H, W) pixels displaced along one direction with a made-up height.

    The height is rolling ground with some blocks standing on it; half of the ground lies where the
    plain transform puts it, the highest up to `amplitude` pixels away.
    """
    height, width = pixels.shape[1:]
    noise = rng.standard_normal((2, height, width)).astype(np.float32)
    hills = cv2.GaussianBlur(noise[0], (0, 0), max(height, width) / 10)
    blocks = cv2.GaussianBlur(noise[1], (0, 0), max(height, width) / 40)
    rise = hills / np.abs(hills).max() + 0.5 * (blocks > 1.5 * blocks.std())
    rise -= np.median(rise)
    rise *= amplitude / np.abs(rise).max()
    angle = rng.uniform(0, 2 * np.pi)
    y, x = np.mgrid[:height, :width].astype(np.float32)
    x, y = (at + s * rise for at, s in ((x, np.cos(angle)), (y, np.sin(angle))))
    x, y = x.astype(np.float32), y.astype(np.float32)
    planes = [cv2.remap(p, x, y, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT) for p in pixels]
    return np.stack(planes)


def read(path: Path) -> NDArray[np.uint8]:
    """(H, W, C) pixels of an image.

    Raises:
        SystemExit: It cannot be read.
    """
    image = cv2.imread(str(path))
    if image is None:
        raise SystemExit(f"{path}: cannot be read; is --data right?")
    return np.asarray(image, dtype=np.uint8)


def training_pairs(data: Path, count: int, rng: np.random.Generator) -> list[dict[str, str]]:
    """Pairs whose residual is known, `count` of OMBRIA and a share of each other source."""
    with (data / "train_pairs.csv").open() as file:
        rows = [r for r in csv.DictReader(file) if float(r["phase_response"]) >= _TRUSTED_RESPONSE]
    limits = {"ombria": count, "ua_overview": count // 5, "bouconne": count // 9}
    chosen = []
    for source, limit in limits.items():
        pool = [r for r in rows if r["source"] == source]
        chosen += [pool[i] for i in sorted(rng.permutation(len(pool))[:limit])]
    return chosen


def blue_marble(
    data: Path, out: Path, count: int, rng: np.random.Generator
) -> list[dict[str, str]]:
    """Land crops of two months each, written to `out`."""
    months = sorted((data / "train" / "bmng").glob("*.[jpw][pne]*g*"))
    images = {month: read(month) for month in months}
    pairs: list[dict[str, str]] = []
    while len(pairs) < count:
        first, second = (months[i] for i in rng.permutation(len(months))[:2])
        image = images[first]
        size = int(rng.choice([256, 384]))
        y, x = (
            rng.integers(300, image.shape[0] - size - 500),
            rng.integers(0, image.shape[1] - size),
        )
        window = np.s_[y : y + size, x : x + size]
        if np.ptp(image[window]) < 40:
            continue
        # Open sea is one flat blue; a crop wants land over most of it.
        if np.median(np.abs(cv2.Laplacian(image[window], cv2.CV_32F))) < 3:
            continue
        names = []
        for month in (first, second):
            name = out / f"bmng_{len(pairs):02d}_{month.stem}.png"
            cv2.imwrite(str(name), images[month][window])
            names.append(str(name))
        pairs.append(
            {
                "source": "bmng",
                "ref": names[0],
                "tgt": names[1],
                "dx": "0",
                "dy": "0",
                "tag": "bmng",
            }
        )
    return pairs


def write_tuning_cases(data: Path, out: Path, count: int, seed: int) -> int:
    """Write ``tuning_cases.csv`` and the crops it needs.

    Args:
        data: Folder of the real images.
        out: Folder to write to.
        count: OMBRIA pairs; others in proportion.
        seed: Of everything random.

    Returns:
        How many cases there are.
    """
    rng = np.random.default_rng(seed)
    out.mkdir(parents=True, exist_ok=True)
    pairs = training_pairs(data, count, rng)
    pairs += blue_marble(data, out.resolve(), count // 4, rng)
    rows: list[dict[str, object]] = []
    for index, pair in enumerate(pairs):
        with rasterio.open(data / pair["tgt"]) as file:
            width, height = file.width, file.height
        residual = np.array([[1, 0, float(pair["dx"])], [0, 1, float(pair["dy"])], [0, 0, 1]])
        for variant in ("near", "free", "turned", "relief"):
            if variant == "turned" and index % 3:
                continue
            relief: dict[str, object] = {"relief_px": "", "relief_seed": ""}
            if variant == "relief":
                relief = {"relief_px": round(rng.uniform(2, 20), 1), "relief_seed": len(rows)}
            matrix = warp(variant, width, height, rng)
            rows.append(
                {k: pair[k] for k in ("source", "tag", "ref", "tgt")}
                | {"variant": variant}
                | relief
                | dict(zip(_WARP, matrix.ravel(), strict=True))
                | dict(zip(_TRUTH, (matrix @ residual).ravel(), strict=True))
            )
    nowhere = dict.fromkeys(_TRUTH, float("nan")) | dict(zip(_WARP, np.eye(3).ravel(), strict=True))
    while sum(r["variant"] == "unrelated" for r in rows) < 2 * count:
        first, second = (pairs[i] for i in rng.permutation(len(pairs))[:2])
        same = first["source"] == second["source"] in ("ua_overview", "bouconne")
        if (
            same
            or Path(first["ref"]).name.split("_")[:2] == Path(second["tgt"]).name.split("_")[:2]
        ):
            continue
        tag = f"{first['source']}/{second['source']}"
        rows.append(
            {"source": first["source"], "tag": tag, "ref": first["ref"], "tgt": second["tgt"]}
            | {"variant": "unrelated"}
            | nowhere
        )
    columns = ["case", "source", "variant", "tag", "ref", "tgt", *_WARP, *_TRUTH]
    columns += ["relief_px", "relief_seed"]
    with (out / "tuning_cases.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows({"case": f"train{i:04d}"} | row for i, row in enumerate(rows))
    return len(rows)
