"""Worker processes: started fresh, one thread each, silent at an interrupt, ended with the parent.

Fresh interpreters, since forked ones would inherit this process's memory, GDAL's caches and the
threads of torch and OpenCV, which do not survive it.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import socket
import threading
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from itertools import islice
from multiprocessing.process import BaseProcess
from os import PathLike
from pathlib import Path
from typing import Any, Self, TypeVar

from imatch.core.errors import ImatchError
from imatch.core.io.offline import environment
from imatch.core.redaction import redacted

_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OPJ_NUM_THREADS")
# Items that are handed out at a time, for each process: enough that none has to wait, so few that
# memory does not grow with their number.
_AHEAD = 2

ItemT = TypeVar("ItemT")
ResultT = TypeVar("ResultT")


class WorkerError(Exception):
    """An unexpected error as text, so that it can be sent between processes."""


def error_text(error: Exception) -> str:
    """Formats an unexpected error: its type, its text, and where it was raised."""
    frames = traceback.extract_tb(error.__traceback__)
    where = f" ({Path(frames[-1].filename).name}:{frames[-1].lineno})" if frames else ""
    text = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    return redacted(text + where)


def worker_name() -> str:
    """Returns the name of this worker: machine and process number."""
    return f"{socket.gethostname()}:{os.getpid()}"


class WorkerPool:
    """Worker processes, ended with the block whatever they are at.

    Args:
        jobs: How many.
        start: Called in each process before anything else, with `args`: what all its work shares.
        args: Picklable values.
        single_thread: One thread each for linear algebra, decoding and OpenCV.
        subject: What the work is about, for the error of a process that was killed.
        hint: What to do then.

    Raises:
        ImatchError: From a ``with`` statement: no process comes up.
    """

    def __init__(
        self,
        jobs: int,
        start: Callable[..., object] | None = None,
        args: Sequence[Any] = (),
        *,
        single_thread: bool = True,
        subject: str | PathLike[str] | None = None,
        hint: str | None = None,
    ) -> None:
        self._jobs, self._single_thread = jobs, single_thread
        self._subject, self._hint = subject, hint
        self._running: set[Future[Any]] = set()
        self._executor = ProcessPoolExecutor(
            jobs,
            mp_context=multiprocessing.get_context("spawn"),
            initializer=_begin,
            initargs=(single_thread, start, args),
        )

    @property
    def processes(self) -> list[BaseProcess]:
        """The processes that have been begun, which they are as work arrives."""
        return list((self._executor._processes or {}).values())

    def submit(self, function: Callable[..., ResultT], /, *args: Any) -> Future[ResultT]:
        """Hands out a call, as `concurrent.futures.Executor.submit` does.

        Raises:
            BrokenProcessPool: A process was killed before.
        """
        with one_thread_each(self._single_thread):
            future = self._executor.submit(function, *args)
        self._running.add(future)
        future.add_done_callback(self._running.discard)
        return future

    def map(
        self, function: Callable[[ItemT], ResultT], items: Iterable[ItemT]
    ) -> Iterator[ResultT]:
        """Calls a function of each item, and gives the results as they come.

        Args:
            function: A function of a module, or a `functools.partial` of one.
            items: Its arguments, taken a few at a time.

        Yields:
            The results, in any order.

        Raises:
            ImatchError: A process was killed.
            Exception: What the function raises.
        """
        left, begun = iter(items), set[Future[ResultT]]()
        try:
            while True:
                room = _AHEAD * self._jobs - len(begun)
                begun |= {self.submit(function, item) for item in islice(left, room)}
                if not begun:
                    return
                done, begun = wait(begun, return_when=FIRST_COMPLETED)
                for future in done:
                    yield future.result()
        except BrokenProcessPool as error:
            raise ImatchError(
                "a worker process was killed, perhaps for its memory",
                subject=self._subject,
                hint=self._hint,
            ) from error

    def close(self) -> None:
        """Ends the processes; those that are at something are killed."""
        if not all(future.done() for future in list(self._running)):
            # The pool has no way of its own to end work that has begun (before Python 3.14).
            for process in self.processes:
                process.kill()
        self._executor.shutdown(wait=True, cancel_futures=True)

    def __enter__(self) -> Self:
        try:
            for future in [self.submit(os.getpid) for _ in range(self._jobs)]:
                future.result()
        except BrokenProcessPool as error:
            self.close()
            raise ImatchError(
                "the worker processes ended as soon as they began",
                hint="in a script, begin them under if __name__ == '__main__', or with jobs=1",
            ) from error
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def map_processes(
    function: Callable[[ItemT], ResultT],
    items: Sequence[ItemT],
    jobs: int,
    *,
    subject: str | PathLike[str] | None = None,
    hint: str | None = None,
) -> Iterator[ResultT]:
    """Calls a function of each item in worker processes, and gives the results as they come.

    Args:
        function: A function of a module, or a `functools.partial` of one.
        items: Its arguments.
        jobs: How many processes; one item, or one process, is this process's own work.
        subject: What the work is about, for the error of a process that was killed.
        hint: What to do then.

    Yields:
        The results, in any order.

    Raises:
        ImatchError: A process was killed.
        Exception: What the function raises.
    """
    jobs = min(jobs, len(items))
    if jobs <= 1:
        yield from map(function, items)
        return
    with WorkerPool(jobs, subject=subject, hint=hint) as pool:
        yield from pool.map(function, items)


def begin_worker() -> None:
    """Makes a worker of this process: silent at an interrupt, and gone when its parent is."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    if parent is not None:

        def follow() -> None:
            parent.join()
            os._exit(1)

        # A killed parent leaves no end-of-file on the queue, which the workers hold open too.
        threading.Thread(target=follow, daemon=True).start()


@contextmanager
def one_thread_each(enabled: bool = True) -> Iterator[None]:
    """Lets processes begun inside the block use one thread for linear algebra and decoding."""
    with environment(dict.fromkeys(_THREADS, "1") if enabled else {}):
        yield


def _begin(single_thread: bool, start: Callable[..., object] | None, args: Sequence[Any]) -> None:
    begin_worker()
    if single_thread:
        import cv2

        cv2.setNumThreads(1)
    if start is not None:
        start(*args)
