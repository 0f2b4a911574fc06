"""How fast are a million vectors searched, how many of the nearest are found, with how much memory?

The vectors are synthetic, 128 numbers of length 1 about many centres, as those of chips are; the
queries are vectors of the index with noise, as another date's are. Uniform vectors, which have no
structure to find, are measured too with ``--uniform``. Queries come one by one.

    python -m experiments.benchmarks.index_speed -o out/index --threads 2
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from numpy.typing import NDArray

from imatch.bench.environment import environment
from imatch.core.io.files import atomic_path
from imatch.core.io.jsontext import to_json
from imatch.retrieval.index.vector_index import Searcher, build, require_faiss

_DIM, _K = 128, 10
# Vectors about a centre, how far they lie from it (of a length of one), and how far queries lie
# from a vector.
_TOGETHER, _SPREAD, _NOISE = 50, 0.8, 0.3
_PART = 1 << 16


def write_vectors(path: Path, count: int, *, uniform: bool) -> None:
    """Write (count, 128) float32 vectors of length 1."""
    rng = np.random.default_rng(0)
    centres = _unit(rng.normal(size=(max(1, count // _TOGETHER), _DIM)))
    with path.open("wb") as file:
        for start in range(0, count, _PART):
            rows = min(_PART, count - start)
            noise = rng.normal(size=(rows, _DIM)) / np.sqrt(_DIM)
            part = (
                noise if uniform else centres[rng.integers(0, len(centres), rows)] + _SPREAD * noise
            )
            file.write(_unit(part).astype("<f4").tobytes())


def make_queries(vectors: NDArray[np.float32], count: int) -> NDArray[np.float32]:
    """(count, 128): vectors of the index with noise."""
    rng = np.random.default_rng(1)
    chosen = vectors[np.sort(rng.choice(len(vectors), count, replace=False))]
    noise = _NOISE * rng.normal(size=chosen.shape) / np.sqrt(_DIM)
    return _unit(chosen + noise).astype(np.float32)


def _unit(vectors: NDArray[Any]) -> NDArray[Any]:
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True))


def mapped(path: Path) -> NDArray[np.float32]:
    """The vectors of a file."""
    return np.memmap(path, dtype="<f4", mode="r").reshape(-1, _DIM)


def search(vectors: Path, structure: str, queries: Path, threads: int) -> dict[str, Any]:
    """Search one by one in a process of its own, and measure.

    Returns:
        Milliseconds of the wall and of the processor a query, memory, and the rows found.
    """
    require_faiss().omp_set_num_threads(threads)
    process = psutil.Process()
    before = process.memory_info().rss
    file = vectors.with_name(f"{vectors.stem}.{structure}.faiss")
    begun = time.perf_counter()
    searcher = Searcher(mapped(vectors), None if structure == "flat" else file)
    opened = time.perf_counter() - begun
    asked = mapped(queries)
    # The first queries find nothing in the disk's cache.
    for query in asked[:20]:
        searcher.search(query[None], _K)
    walls, processors, rows = [], [], []
    for query in asked:
        wall, processor = time.perf_counter(), time.process_time()
        found = searcher.search(query[None], _K)[1]
        walls.append(1e3 * (time.perf_counter() - wall))
        processors.append(1e3 * (time.process_time() - processor))
        rows.append(found[0].tolist())
    return {
        "structure": structure,
        "open_ms": 1e3 * opened,
        "ms": statistics.median(walls),
        "ms_p95": float(np.percentile(walls, 95)),
        "processor_ms": statistics.median(processors),
        "resident_mb": (process.memory_info().rss - before) / 1e6,
        "own_mb": _own_mb(process),
        "file_mb": (vectors if structure == "flat" else file).stat().st_size / 1e6,
        "rows": rows,
    }


def _own_mb(process: psutil.Process) -> float:
    """Memory that is not a file's: what the system cannot take back."""
    told = Path("/proc/self/smaps_rollup")
    if not told.exists():
        return float(process.memory_full_info().uss) / 1e6
    rows = dict(line.split(":", 1) for line in told.read_text().splitlines()[1:])
    return int(rows["Anonymous"].split()[0]) * 1024 / 1e6


def _apart(vectors: Path, structure: str, queries: Path, threads: int) -> dict[str, Any]:
    """`search` in a new process, whose memory is its own."""
    import json

    code = (
        "import json, sys; from pathlib import Path;"
        "from experiments.benchmarks.index_speed import search;"
        "a = sys.argv; print(json.dumps(search(Path(a[1]), a[2], Path(a[3]), int(a[4]))))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(vectors), structure, str(queries), str(threads)],
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | {"OMP_NUM_THREADS": str(threads)},
    )
    told: dict[str, Any] = json.loads(done.stdout)
    return told


def measure(work: Path, count: int, queries: int, threads: int, *, uniform: bool) -> dict[str, Any]:
    """Build every structure over one set of vectors and search it."""
    kind = "uniform" if uniform else "clustered"
    vectors, asked = work / f"{kind}.f32", work / f"{kind}-queries.f32"
    write_vectors(vectors, count, uniform=uniform)
    asked.write_bytes(make_queries(mapped(vectors), queries).tobytes())
    require_faiss().omp_set_num_threads(threads)
    table = []
    truth: list[set[int]] = []
    for structure in ("flat", "ivf", "ivfpq"):
        seconds = processor = 0.0
        if structure != "flat":
            wall, busy = time.perf_counter(), time.process_time()
            file = vectors.with_name(f"{vectors.stem}.{structure}.faiss")
            build(mapped(vectors), file, structure)
            seconds, processor = time.perf_counter() - wall, time.process_time() - busy
        row = _apart(vectors, structure, asked, threads)
        found = [set(rows) for rows in row.pop("rows")]
        truth = found if structure == "flat" else truth
        shares = [len(a & b) / _K for a, b in zip(found, truth, strict=True)]
        row |= {
            "recall_at_10": statistics.mean(shares),
            "build_seconds": seconds,
            "build_processor_seconds": processor,
        }
        table.append(row)
        print(row, flush=True)
    return {"kind": kind, "count": count, "queries": queries, "rows": table}


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--work", type=Path, default=Path(tempfile.gettempdir(), "imatch-index"))
    parser.add_argument("--count", type=int, default=1_000_000)
    parser.add_argument("--queries", type=int, default=300)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--uniform", action="store_true", help="also vectors without structure")
    given = parser.parse_args()
    for folder in (given.output, given.work):
        folder.mkdir(parents=True, exist_ok=True)
    load = os.getloadavg()
    kinds = (False, True) if given.uniform else (False,)
    document = {
        "sets": [
            measure(given.work, given.count, given.queries, given.threads, uniform=uniform)
            for uniform in kinds
        ],
        "threads": given.threads,
        "load_average": {"before": load, "after": os.getloadavg()},
        "environment": environment(),
    }
    with atomic_path(given.output / "summary.json", overwrite=True) as path:
        path.write_text(to_json(document) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
