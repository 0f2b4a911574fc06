from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from imatch.datasets.sample import PairSample
from imatch.models.superpoint.network import SuperPoint
from imatch.training.augment.pair import PLAIN, Augmentation
from imatch.training.loader import map_points
from imatch.training.superpoint.config import SuperPointConfig
from imatch.training.superpoint.data import Item, SuperPointViews, collate_items
from imatch.training.superpoint.labels import PairLabels, Points
from imatch.training.superpoint.objective import (
    correspondences,
    descriptor_objective,
    detector_objective,
    detector_targets,
    distil_objective,
)

Configure = Callable[..., SuperPointConfig]
CPU = torch.device("cpu")


def points(*xy: tuple[float, float], weight: float = 1.0) -> Points:
    return Points(np.array(xy, np.float32), np.full(len(xy), weight, np.float32))


LABELS = PairLabels(
    points((30, 30), (20, 40)), points((25, 35)), points((30, 30)), points((25, 35), weight=0.5)
)


def item_of(pairs: Any, config: SuperPointConfig, number: int = 0) -> Item:
    look = Augmentation(PLAIN, config.data.size)
    return SuperPointViews(pairs, look, config.objectives, 1, seed=2)[0, number]


def still(item: Item, pair: PairSample) -> Item:
    """The item as it would be without any change of view."""
    eye = np.eye(3)
    return replace(item, swapped=False, seen=replace(item.seen, pair=pair, to_a=eye, to_b=eye))


class TestDetectorTargets:
    def test_labels_move_with_the_views(self, pairs: Any, configure: Configure) -> None:
        config = configure("objectives.self=0", "objectives.season=1")
        for number in range(6):
            item = item_of(pairs, config, number)
            (((share_a, a),), ((share_b, b),)) = detector_targets(item, LABELS, config, CPU)
            assert share_a == share_b == 1
            first, second = LABELS.season_a, LABELS.season_b
            if item.swapped:
                first, second = second, first
            for found, was, matrix in ((a, first, item.seen.to_a), (b, second, item.seen.to_b)):
                if len(found.xy):
                    there = map_points(torch.from_numpy(matrix), torch.from_numpy(was.xy))
                    torch.testing.assert_close(found.xy.double(), there, atol=1e-4, rtol=0)
                    assert found.weight.tolist() == was.weight.tolist()

    def test_nothing_on_changed_ground(self, pairs: Any, configure: Configure) -> None:
        config = configure("objectives.self=0", "objectives.season=1")
        pair = pairs[0]
        pair.changed[20:40, 28:40] = True
        item = still(item_of(pairs, config), pair)
        (((_, a),), ((_, b),)) = detector_targets(item, LABELS, config, CPU)
        assert len(a.xy) == 0
        assert b.xy.tolist() == [[25, 35]]

    def test_without_a_known_alignment_images_speak_alone(
        self, pairs: Any, configure: Configure
    ) -> None:
        config = configure("objectives.self=0", "objectives.season=1")
        lost = replace(pairs[0], sigma_px=float("nan"))
        item = replace(still(item_of(pairs, config), lost), plain=lost)
        (((_, a),), _) = detector_targets(item, LABELS, config, CPU)
        assert a.xy.tolist() == LABELS.a.xy.tolist()

    def test_polygons_beside_pseudo_labels(self, pairs: Any, configure: Configure) -> None:
        config = configure("objectives.self=1", "objectives.polygon=3", "labels.polygon_mix=0.25")
        item = replace(still(item_of(pairs, config), pairs[0]), kind="one-date")
        ((own, drawn), _) = detector_targets(item, LABELS, config, CPU)
        assert (own[0], drawn[0]) == (0.25, 0.75)
        assert drawn[1].xy.tolist() == [[20, 20], [40, 31], *LABELS.a.xy.tolist()]
        assert drawn[1].weight.tolist() == [1, 1, 0.25, 0.25]
        assert drawn[1].sigma.tolist() == [1, 2, 0.5, 0.5]

    def test_where_there_is_no_polygon_pseudo_labels_stand_alone(
        self, pairs: Any, configure: Configure
    ) -> None:
        config = configure("objectives.self=0", "objectives.polygon=1")
        bare = replace(
            pairs[0],
            keypoints_a=np.zeros((0, 2), np.float32),
            keypoint_sigma_a=np.zeros(0, np.float32),
        )
        item = replace(still(item_of(pairs, config), bare), kind="one-date")
        (((share, alone),), _) = detector_targets(item, LABELS, config, CPU)
        assert share == 1
        assert alone.weight.tolist() == [1, 1]


