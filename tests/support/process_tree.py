"""Run a command and watch it: wall time, and the memory of all processes it is made of."""

from __future__ import annotations

import resource
import subprocess
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

_EVERY_S = 0.05


@dataclass(frozen=True)
class Watched:
    """What came of a command.

    Attributes:
        code: Its exit code; None where it was ended for its time.
        seconds: Wall time from start to exit.
        cpu_seconds: Of all its processes, in user and in system mode: what the wall time would be
            on one core that nobody else wanted.
        peak_gb: Largest sum of the resident memory of the process and all its descendants, sampled
            20 times a second. Pages that they share count for each of them, so it errs upwards.
        processes: Most processes alive at a time.
        stderr: What it said.
    """

    code: int | None
    seconds: float
    cpu_seconds: float
    peak_gb: float
    processes: int
    stderr: str


def watch(
    command: Sequence[str | Path],
    *,
    stdin: str = "",
    cwd: Path | None = None,
    timeout: float | None = None,
) -> Watched:
    """Run a command to its end.

    Args:
        command: Program and arguments.
        stdin: What to tell it.
        cwd: Where to run it.
        timeout: Seconds after which it and its descendants are ended.
    """
    peak, most = 0, 0
    done = threading.Event()
    started, before = time.perf_counter(), _children_s()
    with subprocess.Popen(
        [str(part) for part in command],
        cwd=cwd,
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:

        def sample() -> None:
            nonlocal peak, most
            while not done.wait(_EVERY_S):
                sizes = _resident(process.pid)
                peak, most = max(peak, sum(sizes)), max(most, len(sizes))

        sampler = threading.Thread(target=sample, daemon=True)
        sampler.start()
        try:
            _, said = process.communicate(stdin, timeout=timeout)
            code: int | None = process.returncode
        except subprocess.TimeoutExpired:
            _end(process.pid)
            _, said = process.communicate()
            code = None
        finally:
            done.set()
            sampler.join()
    seconds = time.perf_counter() - started
    return Watched(code, seconds, _children_s() - before, peak / 1e9, most, said)


def _children_s() -> float:
    """Processor time of all descendants that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _resident(pid: int) -> list[int]:
    """Resident bytes of a process and its descendants, as far as they still live."""
    sizes = []
    for process in _family(pid):
        try:
            sizes.append(process.memory_info().rss)
        except psutil.Error:
            continue
    return sizes


def _family(pid: int) -> list[psutil.Process]:
    try:
        parent = psutil.Process(pid)
        return [parent, *parent.children(recursive=True)]
    except psutil.Error:
        return []


def _end(pid: int) -> None:
    for process in reversed(_family(pid)):
        try:
            process.kill()
        except psutil.Error:
            continue
