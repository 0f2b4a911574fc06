"""Values between pixels: what each kernel must keep exactly."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import ndimage

from imatch.raster.sampling.interpolation import (
    REACH,
    RESAMPLINGS,
    averaged,
    nearest,
    sample,
    sample_bands,
)

quick = settings(derandomize=True, max_examples=30, deadline=None)


def keys(t: NDArray[np.float64]) -> NDArray[np.float64]:
    """Keys' cubic convolution kernel, a = -0.5, as he wrote it."""
    t = np.abs(t)
    near = 1.5 * t**3 - 2.5 * t**2 + 1
    far = -0.5 * t**3 + 2.5 * t**2 - 4 * t + 2
    return np.where(t <= 1, near, np.where(t < 2, far, 0))


@quick
@given(st.integers(0, 1000), st.sampled_from(["float32", "float64"]))
def test_cubic_is_keys_convolution(seed: int, dtype: str) -> None:
    rng = np.random.default_rng(seed)
    pixels = rng.uniform(-100, 100, (20, 24)).astype(dtype)
    x, y = rng.uniform(2, 20, (2, 40)).astype(np.float32)
    x[0], y[0] = 5, 7.5
    found = sample(pixels, None, x[None], np.minimum(y, 16)[None], "cubic")[0]
    columns = keys(x[:, None].astype(float) - np.arange(24))
    rows = keys(np.minimum(y, 16)[:, None].astype(float) - np.arange(20))
    expected = np.einsum("nr,nc,rc->n", rows, columns, pixels.astype(float))
    assert found.dtype == pixels.dtype
    np.testing.assert_allclose(found, expected, atol=3e-4)


@quick
@given(st.integers(0, 1000))
def test_bilinear_and_nearest_agree_with_scipy(seed: int) -> None:
    rng = np.random.default_rng(seed)
    pixels = rng.random((20, 24)).astype(np.float32)
    # Not at halves, where the nearest is a matter of taste.
    x = (rng.integers(-30, 260, (5, 6)) / 10 + 0.03).astype(np.float32)
    y = (rng.integers(-30, 220, (5, 6)) / 10 + 0.03).astype(np.float32)
    for name, order in (("bilinear", 1), ("nearest", 0)):
        expected = ndimage.map_coordinates(pixels, [y, x], order=order, mode="nearest")
        found = sample(pixels, None, x, y, name)  # type: ignore[arg-type]
        np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize("resampling", RESAMPLINGS)
def test_whole_positions_give_the_pixels(resampling: Any) -> None:
    rng = np.random.default_rng(0)
    pixels = rng.random((30, 40)).astype(np.float32)
    y, x = np.mgrid[:30, :40].astype(np.float32)
    np.testing.assert_allclose(sample(pixels, None, x, y, resampling), pixels, atol=1e-6)
    valid = rng.random((30, 40)) > 0.2
    found = sample(np.where(valid, pixels, np.nan).astype("f4"), valid, x, y, resampling)
    np.testing.assert_allclose(found[valid], pixels[valid], atol=1e-6)


@pytest.mark.parametrize("resampling", ["bilinear", "cubic", "lanczos"])
def test_what_is_missing_has_no_weight(resampling: Any) -> None:
    rng = np.random.default_rng(0)
    valid = ndimage.gaussian_filter(rng.normal(size=(60, 60)), 3) > 0
    x = rng.uniform(0, 59, (50, 50)).astype(np.float32)
    y = rng.uniform(0, 59, (50, 50)).astype(np.float32)
    good = nearest(valid, x, y)
    seen = [
        sample(np.where(valid, 7.0, other), valid, x, y, resampling)[good]
        for other in (0.0, 1e6, np.nan)
    ]
    for values in seen:
        np.testing.assert_allclose(values, 7.0, rtol=1e-6)
    # Away from it the kernel is the kernel.
    pixels = rng.random((60, 60))
    far = ~nearest(ndimage.binary_dilation(~valid, np.ones((3, 3)), REACH[resampling]), x, y)
    plain = sample(pixels, None, x, y, resampling)
    np.testing.assert_allclose(sample(pixels, valid, x, y, resampling)[far], plain[far], atol=1e-9)


def test_nearest_halves_all_fall_to_one_side() -> None:
    row = np.arange(100, dtype=np.uint8)[None]
    x = np.arange(0.5, 98, 1.0, dtype=np.float32)[None]
    for noise in (-1e-4, 0.0, 1e-4):
        found = nearest(row, x + np.float32(noise), np.zeros_like(x))
        np.testing.assert_array_equal(found[0], np.arange(1, 99))


@pytest.mark.parametrize("shape", [(12, 18), (13, 17), (3, 2)])
@pytest.mark.parametrize("factor", [(2, 3), (5, 5), (1, 4)])
def test_means_of_what_there_is(shape: tuple[int, int], factor: tuple[int, int]) -> None:
    rng = np.random.default_rng(0)
    pixels = rng.random(shape)
    valid = rng.random(shape) > 0.4
    mean, known = averaged(np.where(valid, pixels, np.nan), valid, factor)
    fx, fy = factor
    for row in range(mean.shape[0]):
        for column in range(mean.shape[1]):
            cell = np.s_[row * fy : (row + 1) * fy, column * fx : (column + 1) * fx]
            there = valid[cell].any()
            assert (known is None) or known[row, column] == there
            if there:
                expected = pixels[cell][valid[cell]].mean()
                assert mean[row, column] == pytest.approx(expected, rel=1e-6)
    assert mean.shape == (-(-shape[0] // fy), -(-shape[1] // fx))
    whole, everywhere = averaged(pixels, None, factor)
    assert everywhere is None
    assert whole[0, 0] == pytest.approx(pixels[:fy, :fx].mean())


@quick
@given(st.integers(0, 1000), st.sampled_from(RESAMPLINGS), st.sampled_from(["float32", "float64"]))
def test_bands_taken_together_are_bands_taken_alone(seed: int, resampling: Any, dtype: str) -> None:
    rng = np.random.default_rng(seed)
    bands = [rng.uniform(0, 4000, (40, 50)).astype(dtype) for _ in range(3)]
    valid = [None, rng.random((40, 50)) > 0.1, np.ones((40, 50), dtype=bool)]
    x, y = rng.uniform(-3, 52, (2, 20, 30)).astype(np.float32)
    if resampling == "lanczos" and dtype == "float64":
        bands = [band.astype(np.float32) for band in bands]
    found = sample_bands(bands, valid, x, y, resampling)
    for band, ground, values in zip(bands, valid, found, strict=True):
        np.testing.assert_array_equal(values, sample(band, ground, x, y, resampling))


def test_no_bands_are_no_values() -> None:
    place = np.zeros((2, 3), np.float32)
    assert sample_bands([], [], place, place, "cubic") == []
