"""Pixels that a product repeats."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

import imatch
from imatch.raster import array_source
from imatch.raster.fixed.repeated import repeats, true_pixel
from tests.support.ground import waves


@pytest.mark.parametrize("factor", [1, 2, 3, 6, 10])
@pytest.mark.parametrize("phase", [0, 1])
def test_the_factor_is_found_at_any_phase(factor: int, phase: int) -> None:
    ground = np.round(255 * waves(1, (60, 50)))
    image = ground.repeat(factor, axis=0).repeat(factor, axis=1)[phase:, phase:]
    image[:20, :20] = 0  # One value tells nothing.
    assert true_pixel(array_source(image)) == factor


def test_one_direction_suffices() -> None:
    image = np.round(255 * waves(2, (80, 90))).repeat(4, axis=0)
    assert true_pixel(array_source(image)) == 4


def test_ground_of_one_value_is_not_repeated() -> None:
    flat = np.full((1, 100, 100), 7, dtype=np.float32)
    assert repeats(flat, np.ones((100, 100), dtype=bool)) == 1
    assert repeats(flat, np.zeros((100, 100), dtype=bool)) == 1


@pytest.mark.parametrize(("factor", "shift"), [(3, (6.25, -4.5)), (5, (-7.5, 3.25))])
def test_a_registration_is_no_finer_than_what_was_measured(
    factor: int, shift: tuple[float, float]
) -> None:
    side = 400 // factor * factor

    def served(dx: float, dy: float, seed: int) -> NDArray[np.uint8]:
        fine = waves(5, (side, side), dx, dy, noise=0.01)
        noisy = fine + 0.01 * np.random.default_rng(seed).normal(size=fine.shape)
        small = noisy.reshape(side // factor, factor, side // factor, factor).mean(axis=(1, 3))
        blocks = np.round(60 + 120 * small).repeat(factor, 0).repeat(factor, 1)
        return np.asarray(blocks, dtype=np.uint8)

    r = imatch.match(served(0, 0, 1), served(*shift, 2))
    assert r.status == "ok", r.reason
    assert r.shift_px is not None
    assert r.ci95_px is not None
    for found, half, truth in zip(r.shift_px, r.ci95_px, shift, strict=True):
        assert abs(found - truth) <= half
        assert half > 0.02 * factor


@pytest.mark.parametrize("seed", range(6))
def test_equal_columns_are_found_whatever_else_is_equal(seed: int) -> None:
    """Near the shares at which nothing needs to be sought."""
    random = np.random.default_rng(seed)
    image = np.arange(48.0 * 40).reshape(1, 40, 48)
    equal = random.permutation(47)[: 20 + 2 * seed]
    for column in sorted(equal):
        image[:, :, column + 1] = image[:, :, column]
    assert repeats(image.astype(np.float32), np.ones((40, 48), bool)) == 1
    image[:] = image[:, :, ::2].repeat(2, axis=2)
    image[:, ::50, 1] += 0.5  # One row in forty differs.
    assert repeats(image.astype(np.float32), np.ones((40, 48), bool)) >= 2
