from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from imatch.core.types import Rendered
from imatch.geometry.alignment.orientation import orientation_field, shrink, warp_field, warp_image
from imatch.geometry.transform import apply_matrix

Views = Callable[..., tuple[Rendered, Rendered]]
Similarity = Callable[..., NDArray[np.float64]]


def _likeness(first: NDArray[np.complex64], second: NDArray[np.complex64]) -> float:
    product = (np.conj(first) * second).sum().real
    return float(product / np.sqrt((np.abs(first) ** 2).sum() * (np.abs(second) ** 2).sum()))


def _ramp(angle: float, side: int = 48) -> Rendered:
    y, x = np.mgrid[:side, :side] / (4 * side)
    plane = 0.5 + x * np.cos(angle) + y * np.sin(angle)
    return Rendered(plane[None].astype(np.float32), np.ones((side, side), dtype=bool))


@given(st.floats(0, 2 * np.pi))
@settings(max_examples=20, deadline=None, derandomize=True)
def test_the_field_is_twice_the_direction_of_the_gradient(angle: float) -> None:
    field = orientation_field(_ramp(angle))[20:28, 20:28]
    np.testing.assert_allclose(field / np.abs(field), np.exp(2j * angle), atol=1e-3)


def test_a_field_stays_below_one_and_noise_counts_less_than_edges(views: Views) -> None:
    ref, _ = views()
    field = np.abs(orientation_field(ref))
    assert 0.5 < field.max() < 1
    assert field.min() >= 0


def test_inverted_contrast_changes_nothing(views: Views) -> None:
    ref, _ = views()
    turned = ref.pixels.copy()
    turned[1] = 1 - turned[1]
    np.testing.assert_allclose(
        orientation_field(Rendered(turned, ref.valid)), orientation_field(ref), atol=1e-4
    )


def test_gain_and_offset_change_nothing(views: Views) -> None:
    ref, _ = views()
    dim = Rendered(0.2 + 0.3 * ref.pixels, ref.valid)
    np.testing.assert_allclose(orientation_field(dim), orientation_field(ref), atol=1e-4)


def test_a_blank_image_says_nothing() -> None:
    blank = Rendered(np.full((3, 40, 50), 0.5, np.float32), np.ones((40, 50), dtype=bool))
    np.testing.assert_array_equal(orientation_field(blank), 0)


def test_invalid_ground_and_its_rim_are_zero(views: Views) -> None:
    ref, _ = views()
    valid, pixels = ref.valid.copy(), ref.pixels.copy()
    valid[60:100, 80:140] = False
    pixels[:, ~valid] = 1.0
    field = orientation_field(Rendered(pixels, valid))
    assert not field[58:102, 78:142].any()
    # Beyond the reach of the gradient nothing depends on what lies there.
    pixels[:, ~valid] = 0.0
    other = orientation_field(Rendered(pixels, valid))
    beyond = np.ones_like(valid)
    beyond[54:106, 74:146] = False
    assert np.abs(field - other)[beyond].max() < 0.02


def test_nothing_valid_is_zero_everywhere(views: Views) -> None:
    ref, _ = views()
    assert not orientation_field(Rendered(ref.pixels, np.zeros_like(ref.valid))).any()


def test_a_quarter_turn_of_the_image_turns_the_field(views: Views) -> None:
    ref, _ = views()
    turned = Rendered(
        np.ascontiguousarray(np.rot90(ref.pixels, axes=(1, 2))), np.ascontiguousarray(ref.valid.T)
    )
    # Doubled, a quarter turn is a half turn: the sign changes.
    expected = -np.rot90(orientation_field(ref))
    np.testing.assert_allclose(orientation_field(turned), expected, atol=1e-4)


@pytest.mark.parametrize(("turn", "scale"), [(25.0, 1.0), (-70.0, 1.1), (140.0, 0.9)])
def test_warping_the_field_is_the_field_of_the_warped_image(
    views: Views, similarity: Similarity, turn: float, scale: float
) -> None:
    ref, _ = views(size=(256, 224))
    matrix = similarity(turn, scale, (3.0, -5.0))
    field = orientation_field(ref)
    parts = np.ascontiguousarray(field.real), np.ascontiguousarray(field.imag)
    real, imag = warp_field(parts, matrix, ref.size)
    warped = (real + 1j * imag).astype(np.complex64)
    direct = orientation_field(warp_image(ref, matrix, ref.size))
    inner = np.s_[70:150, 80:170]
    assert _likeness(direct[inner], warped[inner]) > 0.9
    # Without the turn of the directions there is nothing left of it.
    still = warped * np.exp(2j * np.radians(turn))
    assert _likeness(direct[inner], still[inner].astype(np.complex64)) < 0.7


