from __future__ import annotations

import pytest
import torch

from imatch.models.embedding.pooling import (
    Attention,
    Delf,
    GeM,
    PoolName,
    make_pool,
    share_of_ground,
)

POOLS: tuple[PoolName, ...] = ("gem", "attention", "delf")


def features(seed: int = 0) -> torch.Tensor:
    return torch.rand(2, 8, 4, 5, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("name", POOLS)
def test_invalid_cells_do_not_matter(name: PoolName) -> None:
    pool = make_pool(name, 8)
    ground = torch.ones(2, 4, 5)
    ground[:, :, 3:] = 0
    seen = features()
    other = seen.clone()
    other[:, :, :, 3:] = 5.0
    assert torch.allclose(pool(seen, ground), pool(other, ground), atol=1e-5)


@pytest.mark.parametrize("name", POOLS)
def test_no_ground_gives_zeros_and_finite_gradients(name: PoolName) -> None:
    pool = make_pool(name, 8)
    seen = features().requires_grad_()
    pooled = pool(seen, torch.zeros(2, 4, 5))
    pooled.sum().backward()
    assert not pooled.any()
    assert seen.grad is not None
    assert torch.isfinite(seen.grad).all()


def test_gem_is_the_mean_at_one_and_nears_the_maximum() -> None:
    seen, ground = features(), torch.ones(2, 4, 5)
    assert torch.allclose(GeM(8, p=1.0)(seen, ground), seen.mean(dim=(2, 3)), atol=1e-5)
    high = GeM(8, p=60.0)(seen, ground)
    assert torch.allclose(high, seen.amax(dim=(2, 3)), atol=0.06)


def test_attention_starts_as_the_mean_and_follows_its_query() -> None:
    seen, ground = features(), torch.ones(2, 4, 5)
    pool = Attention(8, heads=2)
    assert torch.allclose(pool(seen, ground), seen.mean(dim=(2, 3)), atol=1e-5)
    with torch.no_grad():
        pool.query.weight[:, 0] = 1000.0
    brightest = seen[:, 0].flatten(1).argmax(dim=1)
    expected = torch.stack([seen[i].flatten(1)[:, k] for i, k in enumerate(brightest)])
    assert torch.allclose(pool(seen, ground), expected, atol=1e-3)


def test_attention_heads_share_the_channels() -> None:
    with pytest.raises(ValueError, match="cannot be shared"):
        Attention(10, heads=4)


def test_delf_leaves_out_what_it_thinks_worthless() -> None:
    seen, ground = features(), torch.ones(2, 4, 5)
    pool = Delf(8, hidden=4)
    with torch.no_grad():
        pool.hide.weight.zero_()
        pool.hide.weight[0, 0] = 1.0
        pool.hide.bias.zero_()  # type: ignore[union-attr]
        pool.score.weight.zero_()
        pool.score.weight[0, 0] = 2000.0
        pool.score.bias.fill_(-1000.0)  # type: ignore[union-attr]
    local = torch.nn.functional.normalize(seen, dim=1)
    worth = (2000 * seen[:, 0] - 1000).clamp_min(0)
    expected = (local * worth[:, None]).sum(dim=(2, 3)) / worth.sum(dim=(1, 2))[:, None]
    assert torch.allclose(pool(seen, ground), expected, atol=1e-3)


def test_share_of_ground_is_an_area() -> None:
    valid = torch.zeros(1, 8, 8, dtype=torch.bool)
    valid[:, :, :6] = True
    assert share_of_ground(valid, (2, 2)).tolist() == [[[1.0, 0.5], [1.0, 0.5]]]
