"""Blocks that strong compression leaves."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from affine import Affine
from numpy.typing import NDArray

from imatch.raster.fixed.blocks import block_comb, common_blocks
from imatch.raster.image import GeoImage
from tests.support.ground import waves

SIZE = (280, 240)


def ground(seed: int) -> NDArray[np.uint8]:
    """Fields and texture, as much at one scale as at another."""
    image = np.random.default_rng(seed).normal(128, 25, SIZE[::-1]).astype(np.float32)
    image = cv2.GaussianBlur(image, (0, 0), 1.2) * 1.5 - 64
    image += 70 * cv2.resize(waves(seed, (40, 40)), SIZE, interpolation=cv2.INTER_CUBIC)
    return np.asarray(np.clip(image, 1, 255), dtype=np.uint8)


def compressed(
    image: NDArray[np.uint8], quality: int, before: tuple[int, int], zoom: float = 1.0
) -> NDArray[np.uint8]:
    """As JPEG of a larger image keeps it, enlarged by `zoom` since."""
    padded = np.pad(image, ((before[1], 0), (before[0], 0)), "reflect")
    _, code = cv2.imencode(".jpg", padded, [cv2.IMWRITE_JPEG_QUALITY, quality])
    out = cv2.imdecode(code, cv2.IMREAD_GRAYSCALE)
    assert out is not None
    out = out[before[1] :, before[0] :]
    return np.asarray(cv2.resize(out, None, fx=zoom, fy=zoom, interpolation=cv2.INTER_CUBIC))


def geo(image: NDArray[np.uint8]) -> GeoImage:
    pixels = image[None].astype(np.float32)
    return GeoImage(pixels, np.ones(image.shape, bool), Affine.identity(), None, ("1",))


@pytest.mark.parametrize("quality", [4, 10, 25])
@pytest.mark.parametrize(("before", "zoom"), [((0, 0), 1.0), ((3, 6), 1.0), ((5, 1), 1.35)])
def test_the_edges_of_blocks_are_found(quality: int, before: tuple[int, int], zoom: float) -> None:
    image = geo(compressed(ground(quality), quality, before, zoom))
    for axis, cut in ((1, before[0]), (0, before[1])):
        comb = block_comb(image.pixels, image.valid, axis)
        assert comb is not None
        assert comb.period == pytest.approx(8 * zoom, rel=0.01)
        # Between the last pixel of a block and the first of the next.
        edge = zoom * ((-cut % 8) - 0.5 + 0.5) - 0.5
        off = (comb.phase - edge + comb.period / 2) % comb.period - comb.period / 2
        assert abs(off) < 0.4


def test_ground_has_no_blocks() -> None:
    for seed in range(6):
        image = geo(ground(seed))
        assert block_comb(image.pixels, image.valid, 0) is None
        assert block_comb(image.pixels, image.valid, 1) is None
    small = geo(compressed(ground(0), 5, (0, 0))[:60, :60])
    assert block_comb(small.pixels, small.valid, 1) is None


def test_blocks_of_two_images_lie_on_one_another_at_some_shifts() -> None:
    first, second = compressed(ground(0), 5, (0, 0)), compressed(ground(1), 5, (3, 6))
    grids = common_blocks(geo(first), geo(second))
    for grid, expected in zip(grids, (5.0, 2.0), strict=True):
        assert grid is not None
        period, offset = grid
        assert period == pytest.approx(8, abs=0.1)
        assert abs((offset - expected + 4) % 8 - 4) < 0.4
    # Weak ones, others, and those of one image alone do not matter.
    assert common_blocks(geo(first), geo(compressed(ground(1), 90, (0, 0)))) == (None, None)
    assert common_blocks(geo(first), geo(ground(1))) == (None, None)
    other = geo(compressed(ground(1), 5, (0, 0), 1.35))
    assert common_blocks(geo(first), other) == (None, None)


@pytest.mark.parametrize("times", [6, 8, 10])
@pytest.mark.parametrize("kernel", [cv2.INTER_LINEAR, cv2.INTER_CUBIC])
def test_an_enlarged_image_has_no_blocks(times: int, kernel: int) -> None:
    """What lies between its pixels is smooth, however regular."""
    coarse = np.random.default_rng(times).random((320 // times, 320 // times), np.float32)
    fine = cv2.resize(255 * coarse, None, fx=times, fy=times, interpolation=kernel)
    pixels = np.asarray(fine[None], dtype=np.float32)
    assert block_comb(pixels, np.ones(fine.shape, dtype=bool), 1) is None
