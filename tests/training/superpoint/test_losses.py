from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from imatch.training.superpoint.losses import DESCRIPTOR_LOSSES, hinge, info_nce, too_near, triplet


def descriptors(count: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return F.normalize(torch.randn(count, 16, generator=generator), dim=1)


def none(count: int) -> Tensor:
    return torch.zeros(count, count, dtype=torch.bool)


def test_info_nce_is_the_cross_entropy_both_ways() -> None:
    cosine = descriptors(12, 0) @ descriptors(12, 1).T
    index = torch.arange(12)
    wanted = 0.5 * (F.cross_entropy(cosine / 0.2, index) + F.cross_entropy(cosine.T / 0.2, index))
    torch.testing.assert_close(info_nce(cosine, none(12), 0.2), wanted)


def test_hinge_is_the_published_formula() -> None:
    cosine = descriptors(9, 0) @ descriptors(9, 1).T
    total = 0.0
    for i in range(9):
        for j in range(9):
            c = float(cosine[i, j])
            # Equation 6, with the positives' weight for as many points as there are.
            positive = 250 * 9 / 1024 * max(0.0, 1 - c)
            total += positive if i == j else max(0.0, c - 0.2)
    assert float(hinge(cosine, none(9))) == pytest.approx(total / 81, rel=1e-5)


def test_triplet_by_hand() -> None:
    cosine = torch.tensor([[1.0, 0.5, -1.0], [0.0, 1.0, 0.5], [0.5, 0.0, 1.0]])

    def distance(c: float) -> float:
        return math.sqrt(2 - 2 * c)

    # The nearest other of each, along its row or its column, has a cosine of 0.5.
    wanted = 1 + distance(1 - 5e-7) - distance(0.5)
    assert float(triplet(cosine, none(3))) == pytest.approx(max(wanted, 0), abs=1e-4)


@pytest.mark.parametrize("name", DESCRIPTOR_LOSSES)
class TestEvery:
    def test_is_smaller_where_descriptors_agree(self, name: str) -> None:
        loss = DESCRIPTOR_LOSSES[name]
        one, other = descriptors(20, 0), descriptors(20, 1)
        near = F.normalize(one + 0.2 * other, dim=1)
        assert loss(one @ near.T, none(20)) < loss(one @ other.T, none(20))

    def test_what_is_ignored_does_not_matter(self, name: str) -> None:
        loss = DESCRIPTOR_LOSSES[name]
        cosine = descriptors(6, 0) @ descriptors(6, 1).T
        ignore = none(6)
        ignore[0, 1] = ignore[1, 0] = True
        other = cosine.clone()
        other[0, 1], other[1, 0] = 0.99, -0.99
        torch.testing.assert_close(loss(cosine, ignore), loss(other, ignore))
        assert loss(cosine, none(6)) != loss(other, none(6))

    def test_the_positive_counts_though_near_itself(self, name: str) -> None:
        loss = DESCRIPTOR_LOSSES[name]
        cosine = descriptors(6, 0) @ descriptors(6, 1).T
        itself = torch.eye(6, dtype=torch.bool)
        torch.testing.assert_close(loss(cosine, itself), loss(cosine, none(6)))

    def test_gradients_are_finite(self, name: str) -> None:
        for other in (descriptors(8, 0), descriptors(8, 1)):  # identical, and not
            one = descriptors(8, 0).requires_grad_()
            loss = DESCRIPTOR_LOSSES[name](F.normalize(one, dim=1) @ other.T, none(8))
            loss.backward()  # type: ignore[no-untyped-call]
            assert one.grad is not None
            assert one.grad.isfinite().all()

    def test_no_points(self, name: str) -> None:
        empty = torch.zeros(0, 0, requires_grad=True)
        loss = DESCRIPTOR_LOSSES[name](empty, none(0))
        assert float(loss.detach()) == 0
        loss.backward()  # type: ignore[no-untyped-call]


def test_too_near() -> None:
    xy = torch.tensor([[0.0, 0], [3, 4], [30, 0]])
    assert too_near(xy, 6).tolist() == [
        [True, True, False],
        [True, True, False],
        [False, False, True],
    ]
