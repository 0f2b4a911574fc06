"""What an index costs as it grows: building, keeping and searching it, in either store.

Vectors lie about centres as the embeddings of chips do, queries near vectors as those of another
date lie; windows and geocoding are those of a series of scenes. All are synthetic.
"""

from __future__ import annotations

import os
import resource
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import psutil
from numpy.typing import NDArray

from tests.support.apart import apart
from tests.support.geotiffs import textured, write_geotiff
from tests.support.startup import run_fresh

if TYPE_CHECKING:
    from imatch.retrieval.chips import ChipWindow
    from imatch.retrieval.index.manifest import IndexManifest
    from imatch.retrieval.index.store import IndexedImage, Store

#: Numbers of a vector, as `edges` has them.
DIM = 288
#: Stores by name, and how the name of an index ends that is kept there.
STORES = {"folder": ".index", "lancedb": ".lance"}
#: Hits of a query.
HITS = 10
#: Chips of a scene, by columns and rows.
COLUMNS, ROWS = 40, 25
SCENE = COLUMNS * ROWS
# Vectors about a centre, how far they lie from it (of a length of one), and how far queries lie
# from a vector.
_TOGETHER, _SPREAD, _NOISE = 50, 0.8, 0.3
_PART = 1 << 16
_STEP, _CHIP = 64, 128


