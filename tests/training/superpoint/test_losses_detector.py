from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F  # noqa: N812

from imatch.models.superpoint.points import heatmap
from imatch.training.superpoint.losses import detector_loss, soft_targets, whole_cells


def test_hard_targets_give_the_cross_entropy() -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 65, 3, 4, generator=generator)
    label = torch.randint(0, 65, (2, 3, 4), generator=generator)
    target = F.one_hot(label, 65).permute(0, 3, 1, 2).float()
    everywhere = torch.ones(2, 3, 4, dtype=torch.bool)
    torch.testing.assert_close(
        detector_loss(logits, target, everywhere), F.cross_entropy(logits, label)
    )


def test_who_knows_nothing_pays_the_logarithm_of_the_classes() -> None:
    target = soft_targets(torch.tensor([[3.0, 9]]), torch.ones(1), torch.zeros(1), (16, 16))
    mask = torch.ones(1, 2, 2, dtype=torch.bool)
    loss = detector_loss(torch.zeros(1, 65, 2, 2), target[None], mask)
    assert float(loss) == pytest.approx(math.log(65))


def test_masked_cells_do_not_count() -> None:
    logits = torch.randn(1, 65, 2, 2, generator=torch.Generator().manual_seed(0))
    target = torch.full((1, 65, 2, 2), 1 / 65)
    mask = torch.tensor([[[True, False], [True, True]]])
    other = logits.clone()
    other[..., 0, 1] += torch.arange(65.0)
    torch.testing.assert_close(
        detector_loss(logits, target, mask), detector_loss(other, target, mask)
    )
    assert float(detector_loss(logits, target, torch.zeros_like(mask))) == 0


def test_whole_cells() -> None:
    valid = torch.ones(1, 16, 24, dtype=torch.bool)
    valid[0, 9, 17] = False
    assert whole_cells(valid).tolist() == [[[True, True, True], [True, True, False]]]


class TestSoftTargets:
    def test_lies_where_the_decoder_looks(self) -> None:
        """The target, taken for the network's answer, decodes to the keypoint."""
        xy = torch.tensor([[13.0, 21.0], [37.0, 2.0]])
        target = soft_targets(xy, torch.ones(2), torch.zeros(2), (40, 32))
        heat = heatmap((target[None] + 1e-9).log())[0]
        for x, y in xy.long().tolist():
            assert heat[y, x] == heat[y - 2 : y + 3, x - 2 : x + 3].max()
            assert heat[y, x] > 0.8

    @settings(max_examples=25, deadline=None, derandomize=True)
    @given(
        seed=st.integers(0, 1000), count=st.integers(0, 40), sigma=st.floats(0, 6, allow_nan=False)
    )
    def test_every_cell_is_a_distribution(self, seed: int, count: int, sigma: float) -> None:
        generator = torch.Generator().manual_seed(seed)
        xy = 40 * torch.rand(count, 2, generator=generator) - 4
        weight = torch.rand(count, generator=generator)
        target = soft_targets(xy, weight, torch.full((count,), sigma), (32, 24))
        assert target.shape == (65, 3, 4)
        assert target.min() >= 0
        torch.testing.assert_close(target.sum(dim=0), torch.ones(3, 4), atol=1e-5, rtol=0)

    def test_uncertain_points_spread(self) -> None:
        xy, one = torch.tensor([[20.2, 20.4]]), torch.ones(1)
        sharp = soft_targets(xy, one, torch.tensor([0.5]), (40, 40))
        broad = soft_targets(xy, one, torch.tensor([3.0]), (40, 40))
        assert sharp[:64].max() > 5 * broad[:64].max()
        for target in (sharp, broad):  # Of one keypoint in all, wherever its cells are.
            assert float(target[:64].sum()) == pytest.approx(1, abs=1e-4)

    def test_weight_is_how_much_of_a_keypoint(self) -> None:
        xy, sigma = torch.tensor([[12.0, 12]]), torch.zeros(1)
        half = soft_targets(xy, torch.tensor([0.5]), sigma, (24, 24))
        assert float(half[:64].sum()) == pytest.approx(0.5, abs=1e-4)
        assert float(half[64, 1, 1]) == pytest.approx(0.5, abs=1e-2)
