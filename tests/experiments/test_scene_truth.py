from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.scenes.truth import Truth, lattice

WARP = (5.0, -3.0, 0.5, 1.01)


@given(
    seed=st.integers(0, 1000),
    local=st.floats(0, 5),
    warp=st.tuples(
        st.floats(-50, 50), st.floats(-50, 50), st.floats(-180, 180), st.floats(0.7, 1.5)
    ),
)
@settings(max_examples=25, derandomize=True, deadline=None)
def test_the_inverse_leads_back(
    seed: int, local: float, warp: tuple[float, float, float, float]
) -> None:
    truth = Truth.make(600, warp, local, seed=seed, lengths=(200, 500))
    points = lattice(600, 9)
    np.testing.assert_allclose(truth.inverse(truth.apply(points)), points, atol=1e-7)


def test_the_global_part_turns_about_the_middle() -> None:
    truth = Truth.make(101, (5.0, -3.0, 90.0, 2.0), 0.0, seed=0)
    np.testing.assert_allclose(truth.apply([[50, 50], [60, 50]]), [[55, 47], [55, 67]], atol=1e-9)


def test_the_local_part_reaches_what_was_asked_for_and_no_more() -> None:
    truth = Truth.make(2000, WARP, 3.0, seed=4, lengths=(700, 1500))
    reached = np.hypot(*truth.local(lattice(2000, 301)).T)
    assert reached.max() == pytest.approx(3.0, abs=0.02)
    # Both ways: a field of one sign would be half a shift.
    assert truth.local(lattice(2000, 50)).mean(axis=0) == pytest.approx([0, 0], abs=1.0)


def test_another_seed_is_another_field_and_the_document_keeps_it() -> None:
    one, other = (Truth.make(500, WARP, 2.0, seed=s, lengths=(200, 400)) for s in (1, 2))
    points = lattice(500, 5)
    assert not np.allclose(one.apply(points), other.apply(points))
    again = Truth.from_dict(json.loads(json.dumps(one.to_dict())))
    np.testing.assert_array_equal(again.apply(points), one.apply(points))
    plain = Truth.make(500, WARP, 0.0, seed=1)
    np.testing.assert_array_equal(
        Truth.from_dict(json.loads(json.dumps(plain.to_dict()))).apply(points), plain.apply(points)
    )


def test_a_field_that_folds_cannot_be_inverted() -> None:
    with pytest.raises(ValueError, match="too steep"):
        Truth.make(500, WARP, 80.0, seed=1, lengths=(60, 80)).inverse(lattice(500, 20))
