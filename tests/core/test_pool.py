from __future__ import annotations

import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import pytest

from imatch.core.errors import ImatchError
from imatch.core.pool import WorkerPool, map_processes, one_thread_each


def test_threads_are_limited_inside_the_block_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    monkeypatch.delenv("MKL_NUM_THREADS", raising=False)
    with one_thread_each():
        assert os.environ["OMP_NUM_THREADS"] == os.environ["MKL_NUM_THREADS"] == "1"
        assert os.environ["OPJ_NUM_THREADS"] == "1"
    assert os.environ["OMP_NUM_THREADS"] == "7"
    assert "MKL_NUM_THREADS" not in os.environ
    with one_thread_each(False):
        assert os.environ["OMP_NUM_THREADS"] == "7"


_PARENT = """
import multiprocessing, os, time
from imatch.core.pool import begin_worker

if __name__ == "__main__":
    context = multiprocessing.get_context("fork")
    ready = context.Event()

    def work():
        begin_worker()
        ready.set()
        time.sleep(60)

    child = context.Process(target=work)
    child.start()
    ready.wait()
    print(child.pid, flush=True)
    time.sleep(60)
"""


def test_a_worker_outlives_an_interrupt_but_not_its_parent() -> None:
    parent = subprocess.Popen([sys.executable, "-c", _PARENT], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    os.kill(child, signal.SIGINT)
    time.sleep(0.2)
    os.kill(child, 0)
    parent.kill()
    parent.wait()
    parent.stdout.close()
    deadline = time.monotonic() + 20
    while _alive(child):
        assert time.monotonic() < deadline
        time.sleep(0.02)


def _alive(process: int) -> bool:
    try:
        # The state: a zombie whose new parent has not looked yet is gone, too.
        with Path(f"/proc/{process}/stat").open() as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_every_item_has_a_result() -> None:
    assert sorted(map_processes(math.sqrt, range(50), 2)) == [math.sqrt(n) for n in range(50)]
    assert list(map_processes(math.sqrt, [4], 2)) == [2]
    assert list(map_processes(math.sqrt, [], 2)) == []


def test_what_a_worker_raises_ends_the_others_at_once() -> None:
    started = time.monotonic()
    with pytest.raises(ValueError, match="math domain"):
        list(map_processes(_sleep_or_fail, [60.0, -1.0], 2))
    assert time.monotonic() - started < 50


def test_a_killed_worker_is_one_line_and_what_was_done_is_kept() -> None:
    results = map_processes(_kill_itself_at_the_third, [1, 2, 3], 2, subject="it", hint="resume")
    done: list[int] = []
    with pytest.raises(ImatchError, match=r"^it: a worker process was killed, .*; resume$"):
        done.extend(results)
    assert set(done) <= {1, 2}


def test_workers_have_one_thread_and_what_they_share() -> None:
    with WorkerPool(2, _remember, ("shared",)) as pool:
        assert list(pool.map(_told, range(3))) == [("shared", "1", 1)] * 3
        processes = pool.processes
    assert len(processes) == 2
    assert not any(process.is_alive() for process in processes)


def _sleep_or_fail(seconds: float) -> None:
    time.sleep(math.sqrt(seconds) ** 2)


def _kill_itself_at_the_third(number: int) -> int:
    if number == 3:
        time.sleep(0.5)
        os.kill(os.getpid(), signal.SIGKILL)
    return number


_shared = ""


def _remember(value: str) -> None:
    global _shared
    _shared = value


def _told(_number: int) -> tuple[str, str, int]:
    return _shared, os.environ["OMP_NUM_THREADS"], cv2.getNumThreads()
