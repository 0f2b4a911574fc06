"""What to correlate: directions, gradients or intensities (training places only).

    python -m experiments.auto.make_cases --data ../shared/data -o /tmp/imatch-tuning
    python -m experiments.auto.ablate /tmp/imatch-tuning/tuning_cases.csv --data ../shared/data

Every second ``near`` case starts 0.8 px off the truth and is pulled tight at full resolution, as
`imatch.geometry.alignment.fine_alignment` does it, with one thing changed at a time.
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from experiments.auto.fit_evidence import load
from imatch.core.types import Rendered
from imatch.geometry.alignment import orientation
from imatch.geometry.alignment.fine_alignment import AGREES
from imatch.geometry.alignment.orientation import orientation_field, warp_image
from imatch.geometry.alignment.refine import CorrelationWindows, measure
from imatch.geometry.fit import residuals, reweighted
from imatch.geometry.robust import search
from imatch.geometry.transform import ModelKind, apply_matrix

Field = Callable[[Rendered], NDArray[np.complex64]]


def softened(soft: float) -> Field:
    """Doubled directions with another weight for faint edges."""

    def field(image: Rendered) -> NDArray[np.complex64]:
        usual, orientation._SOFT = orientation._SOFT, soft
        try:
            return orientation_field(image)
        finally:
            orientation._SOFT = usual

    return field


def signed(image: Rendered) -> NDArray[np.complex64]:
    """Plain gradient directions, summed over the bands: an edge and its opposite differ."""
    total = np.zeros(image.valid.shape, dtype=np.complex64)
    for plane in image.pixels:
        smooth = cv2.GaussianBlur(plane, (0, 0), 1.0)
        total += cv2.Scharr(smooth, cv2.CV_32F, 1, 0) + 1j * cv2.Scharr(smooth, cv2.CV_32F, 0, 1)
    size = np.abs(total)
    inner = cv2.erode(image.valid.astype(np.uint8), np.ones((5, 5), np.uint8), borderValue=1) > 0
    field = total / np.maximum(size + float(np.median(size[inner])), 1e-12)
    return np.asarray(np.where(inner, field, 0), dtype=np.complex64)


def intensity(image: Rendered) -> NDArray[np.complex64]:
    """Locally normalised brightness, as a normalised cross-correlation sees it."""
    grey = image.pixels.mean(axis=0)
    flat = cv2.GaussianBlur(grey, (0, 0), 1.0) - cv2.GaussianBlur(grey, (0, 0), 16)
    spread = np.sqrt(cv2.GaussianBlur(flat**2, (0, 0), 16)) + 1e-3
    return np.asarray(np.where(image.valid, flat / spread, 0), dtype=np.complex64)


VARIANTS: dict[str, tuple[Field, CorrelationWindows, ModelKind]] = {
    "as shipped": (orientation_field, CorrelationWindows(), "similarity"),
    "faint edges weigh more (1)": (softened(1.0), CorrelationWindows(), "similarity"),
    "gradient at 2 px": (
        lambda image: orientation_field(image, 2.0),
        CorrelationWindows(),
        "similarity",
    ),
    "signed directions": (signed, CorrelationWindows(), "similarity"),
    "intensity": (intensity, CorrelationWindows(), "similarity"),
    "windows of 32 px": (orientation_field, CorrelationWindows(side=32), "similarity"),
    "windows of 96 px": (orientation_field, CorrelationWindows(side=96), "similarity"),
    "80 windows": (orientation_field, CorrelationWindows(count=80), "similarity"),
    "affine": (orientation_field, CorrelationWindows(), "affine"),
    "homography": (orientation_field, CorrelationWindows(), "homography"),
}


def pulled_tight(
    ref: Rendered, tgt: Rendered, start: NDArray[np.float64], variant: str
) -> tuple[NDArray[np.float64], float]:
    """The transform after three rounds, and the share of windows that agree with it."""
    field, windows, kind = VARIANTS[variant]
    current, first, agree = start, field(ref), 0.0
    for turn in range(3):
        warped = warp_image(tgt, current, ref.size)
        moved = measure(first, field(warped), ref.valid & warped.valid, windows)
        usable = np.isfinite(moved.shift).all(axis=1)
        ref_xy = moved.centre[usable]
        tgt_xy = apply_matrix(current, ref_xy + moved.shift[usable])
        begin = search(kind, ref_xy, tgt_xy, 2.0) if turn == 0 else current
        if begin is None:
            return current, 0.0
        current = reweighted(kind, ref_xy, tgt_xy, begin, 2.0)
        agree = float((residuals(current, ref_xy, tgt_xy) < AGREES).sum() / max(len(moved), 1))
    return current, agree


def main() -> None:
    """Print one row a variant."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("cases", type=Path)
    parser.add_argument("--data", type=Path, required=True)
    args = parser.parse_args()
    with args.cases.open() as file:
        cases = [
            c for c in csv.DictReader(file) if c["variant"] == "near" and c["source"] != "bmng"
        ]
    errors: dict[str, list[float]] = {name: [] for name in VARIANTS}
    agrees: dict[str, list[float]] = {name: [] for name in VARIANTS}
    for case in cases[::2]:
        ref, tgt, truth = load(case, args.data)
        width, height = ref.size
        corners = np.array([[0, 0], [width - 1, 0], [width - 1, height - 1], [0, height - 1]])
        start = truth + np.array([[0, 0, 0.6], [0, 0, -0.5], [0, 0, 0]])
        for name in VARIANTS:
            matrix, agree = pulled_tight(ref, tgt, start, name)
            gap = apply_matrix(matrix, corners) - apply_matrix(truth, corners)
            errors[name].append(float(np.hypot(*gap.T).mean()))
            agrees[name].append(agree)
    print(f"{len(cases[::2])} pairs\n")
    print("| variant | median error, px | within 0.3 px | 0.5 px | 1 px | windows that agree |")
    print("|---|---:|---:|---:|---:|---:|")
    for name in VARIANTS:
        e = np.array(errors[name])
        shares = " | ".join(f"{(e < limit).mean():.0%}" for limit in (0.3, 0.5, 1.0))
        print(f"| {name} | {np.median(e):.2f} | {shares} | {np.median(agrees[name]):.0%} |")


if __name__ == "__main__":
    main()
