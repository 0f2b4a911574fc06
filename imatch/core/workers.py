"""Set-up of worker processes: one thread each, silent at an interrupt, ended with their parent."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OPJ_NUM_THREADS")


def begin_worker() -> None:
    """Begin a worker process: silent at an interrupt, and gone when its parent is."""
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
    """Let processes begun inside the block use one thread for linear algebra and decoding."""
    before = {name: os.environ.get(name) for name in _THREADS}
    if enabled:
        os.environ.update(dict.fromkeys(_THREADS, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
