"""Procedural pairs whose truth is known exactly, as a table of cases."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from imatch.benchmark.cases import Case, write_cases
from imatch.benchmark.results import Result

SIDE = 224


def landscape(seed: int) -> NDArray[np.uint8]:
    """(SIDE, SIDE) fields, paths and texture."""
    rng = np.random.default_rng(seed)
    image = np.zeros((SIDE, SIDE), dtype=np.float32)
    for step in (4, 8, 16, 32):
        cells = rng.random((-(-SIDE // step), -(-SIDE // step))).astype(np.float32)
        image += cv2.resize(cells, (SIDE, SIDE), interpolation=cv2.INTER_NEAREST)
    return np.asarray(cv2.GaussianBlur(image * 60, (0, 0), 0.8), dtype=np.uint8)


def similarity(degrees: float, scale: float, dx: float, dy: float) -> NDArray[np.float64]:
    """(3, 3) about the image's centre."""
    a, b = scale * np.cos(np.radians(degrees)), scale * np.sin(np.radians(degrees))
    c = (SIDE - 1) / 2
    return np.array([[a, -b, c - a * c + b * c + dx], [b, a, c - b * c - a * c + dy], [0, 0, 1]])


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """Three places matched with themselves under a warp, and one pair of two places."""
    root = tmp_path / "images"
    root.mkdir()
    for seed in range(3):
        cv2.imwrite(str(root / f"{seed}.png"), landscape(seed))
    warps = [similarity(0, 1, 5.5, -3), similarity(1.5, 1.01, -4, 6), similarity(20, 0.9, 8, 2)]
    cases = [
        Case(
            f"c{i}",
            "made",
            "near" if i < 2 else "free",
            "clear/clear" if i else "snow/clear",
            f"{i}.png",
            f"{i}.png",
            warp,
            warp,
        )
        for i, warp in enumerate(warps)
    ]
    cases.append(Case("c3", "made", "unrelated", "made/made", "0.png", "1.png", np.eye(3), None))
    write_cases(root / "cases.csv", cases)
    return root / "cases.csv"


@pytest.fixture
def result() -> Callable[..., Result]:
    """A row of results; an error given is that of an accepted answer."""

    def make(
        case: str = "a",
        matcher: str = "m",
        error: float | None = None,
        *,
        status: str | None = None,
        variant: str = "near",
        source: str = "made",
        tag: str = "clear/clear",
        interval: tuple[float, float] | None = None,
        seconds: float = 1.0,
    ) -> Result:
        """`interval` is (error, half-width) of the shift, the same in both axes."""
        off, half = interval or (float("nan"), float("nan"))
        return Result(
            case,
            source,
            variant,
            tag,
            matcher,
            status or ("failed" if error is None else "ok"),
            corner_error_px=float("nan") if error is None else error,
            seconds=seconds,
            peak_mb=100.0,
            shift_x_px=off,
            shift_y_px=off,
            true_shift_x_px=0.0,
            true_shift_y_px=0.0,
            ci95_x_px=half,
            ci95_y_px=half,
        )

    return make
