"""How many pairs a second one core trains on, and what matching a pair costs.

    python experiments/loftr/throughput.py chips experiments/loftr/seasons.yaml
    python experiments/loftr/throughput.py chips experiments/loftr/seasons.yaml --match 512

The time of training is that of the process, so that a busy machine does not count; that of
matching, which is with the weights that ship, is told by the clock and by the process.
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from itertools import islice
from pathlib import Path

import torch

from imatch.datasets.synthetic.pairs import LandscapePairs
from imatch.matchers.base import MatcherOptions
from imatch.models.loftr.match import tie_points
from imatch.models.loftr.weights import load_loftr
from imatch.models.weights import require_weights
from imatch.training.config import load_settings
from imatch.training.loader import collate, endless
from imatch.training.loftr.config import LoFTRConfig
from imatch.training.loftr.data import as_matched
from imatch.training.loftr.trainer import LoFTRTrainer


def learn(asked: argparse.Namespace) -> None:
    """Measure steps of training."""
    settings = [f"data.chips={asked.chips}", "data.mixture.distil=0", "batch_size=2", "device=cpu"]
    config = load_settings(LoFTRConfig, asked.config, [*settings, *asked.set])
    with tempfile.TemporaryDirectory() as folder:
        work = LoFTRTrainer(config, Path(folder))
        model = work.build_model()
        learnt = [value for value in model.parameters() if value.requires_grad]
        optimiser = torch.optim.AdamW(learnt)
        loader = endless(work.views(), collate, batch_size=config.batch_size, seed=0)
        begun = time.process_time()
        batches = list(islice(loader, asked.steps + 1))
        loading = (time.process_time() - begun) / len(batches)
        work.update(model, optimiser, batches[0])  # Kernels are chosen at the first step.
        begun = time.process_time()
        for batch in batches[1:]:
            work.update(model, optimiser, batch)
        learning = (time.process_time() - begun) / asked.steps
    count = config.batch_size
    print(f"loading {loading / count:.3f} s, learning {learning / count:.3f} s a pair")
    print(f"{count / (loading + learning):.2f} pairs/s on one core, {work.precision}")


def match(asked: argparse.Namespace) -> None:
    """Measure matching of a square pair of a procedural landscape at two seasons."""
    side = asked.match
    network = load_loftr(require_weights("loftr-s2"))
    count = sum(value.numel() for value in network.parameters())
    pair = as_matched(LandscapePairs(1, (side, side), 1)[0], network.shape.channels)
    a, b = torch.from_numpy(pair.a), torch.from_numpy(pair.b)
    seen = torch.from_numpy(pair.valid_a), torch.from_numpy(pair.valid_b)
    taken = []
    for _ in range(asked.steps):
        wall, busy = time.perf_counter(), time.process_time()
        found, _, _ = tie_points(network, a, b, *seen, MatcherOptions().max_keypoints)
        taken.append((time.perf_counter() - wall, time.process_time() - busy))
    wall, busy = (min(column) for column in zip(*taken, strict=True))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    print(
        f"{count / 1e6:.2f} M parameters, {torch.get_num_threads()} threads, {len(found)} matches"
    )
    print(f"{side} x {side}: {wall:.2f} s, {busy:.2f} s of processor time, peak {peak:.2f} GB")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("chips", type=Path)
    parser.add_argument("config", type=Path)
    parser.add_argument("--steps", type=int, default=6)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--match", type=int, metavar="SIDE", help="matching instead of training")
    parser.add_argument("-s", "--set", action="append", default=[], metavar="KEY=VALUE")
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    match(asked) if asked.match else learn(asked)


if __name__ == "__main__":
    main()
