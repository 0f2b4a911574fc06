"""Processes that are killed where it matters, and what they leave."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

_HALF = """
import os, signal, sys
from pathlib import Path
from imatch.core.io.files import scratch
path = Path(sys.argv[1])
with scratch(path) as folder:
    (folder / path.name).write_text("half")
    os.kill(os.getpid(), signal.SIGKILL)
"""


def leave_half_made(path: Path) -> None:
    """Leave what a process killed while it wrote `path` leaves."""
    ended = subprocess.run([sys.executable, "-c", _HALF, str(path)], check=False)
    assert ended.returncode == -signal.SIGKILL


def made_by_the_dead(folder: Path) -> list[Path]:
    """Where something was, or is, being made in a folder."""
    return sorted(folder.glob(".*.????????.imatch"))


@dataclass(frozen=True)
class Ended:
    """A run of the command line that is over.

    Attributes:
        code: Its exit code, negative for a signal's number.
        moments: What it did to the disk before it ended, in order.
        said: Its standard output and error.
    """

    code: int
    moments: list[str]
    said: str


class Killer:
    """Runs command lines and kills them at given moments; see `tests.support.kill_server`.

    Args:
        folder: For its own files.
    """

    def __init__(self, folder: Path) -> None:
        self._log = folder / "moments"
        home = {"XDG_CACHE_HOME": str(folder / "cache"), "TORCH_HOME": str(folder / "torch")}
        single = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
        (folder / "tmp").mkdir()
        self._server = subprocess.Popen(
            [sys.executable, "-m", "tests.support.kill_server"],
            env={**os.environ, **home, **single, "TMPDIR": str(folder / "tmp")},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._answer() == "ready"

    def run(
        self,
        arguments: Sequence[object],
        *,
        watched: Path,
        kill_at: int | None = None,
        prepare: str | None = None,
    ) -> Ended:
        """Run ``imatch`` in a process of its own.

        Args:
            arguments: Of the command line.
            watched: The folder whose changes are moments.
            kill_at: The number of the moment to be killed at, None for none.
            prepare: ``module:function`` to call with `watched` before.
        """
        assert self._server.stdin is not None
        request = {
            "arguments": [str(item) for item in arguments],
            "watched": str(watched),
            "kill_at": kill_at,
            "log": str(self._log),
            "prepare": prepare,
        }
        print(json.dumps(request), file=self._server.stdin, flush=True)
        code = int(self._answer())
        moments = self._log.read_text().splitlines() if self._log.exists() else []
        return Ended(code, moments, Path(f"{self._log}.said").read_text())

    def _answer(self) -> str:
        assert self._server.stdout is not None
        line = self._server.stdout.readline()
        assert line, "the server died"
        return line.strip()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._server.communicate()
