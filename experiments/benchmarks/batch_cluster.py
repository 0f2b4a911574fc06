"""Show that a batch loses nothing: a worker is killed midway, then the client, then it is resumed.

Procedural pairs of known shifts are written to GeoTIFFs and registered by ``imatch batch`` as a
user runs it, once on worker processes of this machine and once on a Dask cluster of a scheduler and
workers in processes of their own. Both end with SIGKILL, which no process can prepare for.

    python experiments/benchmarks/batch_cluster.py -o /tmp/batch
"""

from __future__ import annotations

import argparse
import csv
import json
import math
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import psutil
import rasterio
from affine import Affine

from imatch.datasets.synthetic.landscape import landscape
from imatch.datasets.synthetic.landscape_view import SEASONS, render_landscape

ENGINES = ("local", "dask")
_GSD = 10.0
_PATIENCE = 300.0


@dataclass(frozen=True)
class Evidence:
    """What was seen of one engine.

    Attributes:
        engine: ``local`` or ``dask``.
        pairs: How many there were.
        workers: Worker processes.
        rows_at_worker_kill: Finished pairs when a worker was killed.
        rows_at_client_kill: Finished pairs when the client was killed.
        kept: Of those, rows that the resumed run left as they were, to the byte.
        rows: Rows in the end.
        documents: Registrations on disk in the end.
        each_once: Whether every pair has exactly one row and one document.
        status: Pairs by status in the end.
        again: Pairs that were begun more than once in one sitting or the next.
        worst_px: Largest error of a shift against the truth, pixels.
        seconds: Wall time of both sittings.
    """

    engine: str
    pairs: int
    workers: int
    rows_at_worker_kill: int
    rows_at_client_kill: int
    kept: int
    rows: int
    documents: int
    each_once: bool
    status: dict[str, int]
    again: int
    worst_px: float
    seconds: float


