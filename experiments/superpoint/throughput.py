"""How many pairs a second one core trains on: forward, backward and the loading of the data.

    python experiments/superpoint/throughput.py chips experiments/superpoint/season.yaml

Labels and lessons are made beforehand, as they are made once in a run; what they take is told, too.
The time is that of the process, so that a busy machine does not count; it is told by part.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from itertools import islice
from pathlib import Path

import torch

from imatch.training.config import load_settings
from imatch.training.loader import endless
from imatch.training.superpoint.config import SuperPointConfig
from imatch.training.superpoint.trainer import SuperPointTrainer


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("chips", type=Path)
    parser.add_argument("config", type=Path)
    parser.add_argument("--steps", type=int, default=6)
    parser.add_argument("-s", "--set", action="append", default=[], metavar="KEY=VALUE")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    settings = [f"data.chips={asked.chips}", "distil.fit_pairs=0", "batch_size=2", "device=cpu"]
    config = load_settings(SuperPointConfig, asked.config, [*settings, *asked.set])
    with tempfile.TemporaryDirectory() as folder:
        work = SuperPointTrainer(config, Path(folder))
        model = work.build_model()
        optimiser = torch.optim.AdamW(model.parameters())
        loader = endless(work.views(), work.collate, batch_size=config.batch_size, seed=0)
        begun = time.process_time()
        batches = list(islice(loader, asked.steps + 1))
        loading = (time.process_time() - begun) / len(batches)
        begun = time.process_time()
        for batch in batches:
            for item in batch.items:
                labels = work.labels.of(item.index, item.plain, work.device)
                if work.distilled is not None and item.plain.known:
                    work.distilled.of(item.index, item.plain, labels, work.device)
        once = (time.process_time() - begun) / len(batches) / config.batch_size
        work.update(model, optimiser, batches[0])  # Kernels are chosen at the first step.
        begun = time.process_time()
        for batch in batches[1:]:
            work.update(model, optimiser, batch)
        learning = (time.process_time() - begun) / asked.steps
    count = config.batch_size
    print(f"loading {loading / count:.3f} s, learning {learning / count:.3f} s a pair")
    print(f"labels, once a pair of dates: {once:.2f} s")
    print(f"{count / (loading + learning):.2f} pairs/s on one core, {work.precision}")


if __name__ == "__main__":
    main()