def test_detector_objective_is_smallest_for_the_right_answer(
    pairs: Any, configure: Configure
) -> None:
    config = configure()
    item = replace(still(item_of(pairs, config), pairs[0]), kind="one-date")
    ((own,), _) = detector_targets(item, LABELS, config, CPU)
    valid = torch.ones(1, 64, 64, dtype=torch.bool)
    right = torch.full((1, 65, 8, 8), -6.0)
    right[:, 64] = 6
    for x, y in LABELS.a.xy.astype(int).tolist():
        right[0, 64, y // 8, x // 8] = -6
        right[0, 8 * (y % 8) + x % 8, y // 8, x // 8] = 6
    wrong = right.roll(1, dims=3)
    assert detector_objective(right, [[own]], valid) < detector_objective(wrong, [[own]], valid)


class TestCorrespondences:
    def test_lie_on_shared_unchanged_ground(self, pairs: Any, configure: Configure) -> None:
        config = configure("objectives.self=0", "objectives.season=1")
        for number in range(4):
            item = item_of(pairs, config, number)
            pair = item.seen.pair
            pair.changed[:20] = True
            batch = collate_items([item])
            a, b = correspondences(batch, 0, torch.tensor([[24.0, 24.0]]), 64)
            assert 0 < len(a) == len(b) <= 64
            torch.testing.assert_close(b, map_points(torch.from_numpy(pair.homography), a))
            ax, ay = a.round().long().T
            assert (ay >= 20).all()
            assert pair.valid_a[ay, ax].all()
            bx, by = b.round().long().T
            assert pair.valid_b[by, bx].all()

    def test_labels_come_first(self, pairs: Any, configure: Configure) -> None:
        item = still(item_of(pairs, configure()), pairs[0])
        a, _ = correspondences(collate_items([item]), 0, torch.tensor([[24.0, 25.0], [30, 31]]), 16)
        assert sorted(a[:2].tolist()) == [[24, 25], [30, 31]]


def cells(size: int) -> Tensor:
    """(64, size, size): every cell looks like no other."""
    return torch.eye(64).view(64, 8, 8)[:, :size, :size]


@pytest.mark.parametrize("loss", ["info-nce", "hinge", "triplet"])
def test_descriptors_of_the_same_ground_agree(loss: str, configure: Configure) -> None:
    config = configure(f"loss.descriptor={loss}")
    y, x = torch.meshgrid(torch.arange(8), torch.arange(8), indexing="ij")
    centres = torch.stack([x, y], dim=-1).view(-1, 2).double() * 8 + 3.5
    same = descriptor_objective(cells(8), cells(8), centres, centres, config)
    other = descriptor_objective(cells(8), cells(8).roll(1, dims=2), centres, centres, config)
    assert same < other


def test_distilling_wants_the_teachers_descriptors(configure: Configure) -> None:
    config = configure()
    y, x = torch.meshgrid(torch.arange(8), torch.arange(8), indexing="ij")
    centres = torch.stack([x, y], dim=-1).view(-1, 2).double() * 8 + 3.5
    places, wanted = (centres, centres), torch.eye(64)
    alike = distil_objective((cells(8), cells(8)), places, wanted, config)
    wrong = distil_objective((cells(8), cells(8).roll(1, dims=2)), places, wanted, config)
    assert float(alike) == pytest.approx(config.loss.contrast * 0.0028, rel=0.2)
    assert wrong > alike + 0.4


def test_a_low_temperature_looks_at_the_hardest(configure: Configure) -> None:
    y, x = torch.meshgrid(torch.arange(8), torch.arange(8), indexing="ij")
    centres = torch.stack([x, y], dim=-1).view(-1, 2).double() * 8 + 3.5
    warm, cold = (
        descriptor_objective(
            cells(8), cells(8), centres, centres, configure(f"loss.temperature={temperature}")
        )
        for temperature in (0.2, 0.05)
    )
    assert 0 < cold < 1e-3 < warm


def test_gradients_reach_both_views(pairs: Any, configure: Configure, network: SuperPoint) -> None:
    config = configure()
    batch = collate_items([item_of(pairs, config)])
    _, dense = network(torch.cat([batch.seen.a, batch.seen.b]))
    dense.retain_grad()
    xy = correspondences(batch, 0, torch.zeros(0, 2), 32)
    descriptor_objective(dense[0], dense[1], *xy, config).backward()  # type: ignore[no-untyped-call]
    assert dense.grad is not None
    assert all(float(side.abs().sum()) > 0 for side in dense.grad)
