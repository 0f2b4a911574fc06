from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from imatch.geometry.nonrigid.deformation import choose_local
from imatch.geometry.nonrigid.local_models import LOCAL_KINDS, LocalKind, LocalModel
from imatch.geometry.transform import DisplacementGrid

FloatArray = NDArray[np.float64]
# A map of 10 m pixels: large coordinates, and steps that are no whole numbers.
LOW, SIDE = np.array([600_000.0, 4_400_000.0]), 20_000.0
NOISE = 0.2


def places(count: int, seed: int = 0) -> FloatArray:
    return LOW + SIDE * np.random.default_rng(seed).random((count, 2))


def unit(xy: FloatArray) -> FloatArray:
    return np.asarray((xy - LOW) / SIDE)


def quadratic(xy: FloatArray) -> FloatArray:
    x, y = unit(xy).T
    return np.column_stack([2 * x**2 - y, 1.5 * x * y + 0.3])


def cubic(xy: FloatArray) -> FloatArray:
    x, y = unit(xy).T
    return np.column_stack([4 * x**3 - 2 * x * y**2, y**3 - x**2 * y])


def wave(xy: FloatArray) -> FloatArray:
    x, y = unit(xy).T
    return 3 * np.column_stack([np.sin(7 * x + 4 * y), np.cos(8 * y - x)])


def noisy(field: FloatArray, seed: int = 1, outliers: int = 0) -> FloatArray:
    rng = np.random.default_rng(seed)
    moved = field + rng.normal(0, NOISE, field.shape)
    moved[:outliers] += rng.uniform(-8, 8, (outliers, 2))
    return moved


def rms(difference: FloatArray) -> float:
    return float(np.sqrt((difference**2).sum(axis=1).mean()))


@pytest.mark.parametrize(("kind", "field"), [("polynomial2", quadratic), ("polynomial3", cubic)])
def test_polynomials_are_written_exactly(kind: LocalKind, field: object) -> None:
    assert callable(field)
    xy = places(60)
    model = LocalModel.over(kind, xy)
    grid = model.fit(xy, field(xy), threshold=3.0)
    left, top, right, bottom = model.box
    inside = np.random.default_rng(5).uniform((left, top), (right, bottom), (200, 2))
    np.testing.assert_allclose(grid.displacement(inside), field(inside), atol=1e-6)
    assert grid.kind == kind


@pytest.mark.parametrize("kind", ["spline", "tps"])
def test_a_smooth_field_is_found_below_noise_and_outliers(kind: LocalKind) -> None:
    xy = places(900)
    grid = LocalModel.over(kind, xy).fit(xy, noisy(wave(xy), outliers=45), threshold=3.0)
    within = LOW + SIDE * np.random.default_rng(3).uniform(0.05, 0.95, (400, 2))
    # Better than a single tie point by far.
    assert rms(grid.displacement(within) - wave(within)) < 0.6 * NOISE


@pytest.mark.parametrize("kind", LOCAL_KINDS)
def test_beyond_its_box_a_field_stays_what_it_is_at_the_border(kind: LocalKind) -> None:
    xy = places(200)
    model = LocalModel.over(kind, xy, margin=500.0)
    grid = model.fit(xy, wave(xy), threshold=3.0)
    left, top, _, _ = model.box
    assert left == pytest.approx(xy[:, 0].min() - 500)
    border, beyond = [[left, LOW[1] + SIDE / 2]], [[left - 1e6, LOW[1] + SIDE / 2]]
    np.testing.assert_allclose(grid.displacement(beyond), grid.displacement(border), atol=1e-9)
    np.testing.assert_allclose(
        grid.displacement([[left, top]]), grid.displacement([[left - 1, top - 1]]), atol=1e-9
    )


@settings(derandomize=True, max_examples=8, deadline=None)
@given(shift=st.floats(-1e6, 1e6), scale=st.floats(1e-5, 1e3), kind=st.sampled_from(LOCAL_KINDS))
def test_the_unit_of_positions_does_not_matter(shift: float, scale: float, kind: LocalKind) -> None:
    xy = np.random.default_rng(2).random((120, 2))
    moved = np.column_stack([np.sin(5 * xy[:, 0]), xy[:, 1] ** 2])
    other = shift * scale + scale * xy
    plain = LocalModel.over(kind, xy).fit(xy, moved, threshold=3.0)
    scaled = LocalModel.over(kind, other).fit(other, moved, threshold=3.0)
    np.testing.assert_allclose(scaled.displacement(other), plain.displacement(xy), atol=1e-4)


