"""Runs imatch as a process of its own: its progress, its end, and how it is cancelled."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import shutil
import signal
import subprocess
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from .executable import NO_WINDOW, clean_environment

#: Exit code of imatch where the images were not registered, which is an answer.
NOT_REGISTERED = 3
#: Seconds a cancelled run has for tidying up before it is killed.
GRACE_S = 5.0
#: Seconds between looks at whether the run was cancelled.
_LOOK_S = 0.1
_PREFIX = "imatch: "


class RunCancelledError(Exception):
    """The run was cancelled: files that it had finished stay, nothing else of it is left."""


class RunFailedError(Exception):
    """imatch failed, in its own one line."""


@dataclass
class Told:
    """What a run told.

    Attributes:
        answer: Its stdout.
        lines: The lines of its stderr, but for progress.
        code: Its exit code.
    """

    answer: str = ""
    lines: list[str] = field(default_factory=list)
    code: int = 0

    @property
    def complaint(self) -> str:
        """The last line that imatch addresses to people, without its name."""
        own = [line for line in self.lines if line.startswith(_PREFIX)]
        text = (own or self.lines or [""])[-1]
        return text.replace(_PREFIX, "", 1).replace("error: ", "", 1) if own else text

    @property
    def errors(self) -> list[str]:
        """The errors among its lines, each without what introduces it."""
        start = f"{_PREFIX}error: "
        return [line[len(start) :] for line in self.lines if line.startswith(start)]

    @property
    def written(self) -> list[Path]:
        """The files that it says it wrote, and that are there."""
        found = []
        for line in self.lines:
            if line.startswith("wrote "):
                whole = line[len("wrote ") :]
                # A remark in brackets may follow, and brackets may be of the name.
                names = [whole, whole.rpartition(" (")[0]]
                found += [Path(name) for name in names if name and Path(name).exists()][:1]
        return found


def run(
    command: Sequence[str],
    *,
    outputs: Sequence[str] = (),
    codes: Sequence[int] = (0, NOT_REGISTERED),
    is_cancelled: Callable[[], bool] = lambda: False,
    on_progress: Callable[[str, float | None], None] = lambda _stage, _percent: None,
    on_line: Callable[[str], None] = lambda _line: None,
) -> Told:
    """Runs imatch to its end.

    Args:
        command: The executable and its arguments.
        outputs: Files that it writes, beside which a killed run may leave what it was making.
        codes: Exit codes that are answers.
        is_cancelled: Asked ten times a second; once it says True the run ends within seconds.
        on_progress: Told of the stage, and how much of it is done in percent, None if unknown.
        on_line: Told of each other line of stderr that is not addressed to people as its end.

    Returns:
        What it told.

    Raises:
        RunCancelledError: It was cancelled.
        RunFailedError: It could not be started, or failed.
    """
    environment = {**clean_environment(), "IMATCH_PROGRESS": "json", "PYTHONIOENCODING": "utf-8"}
    try:
        process = subprocess.Popen(
            command,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            **_group(),
        )
    except OSError as error:
        raise RunFailedError(f"{command[0]}: {error.strerror}") from error
    told, events = Told(), queue.Queue()  # type: ignore[var-annotated]
    assert process.stdout is not None
    assert process.stderr is not None
    readers = [
        threading.Thread(target=_read, args=(stream, kind, events), daemon=True)
        for stream, kind in ((process.stdout, "answer"), (process.stderr, "line"))
    ]
    for reader in readers:
        reader.start()
    try:
        open_streams = len(readers)
        while open_streams:
            if is_cancelled():
                raise RunCancelledError("cancelled; no file is left half written")
            with contextlib.suppress(queue.Empty):
                kind, text = events.get(timeout=_LOOK_S)
                if kind == "end":
                    open_streams -= 1
                elif kind == "answer":
                    told.answer += text
                else:
                    _take_line(text, told, on_progress, on_line)
        told.code = process.wait()
    except BaseException:
        _stop(process)
        _sweep(outputs)
        raise
    finally:
        process.stdout.close()
        process.stderr.close()
    if told.code not in codes:
        raise RunFailedError(told.complaint or f"imatch ended with code {told.code}")
    return told


def _group() -> dict[str, Any]:
    """Arguments of `subprocess` that put imatch and its workers into a group of their own."""
    if os.name == "nt":
        return {"creationflags": 0x00000200 | NO_WINDOW}  # CREATE_NEW_PROCESS_GROUP.
    return {"start_new_session": True}


def _read(stream: BinaryIO, kind: str, events: Any) -> None:
    with contextlib.suppress(ValueError, OSError):  # Closed while it is read: the run is over.
        for line in stream:
            events.put((kind, line.decode("utf-8", "replace")))
    events.put(("end", ""))


def _take_line(
    text: str,
    told: Told,
    on_progress: Callable[[str, float | None], None],
    on_line: Callable[[str], None],
) -> None:
    text = text.rstrip()
    if text.startswith('{"stage"'):
        with contextlib.suppress(ValueError, KeyError, TypeError):
            stage = json.loads(text)
            total = stage["total"]
            on_progress(stage["stage"], 100 * stage["done"] / total if total else None)
            return
    if text:
        told.lines.append(text)
        if not text.startswith(_PREFIX):
            on_line(text)


def _stop(process: subprocess.Popen[bytes]) -> None:
    """Ends a run and all its workers: asked first, so that it can tidy up, then killed."""
    if os.name == "nt":
        tree = ["taskkill", "/F", "/T", "/PID", str(process.pid)]
        subprocess.run(tree, capture_output=True, check=False, creationflags=NO_WINDOW)
        process.wait()
        return
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGINT)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(GRACE_S)
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _sweep(outputs: Sequence[str]) -> None:
    """Removes what a killed run was making, and the tiles it kept for going on."""
    for output in outputs:
        path = Path(output)
        # `.out.tif.imatch` holds tiles, `.out.tif.ab12cd34.imatch` what was being written.
        for left in path.parent.glob(f".{_literal(path.name)}*.imatch"):
            shutil.rmtree(left, ignore_errors=True)


def _literal(name: str) -> str:
    """A name as a glob that only it matches; temporary names keep 50 characters of it."""
    return "".join(f"[{c}]" if c in "*?[" else c for c in name[:50])
