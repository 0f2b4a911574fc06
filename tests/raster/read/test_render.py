"""Rendering: stretch, luminance, fill."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import pytest
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st

from imatch.core.errors import ConfigError
from imatch.raster import GeoImage, render


def image(pixels: Any, valid: Any = None) -> GeoImage:
    pixels = np.asarray(pixels, dtype=np.float32)
    valid = np.ones(pixels.shape[1:], dtype=bool) if valid is None else valid
    names = tuple(str(i) for i in range(len(pixels)))
    return GeoImage(pixels, valid, Affine.identity(), None, names)


RAMP = np.linspace(0, 1, 10_000, dtype=np.float32).reshape(1, 100, 100)


@pytest.mark.parametrize("count", [1, 2, 3, 4, 13])
@pytest.mark.parametrize("channels", [1, 3])
def test_shape_and_range(count: int, channels: Literal[1, 3]) -> None:
    noise = np.random.default_rng(0).normal(1000, 300, (count, 30, 40))
    rendered = render(image(noise), channels)
    assert rendered.pixels.shape == (channels, 30, 40)
    assert rendered.pixels.dtype == np.float32
    assert rendered.pixels.min() >= 0
    assert rendered.pixels.max() <= 1


def test_percentiles_become_black_and_white() -> None:
    pixels = render(image(RAMP), 1).pixels
    np.testing.assert_allclose(pixels, np.clip((RAMP - 0.01) / 0.98, 0, 1), atol=1e-4)
    whole = render(image(RAMP), 1, stretch=(0, 100)).pixels
    np.testing.assert_allclose(whole, RAMP, atol=1e-6)


@settings(derandomize=True, max_examples=25, deadline=None)
@given(st.floats(0.01, 1e4), st.floats(-1e4, 1e4))
def test_stretch_removes_gain_and_offset(gain: float, offset: float) -> None:
    # float32 keeps 24 bits: a ramp of 1 on an offset of 10,000 has steps of a thousandth.
    base = render(image(RAMP), 1).pixels
    moved = render(image(RAMP * gain + offset), 1).pixels
    np.testing.assert_allclose(moved, base, atol=1e-4 + 2e-3 * abs(offset) / gain / 1e4)


def test_luminance_is_weighted_in_red_green_blue_order() -> None:
    flat = np.full_like(RAMP, 5)
    for i, weight in enumerate((0.299, 0.587, 0.114)):
        bands = [flat, flat, flat]
        bands[i] = RAMP
        grey = render(image(np.concatenate(bands)), 1, stretch=(0, 100)).pixels
        assert np.ptp(grey) == pytest.approx(weight, abs=1e-4)
    two = render(image(np.concatenate([RAMP, flat])), 1, stretch=(0, 100)).pixels
    assert np.ptp(two) == pytest.approx(0.5, abs=1e-4)


def test_rgb_of_other_counts() -> None:
    one = render(image(RAMP), 3).pixels
    np.testing.assert_array_equal(one[0], one[1])
    np.testing.assert_array_equal(one[0], one[2])
    first, second = RAMP, RAMP[:, ::-1]
    two = render(image(np.concatenate([first, second])), 3, stretch=(0, 100)).pixels
    np.testing.assert_allclose(two[2], (two[0] + two[1]) / 2)
    many = np.concatenate([RAMP, RAMP, RAMP, second, second])
    np.testing.assert_array_equal(render(image(many), 3).pixels, render(image(many[:3]), 3).pixels)


def test_ndvi() -> None:
    pixels = render(image(RAMP * 2 - 1), 1).pixels
    np.testing.assert_allclose(pixels, render(image(RAMP), 1).pixels, atol=1e-5)


@pytest.mark.parametrize("value", [0.0, 7.0, -3.0])
def test_constant_band_is_grey(value: float) -> None:
    assert (render(image(np.full((1, 20, 20), value)), 1).pixels == 0.5).all()


def test_rare_detail_on_constant_ground_survives() -> None:
    pixels = np.zeros((1, 50, 50))
    pixels[0, 10, 10] = 9
    assert np.ptp(render(image(pixels), 1).pixels) == 1


def test_missing_ground_neither_counts_nor_shows() -> None:
    valid = np.ones((100, 100), dtype=bool)
    valid[:, 60:] = False
    pixels = RAMP.copy()
    pixels[0, ~valid] = 1e6
    rendered = render(image(pixels, valid), 3)
    known = rendered.pixels[:, valid]
    assert known.max() == 1
    np.testing.assert_allclose(rendered.pixels[:, ~valid], np.median(known), atol=1e-6)
    np.testing.assert_array_equal(rendered.valid, valid)
    nothing = render(image(RAMP, np.zeros((100, 100), dtype=bool)), 1)
    assert (nothing.pixels == 0.5).all()


@pytest.mark.parametrize("stretch", [(50, 50), (99, 1), (-1, 99), (1, 101), (float("nan"), 99)])
def test_senseless_percentiles(stretch: Any) -> None:
    with pytest.raises(ConfigError, match="stretch"):
        render(image(RAMP), 1, stretch=stretch)
