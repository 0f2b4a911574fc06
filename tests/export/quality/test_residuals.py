from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imatch.export.quality.residuals import autocorrelation, autocorrelation_text, statistics
from imatch.export.quality.views import ViewFrame

RNG = np.random.default_rng(5)
XY = RNG.uniform(0, 1000, (400, 2))
NOISE = RNG.normal(0, 0.3, (400, 2))
SMOOTH = np.column_stack([np.sin(XY[:, 0] / 150), np.cos(XY[:, 1] / 150)])


def test_noise_is_not_correlated() -> None:
    found = autocorrelation(XY, NOISE)
    assert abs(found.moran) < 0.08
    assert not found.correlated
    assert "not alike beyond chance" in autocorrelation_text(found)
    assert np.nanmax(np.abs(found.correlation)) < 0.15


def test_what_neighbours_share_is_measured() -> None:
    found = autocorrelation(XY, SMOOTH + NOISE)
    assert found.correlated
    assert found.p == pytest.approx(1 / 200)
    # sin and cos of spread 1/sqrt(2) each, their means taken off.
    spread = np.sqrt(SMOOTH.var(axis=0).sum())
    assert found.shared_px == pytest.approx(spread, rel=0.1)
    assert found.correlation[0] > 0.5 > found.correlation[-1]
    assert "still alike" in autocorrelation_text(found)


def test_a_common_shift_is_no_correlation() -> None:
    assert autocorrelation(XY, NOISE + 50).moran == pytest.approx(autocorrelation(XY, NOISE).moran)


@pytest.mark.parametrize("n", [0, 1, 19])
def test_too_few_points_tell_nothing(n: int) -> None:
    found = autocorrelation(XY[:n], NOISE[:n])
    assert np.isnan(found.moran)
    assert not found.correlated
    assert found.to_dict()["correlated"] is None
    assert "Too few" in autocorrelation_text(found)


def test_very_many_points_are_sampled_alike_every_time() -> None:
    xy = np.random.default_rng(0).uniform(0, 1, (5000, 2))
    vectors = np.random.default_rng(1).normal(size=(5000, 2))
    first, second = (autocorrelation(xy, vectors, seed=3) for _ in range(2))
    assert first.moran == second.moran


def test_points_that_are_not_finite_are_left_out() -> None:
    holed = NOISE.copy()
    holed[::7] = np.nan
    assert np.isfinite(autocorrelation(XY, holed).moran)


def test_statistics_of_a_constant_and_of_nothing() -> None:
    figures = statistics(np.tile([3.0, -4.0], (10, 1)))
    assert figures["rmse"] == figures["ce90"] == figures["max"] == 5.0
    assert (figures["mean_x"], figures["mean_y"], figures["std_x"]) == (3.0, -4.0, 0.0)
    assert statistics(np.zeros((0, 2))) == {"n": 0}


@given(
    left=st.floats(0, 1e4),
    top=st.floats(0, 1e4),
    step=st.floats(1, 40),
    xy=st.tuples(st.floats(-5, 900), st.floats(-5, 900)),
)
@settings(max_examples=30, derandomize=True)
def test_a_frame_leads_to_the_reference_and_back(
    left: float, top: float, step: float, xy: tuple[float, float]
) -> None:
    frame = ViewFrame(left, top, step, 900, 900)
    back = frame.from_reference(frame.to_reference([xy]))
    np.testing.assert_allclose(back, [xy], atol=1e-6)
    # The corner of the frame is its corner, not the middle of its first pixel.
    corner = frame.to_reference([[-0.5, -0.5]])
    np.testing.assert_allclose(corner, [[left - 0.5, top - 0.5]], atol=1e-9)
