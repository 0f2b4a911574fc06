from __future__ import annotations

import torch
from torch import nn

from imatch.training.ema import ExponentialAverage


class Small(nn.Module):
    """A weight, and a buffer that counts."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.arange(6.0).view(2, 3))
        self.count: torch.Tensor
        self.register_buffer("count", torch.tensor(0))


def test_follows_the_weights() -> None:
    net = Small()
    average = ExponentialAverage(net, 0.5)
    with torch.no_grad():
        net.weight.fill_(8.0)
    average.update(net, step=10)  # 10 / 20 is the decay asked for
    torch.testing.assert_close(average.state["weight"], 0.5 * Small().weight.detach() + 4.0)


def test_first_steps_forget_the_start() -> None:
    net = Small()
    average = ExponentialAverage(net, 0.999)
    with torch.no_grad():
        net.weight.fill_(1.0)
    average.update(net, step=1)
    torch.testing.assert_close(average.state["weight"], Small().weight.detach() / 11 + 10 / 11)


def test_no_decay_is_the_weights_themselves() -> None:
    net = Small()
    average = ExponentialAverage(net, 0.0)
    with torch.no_grad():
        net.weight.fill_(3.0)
        net.count.fill_(5)
    average.update(net, 1)
    for name, value in net.state_dict().items():
        assert torch.equal(average.state[name], value)


def test_worn_for_a_while() -> None:
    net = Small()
    average = ExponentialAverage(net, 0.9)
    average.state["weight"].fill_(7.0)
    with average.worn_by(net):
        assert bool((net.weight == 7).all())
    assert torch.equal(net.weight, Small().weight)


def test_goes_on_from_what_was_saved() -> None:
    average = ExponentialAverage(Small(), 0.9)
    average.load({"weight": torch.ones(2, 3), "count": torch.tensor(4)})
    assert int(average.state["count"]) == 4
    assert torch.equal(average.state["weight"], torch.ones(2, 3))
