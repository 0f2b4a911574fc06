"""Runs a batch on a Dask cluster.

The scheduler runs anew what a killed worker was at. Workers tell when they begin a pair, so that
the client knows how often each was tried and which has run out of time.
"""

from __future__ import annotations

import logging
import queue
import time
import uuid
from collections import Counter, deque
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import CancelledError
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from imatch.core.errors import ConfigError, ImatchError
from imatch.core.redaction import get_logger
from imatch.pipeline.batch.executor import BatchExecutor, out_of_time, too_many_attempts
from imatch.pipeline.batch.pairs import BatchPair
from imatch.pipeline.batch.result import BatchResult
from imatch.pipeline.batch.worker import BatchTask, WorkerError, run_pair

if TYPE_CHECKING:
    from distributed import Client, Future

LOCAL = "local"
_LOG = get_logger(__name__)
_TICK = 0.5
# Seconds: to reach a scheduler; to do without any worker, at the beginning and later.
_CONNECT, _PATIENCE = 30.0, 120.0
# How often a pair may come back unfinished for reasons that are not its own.
_BOUNCES = 10


class DaskWorkers(BatchExecutor):
    """The workers of a Dask cluster.

    Workers should have one thread each (``dask worker --nthreads 1 --nworkers N``): pairs in one
    process take turns. How often the scheduler itself runs a pair anew whose worker was killed is
    its own setting (``distributed.scheduler.allowed-failures``); a cluster begun here takes it from
    `retries`.

    Args:
        address: ``"local"`` for a cluster of processes on this machine, begun and ended with the
            run, or a scheduler's address.
        jobs: Worker processes of a local cluster.

    Raises:
        ConfigError: The address is none.
        ImatchError: Dask is not installed.
    """

    def __init__(self, address: str = LOCAL, jobs: int = 1) -> None:
        if address != LOCAL and "://" not in address:
            raise ConfigError(
                "is no scheduler's address", subject=address, hint="give local or tcp://HOST:8786"
            )
        try:
            import distributed  # noqa: F401 - only whether it is there.
        except ImportError as error:
            raise ImatchError(
                "Dask is not installed", subject="--dask", hint="run pip install 'imatch[dask]'"
            ) from error
        self.address, self.jobs = address, jobs

    def facts(self) -> dict[str, Any]:
        """See `BatchExecutor.facts`."""
        jobs = {"jobs": self.jobs} if self.address == LOCAL else {}
        return {"engine": f"dask {self.address}", **jobs}

    def run(
        self, task: BatchTask, pairs: Sequence[BatchPair], *, retries: int, timeout: float | None
    ) -> Generator[BatchResult, None, None]:
        """See `BatchExecutor.run`."""
        jobs = min(self.jobs, len(pairs))
        task = replace(task, single_thread=self.address != LOCAL or jobs > 1)
        with _client(self.address, jobs, retries) as client:
            session = _Session(client, task, retries, timeout)
            try:
                yield from session.run(pairs)
            finally:
                session.end()


