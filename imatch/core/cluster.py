"""Calls a function on the workers of a Dask cluster, which may be killed.

The scheduler runs anew what a killed worker was at. Workers tell when they begin an item, so that
the client knows how often each was tried and which has run out of time.
"""

from __future__ import annotations

import logging
import queue
import time
import uuid
from collections import Counter, deque
from collections.abc import Callable, Generator, Iterator, Mapping
from concurrent.futures import CancelledError
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from imatch.core.errors import ConfigError, ImatchError
from imatch.core.pool import WorkerError
from imatch.core.redaction import get_logger

if TYPE_CHECKING:
    from distributed import Client, Future

LOCAL = "local"
_LOG = get_logger(__name__)
_TICK = 0.5
# Seconds: to reach a scheduler; to do without any worker, at the beginning and later.
_CONNECT, _PATIENCE = 30.0, 120.0
# How often an item may come back unfinished for reasons that are not its own.
_BOUNCES = 10

ItemT = TypeVar("ItemT")
ResultT = TypeVar("ResultT")


@dataclass(frozen=True)
class Call(Generic[ResultT]):
    """What became of an item that was handed to a cluster.

    Attributes:
        name: Its name.
        result: What the function returned; None where it was given up.
        attempts: How often it was begun.
        worker: Address of the worker that had it last.
        cause: Why it was given up; None where it has a result or ran out of time.
    """

    name: str
    result: ResultT | None
    attempts: int
    worker: str
    cause: str | None = None


class DaskCluster:
    """The workers of a Dask cluster.

    Workers should have one thread each (``dask worker --nthreads 1 --nworkers N``): items in one
    process take turns. How often the scheduler itself runs an item anew whose worker was killed is
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

    @property
    def shares_machines(self) -> bool:
        """Whether several workers may share a machine, and should take one thread each."""
        return self.address != LOCAL or self.jobs > 1

    def map(
        self,
        function: Callable[[ItemT], ResultT],
        items: Mapping[str, ItemT],
        *,
        retries: int,
        timeout: float | None = None,
        again: str,
    ) -> Generator[Call[ResultT], None, None]:
        """Calls a function of each item; closing the iterator drops what is not done.

        Args:
            function: A function of a module, or a `functools.partial` of one.
            items: Its arguments, by name.
            retries: How often an item is begun anew after its worker was killed or failed in a way
                that nobody foresaw.
            timeout: Most seconds that an item may take; None for any.
            again: What to do where the cluster fails, for the error.

        Yields:
            One call an item, as they come.

        Raises:
            ImatchError: The cluster cannot be reached or has lost its workers, or the function
                raised it.
        """
        with _client(self.address, min(self.jobs, len(items)), retries) as client:
            session = _Session(client, function, retries, timeout, again)
            try:
                yield from session.run(items)
            finally:
                session.end()


class _Session(Generic[ItemT, ResultT]):
    """Runs items on a cluster and collects their results in the client."""

    def __init__(
        self,
        client: Client,
        function: Callable[[ItemT], ResultT],
        retries: int,
        timeout: float | None,
        again: str,
    ) -> None:
        self.client, self.function = client, function
        self.retries, self.timeout, self.again = retries, timeout, again
        self.topic = f"imatch-{uuid.uuid4().hex}"
        # What happens, in order: (item's name, the worker's address or the future that is done).
        self.events: queue.SimpleQueue[tuple[str, str | Future[Any]]] = queue.SimpleQueue()
        self.items: dict[str, ItemT] = {}
        self.waiting: deque[str] = deque()
        self.futures: dict[str, Future[Any]] = {}
        self.begun: dict[str, tuple[float, str]] = {}
        self.attempts, self.bounces = Counter[str](), Counter[str]()
        client.subscribe_topic(self.topic, self._on_event)

    def run(self, items: Mapping[str, ItemT]) -> Iterator[Call[ResultT]]:
        self.items.update(items)
        self.waiting.extend(items)
        alive = time.monotonic()
        while self.futures or self.waiting:
            self._fill()
            try:
                name, what = self.events.get(timeout=_TICK)
            except queue.Empty:
                alive = self._last_alive(alive)
                yield from self._end_overdue()
                continue
            if isinstance(what, str):
                self.attempts[name] += 1
                self.begun[name] = time.monotonic(), what
            elif self.futures.get(name) is what:
                call = self._outcome(name, what)
                if call is not None:
                    yield call
            yield from self._end_overdue()

    def end(self) -> None:
        """Cancels the futures that are not finished."""
        with suppress(Exception):
            self.client.unsubscribe_topic(self.topic)
            self.client.cancel(list(self.futures.values()))

    def _fill(self) -> None:
        """Hand out as many items as the cluster has threads, now that workers may have joined.

        What a scheduler gets beyond that it may queue behind an item that takes long, while other
        workers have nothing to do.
        """
        if not self.waiting:
            return
        threads = 0
        with suppress(OSError, TimeoutError):
            threads = sum(self.client.nthreads().values())
        while self.waiting and len(self.futures) < max(1, threads):
            self._submit(self.waiting.popleft())

    def _submit(self, name: str) -> None:
        key = f"imatch-{uuid.uuid4().hex}"
        future = self.client.submit(
            _run_there, self.topic, self.function, name, self.items[name], key=key, pure=False
        )
        self.futures[name] = future
        future.add_done_callback(lambda done: self.events.put((name, done)))

    def _on_event(self, event: tuple[float, Any]) -> None:
        message = event[1]
        self.events.put((message["item"], message["worker"]))

    def _outcome(self, name: str, future: Future[Any]) -> Call[ResultT] | None:
        """The result of an item whose future is done; None where it is begun anew."""
        from distributed.client import FutureCancelledError
        from distributed.scheduler import KilledWorker

        del self.futures[name]
        _, worker = self.begun.pop(name, (0.0, ""))
        # A worker's word may come after its result, or be lost with it.
        count = max(1, self.attempts[name])
        try:
            result, worker = future.result()
            return Call(name, result, count, worker)
        except ImatchError:
            raise
        except (CancelledError, FutureCancelledError):
            self.bounces[name] += 1
            cause, again = "the cluster dropped it", self.bounces[name] <= _BOUNCES
        except KilledWorker:
            # A neighbour of the item that was to blame is charged by the scheduler as well.
            self.bounces[name] += 1
            innocent = self.attempts[name] <= self.retries
            cause, again = "its worker was killed", innocent and self.bounces[name] <= _BOUNCES
        except WorkerError as error:
            cause, again = str(error), count <= self.retries
        except Exception as error:
            cause, again = f"{type(error).__name__}: {error}", count <= self.retries
        if not again:
            return Call(name, None, count, worker, cause)
        self._check_scheduler()
        _LOG.info("%s is begun anew: %s", name, cause)
        self._submit(name)
        return None

    def _end_overdue(self) -> Iterator[Call[ResultT]]:
        """End the items that are out of time, and the workers that are at them."""
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
            yield Call(name, None, max(1, self.attempts[name]), worker)

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
                hint=f"start some, and {self.again}",
            )
        return since

    def _check_scheduler(self) -> None:
        if self.client.status in ("closed", "closing"):
            raise ImatchError("the connection to the scheduler is lost", hint=self.again)


def _run_there(
    topic: str, function: Callable[[ItemT], ResultT], name: str, item: ItemT
) -> tuple[ResultT, str]:
    """Call a function in a worker of the cluster."""
    from distributed import get_worker

    worker = get_worker()
    worker.log_event(topic, {"item": name, "worker": worker.address})
    return function(item), worker.address


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
