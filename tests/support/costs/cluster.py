"""Many small pairs through a Dask cluster: what grows with their number."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import product
from pathlib import Path
from typing import Any

import psutil

from imatch.core.io.jsontext import parse_json
from imatch.datasets.synthetic.pairs import LandscapePairs
from imatch.pipeline.batch.pairs import BatchPair
from imatch.pipeline.batch.result import BatchResult
from imatch.pipeline.batch.run import run_batch
from imatch.pipeline.pair.config import MatchConfig
from tests.support.geotiffs import write_geotiff

Row = dict[str, Any]
# As the documentation says, and as a cluster of the package's own has it.
_WORKERS = {"DASK_DISTRIBUTED__WORKER__PROFILE__ENABLED": "False", "OMP_NUM_THREADS": "1"}


def written_chips(folder: Path, count: int, side: int) -> list[tuple[Path, Path]]:
    """Writes pairs of chips of one place at two seasons, as 16-bit GeoTIFFs."""
    made, pairs = LandscapePairs(1, (side, side), count), []
    for index in range(count):
        paths = folder / f"{index:03}_a.tif", folder / f"{index:03}_b.tif"
        for pixels, path in zip((made[index].a, made[index].b), paths, strict=True):
            write_geotiff(path, (3000 * pixels).astype("uint16"))
        pairs.append(paths)
    return pairs


@contextmanager
def dask_cluster(folder: Path, workers: int) -> Iterator[tuple[str, dict[str, psutil.Process]]]:
    """A scheduler and workers of one thread as processes; yields its address and them by name."""
    file = folder / "scheduler.json"
    begin = [sys.executable, "-m", "dask"]
    commands = {"scheduler": [*begin, "scheduler", "--port", "0", "--no-dashboard"]}
    for number in range(workers):
        name = f"worker {number}"
        commands[name] = [*begin, "worker", "--nthreads", "1", "--no-nanny", "--no-dashboard"]
    running: dict[str, subprocess.Popen[bytes]] = {}
    with (folder / "cluster.log").open("wb") as log:
        try:
            for name, command in commands.items():
                whole = [*command, "--scheduler-file", str(file)]
                running[name] = subprocess.Popen(
                    whole, stdout=log, stderr=log, cwd=folder, env=os.environ | _WORKERS
                )
            while not file.exists() or not file.read_text().rstrip().endswith("}"):
                time.sleep(0.1)
            address = parse_json(file.read_text())["address"]
            yield address, {name: psutil.Process(one.pid) for name, one in running.items()}
        finally:
            for one in reversed(running.values()):
                one.terminate()
            for one in running.values():
                one.wait(60)


def cluster_rows(
    work: Path,
    count: int,
    side: int,
    matcher: str,
    workers: int,
    every: int,
    on_row: Callable[[Row], None],
) -> None:
    """Runs a batch on a cluster and tells a row for each so many pairs.

    Args:
        work: Folder for the chips and the batch.
        count: Pairs; those of 100 chips each of two seasons, all with all.
        side: Of a chip, pixels.
        matcher: Registry name.
        workers: Worker processes, one thread each.
        every: Pairs a row.
        on_row: Told ``pairs``, seconds of wall and of processors since the last row, resident
            megabytes by process and bytes of the table; at the end those of all documents.
    """
    chips = written_chips(work / "chips", min(100, max(2, round(count**0.5))), side)
    sides = list(product(*zip(*chips, strict=True)))
    pairs = [
        BatchPair(f"pair{index:07}", str(a), str(b))
        for index, (a, b) in zip(range(count), (sides * (count // len(sides) + 1)), strict=False)
    ]
    out = work / "batch"
    with dask_cluster(work, workers) as (address, processes):
        processes["client"] = psutil.Process()
        seen, since, busy = 0, time.perf_counter(), _busy(processes)

        def note(_result: BatchResult) -> None:
            nonlocal seen, since, busy
            seen += 1
            if seen % every and seen != count:
                return
            now, total = time.perf_counter(), _busy(processes)
            row: Row = {
                "pairs": seen,
                "wall_s": round(now - since, 1),
                "processor_s": {name: round(total[name] - busy[name], 1) for name in total},
                "rss_mb": {
                    name: round(one.memory_info().rss / 1e6, 1) for name, one in processes.items()
                },
                "table_bytes": (out / "results.csv").stat().st_size,
            }
            since, busy = now, total
            on_row(row)

        config = MatchConfig(matcher=matcher)
        run_batch(pairs, config, out, dask=address, overwrite=True, on_result=note)
    sizes = [file.stat().st_size for file in (out / "results").iterdir()]
    on_row({"documents": len(sizes), "documents_bytes": sum(sizes)})


def _busy(processes: dict[str, psutil.Process]) -> dict[str, float]:
    """Processor seconds of each process until now."""
    times = {name: one.cpu_times() for name, one in processes.items()}
    return {name: one.user + one.system for name, one in times.items()}