def test_a_field_survives_its_document() -> None:
    xy = places(100)
    grid = LocalModel.over("spline", xy).fit(xy, wave(xy), threshold=3.0)
    again = DisplacementGrid.from_dict(grid.to_dict())
    np.testing.assert_array_equal(again.displacement(xy), grid.displacement(xy))


class TestChoice:
    def choose(self, moved: FloatArray, xy: FloatArray, **options: object) -> str:
        choice = choose_local(xy, moved, threshold=3.0, block=SIDE / 12, **options)  # type: ignore[arg-type]
        return "none" if choice.model is None else choice.model.kind

    @pytest.mark.parametrize("seed", range(3))
    def test_noise_alone_is_no_deformation(self, seed: int) -> None:
        xy = places(500, seed)
        assert self.choose(noisy(np.zeros((500, 2)), seed), xy, seed=seed) == "none"

    def test_a_quadratic_field_takes_no_more_than_a_quadratic(self) -> None:
        xy = places(500)
        assert self.choose(noisy(quadratic(xy), outliers=20), xy) == "polynomial2"

    def test_a_cubic_field_takes_a_cubic(self) -> None:
        xy = places(500)
        assert self.choose(noisy(3 * cubic(xy)), xy) == "polynomial3"

    def test_waves_take_a_spline_and_every_candidate_is_reported(self) -> None:
        xy = places(900)
        choice = choose_local(xy, noisy(wave(xy)), threshold=3.0, block=SIDE / 12)
        assert choice.model is not None
        assert choice.model.kind == "spline"
        reached = {trial.kind: trial.rmse for trial in choice.trials}
        assert list(reached) == ["none", *LOCAL_KINDS]
        # Held out, the spline errs by little more than the tie points themselves.
        assert reached["spline"] < 1.3 * NOISE * np.sqrt(2)
        assert reached["polynomial3"] > 3 * reached["spline"]
        document = choice.trials[3].to_dict()
        assert document == {
            "kind": "spline",
            "rmse_px": reached["spline"],
            "smoothness": choice.model.smoothness,
        }

    def test_a_deformation_not_worth_its_parameters_is_left_alone(self) -> None:
        xy = places(500)
        assert self.choose(noisy(0.03 * quadratic(xy)), xy) == "none"

    def test_single_points_at_the_rim_do_not_decide(self) -> None:
        """One tie point in twenty, each in a block of its own, moved to one side."""
        xy = places(600)
        inner = (np.abs(unit(xy) - 0.5) < 0.35).all(axis=1)
        rim = LOW + SIDE * np.column_stack([np.full(16, 0.02), np.linspace(0, 1, 16)])
        moved = np.vstack([noisy(np.zeros((inner.sum(), 2))), np.tile([0.3, 0.0], (16, 1))])
        choice = choose_local(
            np.vstack([xy[inner], rim]), moved, threshold=3.0, block=SIDE / 10, seed=1
        )
        assert choice.model is None, choice.trials

    def test_who_asks_for_a_family_gets_it(self) -> None:
        xy = places(300)
        still = noisy(np.zeros((300, 2)))
        assert self.choose(still, xy, kinds=("tps",), always=True) == "tps"

    @pytest.mark.parametrize("kinds", [LOCAL_KINDS, ("tps",)])
    def test_tie_points_on_a_line_bend_nothing(self, kinds: tuple[LocalKind, ...]) -> None:
        """As along a narrow strip: no family can tell what happens across it."""
        xy = LOW + SIDE * np.column_stack([np.full(200, 0.5), np.linspace(0, 1, 200)])
        choice = choose_local(xy, wave(xy), threshold=3.0, block=SIDE / 40, kinds=kinds)
        assert choice.model is None or choice.model.kind != "tps"
        assert all(trial.kind != "tps" for trial in choice.trials)

    @pytest.mark.parametrize("count", [0, 1, 8])
    def test_too_few_tie_points_tell_nothing(self, count: int) -> None:
        xy = places(count)
        choice = choose_local(xy, wave(xy), threshold=3.0, block=SIDE / 4)
        assert choice.model is None
        assert [trial.kind for trial in choice.trials] == ["none"]

    def test_the_same_seed_makes_the_same_choice(self) -> None:
        xy = places(300)
        moved = noisy(wave(xy))
        one, other = (choose_local(xy, moved, threshold=3.0, block=2000.0, seed=4) for _ in "ab")
        assert one.trials == other.trials
        assert one.model == other.model
