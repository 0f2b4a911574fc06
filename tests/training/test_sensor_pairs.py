from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from imatch.core.errors import InputError
from imatch.datasets.sample import MAPS, SENSORS
from imatch.training.sensor_pairs import SensorPairs, split_cases
from imatch.training.views import PairsConfig, open_pairs


def test_cases_are_split_by_ground(table: Path) -> None:
    kept, held = split_cases(PairsConfig(cases=table, held_out=2, case_sources=("sar",)))
    assert [case.name[0] for case in kept] == ["1"]
    assert [case.name[0] for case in held] == ["0", "2"]
    assert split_cases(PairsConfig()) == ([], [])


def test_the_warp_is_taken_back(table: Path) -> None:
    config = PairsConfig(cases=table)
    kept, _ = split_cases(config)
    pair = SensorPairs(kept, config)[0]
    # The table's truth leads to the warped target; the file's own lies as the reference.
    np.testing.assert_allclose(pair.homography, np.eye(3), atol=1e-9)
    assert float(np.corrcoef(pair.a.ravel(), pair.b.ravel())[0, 1]) < -0.95


def test_a_table_without_the_sources_is_refused(table: Path) -> None:
    with pytest.raises(InputError, match="no pair of two sensors"):
        split_cases(PairsConfig(cases=table, case_sources=("ir",)))


def test_any_trainer_learns_from_cases_and_maps(table: Path) -> None:
    config = PairsConfig(cases=table, held_out=2, maps=10, size=64)
    train, val = (open_pairs(config, split, 3, 0) for split in ("train", "val"))
    assert [train[i].source for i in range(len(train))] == [SENSORS] * 2 + [MAPS] * 10
    # Real ground is measured on where there is any, and none that taught.
    assert {val[i].source for i in range(len(val))} == {SENSORS}
    assert not {train[i].place for i in range(2)} & {val[i].place for i in range(len(val))}
    alone = PairsConfig(maps=10, size=64)
    assert open_pairs(alone, "val", 3, 0)[0].source == MAPS
