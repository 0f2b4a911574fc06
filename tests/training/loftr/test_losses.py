from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch

from imatch.models.loftr.network import CoarseCells
from imatch.training.loftr.config import LoFTRLossConfig
from imatch.training.loftr.losses import coarse_loss, fine_loss
from imatch.training.loftr.truth import Truth


def knowing(count: int, *, lost: int = 0, sigma: float = 0.0) -> Truth:
    """One pair of 3 x 3 cells, of which the first are each other's and the next are lost."""
    index = torch.arange(count)
    gone = torch.zeros(9, dtype=torch.bool)
    gone[count : count + lost] = True
    seen = torch.ones(1, 3, 3, dtype=torch.bool)
    cells = CoarseCells(torch.zeros_like(index), index, index)
    offsets = torch.zeros(count, 2)
    lost_a, nothing = gone.view(1, 3, 3), torch.zeros(1, 3, 3, dtype=torch.bool)
    return Truth(cells, offsets, offsets, torch.full((count,), sigma), lost_a, nothing, seen, seen)


class TestCoarse:
    def test_by_the_formula(self) -> None:
        similarity = torch.randn(1, 9, 9, generator=torch.Generator().manual_seed(0))
        p = (similarity.softmax(1) * similarity.softmax(2))[0].diagonal()[:4]
        plain = coarse_loss(similarity, knowing(4), LoFTRLossConfig(coarse="dual-softmax"))
        torch.testing.assert_close(plain["coarse"], -p.log().mean())
        focal = coarse_loss(similarity, knowing(4), LoFTRLossConfig(gamma=2.0))
        torch.testing.assert_close(focal["coarse"], -((1 - p) ** 2 * p.log()).mean())

    def test_smallest_for_the_right_answer(self) -> None:
        right = coarse_loss(20 * torch.eye(9)[None], knowing(9), LoFTRLossConfig())
        wrong = coarse_loss(20 * torch.eye(9).roll(1, 0)[None], knowing(9), LoFTRLossConfig())
        assert right["coarse"] < 1e-6
        assert wrong["coarse"] > 10

    def test_the_lost_should_not_be_sure(self) -> None:
        config = LoFTRLossConfig(lost_weight=0.5)
        sure = coarse_loss(20 * torch.eye(9)[None], knowing(4, lost=2), config)
        unsure = 20 * torch.eye(9)[None]
        unsure[0, 4:6] = 0
        doubting = coarse_loss(unsure, knowing(4, lost=2), config)
        assert sure["lost"] > 5
        assert doubting["lost"] < 0.5
        torch.testing.assert_close(sure["coarse"], sure["matched"] + 0.5 * sure["lost"])

    def test_what_is_known_badly_counts_less(self) -> None:
        similarity = torch.zeros(1, 9, 9)
        exact, vague = (
            coarse_loss(similarity, knowing(4, sigma=sigma), LoFTRLossConfig())["coarse"]
            for sigma in (0.0, 4.0)
        )
        torch.testing.assert_close(vague, exact / 2)

    @pytest.mark.parametrize("truth", [knowing(0), knowing(0, lost=3), knowing(9)])
    def test_slopes_are_finite(self, truth: Truth) -> None:
        # Also where a pair of cells is certain, and where it is impossible.
        similarity = (500 * torch.eye(9).roll(1, 0)[None]).requires_grad_()
        loss = coarse_loss(similarity, truth, LoFTRLossConfig())["coarse"]
        loss.backward()  # type: ignore[no-untyped-call]
        assert torch.isfinite(loss)
        assert similarity.grad is not None
        assert torch.isfinite(similarity.grad).all()


class TestFine:
    def loss(self, found: Any, wanted: Any, sigma: Any = None) -> float:
        sigma = [0.0] * len(wanted) if sigma is None else sigma
        return float(
            fine_loss(torch.tensor(found), torch.tensor(wanted), torch.tensor(sigma), 4.0, 0.3)
        )

    def test_distance_in_units_of_the_reach(self) -> None:
        assert self.loss([[0.5, 0.0, 0.1]], [[2.0, 0.0]]) == 0
        assert self.loss([[0.5, 0.0, 0.1]], [[2.0, 2.0]]) == pytest.approx(0.25)

    def test_the_sure_count_more(self) -> None:
        found = [[0.5, 0.0, 0.1], [0.0, 0.0, 0.3]]
        # Weights 1.5 and 0.5.
        assert self.loss(found, [[0.0, 0.0]] * 2) == pytest.approx(1.5 * 0.25 / 2)

    def test_doubt_is_not_taught(self) -> None:
        found = torch.tensor([[0.5, 0.0, 0.1], [0.2, 0.0, 0.3]], requires_grad=True)
        loss = fine_loss(found, torch.zeros(2, 2), torch.zeros(2), 4.0, 0.3)
        loss.backward()  # type: ignore[no-untyped-call]
        assert found.grad is not None
        assert (found.grad[:, 2] == 0).all()
        assert (found.grad[:, 0] > 0).all()

    def test_what_is_beyond_the_window_is_left_out(self) -> None:
        found = [[0.5, 0.0, 0.1], [0.5, 0.0, 0.1]]
        assert self.loss(found, [[2.0, 0.0], [9.0, 0.0]]) == 0
        assert self.loss(found[:1], [[9.0, 0.0]]) == 0

    def test_what_is_known_badly_counts_less(self) -> None:
        found, wanted = [[0.5, 0.0, 0.1]], [[0.0, 0.0]]
        assert self.loss(found, wanted, [0.3]) == pytest.approx(0.125)
        assert self.loss(found, wanted, [0.6]) == pytest.approx(0.05)

    def test_nothing(self) -> None:
        empty = torch.zeros(0, 3, requires_grad=True)
        loss = fine_loss(empty, torch.zeros(0, 2), torch.zeros(0), 4.0, 0.3)
        assert loss.requires_grad
        assert loss.item() == 0


def test_truth_is_what_the_losses_need() -> None:
    truth = replace(knowing(2), sigma=torch.tensor([0.0, 4.0]))
    loss = coarse_loss(torch.zeros(1, 9, 9), truth, LoFTRLossConfig(coarse="dual-softmax"))
    assert float(loss["coarse"]) == pytest.approx(0.75 * 2 * math.log(9))
