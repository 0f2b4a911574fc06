"""Pooling of feature maps over valid ground."""

from __future__ import annotations

from typing import Literal, TypeAlias

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

PoolName: TypeAlias = Literal["gem", "attention", "delf"]
_SMALL = 1e-6


class GeM(nn.Module):
    """Generalised mean (Radenović, Tolias and Chum, TPAMI 2019, arXiv:1711.02512).

    Between the mean (p = 1) and the maximum (p to infinity); p is learnt.

    Args:
        channels: Of the feature map; the same number comes out.
        p: The exponent it starts from.
    """

    def __init__(self, channels: int, p: float = 3.0) -> None:
        super().__init__()
        self.channels = channels
        self.p = nn.Parameter(torch.tensor([p]))

    def forward(self, features: Tensor, ground: Tensor) -> Tensor:
        """Pool.

        Args:
            features: (B, C, h, w); what is negative counts as 0.
            ground: (B, h, w), share of each cell that is valid.

        Returns:
            (B, C); zeros where no cell is valid.
        """
        # In full precision: powers of bfloat16 have two digits.
        powers = features.float().clamp_min(_SMALL) ** self.p
        mean = _weighted(powers, ground)
        pooled: Tensor = mean.clamp_min(_SMALL**3) ** (1 / self.p)
        return pooled * _any(ground)


class Attention(nn.Module):
    """Softmax attention by learnt queries, the means of all heads side by side.

    Args:
        channels: Of the feature map; the same number comes out.
        heads: Queries, each of which looks at its share of the channels.
    """

    def __init__(self, channels: int, heads: int = 4) -> None:
        super().__init__()
        if channels % heads:
            raise ValueError(f"{channels} channels cannot be shared by {heads} heads")
        self.channels = channels
        self.heads = heads
        # Zero asks nothing in particular: it starts as the mean.
        self.query = nn.Conv2d(channels, heads, 1)
        nn.init.zeros_(self.query.weight)
        nn.init.zeros_(self.query.bias)  # type: ignore[arg-type]

    def forward(self, features: Tensor, ground: Tensor) -> Tensor:
        """Pool; see `GeM.forward`."""
        logits = self.query(features).float().flatten(2) + ground.flatten(1)[:, None].log().clamp(
            min=-1e4
        )
        weights = logits.softmax(dim=2)
        values = features.float().reshape(len(features), self.heads, -1, weights.shape[2])
        pooled = torch.einsum("bhn,bhcn->bhc", weights, values).flatten(1)
        return pooled * _any(ground)


class Delf(nn.Module):
    """Attention over local descriptors (Noh et al., ICCV 2017, arXiv:1612.06321).

    Every cell's feature is a local descriptor of unit length; a network of two layers says how much
    it is worth, not in competition with the other cells.

    Args:
        channels: Of the feature map; the same number comes out.
        hidden: Width of the scoring network.
    """

    def __init__(self, channels: int, hidden: int = 512) -> None:
        super().__init__()
        self.channels = channels
        self.hide = nn.Conv2d(channels, hidden, 1)
        self.score = nn.Conv2d(hidden, 1, 1)

    def worth(self, features: Tensor) -> Tensor:
        """Returns the weight of each local descriptor, (B, h, w), positive."""
        return F.softplus(self.score(F.relu(self.hide(features))).float())[:, 0]

    def forward(self, features: Tensor, ground: Tensor) -> Tensor:
        """Pool; see `GeM.forward`."""
        local = F.normalize(features.float(), dim=1)
        return _weighted(local, ground * self.worth(features)) * _any(ground)


def make_pool(name: PoolName, channels: int) -> GeM | Attention | Delf:
    """A pooling by its name."""
    kinds: dict[PoolName, type[GeM | Attention | Delf]] = {
        "gem": GeM,
        "attention": Attention,
        "delf": Delf,
    }
    return kinds[name](channels)


def share_of_ground(valid: Tensor, size: tuple[int, int]) -> Tensor:
    """Share of valid ground in each cell of a feature map.

    Args:
        valid: (B, H, W) bool.
        size: (h, w) of the feature map.

    Returns:
        (B, h, w) float32.
    """
    return F.adaptive_avg_pool2d(valid[:, None].float(), size)[:, 0]


def _weighted(values: Tensor, weights: Tensor) -> Tensor:
    """(B, C) mean over the cells; 0 where no weight is."""
    total = weights.flatten(1).sum(dim=1).clamp_min(_SMALL)
    return torch.einsum("bchw,bhw->bc", values, weights) / total[:, None]


def _any(ground: Tensor) -> Tensor:
    """(B, 1), 1 where a chip shows any ground."""
    return (ground.flatten(1).amax(dim=1, keepdim=True) > 0).float()
