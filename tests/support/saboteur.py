"""`Task.finish` functions that do harm in a worker process.

Each does its harm to the pair called ``c``, after its document is written and before its row.
"""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

from imatch.pipeline.batch.pairs import BatchPair
from imatch.pipeline.registration.result import Registration


def kill_once(_found: Registration, pair: BatchPair, out: Path) -> None:
    """Kill the worker that comes to the pair first."""
    if pair.name == "c" and _first(out):
        time.sleep(0.3)  # What the worker has said is on its way.
        os.kill(os.getpid(), signal.SIGKILL)


def kill_always(_found: Registration, pair: BatchPair, _out: Path) -> None:
    """Kill each worker that comes to the pair."""
    if pair.name == "c":
        os.kill(os.getpid(), signal.SIGKILL)


def fail_once(_found: Registration, pair: BatchPair, out: Path) -> None:
    """Raise at the first attempt at the pair."""
    if pair.name == "c" and _first(out):
        raise RuntimeError("a bug\nin two lines")


def fail(_found: Registration, _pair: BatchPair, _out: Path) -> None:
    """Raise at every pair."""
    raise RuntimeError("a bug\nin two lines")


def hang(_found: Registration, pair: BatchPair, _out: Path) -> None:
    """Sleep at the pair for longer than any test waits."""
    if pair.name == "c":
        time.sleep(600)


def slow(_found: Registration, _pair: BatchPair, _out: Path) -> None:
    """Sleep a little at every pair, so that there is time to kill its client."""
    time.sleep(0.7)


def _first(out: Path) -> bool:
    try:
        (out.parent / "harmed").touch(exist_ok=False)
    except FileExistsError:
        return False
    return True
