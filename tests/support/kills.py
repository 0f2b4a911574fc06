"""Processes that are killed where it matters, and what they leave."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

_HALF = """
import os, signal, sys
from pathlib import Path
from imatch.core.files import scratch
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
