"""A moving average of a network's weights (Polyak averaging, as Mean Teacher uses it)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn


class ExponentialAverage:
    """The weights as they were on average over the last steps.

    Args:
        network: Whose weights.
        decay: Share of the average that stays at a step; less during the first steps, so that the
            start is soon forgotten.
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        self.decay = decay
        self.state = {name: value.detach().clone() for name, value in network.state_dict().items()}

    @torch.no_grad()
    def update(self, network: nn.Module, step: int) -> None:
        """Take the weights after a step (counted from 1) into the average."""
        decay = min(self.decay, step / (step + 10))
        for name, value in network.state_dict().items():
            kept = self.state[name]
            if kept.is_floating_point():
                kept.lerp_(value, 1 - decay)
            else:
                kept.copy_(value)

    def load(self, state: Mapping[str, Tensor]) -> None:
        """Go on with an average that was saved."""
        for name, kept in self.state.items():
            kept.copy_(state[name])

    @contextmanager
    def worn_by(self, network: nn.Module) -> Iterator[None]:
        """Give the network the averaged weights inside the block, and its own back after it."""
        own = {name: value.detach().clone() for name, value in network.state_dict().items()}
        network.load_state_dict(self.state)
        try:
            yield
        finally:
            network.load_state_dict(own)
