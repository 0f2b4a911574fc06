"""The learning rate as a function of the step alone: a resumed run needs no state for it."""

from __future__ import annotations

import math

from imatch.training.config import ScheduleConfig

_RISE = 0.3
"""Share of a one-cycle run during which the rate rises (Smith 2018, arXiv:1803.09820)."""


def rate(schedule: ScheduleConfig, step: int, steps: int) -> float:
    """The learning rate at a step, as a share of the highest.

    Args:
        schedule: Its shape.
        step: From 0.
        steps: Length of the run.

    Example:
        >>> cosine = ScheduleConfig(warmup=10, floor=0.0)
        >>> [round(rate(cosine, step, 110), 2) for step in (0, 9, 10, 60, 110)]
        [0.1, 1.0, 1.0, 0.5, 0.0]
    """
    if schedule.kind == "one-cycle":
        top = max(round(_RISE * steps), 1)
        if step < top:
            return _between(1 / 25, 1.0, step / top)
        return _between(1.0, schedule.floor, (step - top) / max(steps - top, 1))
    if step < schedule.warmup:
        return (step + 1) / schedule.warmup
    if schedule.kind == "constant":
        return 1.0
    left = max(steps - schedule.warmup, 1)
    return _between(1.0, schedule.floor, (step - schedule.warmup) / left)


def _between(start: float, end: float, share: float) -> float:
    """Half a cosine wave from one value to another."""
    return end + (start - end) * 0.5 * (1 + math.cos(math.pi * min(max(share, 0.0), 1.0)))
