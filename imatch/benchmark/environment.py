"""The record of a measurement: machine, commit, versions, command, time."""

from __future__ import annotations

import os
import platform
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from imatch.pipeline.pair.provenance import versions


def environment(command: str = "") -> dict[str, Any]:
    """Returns a JSON-ready record of machine, commit, versions, command and time.

    Args:
        command: The command line that is running.
    """
    return {
        "command": command,
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": commit(Path(__file__).parents[1]),
        "machine": machine(),
        "versions": versions(),
    }


def machine() -> dict[str, Any]:
    """Returns the processor, the cores this process may use, and the memory."""
    return {
        "cpu": _cpu(),
        "cores": len(os.sched_getaffinity(0))
        if hasattr(os, "sched_getaffinity")
        else os.cpu_count(),
        "memory_gb": _memory_gb(),
        "platform": platform.platform(),
    }


def commit(package: Path) -> dict[str, Any] | None:
    """Returns the commit of a package's files.

    Args:
        package: Its folder.

    Returns:
        ``{"hash", "dirty"}``, where dirty says that tracked files differ from it; None where the
        package is no part of a repository (it may be installed inside somebody else's).
    """
    if _git(package, "ls-files", "--error-unmatch", "__init__.py") is None:
        return None
    head = _git(package, "rev-parse", "HEAD")
    changed = _git(package, "status", "--porcelain", "--untracked-files=no")
    return None if head is None else {"hash": head, "dirty": bool(changed)}


def _git(folder: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *arguments],  # noqa: S607 - whichever git the user has.
            capture_output=True,
            text=True,
            check=True,
            timeout=30,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def _memory_gb() -> float | None:
    try:
        return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1)
    except (ValueError, OSError, AttributeError):
        return None
