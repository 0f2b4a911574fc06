"""A matrix with a smooth displacement on top: forwards and back."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from imatch.core.errors import InputError
from imatch.geometry.transform import DisplacementGrid, Transform

quick = settings(derandomize=True, max_examples=40, deadline=None)
places = st.lists(
    st.tuples(st.floats(-2000, 12000), st.floats(-2000, 12000)), min_size=1, max_size=20
).map(np.array)


@st.composite
def grids(draw: st.DrawFn) -> DisplacementGrid:
    """Up to 8 px at nodes 500 to 1500 px apart: as strong as relief and jitter ever are."""
    rows, columns = draw(st.integers(4, 9)), draw(st.integers(4, 9))
    rng = np.random.default_rng(draw(st.integers(0, 1000)))
    step = draw(st.floats(500, 1500))
    south = draw(st.sampled_from([1, -1]))
    return DisplacementGrid(
        "spline",
        (draw(st.floats(-1000, 1000)), draw(st.floats(-1000, 1000)) if south > 0 else 9000.0),
        (step, south * step),
        rng.uniform(-8, 8, (rows, columns, 2)),
    )


@st.composite
def matrices(draw: st.DrawFn) -> NDArray[np.float64]:
    small = st.floats(-0.05, 0.05)
    matrix = np.eye(3)
    matrix[:2, :2] += [[draw(small), draw(small)], [draw(small), draw(small)]]
    matrix[:2, 2] = draw(st.tuples(st.floats(-500, 500), st.floats(-500, 500)))
    matrix[2, :2] = draw(st.tuples(st.floats(-1e-7, 1e-7), st.floats(-1e-7, 1e-7)))
    return matrix


@quick
@given(matrices(), st.none() | grids(), places)
def test_round_trips(
    matrix: NDArray[np.float64], local: DisplacementGrid | None, xy: NDArray[np.float64]
) -> None:
    correction = Transform("homography", matrix, local)
    np.testing.assert_allclose(correction.inverse(correction.apply(xy)), xy, atol=1e-5)
    np.testing.assert_allclose(correction.apply(correction.inverse(xy)), xy, atol=1e-5)


@quick
@given(grids(), places)
def test_the_document_holds_the_field_exactly(
    grid: DisplacementGrid, xy: NDArray[np.float64]
) -> None:
    back = DisplacementGrid.from_dict(json.loads(json.dumps(grid.to_dict())))
    assert (back.kind, back.origin, back.step) == (grid.kind, grid.origin, grid.step)
    np.testing.assert_array_equal(back.displacement(xy), grid.displacement(xy))


def _cubic(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """B-spline coefficients of t**3 at nodes t: the blossom of the cube at (t - 1, t, t + 1)."""
    return (values - 1) * values * (values + 1)


def test_a_cubic_is_held_exactly() -> None:
    nodes = np.arange(-2.0, 9.0)
    coefficients = np.zeros((11, 11, 2))
    coefficients[..., 0] = _cubic(nodes)[None, :]
    coefficients[..., 1] = 2 * nodes[:, None]
    grid = DisplacementGrid("polynomial3", (-200.0, -200.0), (100.0, 100.0), coefficients)
    xy = np.random.default_rng(0).uniform(-100, 700, (50, 2))
    expected = np.column_stack([(xy[:, 0] / 100) ** 3, 2 * xy[:, 1] / 100])
    np.testing.assert_allclose(grid.displacement(xy), expected, atol=1e-9)


def test_beyond_the_lattice_the_border_goes_on() -> None:
    rng = np.random.default_rng(1)
    grid = DisplacementGrid("spline", (0.0, 0.0), (10.0, -10.0), rng.normal(size=(6, 7, 2)))
    for far, border in (((1e6, -20.0), (50.0, -20.0)), ((-1e6, 1e6), (10.0, -10.0))):
        np.testing.assert_array_equal(grid.displacement([far]), grid.displacement([border]))


def test_no_points_and_lost_points() -> None:
    grid = DisplacementGrid("spline", (0.0, 0.0), (10.0, 10.0), np.ones((4, 4, 2)))
    correction = Transform("translation", np.eye(3), grid)
    assert correction.apply(np.zeros((0, 2))).shape == (0, 2)
    assert correction.inverse(np.zeros((0, 2))).shape == (0, 2)
    lost = np.array([[5.0, 5.0], [np.nan, 1.0], [np.inf, 0.0]])
    for moved in (correction.apply(lost), correction.inverse(lost)):
        assert np.isfinite(moved[0]).all()
        assert not np.isfinite(moved[1:]).all(axis=1).any()


@pytest.mark.parametrize(
    ("step", "coefficients"),
    [
        ((10.0, 10.0), np.zeros((3, 4, 2))),
        ((10.0, 10.0), np.zeros((4, 4))),
        ((10.0, 0.0), np.zeros((4, 4, 2))),
        ((10.0, 10.0), np.full((4, 4, 2), np.nan)),
        ((10.0, np.nan), np.zeros((4, 4, 2))),
    ],
)
def test_nonsense_is_refused(step: tuple[float, float], coefficients: NDArray[np.float64]) -> None:
    with pytest.raises(InputError):
        DisplacementGrid("spline", (0.0, 0.0), step, coefficients)


def test_what_cannot_be_inverted_says_so() -> None:
    flat = np.diag([1.0, 0.0, 1.0])
    with pytest.raises(InputError, match="cannot be inverted"):
        Transform("homography", flat).inverse([[1.0, 2.0]])
    folds = np.zeros((8, 8, 2))
    folds[::2, ::2] = 400
    grid = DisplacementGrid("spline", (0.0, 0.0), (10.0, 10.0), folds)
    with pytest.raises(InputError, match="folds over itself"):
        Transform("translation", np.eye(3), grid).inverse(
            np.random.default_rng(0).uniform(10, 60, (50, 2))
        )
