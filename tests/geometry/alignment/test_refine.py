from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from imatch.core.types import Rendered
from imatch.geometry.alignment.orientation import orientation_field
from imatch.geometry.alignment.refine import CorrelationWindows, measure

Views = Callable[..., tuple[Rendered, Rendered]]


def _shift(dx: float, dy: float) -> NDArray[np.float64]:
    return np.array([[1, 0, dx], [0, 1, dy], [0, 0, 1.0]])


@pytest.mark.parametrize("dx", [0.0, 0.25, 0.5, -0.37, 2.8, -4.1])
def test_parts_of_a_pixel_are_measured(views: Views, dx: float) -> None:
    """The median over the windows is right to 0.05 px for any fraction, across seasons too.

    Windows far apart see less of the same ground, which pulls their peak inwards: one per cent.
    """
    limit = 0.05 + 0.01 * abs(dx)
    dy = 0.6 * dx - 0.2
    for seasons in (("summer", "summer"), ("summer", "autumn")):
        ref, tgt = views(_shift(dx, dy), seasons=seasons)
        moved = measure(
            orientation_field(ref),
            orientation_field(tgt),
            ref.valid & tgt.valid,
            CorrelationWindows(),
        )
        usable = np.isfinite(moved.shift).all(axis=1)
        assert usable.mean() > 0.9
        assert np.abs(np.median(moved.shift[usable], axis=0) - (dx, dy)).max() < limit
        # Single windows scatter, but not far.
        assert np.median(np.hypot(*(moved.shift[usable] - (dx, dy)).T)) < 0.1 + limit


def test_peaks_tell_the_same_ground_from_another(views: Views) -> None:
    ref, tgt = views(_shift(1.0, 0.5))
    _, other = views(seeds=(1, 2))
    field = orientation_field(ref)
    same = measure(field, orientation_field(tgt), ref.valid, CorrelationWindows())
    unlike = measure(field, orientation_field(other), ref.valid, CorrelationWindows())
    assert np.median(same.peak) > 2 * np.median(unlike.peak)
    assert np.median(same.ratio) > 1.5 > np.median(unlike.ratio)
    assert np.abs(same.peak).max() <= 1 + 1e-5


def test_a_field_agrees_with_itself_exactly(views: Views) -> None:
    ref, _ = views()
    field = orientation_field(ref)
    moved = measure(field, field, ref.valid, CorrelationWindows())
    np.testing.assert_allclose(moved.shift, 0, atol=1e-3)
    np.testing.assert_allclose(moved.peak, 1, atol=1e-3)


def test_windows_without_enough_valid_ground_are_skipped(views: Views) -> None:
    ref, tgt = views()
    valid = np.ones_like(ref.valid)
    valid[:, :128] = False
    windows = CorrelationWindows(side=32)
    moved = measure(orientation_field(ref), orientation_field(tgt), valid, windows)
    left = moved.centre[:, 0] - (windows.side - 1) / 2
    inside = np.minimum(1, (left + windows.side - 128) / windows.side)
    assert len(moved) > 20
    assert inside.min() >= windows.least_valid


def test_a_shift_beyond_the_search_is_no_measurement(views: Views) -> None:
    ref, tgt = views(_shift(20.0, 0.0))
    moved = measure(
        orientation_field(ref), orientation_field(tgt), ref.valid, CorrelationWindows(radius=4)
    )
    usable = np.isfinite(moved.shift).all(axis=1)
    assert np.abs(moved.shift[usable]).max() < 4.5 + 1.5
    assert np.median(moved.ratio) < 1.5


@given(st.integers(1, 80), st.integers(1, 80), st.booleans())
@settings(max_examples=40, deadline=None, derandomize=True)
def test_any_size_gives_whole_windows_or_none(width: int, height: int, ground: bool) -> None:
    rng = np.random.default_rng(width + 100 * height)
    field = np.exp(2j * rng.uniform(0, np.pi, (height, width))).astype(np.complex64)
    moved = measure(field, field, np.full((height, width), ground), CorrelationWindows(count=40))
    assert len(moved.centre) == len(moved.shift) == len(moved.ratio) == len(moved)
    if not ground or min(width, height) < 36:
        assert len(moved) == 0
        return
    assert len(moved) > 0
    # Every window lies on the image.
    assert (moved.centre >= (moved.side - 1) / 2).all()
    assert (moved.centre <= np.array([width, height]) - 1 - (moved.side - 1) / 2).all()
    np.testing.assert_allclose(moved.shift, 0, atol=0.01)


def test_a_blank_field_has_no_peak() -> None:
    blank = np.zeros((120, 120), np.complex64)
    moved = measure(blank, blank, np.ones((120, 120), dtype=bool), CorrelationWindows())
    assert len(moved) > 0
    assert np.isnan(moved.shift).all()
    np.testing.assert_array_equal(moved.peak, 0)


def test_about_as_many_windows_as_asked_for(views: Views) -> None:
    ref, _ = views(size=(400, 300))
    field = orientation_field(ref)
    for count in (30, 120):
        found = len(measure(field, field, ref.valid, CorrelationWindows(side=32, count=count)))
        assert 0.6 * count < found < 1.8 * count
