"""Searches a million vectors one by one, and measures what that costs."""

from __future__ import annotations

import statistics
import time
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from tests.support.apart import apart
from tests.support.vectors import make_queries, mapped, write_vectors

#: Hits of a query.
HITS = 10


def search_one_by_one(vectors: Path, structure: str, queries: Path, threads: int) -> dict[str, Any]:
    """Search, and measure.

    Returns:
        Milliseconds of the wall and of the processor a query, memory, and the rows found.
    """
    from imatch.retrieval.index.vector_index import Searcher, require_faiss

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
        searcher.search(query[None], HITS)
    walls, processors, rows = [], [], []
    for query in asked:
        wall, processor = time.perf_counter(), time.process_time()
        found = searcher.search(query[None], HITS)[1]
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


def search_all(work: Path, count: int, queries: int, threads: int) -> dict[str, Any]:
    """Build every structure over a set of vectors and search it."""
    from imatch.retrieval.index.vector_index import build, require_faiss

    vectors, asked = work / "clustered.f32", work / "clustered-queries.f32"
    write_vectors(vectors, count)
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
        row = apart(search_one_by_one, vectors, structure, asked, threads)
        found = [set(rows) for rows in row.pop("rows")]
        truth = found if structure == "flat" else truth
        shares = [len(a & b) / HITS for a, b in zip(found, truth, strict=True)]
        row |= {
            "recall_at_10": statistics.mean(shares),
            "build_seconds": seconds,
            "build_processor_seconds": processor,
        }
        table.append(row)
        print(row, flush=True)
    return {"kind": "clustered", "count": count, "queries": queries, "rows": table}
