"""Slow bends that windows tell of."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from imatch.geometry.alignment.slow_bend import slow_bend


@given(
    factors=arrays(np.float64, (10, 2), elements=st.floats(-2, 2)),
    wrong=st.floats(0, 0.1),
    seed=st.integers(0, 9),
)
def test_a_slow_bend_is_known_beyond_the_windows(
    factors: NDArray[np.float64], wrong: float, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    # As windows of 32 px lie that look to the rim.
    side = np.linspace(16, 304, 18)
    centre = np.stack(np.meshgrid(side, side), axis=-1).reshape(-1, 2)
    rim = np.array([[0.0, 0.0], [319.0, 0.0], [160.0, 319.0]])

    def bend(at: NDArray[np.float64]) -> NDArray[np.float64]:
        u, v = (at / 160 - 1).T
        terms = [u**i * v**j for i in range(4) for j in range(4 - i)]
        return np.asarray(np.column_stack(terms) @ factors)

    residual = bend(centre)
    stray = rng.random(len(centre)) < wrong
    residual[stray] += rng.uniform(-8, 8, (stray.sum(), 2))
    for place in rim:
        shown = slow_bend(centre, residual, 32.0, place[None])
        # A corner is seen by one window: where that is wrong, nothing is said of it.
        if len(shown) == 0:
            assert stray[np.hypot(*(centre - place).T) <= 32].all()
        else:
            assert np.allclose(shown, bend(place[None]), atol=0.6)


def test_of_ground_that_no_window_sees_a_bend_is_not_asked() -> None:
    rng = np.random.default_rng(0)
    centre = np.column_stack([rng.uniform(16, 150, 300), rng.uniform(16, 304, 300)])
    places = np.array([[0.0, 0.0], [160.0, 300.0], [300.0, 160.0]])
    residual = np.column_stack([1e-4 * centre[:, 0] ** 2, rng.normal(0, 0.1, 300)])
    found = slow_bend(centre, residual, 32.0, places)
    assert np.allclose(found[:, 0], 1e-4 * places[:2, 0] ** 2, atol=0.3)


def test_places_that_no_window_sees_are_no_error() -> None:
    rng = np.random.default_rng(0)
    centre = rng.uniform(16, 304, (300, 2))
    found = slow_bend(centre, np.zeros((300, 2)), 32.0, np.array([[900.0, 900.0]]))
    assert found.shape == (0, 2)


def test_too_few_windows_tell_of_no_bend() -> None:
    centre = np.array([[50.0, 50.0], [150.0, 50.0], [50.0, 150.0]])
    places = np.array([[0.0, 0.0], [200.0, 200.0]])
    assert not slow_bend(centre, np.ones((3, 2)), 64.0, places).any()
    assert slow_bend(np.zeros((0, 2)), np.zeros((0, 2)), 64.0, places).shape == (2, 2)


@given(seed=st.integers(0, 99), clouds=st.floats(0.1, 0.6))
def test_windows_below_clouds_bend_nothing(seed: int, clouds: float) -> None:
    rng = np.random.default_rng(seed)
    side = np.linspace(32, 480, 15)
    centre = np.stack(np.meshgrid(side, side), axis=-1).reshape(-1, 2)
    # One cloud hides a part of the ground, where windows find anything within their reach.
    hidden = np.hypot(*(centre - rng.uniform(0, 512, 2)).T)
    hidden = hidden < np.quantile(hidden, clouds)
    residual = rng.normal(0, 0.1, centre.shape)
    residual[hidden] = rng.uniform(-6, 6, (int(hidden.sum()), 2))
    found = slow_bend(centre, residual, 64.0, centre)
    assert np.quantile(np.hypot(*found.T), 0.95) < 1.5
