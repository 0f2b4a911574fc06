from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from imatch.training.augment.pair import PLAIN, Augmentation
from imatch.training.loader import map_points
from imatch.training.superpoint.config import ObjectiveConfig, SuperPointLabelConfig
from imatch.training.superpoint.data import SuperPointViews, collate_items
from imatch.training.superpoint.distillation import DistillationTarget, DistillationTargets
from imatch.training.superpoint.labels import KeypointLabels, PairLabels
from imatch.training.superpoint.objective import distillation_points
from imatch.training.superpoint.teachers import CachedTeacher, Detections

CPU = torch.device("cpu")


class Counting:
    """An teacher that counts how often it is asked."""

    def __init__(self, teacher: Any) -> None:
        self.teacher = teacher
        self.asked = 0

    def detect(self, images: Tensor) -> Detections:
        self.asked += 1
        seen: Detections = self.teacher.detect(images)
        return seen


@pytest.fixture
def labels(corners: Any, pairs: Any, tmp_path: Path) -> PairLabels:
    config = SuperPointLabelConfig(homographies=0, count=30, threshold=0.05)
    return KeypointLabels(corners, config, tmp_path / "labels").of(0, pairs[0], CPU)


def test_half_are_labels(corners: Any, pairs: Any, labels: PairLabels, tmp_path: Path) -> None:
    target = DistillationTargets(corners, 40, tmp_path / "lessons").of(0, pairs[0], labels, CPU)
    assert target.xy_a.shape == target.xy_b.shape == (40, 2)
    assert target.descriptors.shape == (40, 49)
    assert target.descriptors.dtype == np.float16
    named = {tuple(xy) for xy in labels.a.xy.tolist()}
    taken = [tuple(xy) in named for xy in target.xy_a.tolist()]
    assert sum(taken) == min(20, len(named))
    assert len({tuple(xy) for xy in target.xy_a.tolist()}) == 40


def test_the_mean_of_both_dates(
    corners: Any, pairs: Any, labels: PairLabels, tmp_path: Path
) -> None:
    pair = replace(pairs[0], b=pairs[1].a)
    target = DistillationTargets(corners, 16, tmp_path / "lessons").of(0, pair, labels, CPU)
    a, b = (
        corners.detect(torch.from_numpy(image)[None]).describe(0, torch.from_numpy(xy))
        for image, xy in ((pair.a, target.xy_a), (pair.b, target.xy_b))
    )
    wanted = torch.nn.functional.normalize(a + b, dim=1).numpy()
    np.testing.assert_allclose(target.descriptors, wanted, atol=1e-3)


def test_nothing_on_changed_or_hidden_ground(
    corners: Any, pairs: Any, labels: PairLabels, tmp_path: Path
) -> None:
    shift = np.eye(3)
    shift[0, 2] = 6
    changed, hidden = np.zeros((64, 64), bool), np.ones((64, 64), bool)
    changed[:20] = True
    hidden[:, 50:] = False
    pair = replace(pairs[0], homography=shift, changed=changed, valid_b=hidden)
    target = DistillationTargets(corners, 40, tmp_path / "lessons").of(0, pair, labels, CPU)
    assert len(target.xy_a) > 10
    assert target.xy_a[:, 1].min() >= 19.5
    assert target.xy_b[:, 0].max() <= 49.5
    np.testing.assert_allclose(target.xy_b, target.xy_a + np.array([6, 0]))


def test_kept_on_disk(corners: Any, pairs: Any, labels: PairLabels, tmp_path: Path) -> None:
    first = DistillationTargets(corners, 16, tmp_path / "lessons").of(2, pairs[2], labels, CPU)
    blind: Any = None  # It must not be asked again.
    again = DistillationTargets(blind, 16, tmp_path / "lessons").of(2, pairs[2], labels, CPU)
    np.testing.assert_array_equal(first.xy_b, again.xy_b)
    np.testing.assert_array_equal(first.descriptors, again.descriptors)


def test_one_look_makes_labels_and_lesson(corners: Any, pairs: Any, tmp_path: Path) -> None:
    counting = Counting(corners)
    teacher = CachedTeacher(counting)
    config = SuperPointLabelConfig(homographies=0, count=30, threshold=0.05)
    labels = KeypointLabels(teacher, config, tmp_path / "labels").of(0, pairs[0], CPU)
    DistillationTargets(teacher, 16, tmp_path / "lessons").of(0, pairs[0], labels, CPU)
    assert counting.asked == 2  # once a date
    teacher.detect(torch.rand(1, 1, 64, 64))
    teacher.detect(torch.rand(1, 1, 64, 64))
    teacher.detect(torch.from_numpy(pairs[0].a)[None])
    assert counting.asked == 5  # Of two answers it has room.


def test_points_follow_the_views(pairs: Any) -> None:
    rng = np.random.default_rng(0)
    xy = rng.uniform(5, 58, (30, 2))
    unit = np.eye(30, dtype=np.float16)
    shift = np.eye(3)
    shift[:2, 2] = 3, -2
    there = xy + shift[:2, 2]
    target = DistillationTarget(xy, there, unit)
    pair = replace(pairs[0], homography=shift)
    objectives = ObjectiveConfig.model_validate({"self": 0, "distil": 1})
    views = SuperPointViews([pair], Augmentation(PLAIN, 48), objectives, 1, seed=3)
    swapped = set()
    for number in range(8):
        batch = collate_items([views[0, number]])
        xy_a, xy_b, wanted = distillation_points(batch, 0, target)
        swapped.add(batch.items[0].swapped)
        assert 0 < len(xy_a) == len(xy_b) == len(wanted) < 30
        torch.testing.assert_close(map_points(batch.seen.homography[0], xy_a), xy_b)
        first = there if batch.items[0].swapped else xy
        moved = map_points(torch.from_numpy(batch.items[0].seen.to_a), torch.from_numpy(first))
        torch.testing.assert_close(xy_a, moved[wanted.argmax(dim=1)])
    assert swapped == {True, False}
