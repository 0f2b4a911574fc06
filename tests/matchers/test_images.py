from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from imatch.core.errors import MatcherError
from imatch.core.types import Rendered
from imatch.matchers import images


class TestAsRendered:
    @pytest.mark.parametrize("shape", [(20, 30), (1, 20, 30), (3, 20, 30), (1, 3, 20, 30)])
    def test_shapes(self, shape: tuple[int, ...]) -> None:
        rendered = images.as_rendered(np.zeros(shape, np.float32))
        assert rendered.size == (30, 20)
        assert rendered.pixels.shape[0] == (3 if 3 in shape else 1)
        assert rendered.valid.all()

    def test_bytes_become_unit_floats(self) -> None:
        rendered = images.as_rendered(np.array([[0, 51, 255]], np.uint8))
        np.testing.assert_allclose(rendered.pixels[0, 0], [0, 0.2, 1])

    def test_half_precision_tensors(self) -> None:
        rendered = images.as_rendered(torch.full((4, 5), 0.5, dtype=torch.bfloat16))
        assert rendered.pixels.dtype == np.float32
        assert (rendered.pixels == 0.5).all()

    def test_tensor_with_gradient(self) -> None:
        assert images.as_rendered(torch.zeros(4, 5, requires_grad=True)).size == (5, 4)

    @pytest.mark.parametrize(
        ("shape", "message"),
        [
            ((20, 30, 3), "move the bands to the front"),
            ((2, 20, 30), "1 or 3 bands"),
            ((2, 3, 20, 30), "1 or 3 bands"),
            ((5,), "1 or 3 bands"),
            ((1, 0, 30), "1 or 3 bands"),
        ],
    )
    def test_wrong_shape(self, shape: tuple[int, ...], message: str) -> None:
        with pytest.raises(MatcherError, match=message):
            images.as_rendered(np.zeros(shape, np.float32))

    @pytest.mark.parametrize(
        "pixels",
        [
            np.zeros((4, 4), np.uint16),
            np.zeros((4, 4), np.int16),
            np.full((4, 4), 255.0),
            np.full((4, 4), -0.5),
        ],
    )
    def test_wrong_range(self, pixels: NDArray[Any]) -> None:
        with pytest.raises(MatcherError, match=r"stretch it to floats in \[0, 1\]"):
            images.as_rendered(pixels)

    def test_mask_of_another_size(self) -> None:
        with pytest.raises(MatcherError, match="does not fit"):
            images.as_rendered(np.zeros((4, 4)), np.ones((4, 5), bool))


class TestPrepare:
    def test_fills_with_the_nearest_valid_pixel(self) -> None:
        pixels = np.tile(np.linspace(0, 1, 40, dtype=np.float32), (1, 30, 1))
        valid = np.ones((30, 40), bool)
        valid[:, :10] = False
        broken = np.where(valid, pixels, np.nan).astype(np.float32)
        ready = images.prepare(Rendered(broken, np.ones_like(valid)), 1, guard=4)
        np.testing.assert_array_equal(ready.pixels[0, :, :10], pixels[0, :, 10:11].repeat(10, 1))
        np.testing.assert_array_equal(ready.pixels[0, :, 10:], pixels[0, :, 10:])
        # Column 10 is 1 pixel from invalid ground, so columns up to 13 are within the guard.
        assert not ready.valid[:, :14].any()
        assert ready.valid[:, 14:].all()

    def test_all_valid_is_left_alone(self) -> None:
        image = Rendered(
            np.random.default_rng(0).random((3, 8, 9), np.float32), np.ones((8, 9), bool)
        )
        ready = images.prepare(image, 3, guard=4)
        np.testing.assert_array_equal(ready.pixels, image.pixels)
        assert ready.valid.all()

    @settings(derandomize=True, max_examples=25, deadline=None)
    @given(st.integers(0, 2**31), st.integers(0, 6))
    def test_any_mask(self, seed: int, guard: int) -> None:
        rng = np.random.default_rng(seed)
        valid = rng.random((24, 31)) < rng.uniform(0.02, 1)
        pixels = np.where(valid, rng.random((3, 24, 31)), np.nan).astype(np.float32)
        ready = images.prepare(Rendered(pixels, valid), 1, guard)
        assert np.isfinite(ready.pixels).all()
        assert not (ready.valid & ~valid).any()
        if valid.any():
            grey = images.convert_bands(pixels, 1)[0]
            np.testing.assert_array_equal(ready.pixels[0][valid], grey[valid])
            assert np.isin(ready.pixels[0], grey[valid]).all()


def test_convert_bands() -> None:
    red = np.zeros((3, 2, 2), np.float32)
    red[0] = 1
    np.testing.assert_allclose(images.convert_bands(red, 1), 0.299)
    assert images.convert_bands(np.ones((1, 2, 2), np.float32), 3).shape == (3, 2, 2)
    # White stays white: the weights sum to one.
    np.testing.assert_allclose(
        images.convert_bands(np.ones((3, 2, 2), np.float32), 1), 1, rtol=1e-6
    )


def test_pad_moves_no_pixel() -> None:
    pixels = np.arange(12, dtype=np.float32).reshape(1, 3, 4)
    padded = images.pad_to_multiple(pixels, 8, minimum=16)
    assert padded.shape == (1, 16, 16)
    np.testing.assert_array_equal(padded[:, :3, :4], pixels)
    assert (padded[0, :, 4:] == padded[0, :, 3:4]).all()
    assert images.pad_to_multiple(padded, 8).shape == padded.shape


def test_valid_at() -> None:
    valid = np.array([[True, False], [True, True]])
    xy = np.array([[0, 0], [1, 0], [0.4, 0.6], [-0.6, 0], [2, 0], [np.nan, 0], [np.inf, 1]])
    np.testing.assert_array_equal(
        images.valid_at(valid, xy), [True, False, True, False, False, False, False]
    )
