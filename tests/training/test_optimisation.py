from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from torch import nn

from imatch.training.config import ScheduleConfig
from imatch.training.optimisation import lr_factor, make_average


def rates(schedule: ScheduleConfig, steps: int) -> list[float]:
    return [lr_factor(schedule, step, steps) for step in range(steps)]


def test_cosine_rises_then_falls_to_the_floor() -> None:
    values = rates(ScheduleConfig(kind="cosine", warmup=10, floor=0.1), 100)
    assert values[:10] == pytest.approx([(i + 1) / 10 for i in range(10)])
    assert all(a >= b for a, b in pairwise(values[10:]))
    assert values[-1] == pytest.approx(0.1, abs=1e-3)


def test_one_cycle_peaks_after_a_third() -> None:
    values = rates(ScheduleConfig(kind="one-cycle", floor=0.0), 100)
    assert values[0] == pytest.approx(1 / 25)
    assert values.index(max(values)) == 30
    assert values[-1] < 0.01


def test_constant_after_warming_up() -> None:
    values = rates(ScheduleConfig(kind="constant", warmup=4), 10)
    assert values == pytest.approx([0.25, 0.5, 0.75, *[1.0] * 7])


@pytest.mark.parametrize("kind", ["cosine", "one-cycle", "constant"])
@pytest.mark.parametrize("steps", [1, 2, 7])
def test_short_runs(kind: str, steps: int) -> None:
    schedule = ScheduleConfig.model_validate({"kind": kind, "warmup": 20})
    assert all(0 < value <= 1 for value in rates(schedule, steps))


class Small(nn.Module):
    """A weight, and a buffer that counts."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.arange(6.0).view(2, 3))
        self.count: torch.Tensor
        self.register_buffer("count", torch.tensor(0))


def test_the_average_follows_the_weights() -> None:
    net = Small()
    average = make_average(net, 0.5, step=9)
    with torch.no_grad():
        net.weight.fill_(8.0)
    average.update_parameters(net)  # Step 10: 10 / 20 is the decay asked for.
    expected = 0.5 * Small().weight.detach() + 4.0
    torch.testing.assert_close(average.module.state_dict()["weight"], expected)


def test_first_steps_forget_the_start() -> None:
    net = Small()
    average = make_average(net, 0.999)
    with torch.no_grad():
        net.weight.fill_(1.0)
    average.update_parameters(net)
    expected = Small().weight.detach() / 11 + 10 / 11
    torch.testing.assert_close(average.module.state_dict()["weight"], expected)


def test_no_decay_is_the_weights_themselves() -> None:
    net = Small()
    average = make_average(net, 0.0)
    with torch.no_grad():
        net.weight.fill_(3.0)
        net.count.fill_(5)
    average.update_parameters(net)
    assert average.module.state_dict().keys() == net.state_dict().keys()
    for name, value in net.state_dict().items():
        assert torch.equal(average.module.state_dict()[name], value)


def test_the_average_is_no_view_of_the_weights() -> None:
    net = Small()
    average = make_average(net, 0.9)
    with torch.no_grad():
        net.weight.fill_(7.0)
    assert torch.equal(average.module.state_dict()["weight"], Small().weight)
