"""Runs tiles in this process or in several."""

from __future__ import annotations

import atexit
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Protocol

from imatch.core.pool import WorkerPool
from imatch.pipeline.scene.measure import TileResult, measure_tile
from imatch.pipeline.scene.reading import ImageSide
from imatch.pipeline.scene.tiles import TileTask
from imatch.raster.gdal import kept_open
from imatch.raster.read.array_source import ArraySource

# Neighbouring tiles share blocks of the files: so many of them in a row go to one process.
_RUN = 4


class TileExecutor(Protocol):
    """Interface of what measures tiles."""

    def run(self, tasks: Sequence[TileTask]) -> Iterator[list[TileResult]]:
        """Measure tiles, some at a time, in any order.

        Raises:
            ImatchError: An image cannot be read, or a process was killed.
        """
        ...


class InProcess:
    """Measures in this process.

    Args:
        ref: The reference.
        tgt: The target.
    """

    def __init__(self, ref: ImageSide, tgt: ImageSide) -> None:
        self._sides = ref, tgt

    def run(self, tasks: Sequence[TileTask]) -> Iterator[list[TileResult]]:
        """See `TileExecutor.run`."""
        with kept_open():
            for task in tasks:
                yield [measure_tile(*self._sides, task)]


class Processes:
    """Measures in several processes of one thread each, begun once for all levels.

    Args:
        pool: The processes.
        jobs: How many there are.
    """

    def __init__(self, pool: WorkerPool, jobs: int) -> None:
        self._pool, self._jobs = pool, jobs

    def run(self, tasks: Sequence[TileTask]) -> Iterator[list[TileResult]]:
        """See `TileExecutor.run`."""
        length = min(_RUN, max(1, len(tasks) // (2 * self._jobs)))
        yield from self._pool.map(_measure, _runs(tasks, length))


@contextmanager
def engine(ref: ImageSide, tgt: ImageSide, jobs: int) -> Iterator[TileExecutor]:
    """Yields an executor that measures tiles in up to `jobs` processes.

    Arrays stay in this process: to send them elsewhere would cost more than it saves.

    Args:
        ref: The reference.
        tgt: The target.
        jobs: Processes; with one, everything happens here.
    """
    if jobs <= 1 or any(isinstance(side.source, ArraySource) for side in (ref, tgt)):
        yield InProcess(ref, tgt)
        return
    hint = "what is done is kept: run again with --resume, and with fewer --jobs"
    with WorkerPool(jobs, _start, (ref, tgt), hint=hint) as pool:
        yield Processes(pool, jobs)


def _runs(tasks: Sequence[TileTask], length: int) -> list[list[TileTask]]:
    """Consecutive tiles of one row, some at a time."""
    runs: list[list[TileTask]] = []
    for task in tasks:
        same = runs and len(runs[-1]) < length and runs[-1][-1].key[:2] == task.key[:2]
        if same:
            runs[-1].append(task)
        else:
            runs.append([task])
    return runs


_sides: tuple[ImageSide, ImageSide] | None = None
# Of a worker process, until it ends: what nobody holds is closed at once.
_held = ExitStack()


def _start(ref: ImageSide, tgt: ImageSide) -> None:
    """Initialises a worker process with what its tiles share."""
    global _sides
    _sides = ref, tgt
    _held.enter_context(kept_open())
    # Closed while the interpreter still stands: rasterio 1.5 complains of those that it finds open.
    atexit.register(_held.close)


def _measure(tasks: list[TileTask]) -> list[TileResult]:
    """Measure tiles in this worker process."""
    assert _sides is not None, "the pool starts with _start()"
    return [measure_tile(*_sides, task) for task in tasks]
