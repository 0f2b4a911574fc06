from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from imatch.geometry.accuracy import displacement_samples, half_width_95
from imatch.geometry.alignment.local_accuracy import LocalAccuracy
from imatch.geometry.nonrigid.local_models import LocalModel
from imatch.geometry.transform import apply_matrix

FloatArray = NDArray[np.float64]
MATRIX = np.array([[1.0002, 0.0003, 12.0], [-0.0003, 1.0002, -7.0], [0, 0, 1.0]])
SIDE, NOISE, BLOCK = 4000.0, 0.2, 250.0


def tie_points(
    count: int, amplitude: float, seed: int = 0
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Places on a map of 10 m pixels, reference pixels and target pixels."""
    rng = np.random.default_rng(seed)
    ref = rng.uniform(0, SIDE, (count, 2))
    tgt = apply_matrix(MATRIX, ref) + bend(ref, amplitude) + rng.normal(0, NOISE, ref.shape)
    return np.column_stack([6e5 + 10 * ref[:, 0], 4.4e6 - 10 * ref[:, 1]]), ref, tgt


def bend(ref: FloatArray, amplitude: float) -> FloatArray:
    x, y = (2 * np.pi * ref / 3000).T
    return amplitude * np.column_stack([np.sin(x), np.cos(y + 0.5 * x)])


def whole(places: FloatArray, kind: str | None) -> LocalAccuracy:
    # As smooth as cross-validation finds best here.
    model = None if kind is None else LocalModel.over("spline", places, 0.01, margin=500.0)
    return LocalAccuracy("similarity", MATRIX, model, 10.0, 3.0)


@pytest.mark.parametrize(("amplitude", "kind"), [(0.0, None), (3.0, "spline")])
def test_check_points_tell_the_noise_of_a_model_that_fits(
    amplitude: float, kind: str | None
) -> None:
    given = tie_points(1200, amplitude)
    points = whole(given[0], kind).check_points(*given, BLOCK, 0)
    assert 0.15 < len(points.index) / 1200 < 0.35
    assert points.rmse == pytest.approx(NOISE * np.sqrt(2), rel=0.15)
    # Rayleigh: 90 % of the lengths are below 2.146 sigma.
    assert points.ce90 == pytest.approx(2.146 * NOISE, rel=0.15)


def test_check_points_show_what_a_model_cannot_follow() -> None:
    given = tie_points(1200, 3.0)
    assert whole(given[0], None).check_points(*given, BLOCK, 0).rmse > 2.0


def test_tie_points_that_contradict_the_fit_are_check_points_too() -> None:
    places, ref, tgt = tie_points(1200, 0.0)
    # A tenth was measured as well as the others, and lies elsewhere.
    fits = np.arange(1200) % 10 > 0
    tgt[~fits] += (4.0, 0.0)
    points = whole(places, None).check_points(places, ref, tgt, BLOCK, 0, fits)
    assert (~fits)[points.index].mean() == pytest.approx(0.1, abs=0.03)
    assert points.rmse == pytest.approx(np.sqrt(0.1 * 16 + 2 * NOISE**2), rel=0.2)
    # They move nothing: the others are as near as ever.
    others = points.residual_xy[fits[points.index]]
    assert np.sqrt((others**2).sum(axis=1).mean()) == pytest.approx(NOISE * np.sqrt(2), rel=0.15)


def test_check_points_are_held_out_of_the_local_fit_too() -> None:
    """A model that could fit each tie point exactly does not look exact."""
    given = tie_points(300, 0.0)
    loose = LocalModel("spline", LocalModel.over("spline", given[0]).box, 1e-9, (18, 18))
    points = LocalAccuracy("similarity", MATRIX, loose, 10.0, 3.0).check_points(*given, BLOCK, 0)
    assert points.rmse > NOISE * np.sqrt(2)


def test_few_tie_points_are_all_check_points_by_turns() -> None:
    given = tie_points(30, 0.0)
    points = whole(given[0], None).check_points(*given, BLOCK, 0)
    assert len(points.index) == 30


def test_without_a_local_model_the_interval_is_the_transform_s() -> None:
    places, ref, tgt = tie_points(400, 0.0)
    at = np.array([[2000.0, 2000.0], [0.0, 0.0]])
    half = whole(places, None).half_width(places, ref, tgt, (at, at), BLOCK, 3)
    samples = displacement_samples("similarity", MATRIX, ref, tgt, at, 3, BLOCK)
    np.testing.assert_allclose(half, np.hypot(half_width_95(samples, 64), 0.04), rtol=0.01)


def test_the_interval_of_a_bent_image_holds_the_truth_and_is_not_idle() -> None:
    at = np.random.default_rng(9).uniform(200, SIDE - 200, (40, 2))
    inside = []
    for seed in range(2):
        places, ref, tgt = tie_points(900, 3.0, seed)
        model = whole(places, "spline")
        there = np.column_stack([6e5 + 10 * at[:, 0], 4.4e6 - 10 * at[:, 1]])
        half = model.half_width(places, ref, tgt, (at, there), BLOCK, seed)
        field = model.field(places, ref, tgt)
        assert field is not None
        missed = np.abs(field.displacement(there) - bend(at, 3.0))
        inside.append(missed < half)
        assert np.median(half) < 3 * NOISE
    # 95 % were it not for what smoothing itself bends.
    assert np.mean(inside) > 0.85


def test_the_interval_beyond_the_tie_points_holds_the_truth_too() -> None:
    """Corners lie 400 px beyond the outermost tie points, where the image goes on bending."""
    at = np.array([[0.0, 0.0], [SIDE, 0.0], [SIDE, SIDE], [0.0, SIDE], [SIDE / 2, SIDE / 2]])
    there = np.column_stack([6e5 + 10 * at[:, 0], 4.4e6 - 10 * at[:, 1]])
    inside, middle = [], []
    for seed in range(8):
        given = tie_points(1400, 3.0, seed)
        kept = (np.abs(given[1] - SIDE / 2) < SIDE / 2 - 280).all(axis=1)
        places, ref, tgt = (part[kept] for part in given)
        model = whole(places, "spline")
        half = model.half_width(places, ref, tgt, (at, there), BLOCK, seed)
        field = model.field(places, ref, tgt)
        assert field is not None
        missed = np.abs(field.displacement(there) - bend(at, 3.0))
        inside.append(missed[:4] < half[:4])
        middle.append(half[4])
    assert np.mean(inside) > 0.8
    # Among tie points nothing is added.
    assert np.median(middle) < NOISE


def test_more_tie_points_narrow_the_interval() -> None:
    at = np.array([[2000.0, 2000.0]])
    halves = []
    for count in (300, 2400):
        places, ref, tgt = tie_points(count, 0.0)
        model = LocalModel("polynomial2", LocalModel.over("polynomial2", places).box)
        part = LocalAccuracy("similarity", MATRIX, model, 10.0, 3.0)
        there = np.array([[6e5 + 20000.0, 4.4e6 - 20000.0]])
        halves.append(part.half_width(places, ref, tgt, (at, there), BLOCK, 0).max())
    assert halves[1] < 0.6 * halves[0]


def test_two_blocks_bound_nothing() -> None:
    places, ref, tgt = tie_points(20, 0.0)
    part = LocalAccuracy("similarity", MATRIX, LocalModel.over("polynomial2", places), 10.0, 3.0)
    at = np.array([[0.0, 0.0]])
    half = part.half_width(places, ref, tgt, (at, at), 1e9, 0)
    assert np.isinf(half).all()