def growth_rows(
    work: Path, counts: list[int], stores: list[str], structure: str, queries: int, threads: int
) -> Iterator[dict[str, Any]]:
    """Builds and searches indexes of growing sizes.

    Args:
        work: Folder for vectors, which are kept, and indexes: some six kilobytes a chip.
        counts: Chips of each.
        stores: Some of `STORES`.
        structure: ``ivf`` or ``ivfpq``, searched beside every vector.
        queries: Asked one by one; a tenth of them of a second store without a structure.
        threads: Of Faiss and NumPy; LanceDB has one for each core.

    Yields:
        A row for each size, store and structure.
    """
    os.environ["OMP_NUM_THREADS"] = str(threads)
    for count in counts:
        vectors, asked = work / f"{count}.f32", work / f"{count}-queries.f32"
        if not vectors.exists():
            write_vectors(vectors, count)
        asked.write_bytes(make_queries(mapped(vectors), queries).tobytes())
        truth: list[set[int]] = []
        for name in stores:
            place = work / f"{count}{STORES[name]}"
            shutil.rmtree(place, ignore_errors=True)
            built = apart(build_archive, place, vectors, structure)
            for searched in ("flat", structure):
                again = bool(truth) and (name, searched) == ("lancedb", "flat")
                few = max(5, queries // 10) if again else queries
                row = apart(search_archive, place, searched, asked, few)
                found = [set(rows) for rows in row.pop("rows")]
                truth = truth or found
                shares = [len(a & b) / HITS for a, b in zip(found, truth, strict=False)]
                yield {
                    "chips": count,
                    "store": name,
                    "structure": searched,
                    "recall_at_10": statistics.mean(shares),
                    **row,
                    **built,
                }
            shutil.rmtree(place)


def search_rows(work: Path, count: int, repeat: int) -> Iterator[dict[str, Any]]:
    """Looks an image of 512 x 512 pixels up in an index, by the command and from Python.

    Args:
        work: Folder for the indexes.
        count: Chips of each.
        repeat: How often.

    Yields:
        A row for each store: medians of seconds.
    """
    query = write_geotiff(work / "query.tif", textured(512))
    vectors = work / f"{count}.f32"
    if not vectors.exists():
        write_vectors(vectors, count)
    for name, suffix in STORES.items():
        place = work / f"search{suffix}"
        shutil.rmtree(place, ignore_errors=True)
        apart(build_archive, place, vectors, "flat")
        command = [sys.executable, "-m", "imatch", "search", str(place), str(query)]
        # The first reads the libraries from the disk.
        cold = [_command_seconds(command) for _ in range(repeat + 1)][1:]
        asked = f"imatch.search(index, {str(query)!r})"
        opening = f"import imatch; index = imatch.open_index({str(place)!r})"
        warm = run_fresh(opening, asked, *[asked] * repeat)[2:]
        row: dict[str, Any] = {"store": name, "chips": count}
        for kind, taken in (
            ("command", cold),
            ("warm", [(step.wall, step.processor) for step in warm]),
        ):
            for clock, seconds in zip(("wall", "processor"), zip(*taken, strict=True), strict=True):
                row[f"{kind}_{clock}_seconds"] = statistics.median(seconds)
        yield row
        shutil.rmtree(place)


def build_archive(place: Path, vectors: Path, structure: str) -> dict[str, Any]:
    """Make an index of vectors, and measure; runs in a process of its own."""
    from imatch.retrieval.index.stores import open_to_write

    with open_to_write(place, manifest(structure)) as store:
        appended = _timed(lambda: fill(store, mapped(vectors)))
        refreshed = _timed(store.refresh)
    return {
        "append_seconds": appended[0],
        "append_processor_seconds": appended[1],
        "refresh_seconds": refreshed[0],
        "refresh_processor_seconds": refreshed[1],
        "build_peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3,
        "disk_mb": sum(f.stat().st_size for f in place.rglob("*") if f.is_file()) / 1e6,
    }


def search_archive(place: Path, structure: str, queries: Path, count: int) -> dict[str, Any]:
    """Search an index one by one, and measure; runs in a process of its own.

    Returns:
        Milliseconds of the wall and of the processor a query, memory, and the rows found.
    """
    import faiss

    from imatch.retrieval.index.folder import FolderStore
    from imatch.retrieval.index.lance import LanceSearcher, LanceStore
    from imatch.retrieval.index.stores import open_store
    from imatch.retrieval.index.vector_index import Searcher

    faiss.omp_set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    process = psutil.Process()
    begun = time.perf_counter()
    store = open_store(place)
    searcher = store.searcher()
    opened = time.perf_counter() - begun
    if structure == "flat" and isinstance(store, FolderStore):
        searcher = Searcher(store.vectors)
    elif structure == "flat" and isinstance(store, LanceStore):
        searcher = LanceSearcher(store, None, None)
    asked = mapped(queries)[:count]
    # The first queries find nothing in the disk's cache.
    for query in asked[: max(1, count // 10)]:
        searcher.search(query[None], HITS)
    walls, processors, rows = [], [], []
    for query in asked:
        wall, processor = time.perf_counter(), time.process_time()
        found = searcher.search(query[None], HITS)[1]
        walls.append(1e3 * (time.perf_counter() - wall))
        processors.append(1e3 * (time.process_time() - processor))
        rows.append(found[0].tolist())
    return {
        "queries": count,
        "open_ms": 1e3 * opened,
        "ms": statistics.median(walls),
        "ms_p95": float(np.percentile(walls, 95)),
        "processor_ms": statistics.median(processors),
        "search_own_mb": _own_mb(process),
        "rows": rows,
    }


def manifest(structure: str) -> IndexManifest:
    """That of an index by `edges`."""
    from imatch.retrieval.embedders.registry import load_embedder
    from imatch.retrieval.index.manifest import ModelFacts, new_manifest

    return new_manifest(ModelFacts.of(load_embedder("edges")), {"structure": structure})


def fill(store: Store, vectors: NDArray[np.float32]) -> None:
    """Adds vectors as the chips of scenes."""
    for number, start in enumerate(range(0, len(vectors), SCENE)):
        part = np.asarray(vectors[start : start + SCENE])
        store.append(_scene(number, len(part)), part, _windows(len(part)))


def write_vectors(path: Path, count: int) -> None:
    """Write (count, 288) float32 vectors of length 1 about many centres."""
    rng = np.random.default_rng(0)
    centres = _unit(rng.normal(size=(max(1, count // _TOGETHER), DIM)))
    with path.open("wb") as file:
        for start in range(0, count, _PART):
            rows = min(_PART, count - start)
            noise = rng.normal(size=(rows, DIM)) / np.sqrt(DIM)
            part = centres[rng.integers(0, len(centres), rows)] + _SPREAD * noise
            file.write(_unit(part).astype("<f4").tobytes())


def make_queries(vectors: NDArray[np.float32], count: int) -> NDArray[np.float32]:
    """(count, 288): vectors of the index with noise."""
    rng = np.random.default_rng(1)
    chosen = vectors[np.sort(rng.choice(len(vectors), count, replace=False))]
    noise = _NOISE * rng.normal(size=chosen.shape) / np.sqrt(DIM)
    return _unit(chosen + noise).astype(np.float32)


def mapped(path: Path) -> NDArray[np.float32]:
    """The vectors of a file."""
    return np.memmap(path, dtype="<f4", mode="r").reshape(-1, DIM)


def _unit(vectors: NDArray[Any]) -> NDArray[Any]:
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True))


def _windows(count: int) -> list[ChipWindow]:
    from imatch.retrieval.chips import ChipWindow

    places = [divmod(i, COLUMNS) for i in range(count)]
    return [ChipWindow(_STEP * x, _STEP * y, _CHIP, _CHIP, float(_CHIP)) for y, x in places]


def _scene(number: int, chips: int) -> IndexedImage:
    """The facts of a scene of 10 m: ten abreast, from the equator to the north."""
    from imatch.retrieval.index.store import IndexedImage

    width, height = (_STEP * (side - 1) + _CHIP for side in (COLUMNS, ROWS))
    north, east = divmod(number, 10)
    corner = 300_000 + 10.0 * width * east, 10.0 * height * (north + 1)
    return IndexedImage(
        f"/archive/{number:06}.tif",
        50_000_000,
        number,
        width,
        height,
        "EPSG:32631",
        (10.0, 0.0, corner[0], 0.0, -10.0, corner[1]),
        10.0,
        0,
        chips,
    )


def _timed(work: Callable[[], object]) -> tuple[float, float]:
    """Seconds of the wall and of the processor."""
    wall, processor = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - wall, time.process_time() - processor


def _command_seconds(command: list[str]) -> tuple[float, float]:
    """Seconds of the wall and of the processor that a command takes."""
    wall, before = time.perf_counter(), os.times()
    subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
    after = os.times()
    busy = after.children_user + after.children_system
    return time.perf_counter() - wall, busy - before.children_user - before.children_system


def _own_mb(process: psutil.Process) -> float:
    """Memory that is not a file's: what the system cannot take back."""
    told = Path("/proc/self/smaps_rollup")
    if not told.exists():
        return float(process.memory_full_info().uss) / 1e6
    rows = dict(line.split(":", 1) for line in told.read_text().splitlines()[1:])
    return int(rows["Anonymous"].split()[0]) * 1024 / 1e6
