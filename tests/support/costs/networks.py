"""Seconds of the learnt networks, in torch with the code of any checkout and in ONNX Runtime.

Run as a script by `network_rows`; each call measures everything alternately in one process.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

Row = dict[str, Any]


def network_rows(
    trees: Mapping[str, Path],
    files: Mapping[str, Path],
    sides: Sequence[int],
    threads: Sequence[int],
    repeat: int,
) -> Iterator[Row]:
    """Measures superpoint-s2 on an image, and loftr-s2 on two images of different ground.

    Args:
        trees: Name to folder of the checkouts.
        files: ``superpoint-s2`` and ``loftr-s2`` as exported.
        sides: Of the images, pixels.
        threads: How many a network may use.
        repeat: How often each is run; the medians count.

    Yields:
        ``network``, ``side``, ``threads``, ``tree``, ``runtime``, ``processor_s``, ``wall_s``.
    """
    for side in sides:
        for count in threads:
            for name, tree in trees.items():
                asked = {"side": side, "threads": count, "repeat": repeat}
                given = {} if name != "this" else {key: str(file) for key, file in files.items()}
                done = subprocess.run(
                    [sys.executable, str(Path(__file__).resolve())],
                    cwd=tree,
                    env=os.environ | {"PYTHONPATH": str(tree), "OMP_NUM_THREADS": str(count)},
                    input=json.dumps(asked | {"files": given}),
                    stdout=subprocess.PIPE,
                    text=True,
                    check=True,
                )
                for row in json.loads(done.stdout.splitlines()[-1]):
                    yield {"tree": name, "side": side, "threads": count} | row


def main() -> None:
    """Measures what stdin asks for and prints the rows as JSON."""
    asked = json.load(sys.stdin)
    import torch

    torch.set_num_threads(asked["threads"])
    runs = dict(_runs(asked["side"], asked["files"], asked["threads"]))
    taken: dict[tuple[str, str], list[tuple[float, float]]] = {key: [] for key in runs}
    for _ in range(asked["repeat"] + 1):
        for key, run in runs.items():
            wall, busy = time.perf_counter(), time.process_time()
            run()
            taken[key].append((time.process_time() - busy, time.perf_counter() - wall))
    rows = []
    for (network, runtime), pairs in taken.items():
        # The first loads kernels.
        busy, wall = (statistics.median(column) for column in zip(*pairs[1:], strict=True))
        row = {"network": network, "runtime": runtime}
        rows.append(row | {"processor_s": round(busy, 4), "wall_s": round(wall, 4)})
    print(json.dumps(rows))


def _runs(
    side: int, files: Mapping[str, str], threads: int
) -> Iterator[tuple[tuple[str, str], Callable[[], object]]]:
    import torch

    from imatch.datasets.synthetic.pairs import LandscapePairs
    from imatch.models.loftr.match import cells_seen, mutual, off_border, tie_points
    from imatch.models.loftr.weights import load_loftr
    from imatch.models.superpoint.network import load_superpoint
    from imatch.models.weights import require_weights
    from imatch.training.loftr.data import as_matched

    superpoint = load_superpoint(require_weights("superpoint-s2"), 3).eval()
    loftr = load_loftr(require_weights("loftr-s2")).eval()
    shape, made = loftr.shape, LandscapePairs(1, (side, side), 2)
    one, other = (as_matched(made[index], shape.channels) for index in (0, 1))
    a, b = torch.from_numpy(one.a), torch.from_numpy(other.b)
    seen = torch.ones(side, side, dtype=torch.bool)

    def extract() -> object:
        with torch.inference_mode():
            return superpoint(a[None])

    yield ("superpoint-s2", "torch"), extract
    yield ("loftr-s2", "torch"), lambda: tie_points(loftr, a, b, seen, seen, 1024)
    if not files:
        return
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    sessions = {
        name: onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
        for name, file in files.items()
    }
    cells = cells_seen(seen[None], shape)
    inner, given = off_border(cells, shape.border), {"seen_a": cells.numpy()}
    given |= {"seen_b": cells.numpy(), "a": a[None].numpy(), "b": b[None].numpy()}

    def compare() -> object:
        # As in torch, but for the refinement of cells, of which different ground has few.
        own, there = map(torch.from_numpy, sessions["loftr-s2"].run(None, given)[:2])
        with torch.inference_mode():
            alike = loftr.similarity(own, there, cells, cells)
            return mutual(alike, inner, inner, shape.threshold)

    image = {"image": a[None].numpy()}
    yield ("superpoint-s2", "onnxruntime"), lambda: sessions["superpoint-s2"].run(None, image)
    yield ("loftr-s2", "onnxruntime"), compare


if __name__ == "__main__":
    main()
