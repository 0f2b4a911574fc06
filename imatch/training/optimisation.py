"""The optimiser of a run, its learning rate, and the moving average of the weights."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from imatch.training.config import OptimiserConfig, ScheduleConfig

_RISE = 0.3
"""Share of a one-cycle run during which the rate rises (Smith 2018, arXiv:1803.09820)."""


def make_optimiser(model: nn.Module, config: OptimiserConfig) -> torch.optim.Optimizer:
    """Makes AdamW over the weights that learn; only kernels decay."""
    learnt = [value for value in model.parameters() if value.requires_grad]
    groups = [
        {"params": [v for v in learnt if v.ndim > 1], "weight_decay": config.weight_decay},
        {"params": [v for v in learnt if v.ndim <= 1], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=config.lr)


def lr_factor(schedule: ScheduleConfig, step: int, steps: int) -> float:
    """Returns the learning rate at a step, as a share of the highest.

    Args:
        schedule: Its shape.
        step: From 0.
        steps: Length of the run.

    Examples:
        >>> cosine = ScheduleConfig(warmup=10, floor=0.0)
        >>> [round(lr_factor(cosine, step, 110), 2) for step in (0, 9, 10, 60, 110)]
        [0.1, 1.0, 1.0, 0.5, 0.0]
    """
    # Not torch's CosineAnnealingLR or OneCycleLR: the one computes each rate from the one before,
    # so rounding adds up and a run resumed with more steps goes on from the shorter one's curve;
    # the other cycles the momentum too. LambdaLR would wrap this very function in a state that
    # checkpoints had to carry.
    if schedule.kind == "one-cycle":
        top = max(round(_RISE * steps), 1)
        if step < top:
            return _half_cosine(1 / 25, 1.0, step / top)
        return _half_cosine(1.0, schedule.floor, (step - top) / max(steps - top, 1))
    if step < schedule.warmup:
        return (step + 1) / schedule.warmup
    if schedule.kind == "constant":
        return 1.0
    left = max(steps - schedule.warmup, 1)
    return _half_cosine(1.0, schedule.floor, (step - schedule.warmup) / left)


def _half_cosine(start: float, end: float, share: float) -> float:
    """Returns a value on half a cosine wave from one value to another."""
    return end + (start - end) * 0.5 * (1 + math.cos(math.pi * min(max(share, 0.0), 1.0)))


def make_average(model: nn.Module, decay: float, step: int = 0) -> AveragedModel:
    """Makes the exponential moving average of a network's weights and buffers.

    Polyak averaging, as Mean Teacher uses it. The average is a network of its own (``.module``),
    which is what is measured and kept; ``update_parameters`` takes a step into it.

    Args:
        model: The network, with the weights that the average begins with.
        decay: Share of the average that stays at a step; less during the first steps, so that the
            start is soon forgotten.
        step: Steps that were taken into the average already.
    """

    def update(kept: Sequence[Tensor], new: Sequence[Tensor], count: Tensor | int) -> None:
        """Takes step number `count`, from 1, into some of the weights, all of one type."""
        share = min(decay, int(count) / (int(count) + 10))
        for average, value in zip(kept, new, strict=True):
            if average.is_floating_point():
                average.lerp_(value, 1 - share)
            else:
                average.copy_(value)

    averaged = AveragedModel(model, multi_avg_fn=update, use_buffers=True)
    # At its first update AveragedModel would copy; it begins as a copy already.
    averaged.n_averaged.fill_(step + 1)
    return averaged
