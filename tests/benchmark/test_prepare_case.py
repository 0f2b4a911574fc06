from __future__ import annotations

import warnings
from pathlib import Path

import cv2
import numpy as np
import pytest
import rasterio
from affine import Affine
from numpy.typing import NDArray
from rasterio.errors import NotGeoreferencedWarning

from imatch.benchmark.cases import Case
from imatch.benchmark.prepare_case import PreparedCase, prepare_case, warp_image
from imatch.pipeline.pair.config import MatchConfig

SHIFT = np.array([[1.0, 0, 7], [0, 1, -4], [0, 0, 1]])


def write(path: Path, pixels: NDArray[np.generic], **profile: object) -> None:
    stack = pixels if pixels.ndim == 3 else pixels[None]
    size = dict(zip(("count", "height", "width"), stack.shape, strict=True))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        with rasterio.open(path, "w", driver="GTiff", dtype=stack.dtype, **size, **profile) as out:
            out.write(stack)


def made(tmp_path: Path, warp: NDArray[np.float64]) -> Case:
    return Case("a", "s", "near", "", "r.tif", "t.tif", warp, warp)


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_the_target_is_warped_as_the_benchmark_prescribes(tmp_path: Path, dtype: str) -> None:
    rng = np.random.default_rng(0)
    pixels = (rng.random((60, 80)) * 200).astype(dtype)
    warp = np.array([[1.01, -0.02, 3.3], [0.02, 1.01, -2.1], [0, 0, 1]])
    for name in "rt":
        write(tmp_path / f"{name}.tif", pixels)
    ref, tgt = prepare_case(made(tmp_path, warp), tmp_path, MatchConfig())
    expected = cv2.warpPerspective(pixels, warp, (80, 60), flags=cv2.INTER_CUBIC)
    assert ref.pixels.dtype == tgt.pixels.dtype == dtype
    assert np.array_equal(ref.pixels[0], pixels)
    assert np.array_equal(tgt.pixels[0], expected)


def test_ground_from_outside_is_not_valid(tmp_path: Path) -> None:
    view = PreparedCase(np.full((3, 20, 30), 9, dtype=np.uint8), np.ones((20, 30), dtype=bool))
    moved = warp_image(view, SHIFT)
    expected = np.ones((20, 30), dtype=bool)
    expected[:, :7] = False
    expected[-4:] = False
    assert np.array_equal(moved.valid, expected)
    assert (moved.pixels[:, expected] == 9).all()


def test_nodata_moves_along(tmp_path: Path) -> None:
    pixels = np.full((40, 40), 100, dtype=np.uint16)
    pixels[10, 10] = 0
    for name in "rt":
        write(tmp_path / f"{name}.tif", pixels, nodata=0)
    ref, tgt = prepare_case(made(tmp_path, SHIFT), tmp_path, MatchConfig())
    assert not ref.valid[10, 10]
    assert not tgt.valid[6, 17]
    assert tgt.valid[10, 10]


def test_the_identity_changes_nothing(tmp_path: Path) -> None:
    view = PreparedCase(np.zeros((1, 4, 5), dtype=np.int32), np.ones((4, 5), dtype=bool))
    assert warp_image(view, np.eye(3)) is view


def test_geocoding_is_dropped(tmp_path: Path) -> None:
    pixels = np.arange(1, 401, dtype=np.uint16).reshape(20, 20)
    place = {"crs": "EPSG:32631", "transform": Affine(10, 0, 356_000, 0, -10, 4_835_000)}
    for name in "rt":
        write(tmp_path / f"{name}.tif", pixels, **place)
    views = prepare_case(made(tmp_path, np.eye(3)), tmp_path, MatchConfig())
    assert not any(view.source().info.geocoded for view in views)
    assert views[0].source().info.size == (20, 20)


def test_several_bands_stay_bands(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(1, 99, (3, 20, 24)).astype(np.uint8)
    for name in "rt":
        write(tmp_path / f"{name}.tif", pixels)
    ref, _ = prepare_case(made(tmp_path, SHIFT), tmp_path, MatchConfig())
    image = ref.source().read()
    assert np.array_equal(image.pixels, pixels)
    only = prepare_case(made(tmp_path, SHIFT), tmp_path, MatchConfig(ref_bands=(2,)))[0]
    assert np.array_equal(only.pixels, pixels[1:2])
