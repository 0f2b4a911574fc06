from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from imatch.core.errors import ConfigError, InputError
from imatch.datasets.sample import MAPS, SENSORS
from imatch.training.augment.pair import PLAIN
from imatch.training.views import (
    PairsConfig,
    SensorPairs,
    ViewsConfig,
    one_date,
    open_pairs,
    split_cases,
    spread,
    validation_pairs,
    with_bands,
)


def test_one_date_is_known_exactly(pairs: Any) -> None:
    lost = replace(pairs[0], sigma_px=float("nan"), homography=np.diag([2.0, 2, 1]))
    twice = one_date(lost)
    assert twice.sigma_px == 0
    assert np.array_equal(twice.a, twice.b)
    assert np.array_equal(twice.homography, np.eye(3))


class TestBands:
    @pytest.mark.parametrize("bands", [1, 3])
    def test_grey_and_colour_convert(self, bands: int, pairs: Any) -> None:
        assert with_bands(with_bands(pairs[0], 3), bands).b.shape == (bands, 64, 64)

    def test_others_must_fit(self, pairs: Any) -> None:
        five = replace(pairs[0], a=np.repeat(pairs[0].a, 5, 0), b=np.repeat(pairs[0].b, 5, 0))
        assert with_bands(five, 5) is five
        with pytest.raises(InputError, match=r"place 0: has 5 bands, the network wants 3"):
            with_bands(five, 3)


class TestSets:
    def test_some_are_spread_evenly(self, pairs: Any) -> None:
        two = spread(pairs, 2)
        assert [two[i].place for i in range(len(two))] == ["place 0", "place 2"]
        assert len(spread(pairs, 9)) == 4
        with pytest.raises(IndexError):
            two[2]

    def test_landscapes_of_training_and_validation_differ(self) -> None:
        config = PairsConfig(landscapes=5, size=64)
        train, val = (open_pairs(config, split, 1, 0) for split in ("train", "val"))
        assert (len(train), len(val)) == (5, 1)
        assert train[0].place != val[0].place

    def test_nothing(self) -> None:
        with pytest.raises(ConfigError, match=r"data: there is nothing to learn from"):
            open_pairs(PairsConfig(), "train", 1, 0)

    def test_no_such_folder(self, tmp_path: Any) -> None:
        with pytest.raises(InputError, match="no such folder"):
            open_pairs(PairsConfig(chips=tmp_path / "none"), "train", 1, 0)


class TestValidation:
    def test_the_same_each_time(self, pairs: Any) -> None:
        one, two = (validation_pairs(pairs, ViewsConfig(), 48, 1, 0) for _ in range(2))
        assert len(one) == 4
        for a, b in zip(one, two, strict=True):
            assert np.array_equal(a.b, b.b)
            assert not np.allclose(a.homography, np.eye(3))

    def test_only_what_is_known(self, pairs: Any) -> None:
        lost = [replace(pair, sigma_px=float("nan")) for pair in pairs.pairs]
        with pytest.raises(InputError, match="known alignment"):
            validation_pairs(type(pairs)(lost), ViewsConfig(), 48, 1, 0)
        lost[1] = pairs[1]
        assert len(validation_pairs(type(pairs)(lost), ViewsConfig(), 48, 1, 0)) == 1

    def test_views_are_similarities(self, pairs: Any) -> None:
        for case in validation_pairs(pairs, ViewsConfig(), 48, 1, 0):
            linear = case.homography[:2, :2]
            scale = np.sqrt(np.linalg.det(linear))
            np.testing.assert_allclose(linear @ linear.T, scale**2 * np.eye(2), atol=1e-9)
            np.testing.assert_allclose(case.homography[2], [0, 0, 1], atol=1e-12)
        assert PLAIN.season == PLAIN.sensor == 0


class TestTwoSensors:
    def test_cases_are_split_by_ground(self, table: Path) -> None:
        kept, held = split_cases(PairsConfig(cases=table, held_out=2, case_sources=("sar",)))
        assert [case.name[0] for case in kept] == ["1"]
        assert [case.name[0] for case in held] == ["0", "2"]
        assert split_cases(PairsConfig()) == ([], [])

    def test_the_warp_is_taken_back(self, table: Path) -> None:
        config = PairsConfig(cases=table)
        kept, _ = split_cases(config)
        pair = SensorPairs(kept, config)[0]
        # The table's truth leads to the warped target; the file's own lies as the reference.
        np.testing.assert_allclose(pair.homography, np.eye(3), atol=1e-9)
        assert float(np.corrcoef(pair.a.ravel(), pair.b.ravel())[0, 1]) < -0.95

    def test_a_table_without_the_sources_is_refused(self, table: Path) -> None:
        with pytest.raises(InputError, match="no pair of two sensors"):
            split_cases(PairsConfig(cases=table, case_sources=("ir",)))

    def test_any_trainer_learns_from_cases_and_maps(self, table: Path) -> None:
        config = PairsConfig(cases=table, held_out=2, maps=10, size=64)
        train, val = (open_pairs(config, split, 3, 0) for split in ("train", "val"))
        assert [train[i].source for i in range(len(train))] == [SENSORS] * 2 + [MAPS] * 10
        # Real ground is measured on where there is any, and none that taught.
        assert {val[i].source for i in range(len(val))} == {SENSORS}
        assert not {train[i].place for i in range(2)} & {val[i].place for i in range(len(val))}
        alone = PairsConfig(maps=10, size=64)
        assert open_pairs(alone, "val", 3, 0)[0].source == MAPS
