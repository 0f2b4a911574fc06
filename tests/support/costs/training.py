"""What steps of training cost on one core."""

from __future__ import annotations

import time
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from imatch.training.trainer import Trainer

T = TypeVar("T")


def train_superpoint(path: Path, settings: list[str], folder: Path, steps: int) -> None:
    """Measure SuperPoint; its labels and the teacher's descriptors are made once in a run."""
    from imatch.core.settings import load_settings
    from imatch.training.superpoint.config import SuperPointConfig
    from imatch.training.superpoint.trainer import SuperPointTrainer

    config = load_settings(SuperPointConfig, path, ["distil.fit_pairs=0", *settings])
    work = SuperPointTrainer(config, folder)
    batches, loading = _loaded(work.views(), work.collate, config.batch_size, steps)
    begun = time.process_time()
    for batch in batches:
        for item in batch.items:
            labels = work.labels.of(item.index, item.plain, work.device)
            if work.distilled is not None and item.plain.known:
                work.distilled.of(item.index, item.plain, labels, work.device)
    once = (time.process_time() - begun) / len(batches) / config.batch_size
    print(f"labels, once a pair of dates: {once:.2f} s")
    _learn(work, batches, loading, config.batch_size)


def train_loftr(path: Path, settings: list[str], folder: Path, steps: int) -> None:
    """Measure LoFTR."""
    from imatch.core.settings import load_settings
    from imatch.training.loftr.config import LoFTRConfig
    from imatch.training.loftr.trainer import LoFTRTrainer

    config = load_settings(LoFTRConfig, path, ["data.mixture.distil=0", *settings])
    work = LoFTRTrainer(config, folder)
    batches, loading = _loaded(work.views(), work.collate, config.batch_size, steps)
    _learn(work, batches, loading, config.batch_size)


def _loaded(views: Any, collate: Callable[..., T], size: int, steps: int) -> tuple[list[T], float]:
    """Batches for so many steps and one more, and processor seconds a batch."""
    from imatch.training.loader import endless

    begun = time.process_time()
    batches = list(islice(endless(views, collate, batch_size=size, seed=0), steps + 1))
    return batches, (time.process_time() - begun) / len(batches)


def _learn(work: Trainer[Any, T, Any], batches: list[T], loading: float, size: int) -> None:
    """Take the steps, of which the first, at which kernels are chosen, is not counted."""
    import torch

    model = work.build_model()
    optimiser = torch.optim.AdamW([value for value in model.parameters() if value.requires_grad])
    work.update(model, optimiser, batches[0])
    begun = time.process_time()
    for batch in batches[1:]:
        work.update(model, optimiser, batch)
    learning = (time.process_time() - begun) / (len(batches) - 1)
    print(f"loading {loading / size:.3f} s, learning {learning / size:.3f} s a pair")
    print(f"{size / (loading + learning):.2f} pairs/s on one core, {work.precision}")
