"""What finished tiles say, read back as it was or refused."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from imatch.pipeline.scene.measure import TileResult

XY = np.array([[1.0, 2.0], [3.5, np.nan]])
RESULT = TileResult((0, 1, 2), "measured", XY, XY + 1, np.array([0.5, 0.25]), np.array([1.0, 2.0]))


def test_a_tile_comes_back_as_it_was() -> None:
    again = TileResult.from_dict(json.loads(json.dumps(RESULT.to_dict())))
    assert (again.key, again.outcome) == (RESULT.key, RESULT.outcome)
    for name in ("ref_xy", "tgt_xy", "peak", "ratio"):
        np.testing.assert_array_equal(getattr(again, name), getattr(RESULT, name))


@pytest.mark.parametrize(
    "change",
    [
        {"peak": [0.5]},
        {"ref_xy": [[1, 2]]},
        {"ratio": [[1.0], [2.0]]},
        {"tgt_xy": [1, 2, 3]},
        {"outcome": "fine"},
        {"key": [0, 1]},
        {"key": ["a", 0, 1]},
        {"peak": ["x", "y"]},
        {"ratio": 3},
        {"key": None},
    ],
)
def test_a_damaged_tile_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises((ValueError, TypeError)):
        TileResult.from_dict(RESULT.to_dict() | change)
