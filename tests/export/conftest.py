"""Synthetic registrations: known geometry, textured images, every kind of outcome."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from typing import Any, TypeAlias

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from pyproj import Transformer

from imatch.export.coordinates import gis_xy
from imatch.geometry.transform import Transform
from imatch.pipeline.registration.result import ImageSummary, Preview, Registration, TiePoints

Make: TypeAlias = Callable[..., Registration]

UTM31 = (10.0, 0.0, 500_000.0, 0.0, -10.0, 4_800_000.0)


def texture(width: int, height: int, channels: int, seed: int) -> NDArray[np.uint8]:
    """Fields with straight borders, a river and grain: something to recognise."""
    rng = np.random.default_rng(seed)
    small = rng.random((max(2, height // 40), max(2, width // 40), channels), dtype=np.float32)
    fields = cv2.resize(small, (width, height), interpolation=cv2.INTER_NEAREST)
    fields = fields.reshape(height, width, channels)
    rows, columns = np.indices((height, width))
    river = np.abs(rows - height / 2 - height / 5 * np.sin(columns / width * 6)) < 5
    fields = np.where(river[..., None], 0.05, 0.25 + 0.5 * fields)
    grain = rng.normal(0, 0.05, fields.shape)
    return np.asarray(np.clip((fields + grain) * 255, 0, 255), dtype=np.uint8)


def similarity(degrees: float, scale: float, shift: tuple[float, float]) -> NDArray[np.float64]:
    angle = np.radians(degrees)
    cosine, sine = scale * np.cos(angle), scale * np.sin(angle)
    return np.array([[cosine, -sine, shift[0]], [sine, cosine, shift[1]], [0, 0, 1.0]])


def make_registration(
    *,
    geocoded: bool = True,
    target_crs: str = "EPSG:32631",
    status: str = "ok",
    n: int = 200,
    outliers: int = 30,
    size: tuple[int, int] = (400, 300),
    target_size: tuple[int, int] | None = None,
    channels: tuple[int, int] = (3, 3),
    matrix: NDArray[np.float64] | None = None,
    target_path: str | None = "b.tif",
    noise: float = 0.4,
    seed: int = 0,
) -> Registration:
    """A registration as the pipeline would return it, its working images in native pixels."""
    rng = np.random.default_rng(seed)
    width, height = size
    target_width, target_height = target_size or size
    matrix = similarity(0.3, 1.001, (6.4, -3.7)) if matrix is None else matrix
    transform = Transform("similarity", matrix)
    found = status != "failed"

    ref_xy = rng.uniform([5, 5], [width - 6, height - 6], (n, 2))
    tgt_xy = transform.apply(ref_xy) + rng.normal(0, noise, (n, 2))
    inlier = np.ones(n, dtype=bool)
    wrong = rng.permutation(n)[:outliers]
    tgt_xy[wrong] = rng.uniform(0, [target_width, target_height], (len(wrong), 2))
    inlier[wrong] = False
    inlier &= found
    residual = tgt_xy - transform.apply(ref_xy) if found else np.full((n, 2), np.nan)
    check = inlier & (rng.random(n) < 0.25)

    reference = ImageSummary(
        "scenes/reference_2018-08.tif",
        width,
        height,
        ("B4", "B3", "B2"),
        "EPSG:32631" if geocoded else None,
        UTM31 if geocoded else None,
        (10.0, 10.0) if geocoded else None,
    )
    target = ImageSummary(
        target_path,
        target_width,
        target_height,
        ("B4", "B3", "B2"),
        target_crs if geocoded else None,
        _target_transform(target_crs) if geocoded else None,
        (10.0, 10.0) if geocoded else None,
    )
    lengths = np.hypot(*residual[inlier].T)
    rmse = float(np.sqrt(np.mean(lengths**2))) if found and inlier.any() else None
    ce90 = float(np.percentile(lengths, 90)) if found and inlier.any() else None
    metres = 10.0 if geocoded else None

    def in_metres(value: float | None) -> float | None:
        return None if value is None or metres is None else value * metres

    ref_image = texture(width, height, 3, seed=7)
    tgt_image = cv2.warpPerspective(
        ref_image, matrix, (target_width, target_height), flags=cv2.INTER_LINEAR
    )
    tgt_valid = cv2.warpPerspective(
        np.ones((height, width), np.uint8),
        matrix,
        (target_width, target_height),
        flags=cv2.INTER_NEAREST,
    )
    dimmed = (tgt_image * 0.6 + 40).astype(np.uint8)
    return Registration(
        status=status,  # type: ignore[arg-type]
        reason={
            "ok": "170 tie points agree to within a pixel all over the overlap",
            "uncertain": "the tie points cover only 11 % of the overlap",
            "failed": "only 4 of 200 tie points agree on one transform, as many as chance would "
            "give between two unrelated images",
        }[status],
        reference=reference,
        target=target,
        matcher="aliked-lightglue",
        seconds=3.21,
        tie_points=TiePoints(
            ref_xy,
            tgt_xy,
            rng.random(n),
            inlier,
            check,
            residual,
            np.hypot(*residual.T) * (metres if metres is not None else np.nan),
            gis_xy(reference, ref_xy) if geocoded else None,
        ),
        transform=transform if found else None,
        map_matrix=np.array([[1, 0, 64.0], [0, 1, 37.0], [0, 0, 1]])
        if found and geocoded
        else None,
        shift_px=(6.4, -3.7) if found else None,
        shift_m=(64.0, 37.0) if found and geocoded else None,
        ci95_px=(0.11, 0.09) if found else None,
        ci95_m=(1.1, 0.9) if found and geocoded else None,
        rmse_px=rmse,
        rmse_m=in_metres(rmse),
        ce90_px=ce90,
        ce90_m=in_metres(ce90),
        coverage=0.83 if found else 0.0,
        n_matches=n,
        n_inliers=int(inlier.sum()),
        n_check=int(check.sum()),
        provenance={"version": "0.1", "seed": 0, "config": {"model": "auto", "limit": None}},
        preview=Preview(
            _channels(ref_image, channels[0]),
            _channels(dimmed, channels[1]),
            np.ones((height, width), dtype=bool),
            tgt_valid.astype(bool),
            ref_xy,
            tgt_xy,
            matrix if found else None,
            (10.0, 10.0) if geocoded else None,
            geocoded,
        ),
    )


def _channels(image: NDArray[np.uint8], channels: int) -> NDArray[np.uint8]:
    return image if channels == 3 else image.mean(axis=2, keepdims=True).astype(np.uint8)


def _target_transform(crs: str) -> tuple[float, ...]:
    """10 m pixels (or as many degrees) whose corner is near the reference's."""
    x, y = Transformer.from_crs("EPSG:32631", crs, always_xy=True).transform(UTM31[2], UTM31[5])
    step = 1e-4 if crs == "EPSG:4326" else 10.0
    return (step, 0.0, x, 0.0, -step, y)


@pytest.fixture
def make() -> Make:
    """A factory of registrations; see `make_registration`."""
    return make_registration


@pytest.fixture
def registration() -> Registration:
    """The usual one: geocoded, ok."""
    return make_registration()


KINDS: dict[str, dict[str, Any]] = {
    "geocoded": {},
    "other CRS": {"target_crs": "EPSG:32630"},
    "degrees": {"target_crs": "EPSG:4326"},
    "pixels": {"geocoded": False},
    "uncertain": {"status": "uncertain"},
    "failed": {"status": "failed"},
    "failed without points": {"status": "failed", "n": 0, "outliers": 0},
    "one point": {"n": 1, "outliers": 0, "geocoded": False},
}


@pytest.fixture(params=list(KINDS.values()), ids=list(KINDS))
def every(request: pytest.FixtureRequest) -> Registration:
    """Each kind of outcome in turn."""
    return make_registration(**request.param)


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """The machine's Chromium, without a window; what needs it is skipped where there is none."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        pytest.skip("no chromium on this machine")
    with playwright.sync_playwright() as started:
        running = started.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield running
        running.close()
