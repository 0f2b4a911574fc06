from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from imatch.datasets.sample import PairSample
from imatch.models.loftr.shape import COMPACT, SEASONS, TEACHER, Shape
from imatch.training.loader import collate
from imatch.training.loftr.truth import Truth, truth_of


def truth(pair: PairSample, matrix: Any = None, shape: Shape = COMPACT, **changes: Any) -> Truth:
    if matrix is not None:
        changes["homography"] = np.asarray(matrix, dtype=np.float64)
    return truth_of(collate([replace(pair, **changes)]), shape, 2.0)


def shifted(x: float, y: float) -> list[list[float]]:
    return [[1, 0, x], [0, 1, y], [0, 0, 1]]


def test_identity(pairs: Any) -> None:
    found = truth(pairs[0], np.eye(3))
    assert found.cells.a.tolist() == found.cells.b.tolist() == list(range(144))
    assert found.there.abs().max() == found.back.abs().max() == 0
    assert not found.lost_a.any()
    assert not found.lost_b.any()


@pytest.mark.parametrize("shape", [COMPACT, SEASONS, TEACHER])
def test_a_shift(pairs: Any, shape: Shape) -> None:
    cell = shape.cell
    found = truth(pairs[0], shifted(cell + 3.25, -1.5), shape)
    side = 96 // cell
    row, column = found.cells.a // side, found.cells.a % side
    assert found.cells.b.tolist() == (row * side + column + 1).tolist()
    torch.testing.assert_close(found.there, torch.tensor([3.25, -1.5]).expand(len(row), 2))
    torch.testing.assert_close(found.back, torch.tensor([-3.25, 1.5]).expand(len(row), 2))
    # The last column's ground has left the frame, and the first's was never in it.
    assert found.lost_a[0, :, -1].all()
    assert not found.lost_a[0, :, :-1].any()
    assert found.lost_b[0, :, 0].all()
    assert not found.lost_b[0, :, 1:].any()


@pytest.mark.parametrize("shape", [COMPACT, SEASONS])
def test_each_is_the_others_nearest_and_within_reach(pairs: Any, shape: Shape) -> None:
    angle, scale = np.deg2rad(17), 1.2
    turn = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    matrix = np.eye(3)
    matrix[:2, :2] = turn
    matrix[:2, 2] = [12, -20]
    found = truth(pairs[0], matrix, shape)
    assert 30 < len(found.cells) < 120
    for side in (found.cells.a, found.cells.b):
        assert len(set(side.tolist())) == len(side)
    assert found.there.abs().max() <= COMPACT.reach
    assert found.back.abs().max() <= COMPACT.reach
    # The offsets say the same as the homography.
    a = torch.stack([found.cells.a % 12, found.cells.a // 12], dim=1).double() * 8
    a += shape.offset
    b = torch.stack([found.cells.b % 12, found.cells.b // 12], dim=1).double() * 8
    b += shape.offset
    moved = a @ torch.from_numpy(turn).T + torch.tensor([12.0, -20])
    torch.testing.assert_close(b + found.there.double(), moved, atol=1e-4, rtol=1e-5)
    returned = (b - torch.tensor([12.0, -20])) @ torch.linalg.inv(torch.from_numpy(turn)).T
    torch.testing.assert_close(a + found.back.double(), returned, atol=1e-4, rtol=1e-5)


def test_changed_ground_is_neither_true_nor_lost(pairs: Any) -> None:
    changed = np.zeros((96, 96), bool)
    changed[:40] = True
    found = truth(pairs[0], np.eye(3), changed=changed)
    assert (found.cells.a // 12).min() == 5
    assert not found.lost_a.any()


def test_invalid_ground_is_lost_to_the_other_side(pairs: Any) -> None:
    valid = np.ones((96, 96), bool)
    valid[:, :40] = False
    found = truth(pairs[0], np.eye(3), valid_b=valid)
    assert (found.cells.a % 12).min() == 5
    assert found.lost_a[0, :, :5].all()
    assert not found.lost_b.any()
    assert found.seen_a.all()
    assert not found.seen_b[0, :, :5].any()


@pytest.mark.parametrize("sigma", [float("nan"), 2.5])
def test_what_is_not_known_teaches_nothing(pairs: Any, sigma: float) -> None:
    found = truth(pairs[0], shifted(20, 0), sigma_px=sigma)
    assert len(found.cells) == len(found.there) == len(found.sigma) == 0
    assert not found.lost_a.any()


def test_batches(pairs: Any) -> None:
    unknown = replace(pairs[1], sigma_px=float("nan"))
    found = truth_of(collate([pairs[0], unknown, pairs[2]]), COMPACT, 2.0)
    assert set(found.cells.pair.tolist()) == {0, 2}
    assert found.sigma.tolist() == pytest.approx([0.1] * len(found.cells))
    alone = truth(pairs[2])
    assert found.cells.a[found.cells.pair == 2].tolist() == alone.cells.a.tolist()