def write_pairs(
    folder: Path, count: int, side: int, seed: int = 1
) -> dict[str, tuple[float, float]]:
    """Write ``pairs.csv`` and its images: views of one landscape with wrong geocoding.

    Args:
        folder: An existing folder.
        count: Pairs, all with one reference.
        side: Of the images, pixels.
        seed: Of the landscape and the shifts.

    Returns:
        Name of each pair to its true shift (x, y), pixels.
    """
    rng = np.random.default_rng(seed)
    margin = 24
    ground = landscape((side + 2 * margin, side + 2 * margin), seed)
    truth: dict[str, tuple[float, float]] = {}
    place = Affine(_GSD, 0, 356_000, 0, -_GSD, 4_835_000)
    for number in range(count + 1):
        x, y = (0.0, 0.0) if number == 0 else rng.uniform(-8, 8, 2).tolist()
        matrix = np.array([[1, 0, x - margin], [0, 1, y - margin], [0, 0, 1.0]])
        season = SEASONS[0] if number == 0 else SEASONS[number % 2]
        pixels, _ = render_landscape(
            ground, season, matrix=matrix, size=(side, side), seed=number, noise=0.02
        )
        name = "reference" if number == 0 else f"date_{number:02d}"
        with rasterio.open(
            folder / f"{name}.tif",
            "w",
            driver="GTiff",
            width=side,
            height=side,
            count=3,
            dtype="uint8",
            crs="EPSG:32631",
            transform=place,
        ) as out:
            out.write(np.rint(255 * pixels).astype(np.uint8))
        if number:
            truth[name] = (x, y)
    with (folder / "pairs.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["reference", "target", "name"])
        writer.writerows(["reference.tif", f"{name}.tif", name] for name in truth)
    return truth


def demonstrate(
    folder: Path, engine: str, *, pairs: int = 24, workers: int = 2, side: int = 320
) -> Evidence:
    """Kill a worker, kill the client, resume, and count.

    Args:
        folder: An empty folder.
        engine: One of `ENGINES`.
        pairs: How many.
        workers: Worker processes.
        side: Of the images, pixels.
    """
    truth = write_pairs(folder, pairs, side)
    out = folder / "out"
    command = [sys.executable, "-m", "imatch", "batch", str(folder / "pairs.csv"), "-o", str(out)]
    command += ["--matcher", "sift", "--size", str(side), "--cache", str(folder / "cache"), "-q"]
    started = time.monotonic()
    with _engine(engine, folder, workers) as (options, parents):
        client = subprocess.Popen([*command, *options], stdout=subprocess.DEVNULL)
        first = _wait_for(out, client, max(1, pairs // 6))
        os.kill(_a_worker(parents or [client.pid]), signal.SIGKILL)
        second = _wait_for(out, client, max(first + 1, pairs // 2))
        client.kill()
        client.wait()
        kept = (out / "results.csv").read_text().splitlines()[1:]
        subprocess.run([*command, *options, "--resume"], stdout=subprocess.DEVNULL, check=True)
    seconds = time.monotonic() - started
    lines = (out / "results.csv").read_text().splitlines()[1:]
    with (out / "results.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    documents = sorted(path.stem for path in (out / "results").glob("*.json"))
    errors = [
        math.dist((float(row["shift_x_px"]), float(row["shift_y_px"])), truth[row["name"]])
        for row in rows
    ]
    return Evidence(
        engine,
        pairs,
        workers,
        rows_at_worker_kill=first,
        rows_at_client_kill=second,
        kept=len(set(kept) & set(lines)),
        rows=len(rows),
        documents=len(documents),
        each_once=[row["name"] for row in rows] == list(truth) and documents == sorted(truth),
        status=dict(Counter(row["status"] for row in rows)),
        again=sum(int(row["attempts"]) > 1 for row in rows),
        worst_px=max(errors),
        seconds=seconds,
    )


@contextmanager
def _engine(engine: str, folder: Path, workers: int) -> Iterator[tuple[list[str], list[int]]]:
    """Options of the command, and whose children the workers are (none: the client's)."""
    if engine == "local":
        yield ["--jobs", str(workers)], []
        return
    file = folder / "scheduler.json"
    quiet = ["--no-dashboard", "--scheduler-file", str(file)]
    places = ["--nworkers", str(workers), "--nthreads", "1", "--local-directory", str(folder)]
    with (folder / "cluster.log").open("w") as log:
        running = [
            subprocess.Popen(
                [sys.executable, "-m", "dask", *arguments, *quiet],
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            for arguments in (
                ["scheduler", "--host", "127.0.0.1", "--port", "0"],
                ["worker", *places],
            )
        ]
        try:
            deadline = time.monotonic() + _PATIENCE
            while not file.exists():
                if time.monotonic() > deadline:
                    raise RuntimeError(f"no scheduler came up, see {folder / 'cluster.log'}")
                time.sleep(0.05)
            address = json.loads(file.read_text())["address"]
            yield ["--dask", address], [running[1].pid]
        finally:
            for process in reversed(running):
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait()


def _a_worker(parents: list[int]) -> int:
    """The process id of a worker that is at work."""
    children = [
        child
        for parent in parents
        for child in psutil.Process(parent).children(recursive=True)
        if any("spawn_main" in part for part in child.cmdline())
    ]
    return int(max(children, key=lambda child: child.cpu_times().user).pid)


def _wait_for(out: Path, client: subprocess.Popen[bytes], rows: int) -> int:
    """Wait until a run has so many rows; gives how many it has then."""
    table = out / "results.csv"
    deadline = time.monotonic() + _PATIENCE
    while True:
        found = table.read_bytes().count(b"\n") - 1 if table.exists() else 0
        if found >= rows:
            return found
        if client.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"the run ended or stood still after {found} rows")
        time.sleep(0.01)


def to_markdown(found: list[Evidence]) -> str:
    """The evidence as a table."""
    head = (
        "engine, workers",
        "pairs",
        "done when a worker was killed",
        "done when the client was killed",
        "of these kept to the byte",
        "rows and documents in the end",
        "each pair exactly once",
        "begun again",
        "worst error, px",
        "seconds",
    )
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for e in found:
        cells = (
            f"{e.engine}, {e.workers}",
            e.pairs,
            e.rows_at_worker_kill,
            e.rows_at_client_kill,
            e.kept,
            f"{e.rows}, {e.documents}",
            "yes" if e.each_once else "no",
            e.again,
            f"{e.worst_px:.2f}",
            f"{e.seconds:.0f}",
        )
        lines.append("| " + " | ".join(str(cell) for cell in cells) + " |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Run the demonstration and print its table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("-o", "--output", type=Path, required=True, help="an empty folder")
    parser.add_argument("--engine", choices=ENGINES, action="append", help="only this one")
    parser.add_argument("--pairs", type=int, default=24)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--side", type=int, default=320, help="of the images, pixels")
    arguments = parser.parse_args()
    found = []
    for engine in arguments.engine or ENGINES:
        folder = arguments.output / engine
        folder.mkdir(parents=True)
        found.append(
            demonstrate(
                folder,
                engine,
                pairs=arguments.pairs,
                workers=arguments.workers,
                side=arguments.side,
            )
        )
    document = json.dumps([asdict(evidence) for evidence in found], indent=2)
    (arguments.output / "evidence.json").write_text(document + "\n")
    print(to_markdown(found))
    if not all(evidence.each_once for evidence in found):
        sys.exit(1)


if __name__ == "__main__":
    main()
