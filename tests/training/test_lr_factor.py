from __future__ import annotations

from itertools import pairwise

import pytest

from imatch.training.config import ScheduleConfig
from imatch.training.lr_factor import rate


def rates(schedule: ScheduleConfig, steps: int) -> list[float]:
    return [rate(schedule, step, steps) for step in range(steps)]


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
