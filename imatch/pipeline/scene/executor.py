"""Runs tiles in this process or in several."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack, contextmanager
from multiprocessing import get_context
from typing import Protocol

import cv2

from imatch.core.errors import ImatchError
from imatch.core.workers import begin_worker, one_thread_each
from imatch.pipeline.scene.measure import ImageSide, TileResult, measure_tile
from imatch.pipeline.scene.tiles import TileTask
from imatch.raster.gdal import kept_open
from imatch.raster.read.array_source import ArraySource

# Neighbouring tiles share blocks of the files: so many of them in a row go to one process.
_RUN = 4
# Runs of tiles that wait in a process's queue, so that memory does not grow with the scene.
_AHEAD = 2


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

    def __init__(self, pool: ProcessPoolExecutor, jobs: int) -> None:
        self._pool, self._jobs = pool, jobs

    def run(self, tasks: Sequence[TileTask]) -> Iterator[list[TileResult]]:
        """See `TileExecutor.run`."""
        length = min(_RUN, max(1, len(tasks) // (2 * self._jobs)))
        runs = _runs(tasks, length)
        begun: set[Future[list[TileResult]]] = set()
        try:
            for run in runs:
                begun.add(self._pool.submit(_measure, run))
                if len(begun) >= _AHEAD * self._jobs:
                    done, begun = wait(begun, return_when=FIRST_COMPLETED)
                    for future in done:
                        yield future.result()
            while begun:
                done, begun = wait(begun, return_when=FIRST_COMPLETED)
                for future in done:
                    yield future.result()
        except BrokenProcessPool as error:
            raise ImatchError(
                "a worker process was killed, perhaps for its memory",
                hint="what is done is kept: run again with --resume, and with fewer --jobs",
            ) from error


@contextmanager
def engine(ref: ImageSide, tgt: ImageSide, jobs: int) -> Iterator[TileExecutor]:
    """Something that measures tiles with so many processes.

    Arrays stay in this process: to send them elsewhere would cost more than it saves.

    Args:
        ref: The reference.
        tgt: The target.
        jobs: Processes; with one, everything happens here.
    """
    if jobs <= 1 or any(isinstance(side.source, ArraySource) for side in (ref, tgt)):
        yield InProcess(ref, tgt)
        return
    # Fresh interpreters: forked ones would inherit this process's memory, and torch's threads.
    pool = ProcessPoolExecutor(
        jobs, mp_context=get_context("spawn"), initializer=_start, initargs=(ref, tgt)
    )
    ended_well = False
    try:
        with one_thread_each():
            # Processes begin as work arrives; all of them now, under the variables set here.
            for future in [pool.submit(os.getpid) for _ in range(jobs)]:
                future.result()
        yield Processes(pool, jobs)
        ended_well = True
    except BrokenProcessPool as error:
        raise ImatchError(
            "the worker processes ended as soon as they began",
            hint="in a script, call register under if __name__ == '__main__', or with jobs=1",
        ) from error
    finally:
        if not ended_well:
            # The pool has no way of its own to end work that has begun (before Python 3.14).
            for process in list((pool._processes or {}).values()):
                process.terminate()
        pool.shutdown(wait=True, cancel_futures=True)


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
    """Begin a worker process."""
    global _sides
    begin_worker()
    cv2.setNumThreads(1)
    _sides = ref, tgt
    _held.enter_context(kept_open())


def _measure(tasks: list[TileTask]) -> list[TileResult]:
    """Measure tiles in this worker process."""
    assert _sides is not None, "_start() is the pool's initialiser"
    return [measure_tile(*_sides, task) for task in tasks]
