from __future__ import annotations

import math
from typing import get_args

import pytest
import torch

from imatch.training.embedder.config import EmbedderLossConfig, LossName, MinerName, MiningConfig
from imatch.training.embedder.losses import magnet, make_loss, pair_entropy, quadruplet
from imatch.training.embedder.miners import make_miner


def embeddings(seed: int = 0, spread: float = 1.0) -> tuple[torch.Tensor, torch.Tensor]:
    """Four places of three chips each."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(4).repeat_interleave(3)
    centres = torch.eye(4, 6)
    noise = spread * torch.randn(12, 6, generator=generator)
    return torch.nn.functional.normalize(centres[labels] + noise, dim=1), labels


@pytest.mark.parametrize("kind", get_args(LossName))
def test_every_loss_is_smaller_for_the_better_embedding(kind: LossName) -> None:
    loss = make_loss(EmbedderLossConfig(kind=kind))
    good, labels = embeddings(spread=0.02)
    bad, _ = embeddings(spread=2.0)
    bad.requires_grad_()
    low, high = loss(good, labels, None), loss(bad, labels, None)
    assert float(low) < float(high.detach())
    high.backward()  # type: ignore[no-untyped-call]
    assert bad.grad is not None
    assert torch.isfinite(bad.grad).all()
    assert bad.grad.abs().sum() > 0


@pytest.mark.parametrize(
    "kind",
    ["triplet", "triplet-cosine", "triplet-soft", "quadruplet", "contrastive", "bce", "focal"],
)
def test_losses_take_triplets(kind: LossName) -> None:
    loss = make_loss(EmbedderLossConfig(kind=kind))
    seen, _ = embeddings(spread=0.1)
    right = torch.tensor([[0, 1, 3], [3, 4, 0]]).T
    wrong = torch.tensor([[0, 3, 1], [3, 0, 4]]).T
    own = torch.tensor([0, 0, 0, 1, 1, 1] + [2] * 6)
    assert float(loss(seen, own, tuple(right))) < float(loss(seen, own, tuple(wrong)))


def test_quadruplet_by_hand() -> None:
    seen = torch.tensor([[0.0], [1.0], [3.0], [4.0]])
    labels = torch.tensor([0, 0, 1, 2])
    triplets = (torch.tensor([0]), torch.tensor([1]), torch.tensor([2]))
    # d(a,p)^2 = 1, d(a,n)^2 = 9; the other negative is 1 away from the first.
    assert float(quadruplet(seen, labels, triplets, 10.0)) == pytest.approx(2 + 5)
    assert float(quadruplet(seen, labels, triplets, 1.0)) == pytest.approx(0 + 0.5)


def test_quadruplet_of_two_labels_is_a_triplet() -> None:
    seen = torch.tensor([[0.0], [1.0], [3.0]])
    triplets = (torch.tensor([0]), torch.tensor([1]), torch.tensor([2]))
    assert float(quadruplet(seen, torch.tensor([0, 0, 1]), triplets, 9.0)) == pytest.approx(1)


def test_magnet_by_hand() -> None:
    seen = torch.tensor([[-1.0], [1.0], [9.0], [11.0]])
    labels = torch.tensor([5, 5, 8, 8])
    # Every chip is 1 from its own mean, so s = 1; the other mean is 11 or 9 away.
    own = 0.5 + 0.3
    expected = sum(max(own - gap**2 / 2, 0) for gap in (11, 9, 9, 11)) / 4
    assert float(magnet(seen, labels, 0.3)) == pytest.approx(expected)
    near = torch.tensor([[-1.0], [1.0], [1.0], [3.0]])
    expected = sum(max(own - gap**2 / 2, 0) for gap in (3, 1, 1, 3)) / 4
    assert float(magnet(near, labels, 0.3)) == pytest.approx(expected)


def test_pair_entropy_by_hand() -> None:
    seen = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    labels = torch.tensor([0, 0, 1])
    # Scale 2, threshold 0.5: logits 1 for the pair, and 1 for "not" of the others.
    entropy = math.log1p(math.exp(-1))
    assert float(pair_entropy(seen, labels, None, 2.0, 0.5)) == pytest.approx(entropy)
    focal = (1 / (1 + math.e)) ** 2 * entropy
    assert float(pair_entropy(seen, labels, None, 2.0, 0.5, gamma=2.0)) == pytest.approx(focal)


@pytest.mark.parametrize("kind", [k for k in get_args(MinerName) if k not in ("none", "all")])
def test_miners_find_pairs_that_are_what_they_should_be(kind: MinerName) -> None:
    miner = make_miner(MiningConfig(kind=kind), cosine=kind == "multi-similarity")
    assert miner is not None
    seen, labels = embeddings(spread=0.7)
    mined = miner(seen, labels)
    assert mined is not None
    assert all(len(part) for part in mined)
    if len(mined) == 3:
        a, p, n = mined
        a2 = a
    else:
        a, p, a2, n = mined
    assert (labels[a] == labels[p]).all()
    assert (a != p).all()
    assert (labels[a2] != labels[n]).all()


def test_hardest_are_the_hardest() -> None:
    seen, labels = embeddings(spread=0.7)
    gaps = torch.cdist(seen, seen)
    for kind, rows in (("random-hard-positive", 1), ("random-hard-negative", 2)):
        miner = make_miner(MiningConfig(kind=kind), cosine=False)  # type: ignore[arg-type]
        assert miner is not None
        mined = miner(seen, labels)
        assert mined is not None
        for anchor, found in zip(mined[0], mined[rows], strict=True):
            same = labels == labels[anchor]
            same[anchor] = False
            if rows == 1:
                assert gaps[anchor, found] == gaps[anchor][same].max()
            else:
                assert gaps[anchor, found] == gaps[anchor][labels != labels[anchor]].min()
