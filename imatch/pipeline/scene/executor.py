"""Measures the tiles of a scene in threads, reading ahead of them."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from itertools import groupby
from typing import TypeAlias

from imatch.pipeline.scene.measure import (
    TileResult,
    measure_pixels,
    measure_tile,
    read_tile,
)
from imatch.pipeline.scene.reading import ImageSide
from imatch.pipeline.scene.tiles import TileTask
from imatch.raster.gdal import kept_open

# Tiles that are read ahead of those being measured: as few as keep the threads busy.
_AHEAD = 2

_Work: TypeAlias = Callable[[], list[TileResult]]


class TileExecutor:
    """Measures tiles in threads of this process.

    Files are read by the calling thread, which keeps them open: neighbouring tiles share blocks,
    and in one cache each is decoded once, in the decoder's own threads. What lies on other hosts
    is read by the threads that measure, a row of tiles at a time, since there it is the waiting
    that takes long.

    Args:
        ref: The reference.
        tgt: The target.
        jobs: Threads; with one, everything happens in the calling thread.
    """

    def __init__(self, ref: ImageSide, tgt: ImageSide, jobs: int) -> None:
        self._sides, self._jobs = (ref, tgt), jobs

    def run(self, tasks: Sequence[TileTask]) -> Generator[list[TileResult], None, None]:
        """Measures tiles and yields their results, some at a time, in the order of the tiles.

        Raises:
            ImatchError: An image cannot be read.
        """
        with kept_open():
            if self._jobs <= 1:
                for task in tasks:
                    yield [measure_tile(*self._sides, task)]
            elif any(side.source.remote for side in self._sides):
                rows = groupby(tasks, key=lambda task: task.key[:2])
                yield from self._threaded(partial(self._row, list(row)) for _, row in rows)
            else:
                yield from self._threaded(map(self._read, tasks))

    def _read(self, task: TileTask) -> _Work:
        """Reads a tile now, and returns what is to be done with it."""
        read = read_tile(*self._sides, task)
        if isinstance(read, TileResult):
            return lambda: [read]
        return lambda: [measure_pixels(*self._sides, task, read)]

    def _row(self, tasks: Sequence[TileTask]) -> list[TileResult]:
        with kept_open():
            return [measure_tile(*self._sides, task) for task in tasks]

    def _threaded(self, work: Iterable[_Work]) -> Iterator[list[TileResult]]:
        waiting: deque[Future[list[TileResult]]] = deque()
        pool = ThreadPoolExecutor(self._jobs, thread_name_prefix="tile")
        try:
            for piece in work:
                waiting.append(pool.submit(piece))
                while len(waiting) >= self._jobs + _AHEAD:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
