"""A trainer as small as can be: a line through points, with noise drawn in the step itself."""

from __future__ import annotations

import os
import random
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from imatch.core.settings import load_settings
from imatch.training.config import TrainerConfig
from imatch.training.loader import Draw, endless
from imatch.training.trainer import Loaders, Trainer


class Points:
    """Points on the line y = 3 x - 1."""

    def __len__(self) -> int:
        return 7

    def __getitem__(self, draw: Draw) -> tuple[float, float]:
        index, number = draw
        x = index / 7 + 0.01 * np.random.default_rng(number).normal()
        return x, 3 * x - 1


def as_tensors(points: Sequence[tuple[float, float]]) -> Tensor:
    return torch.tensor(points, dtype=torch.float32)


class Toy(Trainer[TrainerConfig, Tensor, float]):
    monitor: ClassVar[str] = "nearness"
    #: Steps at which something is done to the process: step -> what.
    events: ClassVar[dict[int, str]] = {}

    def build_model(self) -> nn.Module:
        return nn.Sequential(nn.Linear(1, 4), nn.Dropout(0.2), nn.Linear(4, 1))

    def build_loaders(self, start: int) -> Loaders[Tensor, float]:
        train = endless(
            Points(),
            as_tensors,
            batch_size=self.config.batch_size,
            seed=self.config.seed,
            start=start,
            workers=self.config.workers,
        )
        return Loaders(train, [0.0, 0.5, 1.0])

    def training_step(self, model: nn.Module, batch: Tensor) -> dict[str, Tensor]:
        noise = 0.01 * (random.random() + np.random.rand())  # noqa: NPY002, S311
        gap = model(batch[:, :1]) + noise - batch[:, 1:]
        loss = gap.square().mean()
        event = self.events.get(self.step + 1)
        if event == "nan":
            loss = loss * float("nan")
        elif event:
            os.kill(os.getpid(), getattr(signal, event))
        return {"loss": loss}

    def validation_step(self, model: nn.Module, case: float) -> dict[str, float]:
        gap = float(model(torch.tensor([[case]]))) - (3 * case - 1)
        return {"nearness": -abs(gap), "sometimes": float("nan") if case else 1.0}


SETTINGS = (
    "steps=20",
    "batch_size=2",
    "optimiser.lr=0.02",
    "schedule.warmup=2",
    "validate_every=7",
    "checkpoint_every=4",
    "log_every=1",
    "trackers=[]",
    "device=cpu",
)


def make(folder: Path, *settings: str, events: dict[int, str] | None = None) -> Toy:
    toy = Toy(load_settings(TrainerConfig, None, [*SETTINGS, *settings]), folder)
    toy.events = events or {}  # type: ignore[misc]
    return toy


if __name__ == "__main__":
    make(Path(sys.argv[1]), events={int(sys.argv[2]): "SIGKILL"}).fit()
