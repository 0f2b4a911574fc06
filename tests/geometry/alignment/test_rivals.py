"""Other positions at which aligned images correlate."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from imatch.core.types import Rendered
from imatch.geometry.alignment.orientation import orientation_field
from imatch.geometry.alignment.rivals import rival_shifts
from tests.support.ground import cells, waves


def shifts(ref: NDArray[np.float32], tgt: NDArray[np.float32]) -> NDArray[np.float64]:
    valid = np.ones(ref.shape, dtype=bool)
    fields = [orientation_field(Rendered(image[None], valid)) for image in (ref, tgt)]
    return rival_shifts(fields[0], fields[1], valid)


def test_ground_without_repetition_has_none() -> None:
    assert len(shifts(waves(0), waves(0))) == 0


@pytest.mark.parametrize(("period", "turn"), [(17.0, 0.0), (31.0, 0.4), (48.0, 0.2)])
def test_a_lattice_has_one_at_each_period(period: float, turn: float) -> None:
    found = shifts(cells(1, period, turn), cells(2, period, turn))
    assert len(found)
    along = np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])
    # The two stand anywhere in their period: shifts differ by whole ones.
    assert np.hypot(*found.T).min() > 6
    steps = (found - found[0]) @ along.T / period
    np.testing.assert_allclose(steps, np.round(steps), atol=0.15)


def test_nothing_seen_has_none() -> None:
    valid = np.zeros((200, 200), dtype=bool)
    field = np.zeros((200, 200), dtype=np.complex64)
    assert len(rival_shifts(field, field, valid)) == 0
    valid[:40, :40] = True
    assert len(rival_shifts(field, field, valid)) == 0