class _Session:
    """Runs pairs on a cluster and collects their rows in the client."""

    def __init__(
        self, client: Client, task: BatchTask, retries: int, timeout: float | None
    ) -> None:
        self.client, self.task, self.retries, self.timeout = client, task, retries, timeout
        self.topic = f"imatch-{uuid.uuid4().hex}"
        # What happens, in order: (pair's name, the worker's address or the future that is done).
        self.events: queue.SimpleQueue[tuple[str, str | Future[Any]]] = queue.SimpleQueue()
        self.waiting: deque[BatchPair] = deque()
        self.futures: dict[str, Future[Any]] = {}
        self.begun: dict[str, tuple[float, str]] = {}
        self.attempts, self.bounces = Counter[str](), Counter[str]()
        client.subscribe_topic(self.topic, self._on_event)

    def run(self, pairs: Sequence[BatchPair]) -> Iterator[BatchResult]:
        by_name = {pair.name: pair for pair in pairs}
        self.waiting.extend(pairs)
        alive = time.monotonic()
        while self.futures or self.waiting:
            self._fill()
            try:
                name, what = self.events.get(timeout=_TICK)
            except queue.Empty:
                alive = self._last_alive(alive)
                yield from self._end_overdue(by_name)
                continue
            if isinstance(what, str):
                self.attempts[name] += 1
                self.begun[name] = time.monotonic(), what
            elif self.futures.get(name) is what:
                row = self._outcome(by_name[name], what)
                if row is not None:
                    yield row
            yield from self._end_overdue(by_name)

    def end(self) -> None:
        """Cancels the futures that are not finished."""
        with suppress(Exception):
            self.client.unsubscribe_topic(self.topic)
            self.client.cancel(list(self.futures.values()))

    def _fill(self) -> None:
        """Hand out as many pairs as the cluster has threads, now that workers may have joined.

        What a scheduler gets beyond that it may queue behind a pair that takes long, while other
        workers have nothing to do.
        """
        if not self.waiting:
            return
        threads = 0
        with suppress(OSError, TimeoutError):
            threads = sum(self.client.nthreads().values())
        while self.waiting and len(self.futures) < max(1, threads):
            self._submit(self.waiting.popleft())

    def _submit(self, pair: BatchPair) -> None:
        key = f"imatch-{pair.name}-{uuid.uuid4().hex}"
        future = self.client.submit(_run_there, self.topic, self.task, pair, key=key, pure=False)
        self.futures[pair.name] = future
        name = pair.name
        future.add_done_callback(lambda done: self.events.put((name, done)))

    def _on_event(self, event: tuple[float, Any]) -> None:
        message = event[1]
        self.events.put((message["pair"], message["worker"]))

    def _outcome(self, pair: BatchPair, future: Future[Any]) -> BatchResult | None:
        """The row of a pair whose future is done; None where it is begun anew."""
        from distributed.client import FutureCancelledError
        from distributed.scheduler import KilledWorker

        del self.futures[pair.name]
        _, worker = self.begun.pop(pair.name, (0.0, ""))
        # A worker's word may come after its result, or be lost with it.
        count = max(1, self.attempts[pair.name])
        try:
            done: BatchResult = future.result()
            return replace(done, attempts=count)
        except (CancelledError, FutureCancelledError):
            self.bounces[pair.name] += 1
            cause, again = "the cluster dropped it", self.bounces[pair.name] <= _BOUNCES
        except KilledWorker:
            # A neighbour of the pair that was to blame is charged by the scheduler as well.
            self.bounces[pair.name] += 1
            innocent = self.attempts[pair.name] <= self.retries
            cause, again = "its worker was killed", innocent and self.bounces[pair.name] <= _BOUNCES
        except WorkerError as error:
            cause, again = str(error), count <= self.retries
        except Exception as error:
            cause, again = f"{type(error).__name__}: {error}", count <= self.retries
        if not again:
            return too_many_attempts(pair, cause, count, worker)
        self._check_scheduler()
        _LOG.info("%s is begun anew: %s", pair.name, cause)
        self._submit(pair)
        return None

    def _end_overdue(self, by_name: dict[str, BatchPair]) -> Iterator[BatchResult]:
        """End the pairs that are out of time, and the workers that are at them."""
        if self.timeout is None:
            return
        now = time.monotonic()
        for name, (since, worker) in list(self.begun.items()):
            future = self.futures.get(name)
            if future is None or future.done() or now - since < self.timeout:
                continue
            del self.futures[name], self.begun[name]
            self.client.cancel([future])
            # Nothing else ends what runs; a worker without a nanny cannot be begun anew.
            with suppress(Exception):
                self.client.restart_workers([worker], timeout=_CONNECT, raise_for_error=False)
            yield out_of_time(by_name[name], self.timeout, max(1, self.attempts[name]), worker)

    def _last_alive(self, since: float) -> float:
        """Returns the time at which the cluster was last seen with a worker.

        Raises:
            ImatchError: That is too long ago.
        """
        now = time.monotonic()
        self._check_scheduler()
        with suppress(OSError, TimeoutError):
            if self.client.status == "running" and self.client.nthreads():
                return now
        if now - since > _PATIENCE:
            raise ImatchError(
                f"the cluster has had no workers for {_PATIENCE:g} s",
                subject=self.client.scheduler.address if self.client.scheduler else None,
                hint="start some, and run again with --resume",
            )
        return since

    def _check_scheduler(self) -> None:
        if self.client.status in ("closed", "closing"):
            raise ImatchError(
                "the connection to the scheduler is lost", hint="run again with --resume"
            )


def _run_there(topic: str, task: BatchTask, pair: BatchPair) -> BatchResult:
    """Run a pair in a worker of the cluster."""
    from distributed import get_worker

    worker = get_worker()
    worker.log_event(topic, {"pair": pair.name, "worker": worker.address})
    return replace(run_pair(task, pair), worker=worker.address)


@contextmanager
def _client(address: str, jobs: int, retries: int) -> Iterator[Client]:
    """A client, of a cluster of its own where none is named."""
    import dask
    from distributed import Client, LocalCluster

    if address == LOCAL:
        settings = {
            # One failure more than allowed ends a pair, as one attempt more than `retries` does.
            "distributed.scheduler.allowed-failures": retries,
            # Keeps call trees of the last 1000 seconds, some hundred megabytes of each worker.
            "distributed.worker.profile.enabled": False,
        }
        with (
            dask.config.set(settings),
            LocalCluster(
                n_workers=jobs,
                threads_per_worker=1,
                processes=True,
                scheduler_kwargs={"dashboard": False},
                dashboard_address=":0",
                silence_logs=logging.CRITICAL,
            ) as cluster,
            Client(cluster, set_as_default=False) as client,
        ):
            yield client
        return
    try:
        client = Client(address, timeout=_CONNECT, set_as_default=False)
    except (OSError, ValueError) as error:
        raise ImatchError(
            f"no Dask scheduler answers ({error})",
            subject=address,
            hint="start one with dask scheduler, or name another address",
        ) from error
    with client:
        try:
            client.wait_for_workers(1, timeout=_PATIENCE)
        except TimeoutError as error:
            raise ImatchError(
                f"the scheduler has had no workers for {_PATIENCE:g} s",
                subject=address,
                hint=f"start some with dask worker {address} --nthreads 1 --nworkers N",
            ) from error
        yield client
