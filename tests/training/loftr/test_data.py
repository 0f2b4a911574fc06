from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from imatch.core.errors import ConfigError, InputError
from imatch.datasets.pairs import ChipPairs
from imatch.datasets.sample import MAPS, SENSORS
from imatch.matchers.dense.loftr_s2 import LoFTRS2
from imatch.training.augment.pair import Augmentation, AugmentConfig
from imatch.training.loftr.config import (
    LoFTRConfig,
    LoFTRDataConfig,
    LoFTRDistilConfig,
    LoFTRValidationConfig,
)
from imatch.training.loftr.data import (
    LoFTRViews,
    as_matched,
    kinds_of,
    open_mixture,
    open_validation,
)
from imatch.training.loftr.labels import Alignments
from imatch.training.views import validation_pairs

SIFT = LoFTRDistilConfig(matchers=("sift",), max_ci_px=3)


def config(chips: Path | None, **values: Any) -> LoFTRDataConfig:
    weights = {"season": 0, "hard": 0, "self": 0, "landscape": 0, "distil": 0}
    mixture = weights | values.pop("mixture", {})
    return LoFTRDataConfig.model_validate(
        {"chips": chips, "size": 64, "mixture": mixture, **values}
    )


def opened(data: LoFTRDataConfig, folder: Path) -> tuple[Any, dict[str, int]]:
    return open_mixture(data, SIFT, Alignments(SIFT, folder), seed=0)


def test_two_sensors_and_maps_teach_beside_seasons(
    chips: Path, table: Path, tmp_path: Path
) -> None:
    mixture = {"season": 1, "sensors": 1, "map": 1}
    pairs, kinds = opened(config(chips, cases=table, maps=4, mixture=mixture), tmp_path)
    assert kinds == {"season": 2, "sensors": 3, "map": 4}
    assert {SENSORS, MAPS} < {pairs[0, index].source for index in range(len(pairs))}


def test_kinds(chips: Path) -> None:
    pairs = ChipPairs(chips, "train", channels=3)
    kinds = kinds_of(pairs, config(chips))
    assert kinds == {
        "season": [0, 1],
        "hard": [2, 3],
        "self": [0, 1, 2, 3, 4, 5],
        "distil": [4, 5],
    }
    assert kinds_of(pairs, config(chips, limit=1))["self"] == [0]
    assert kinds_of(pairs, config(chips, mixture={"hard_share": 0.6}))["hard"] == [2]


class TestMixture:
    def test_proportions(self, chips: Path, tmp_path: Path) -> None:
        data = config(chips, mixture={"season": 1, "hard": 3}, landscapes=2)
        mixture, counts = opened(data, tmp_path)
        assert counts == {"season": 2, "hard": 2}
        drawn = Counter(
            mixture[epoch, index].place for epoch in range(60) for index in range(len(mixture))
        )
        hard = drawn["s/p/x2"] + drawn["s/p/x3"]
        assert 0.68 < hard / drawn.total() < 0.82

    def test_one_date_twice(self, chips: Path, tmp_path: Path) -> None:
        mixture, counts = opened(config(chips, mixture={"self": 1}), tmp_path)
        assert counts == {"self": 6}
        for index in range(6):
            pair = mixture[0, index]
            assert pair.sigma_px == 0
            assert np.array_equal(pair.a, pair.b)

    def test_unknown_pairs_are_aligned_by_matchers(self, chips: Path, tmp_path: Path) -> None:
        data = config(chips, mixture={"distil": 1})
        mixture, counts = opened(data, tmp_path)
        assert counts == {"distil": 2}
        assert len(list(tmp_path.glob("*.npz"))) == 2
        shifts = set()
        for epoch in range(6):
            for index in range(2):
                pair = mixture[epoch, index]
                assert 0 < pair.sigma_px < 1.6
                assert pair.changed.mean() < 0.9
                x, y, w = pair.homography @ [48, 48, 1]
                moved = np.array([x / w - 48, y / w - 48])
                sign = 1 if pair.dates[0] == "20180101" else -1
                assert np.abs(moved - sign * np.array([6, -4])).max() < 0.7
                shifts.add(sign)
        assert shifts == {1, -1}

    def test_procedural_ground(self, tmp_path: Path) -> None:
        data = config(None, mixture={"landscape": 1}, landscapes=3)
        mixture, counts = opened(data, tmp_path)
        assert counts == {"landscape": 3}
        assert mixture[0, 0].sigma_px == 0

    def test_is_a_function_of_epoch_and_index(self, chips: Path, tmp_path: Path) -> None:
        data = config(chips, mixture={"season": 1, "self": 1})
        one, two = (opened(data, tmp_path)[0] for _ in range(2))
        for key in ((0, 1), (3, 2)):
            assert np.array_equal(one[key].a, two[key].a)

    def test_nothing(self, chips: Path, tmp_path: Path) -> None:
        for data in (config(None), config(chips), config(None, landscapes=4)):
            with pytest.raises(ConfigError, match=r"data: there is nothing to learn from"):
                opened(data, tmp_path)

    def test_no_such_folder(self, tmp_path: Path) -> None:
        with pytest.raises(InputError, match="no such folder"):
            opened(config(tmp_path / "none", mixture={"season": 1}), tmp_path)


