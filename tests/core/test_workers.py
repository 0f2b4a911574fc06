from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from imatch.core.workers import one_thread_each


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
from imatch.core.workers import begin_worker

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
