"""Worker processes that have imported imatch before they begin.

A spawned interpreter imports for a second of the processor; here a server that has done so once
forks each of them. For tests of what workers do, not of how they begin.
"""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing.context import BaseContext
from typing import Any

#: Whether this system can fork.
POSSIBLE = "forkserver" in multiprocessing.get_all_start_methods()


def executor(
    jobs: int,
    *,
    mp_context: BaseContext,
    initializer: Callable[..., object],
    initargs: Sequence[Any],
) -> ProcessPoolExecutor:
    """Stands for `ProcessPoolExecutor`, whatever start method is asked for."""
    warm = multiprocessing.get_context("forkserver")
    warm.set_forkserver_preload(["tests.support.warm_imports"])
    return ProcessPoolExecutor(
        jobs,
        mp_context=warm,
        initializer=_begin,
        # The server has the environment of the test that needed it first.
        initargs=(dict(os.environ), initializer, initargs),
    )


def _begin(
    environment: dict[str, str], initializer: Callable[..., object], initargs: Sequence[Any]
) -> None:
    os.environ.clear()
    os.environ.update(environment)
    initializer(*initargs)
