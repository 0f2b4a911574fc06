"""The check that a training which was broken off goes on as if it had not been."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from imatch.training.checkpoint import Checkpoints
from imatch.training.trainer import Trainer


def check_resumed_bit_for_bit(
    trainer: Callable[[Path, list[str]], Trainer[Any, Any, Any]], folder: Path, workers: int
) -> None:
    """Checks that a run of three steps, broken off after one, ends with the same weights.

    Args:
        trainer: Makes a trainer of a folder and further overrides.
        folder: Where to train.
        workers: Processes that load the data of the broken run.
    """
    trainer(folder / "straight", []).fit()
    broken = [f"workers={workers}"]
    cut = trainer(folder / "run", [*broken, "max_minutes=1e-9"]).fit()
    assert cut.step == 1
    trainer(folder / "run", broken).fit(resume=True)
    one, two = (Checkpoints(folder / name / "checkpoints").load(3) for name in ("straight", "run"))
    assert all(torch.equal(one.weights[name], two.weights[name]) for name in one.weights)
    assert all(torch.equal(one.average[name], two.average[name]) for name in one.average)
