"""Runs a batch in local processes, which may be killed.

A pool of one process breaks alone. The pair that ran in it is known, so it and no other is charged
with an attempt, and a pair out of time can be ended without a neighbour's loss.
"""

from __future__ import annotations

import signal
import time
from collections import Counter, deque
from collections.abc import Generator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from dataclasses import replace
from typing import Any

from imatch.core.errors import ImatchError
from imatch.core.pool import WorkerError, WorkerPool, worker_name
from imatch.core.redaction import get_logger
from imatch.pipeline.batch.executor import BatchExecutor, out_of_time, too_many_attempts
from imatch.pipeline.batch.pairs import BatchPair
from imatch.pipeline.batch.result import BatchResult
from imatch.pipeline.batch.worker import BatchTask, prepare, run_pair

_LOG = get_logger(__name__)
# Workers that die one after another before they are ready: something is wrong with all of them.
_FALSE_STARTS = 3


class LocalWorkers(BatchExecutor):
    """Worker processes on this machine.

    Args:
        jobs: How many; more than one take one thread each.
    """

    def __init__(self, jobs: int = 1) -> None:
        self.jobs = jobs

    def facts(self) -> dict[str, Any]:
        """See `BatchExecutor.facts`."""
        return {"engine": "local", "jobs": self.jobs}

    def run(
        self, task: BatchTask, pairs: Sequence[BatchPair], *, retries: int, timeout: float | None
    ) -> Generator[BatchResult, None, None]:
        """See `BatchExecutor.run`."""
        task = replace(task, single_thread=self.jobs > 1)
        waiting, attempts, false_starts = deque(pairs), Counter[str](), 0
        workers = [_Worker(task) for _ in range(min(self.jobs, len(pairs)))]
        try:
            while waiting or any(worker.pair is not None for worker in workers):
                for worker in workers:
                    if worker.idle and waiting:
                        attempts[waiting[0].name] += 1
                        worker.begin(waiting.popleft())
                for worker in _wait_for_some(workers, timeout):
                    pair, label = worker.pair, worker.label
                    if pair is None:
                        false_starts = 0 if worker.started() else false_starts + 1
                        if false_starts >= _FALSE_STARTS:
                            raise ImatchError(
                                "worker processes are killed before they are ready",
                                hint="run with fewer --jobs, there may be too little memory",
                            )
                        continue
                    count = attempts[pair.name]
                    done = worker.take(timeout)
                    if isinstance(done, BatchResult):
                        yield replace(done, attempts=count)
                    elif done is None:
                        assert timeout is not None, "nothing ends without a result in its own time"
                        yield out_of_time(pair, timeout, count, label)
                    elif count <= retries:
                        _LOG.info("%s is begun anew: %s", pair.name, done)
                        waiting.append(pair)
                    else:
                        yield too_many_attempts(pair, done, count, label)
        finally:
            for worker in workers:
                worker.end()


class _Worker:
    """A process, and the pair it is at.

    Args:
        task: How it runs its pairs.
    """

    def __init__(self, task: BatchTask) -> None:
        self._task = task
        self.pair: BatchPair | None = None
        self.label = ""
        self.future: Future[Any] | None = None
        self._since = 0.0
        self._open()

    @property
    def idle(self) -> bool:
        """Whether it waits for a pair."""
        return self.future is None

    def begin(self, pair: BatchPair) -> None:
        """Hands a pair to the process."""
        self.pair, self._since = pair, time.monotonic()
        try:
            self.future = self._pool.submit(run_pair, self._task, pair)
        except BrokenProcessPool as error:
            # It was killed while it had nothing to do; told like any other death.
            self.future = Future()
            self.future.set_exception(error)

    def remaining(self, timeout: float | None) -> float | None:
        """Seconds until its pair is out of time; None for never."""
        if timeout is None or self.pair is None:
            return None
        return max(0.0, self._since + timeout - time.monotonic())

    def started(self) -> bool:
        """Take note that the process is ready, or that it died over it, which begins another.

        Raises:
            ImatchError: The matcher cannot be loaded.
        """
        assert self.future is not None
        try:
            self.label = self.future.result()
        except BrokenProcessPool:
            self._reopen()
            return False
        self.future = None
        return True

    def take(self, timeout: float | None) -> BatchResult | str | None:
        """Returns the pair's row, or why there is none, or None when it is out of time."""
        assert self.future is not None
        self.pair, future = None, self.future
        if not future.done():
            assert timeout is not None
            self._reopen()
            return None
        try:
            result: BatchResult = future.result()
        except WorkerError as error:
            self.future = None
            return str(error)
        except BrokenProcessPool:
            how = self._why_ended()
            self._reopen()
            return how
        self.future = None
        return result

    def end(self) -> None:
        """Ends the process, also in the middle of a pair."""
        self._pool.close()

    def _open(self) -> None:
        self._pool = WorkerPool(1, single_thread=self._task.single_thread)
        self.future = self._pool.submit(_ready, self._task)
        self._process = self._pool.processes[0]

    def _reopen(self) -> None:
        self.end()
        self._open()

    def _why_ended(self) -> str:
        # The pool's own thread waits for the process; two that wait at once may both miss its code.
        self._pool.close()
        code = self._process.exitcode or 0
        if code >= 0:
            return f"its worker process ended with code {code}"
        name = str(-code)
        with suppress(ValueError):
            name = signal.Signals(-code).name
        memory = ", perhaps for its memory" if name == "SIGKILL" else ""
        return f"its worker process was killed by {name}{memory}"


def _ready(task: BatchTask) -> str:
    prepare(task)
    return worker_name()


def _wait_for_some(workers: Sequence[_Worker], timeout: float | None) -> list[_Worker]:
    """Waits until workers are done or out of time, and returns those."""
    futures = [worker.future for worker in workers if worker.future is not None]
    left = [rest for worker in workers if (rest := worker.remaining(timeout)) is not None]
    wait(futures, timeout=min(left, default=None), return_when=FIRST_COMPLETED)
    return [
        worker
        for worker in workers
        if worker.future is not None and (worker.future.done() or worker.remaining(timeout) == 0)
    ]
