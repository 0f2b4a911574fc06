from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from imatch.training.superpoint.config import SuperPointLabelConfig
from imatch.training.superpoint.labels import KeypointLabels, adapted_heat, matchable, peaks

CPU = torch.device("cpu")
CONFIG = SuperPointLabelConfig(homographies=2, count=40, threshold=0.05)


@dataclass(frozen=True, eq=False)
class Squares:
    """Sees keypoints in the middle of white squares; descriptors are given by a table."""

    table: Tensor

    @property
    def heat(self) -> Tensor:
        return torch.zeros(1, 8, 8)

    def describe(self, _index: int, xy: Tensor) -> Tensor:
        return self.table[: len(xy)]


class TestAdaptation:
    def test_finds_a_corner_where_it_is(self, corners: Any) -> None:
        image = torch.zeros(1, 64, 64)
        image[:, 20:, 28:] = 1
        heat = adapted_heat(corners, image, torch.ones(64, 64, dtype=torch.bool), 6, seed=1)
        xy, response = peaks(heat, CONFIG)
        assert response[0] == response.max()
        assert (xy[0] - torch.tensor([27.5, 19.5])).norm() < 1.0

    def test_nothing_on_invalid_ground(self, corners: Any) -> None:
        image = torch.rand(1, 64, 64, generator=torch.Generator().manual_seed(0))
        valid = torch.ones(64, 64, dtype=torch.bool)
        valid[:, 32:] = False
        heat = adapted_heat(corners, image, valid, 2, seed=1)
        assert (heat[:, 32:] == 0).all()
        assert (peaks(heat, CONFIG)[0][:, 0] < 33).all()

    def test_without_views_it_is_what_was_seen(self, corners: Any) -> None:
        image = torch.rand(1, 64, 64, generator=torch.Generator().manual_seed(0))
        valid = torch.ones(64, 64, dtype=torch.bool)
        seen = corners.detect(image[None]).heat[0]
        assert torch.equal(adapted_heat(corners, image, valid, 0, seed=1), seen)
        assert not torch.equal(adapted_heat(corners, image, valid, 1, seed=1), seen)


def test_peaks_are_apart_and_few() -> None:
    heat = torch.rand(64, 64, generator=torch.Generator().manual_seed(0))
    xy, response = peaks(heat, SuperPointLabelConfig(count=20, radius=5))
    assert len(xy) == 20
    assert (response[:-1] >= response[1:]).all()
    apart = torch.cdist(xy, xy, p=float("inf")) + 100 * torch.eye(20)
    assert apart.min() > 4  # A pixel less than the radius: positions are refined.


class TestMatchable:
    def test_by_place_and_by_look(self) -> None:
        here = torch.tensor([[10.0, 10], [20, 20], [30, 30], [40, 40]])
        there = torch.tensor([[15.0, 10], [25, 20.5], [60, 60]])
        shift = torch.eye(3, dtype=torch.float64)
        shift[0, 2] = 5
        # The first looks like what is there, the second like the first; the rest is not there.
        mine = torch.eye(4)
        mine[1] = mine[0]
        others = torch.eye(4)[:3]
        weight = matchable((Squares(mine), here), (Squares(others), there), shift, 1.5)
        assert weight.tolist() == [1.0, 0.5, 0.0, 0.0]

    def test_nothing_there(self) -> None:
        here, nothing = torch.rand(3, 2), torch.zeros(0, 2)
        saw = Squares(torch.eye(3))
        eye = torch.eye(3, dtype=torch.float64)
        assert matchable((saw, here), (saw, nothing), eye, 1.0).tolist() == [0, 0, 0]
        assert len(matchable((saw, nothing), (saw, here), eye, 1.0)) == 0


class TestLabels:
    def test_seasons_choose_among_keypoints(self, corners: Any, pairs: Any, tmp_path: Path) -> None:
        found = KeypointLabels(corners, CONFIG, tmp_path / "labels").of(0, pairs[0], CPU)
        assert len(found.a.xy) > 8
        assert 0 < len(found.season_a.xy) <= len(found.a.xy)
        assert set(np.unique(found.season_a.weight)) <= {0.5, 1.0}
        everywhere = {tuple(xy) for xy in found.a.xy.tolist()}
        assert all(tuple(xy) in everywhere for xy in found.season_a.xy.tolist())

    def test_kept_on_disk(self, corners: Any, pairs: Any, tmp_path: Path) -> None:
        first = KeypointLabels(corners, CONFIG, tmp_path / "labels").of(2, pairs[2], CPU)
        blind: Any = None  # It must not be asked again.
        again = KeypointLabels(blind, CONFIG, tmp_path / "labels").of(2, pairs[2], CPU)
        for side in ("a", "b", "season_a", "season_b"):
            np.testing.assert_array_equal(getattr(first, side).xy, getattr(again, side).xy)

    def test_unknown_alignment_makes_no_season(
        self, corners: Any, pairs: Any, tmp_path: Path
    ) -> None:
        lost = replace(pairs[0], sigma_px=float("nan"))
        found = KeypointLabels(corners, CONFIG, tmp_path / "labels").of(0, lost, CPU)
        assert len(found.season_a.xy) == len(found.season_b.xy) == 0
        assert len(found.a.xy) > 0

    @pytest.mark.parametrize("side", [61, 64])
    def test_any_size(self, side: int, corners: Any, pairs: Any, tmp_path: Path) -> None:
        pair = pairs[0]
        cut = replace(
            pair,
            a=np.ascontiguousarray(pair.a[:, :side, :side]),
            b=np.ascontiguousarray(pair.b[:, :side, :side]),
            valid_a=pair.valid_a[:side, :side],
            valid_b=pair.valid_b[:side, :side],
            changed=pair.changed[:side, :side],
        )
        found = KeypointLabels(corners, CONFIG, tmp_path / "labels").of(0, cut, CPU)
        assert found.a.xy.max() < side
