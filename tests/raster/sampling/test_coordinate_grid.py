"""Interpolated positions: within the tolerance they promise, wherever the mapping bends or ends."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from imatch.raster.sampling.coordinate_grid import TOLERANCE_PX, positions, spans

quick = settings(derandomize=True, max_examples=25, deadline=None)
Field = Callable[[Any], NDArray[np.float64]]


def exact(convert: Field, left: int, top: int, width: int, height: int) -> NDArray[np.float64]:
    x, y = np.meshgrid(np.arange(left, left + width), np.arange(top, top + height))
    return convert(np.column_stack([x.ravel(), y.ravel()])).T.reshape(2, height, width)


def waves(amplitude: float, length: float, shift: float) -> Field:
    def convert(xy: Any) -> NDArray[np.float64]:
        x, y = np.asarray(xy, dtype=np.float64).T
        wave = amplitude * np.sin(2 * np.pi * (x + 0.7 * y) / length)
        return np.column_stack([x * 1.01 + wave + shift, y * 0.98 - wave - shift])

    return convert


@quick
@given(
    st.floats(0, 8),
    st.floats(150, 3000),
    st.floats(-1e5, 1e5),
    st.tuples(st.integers(0, 40000), st.integers(0, 40000)),
    st.tuples(st.integers(1, 300), st.integers(1, 300)),
)
def test_they_keep_their_promise(
    amplitude: float,
    length: float,
    shift: float,
    corner: tuple[int, int],
    size: tuple[int, int],
) -> None:
    convert = waves(amplitude, length, shift)
    found = positions(convert, *corner, *size)
    true = exact(convert, *corner, *size)
    for plane, start, expected in zip((found.x, found.y), found.origin, true, strict=True):
        assert plane.dtype == np.float32
        assert np.abs(plane.astype(np.float64) + start - expected).max() < 1.2 * TOLERANCE_PX


@pytest.mark.parametrize("bend", [lambda x, y: x**2 - y**2, lambda x, y: x**2, lambda x, y: x * y])
def test_no_bend_hides_between_the_nodes(bend: Any) -> None:
    """A saddle is flat in the middle of a mesh and bent along its sides."""

    def convert(xy: Any) -> NDArray[np.float64]:
        x, y = np.asarray(xy, dtype=np.float64).T
        return np.column_stack([x + 1e-3 * bend(x - 100, y - 100), y])

    found = positions(convert, 0, 0, 200, 200)
    true = exact(convert, 0, 0, 200, 200)
    assert np.abs(found.x + found.origin[0] - true[0]).max() < 1.2 * TOLERANCE_PX


def test_few_points_are_asked_of_a_gentle_mapping() -> None:
    asked = []

    def convert(xy: Any) -> NDArray[np.float64]:
        asked.append(len(xy))
        return waves(2, 3000, 0)(xy)

    positions(convert, 0, 0, 1024, 1024)
    assert sum(asked) < 1024**2 / 150


def test_the_edge_of_what_is_mapped_is_found() -> None:
    def convert(xy: Any) -> NDArray[np.float64]:
        points = np.asarray(xy, dtype=np.float64)
        beyond = np.hypot(*(points - 150).T) > 97.3
        return np.where(beyond[:, None], np.inf, points + 5)

    found = positions(convert, 0, 0, 300, 280)
    x, y = np.meshgrid(np.arange(300), np.arange(280))
    inside = np.hypot(x - 150, y - 150) <= 97.3
    np.testing.assert_array_equal(np.isfinite(found.x), inside)
    np.testing.assert_array_equal(np.isfinite(found.y), inside)
    np.testing.assert_allclose(found.x[inside] + found.origin[0], x[inside] + 5, atol=1e-3)
    left, top, right, bottom = found.bounds() or (0, 0, 0, 0)
    assert (round(left), round(top)) == (58, 58)
    assert (round(right), round(bottom)) == (252, 252)


def test_nothing_mapped() -> None:
    def nowhere(xy: Any) -> NDArray[np.float64]:
        return np.full_like(np.asarray(xy, dtype=np.float64), np.nan)

    assert positions(nowhere, 0, 0, 60, 50).bounds() is None
    assert spans(nowhere, 60, 50) == (1.0, 1.0)


def test_spans_along_the_axes_of_the_source() -> None:
    turned = np.array([[0.0, -3.0], [2.0, 0.0]])
    found = spans(lambda xy: np.asarray(xy) @ turned.T, 100, 100)
    assert found == pytest.approx((3, 2))
