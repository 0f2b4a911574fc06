"""Runs a batch on a Dask cluster."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from imatch.core.cluster import LOCAL, DaskCluster
from imatch.pipeline.batch.executor import BatchExecutor, out_of_time, too_many_attempts
from imatch.pipeline.batch.pairs import BatchPair
from imatch.pipeline.batch.result import BatchResult
from imatch.pipeline.batch.worker import BatchTask, run_pair


class DaskWorkers(BatchExecutor):
    """The workers of a Dask cluster, see `DaskCluster`.

    Args:
        address: ``"local"``, or a scheduler's address.
        jobs: Worker processes of a local cluster.

    Raises:
        ConfigError: The address is none.
        ImatchError: Dask is not installed.
    """

    def __init__(self, address: str = LOCAL, jobs: int = 1) -> None:
        # At once, so that nothing is written where there can be no cluster.
        DaskCluster(address, jobs)
        self.address, self.jobs = address, jobs

    def facts(self) -> dict[str, Any]:
        """See `BatchExecutor.facts`."""
        jobs = {"jobs": self.jobs} if self.address == LOCAL else {}
        return {"engine": f"dask {self.address}", **jobs}

    def run(
        self, task: BatchTask, pairs: Sequence[BatchPair], *, retries: int, timeout: float | None
    ) -> Generator[BatchResult, None, None]:
        """See `BatchExecutor.run`."""
        by_name = {pair.name: pair for pair in pairs}
        cluster = DaskCluster(self.address, min(self.jobs, len(pairs)))
        task = replace(task, single_thread=cluster.shares_machines)
        for call in cluster.map(
            partial(run_pair, task),
            by_name,
            retries=retries,
            timeout=timeout,
            again="run again with --resume",
        ):
            pair = by_name[call.name]
            if call.result is not None:
                yield replace(call.result, attempts=call.attempts, worker=call.worker)
            elif call.cause is not None:
                yield too_many_attempts(pair, call.cause, call.attempts, call.worker)
            else:
                assert timeout is not None, "nothing runs out of time without a limit"
                yield out_of_time(pair, timeout, call.attempts, call.worker)