class TestAsMatched:
    def test_luminance_without_holes(self, pairs: Any) -> None:
        valid = np.ones((96, 96), bool)
        valid[:, :30] = False
        three = np.concatenate([pairs[0].a, pairs[0].a / 2, 0 * pairs[0].a]) * valid
        pair = as_matched(replace(pairs[0], a=three, b=np.repeat(pairs[0].b, 3, 0), valid_a=valid))
        assert pair.a.shape == pair.b.shape == (1, 96, 96)
        grey = 0.299 + 0.5 * 0.587
        np.testing.assert_allclose(pair.a[:, :, 30:], grey * pairs[0].a[:, :, 30:], atol=1e-5)
        # What is not known is continued, and a band beside it is not matched.
        assert (pair.a[0, :, 0] == pair.a[0, :, 30]).mean() > 0.5
        assert not pair.valid_a[:, : 30 + LoFTRS2.guard].any()
        assert pair.valid_a[:, 31 + LoFTRS2.guard :].all()

    def test_five_bands(self, pairs: Any) -> None:
        five = np.repeat(pairs[0].a, 5, axis=0)
        assert as_matched(replace(pairs[0], a=five, b=five)).a.shape == (1, 96, 96)


def test_a_draw_is_a_function_of_its_number(pairs: Any) -> None:
    views = LoFTRViews(pairs, Augmentation(AugmentConfig(), 64), seed=5)
    assert len(views) == 4
    one, two, other = views[2, 17], views[2, 17], views[2, 18]
    assert one.a.shape == (1, 64, 64)
    assert np.array_equal(one.a, two.a)
    assert not np.array_equal(one.a, other.a)
    assert one.known


class TestValidation:
    def settings(self, chips: Path | None, **values: Any) -> LoFTRConfig:
        data = {"chips": chips, "size": 64, **values}
        return LoFTRConfig.model_validate({"data": data, "validation": {"size": 96}})

    def test_on_places_of_its_own(self, chips: Path) -> None:
        pairs = open_validation(self.settings(chips), seed=0)
        assert len(pairs) == 1
        assert pairs[0].place == "s/p/x6"
        wanted = LoFTRValidationConfig(size=64)
        one, two = (as_matched(validation_pairs(pairs, wanted, 64, 1, 0)[0]) for _ in range(2))
        assert one.a.shape == (1, 64, 64)
        assert np.array_equal(one.b, two.b)
        assert not np.allclose(one.homography, np.eye(3))

    def test_procedural_ground_of_its_own(self, tmp_path: Path) -> None:
        settings = self.settings(None, landscapes=5, mixture={"landscape": 1})
        pairs = open_validation(settings, seed=0)
        assert pairs[0].a.shape == (3, 96, 96)
        train, _ = opened(settings.data, tmp_path)
        assert train[0, 0].place != pairs[0].place