def test_fields_survive_the_season(views: Views) -> None:
    summer, winter = views(seasons=("summer", "winter"))
    other, _ = views(seeds=(2, 2))
    same = _likeness(orientation_field(summer), orientation_field(winter))
    unlike = _likeness(orientation_field(summer), orientation_field(other))
    assert same > 0.3
    assert abs(unlike) < 0.1


def test_a_warped_image_is_invalid_outside_its_source(views: Views) -> None:
    ref, _ = views()
    shift = np.array([[1, 0, 10.0], [0, 1, -20.0], [0, 0, 1]])
    warped = warp_image(ref, shift, ref.size)
    expected = np.zeros_like(ref.valid)
    expected[20:, :-10] = True
    np.testing.assert_array_equal(warped.valid, expected)
    np.testing.assert_allclose(warped.pixels[:, 20:, :-10], ref.pixels[:, :-20, 10:], atol=1e-6)
    # The border is repeated, so that no false edge arises.
    np.testing.assert_allclose(warped.pixels[:, 40, -5], warped.pixels[:, 40, -11], atol=1e-6)


@given(st.integers(1, 90), st.integers(1, 90), st.integers(4, 100))
@settings(max_examples=60, deadline=None, derandomize=True)
def test_shrinking_keeps_the_first_corner_and_all_angles(
    width: int, height: int, side: int
) -> None:
    image = Rendered(np.zeros((1, height, width), np.float32), np.ones((height, width), dtype=bool))
    small, matrix = shrink(image, side)
    assert max(small.size) <= side
    # Half a pixel before the first pixel's centre lies the corner of the image.
    np.testing.assert_allclose(apply_matrix(matrix, [[-0.5, -0.5]]), [[-0.5, -0.5]], atol=1e-9)
    # Whatever the sizes round to, a similarity stays one.
    assert matrix[0, 0] == matrix[1, 1]
    beyond = apply_matrix(matrix, [[width - 0.5, height - 0.5]])[0] - (np.array(small.size) - 0.5)
    assert np.abs(beyond).max() <= 0.5 + 1e-9 or min(small.size) == 1
    if max(width, height) <= side:
        assert small is image
        np.testing.assert_array_equal(matrix, np.eye(3))


def test_shrinking_shows_what_its_matrix_says() -> None:
    """Of a linear ramp the reduced image is the ramp at the centres of its pixels."""
    width, height = 203, 122
    y, x = np.mgrid[:height, :width].astype(np.float32)
    ramp = np.stack([x / width, y / height, (x + y) / 400])
    small, matrix = shrink(Rendered(ramp, np.ones((height, width), dtype=bool)), 61)
    v, u = np.mgrid[: small.size[1], : small.size[0]]
    at = apply_matrix(np.linalg.inv(matrix), np.column_stack([u.ravel(), v.ravel()]))
    # The last row and column may reach over the edge, and see but part of their ground.
    expected = at.reshape(*u.shape, 2)[:-1, :-1]
    np.testing.assert_allclose(small.pixels[0, :-1, :-1], expected[..., 0] / width, atol=1e-3)
    np.testing.assert_allclose(small.pixels[1, :-1, :-1], expected[..., 1] / height, atol=1e-3)


def test_a_reduced_pixel_is_valid_only_where_its_ground_is() -> None:
    valid = np.ones((60, 80), dtype=bool)
    valid[:, :30] = False
    small, _ = shrink(Rendered(np.zeros((1, 60, 80), np.float32), valid), 20)
    # Pixel 7 covers columns 28 to 31, half of them invalid: it is the mean of the others.
    np.testing.assert_array_equal(small.valid.all(axis=0), np.arange(20) >= 7)
    np.testing.assert_array_equal(small.valid.any(axis=0), np.arange(20) >= 7)
