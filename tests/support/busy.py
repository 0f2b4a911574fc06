"""Processes that take the processor from what is measured beside them."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

# Ends with its parent, however that ends.
_COMPUTE = "import os; parent = os.getppid()\nwhile os.getppid() == parent: sum(range(10000))"


@contextmanager
def busy(count: int) -> Iterator[None]:
    """Lets `count` processes compute, each on a core of its own if there are enough."""
    processes = [subprocess.Popen([sys.executable, "-c", _COMPUTE]) for _ in range(count)]
    try:
        yield
    finally:
        for process in processes:
            process.kill()
            process.wait()
