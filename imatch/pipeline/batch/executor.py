"""Interface of what runs the pairs of a batch."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Generator, Sequence
from dataclasses import replace
from typing import Any

from imatch.pipeline.batch.pairs import BatchPair
from imatch.pipeline.batch.result import BatchResult
from imatch.pipeline.batch.worker import BatchTask


class BatchExecutor(ABC):
    """Runs pairs in processes that may be killed."""

    @abstractmethod
    def run(
        self, task: BatchTask, pairs: Sequence[BatchPair], *, retries: int, timeout: float | None
    ) -> Generator[BatchResult, None, None]:
        """Run pairs; closing the iterator ends the workers.

        Args:
            task: How.
            pairs: Which.
            retries: How often a pair is begun anew after its worker was killed or failed in a way
                that nobody foresaw. A wrong input, or a pair out of time, fails the same way again.
            timeout: Most seconds that a pair may take; None for any.

        Yields:
            Exactly one row a pair, as they come.

        Raises:
            ImatchError: No pair can be run at all.
        """

    @abstractmethod
    def facts(self) -> dict[str, Any]:
        """Returns the engine's facts for the record of the run, JSON-ready."""


def out_of_time(pair: BatchPair, timeout: float, attempts: int, worker: str) -> BatchResult:
    """Returns the row of a pair that exceeded the time limit."""
    text = f"took more than {timeout:g} s and was ended; allow more time with --timeout"
    return replace(
        BatchResult.failed(pair, text), attempts=attempts, worker=worker, seconds=timeout
    )


def too_many_attempts(pair: BatchPair, cause: str, attempts: int, worker: str) -> BatchResult:
    """Returns the row of a pair that failed in every attempt."""
    text = cause if attempts < 2 else f"{cause}, the last of {attempts} attempts"
    return replace(BatchResult.failed(pair, text), attempts=attempts, worker=worker).in_one_line()
