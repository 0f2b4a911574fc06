"""Progress of long work: a bar on a terminal's stderr, lines for a program, calls, or nothing."""

from __future__ import annotations

import json
import math
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import partial
from typing import Self, TypeAlias

#: Environment variable: ``json`` tells stages on stderr as lines of JSON, for programs that run
#: imatch.
VARIABLE = "IMATCH_PROGRESS"
#: Seconds from one line to the next, and the length of a notebook's.
_EVERY_S, _COLUMNS = 0.2, 80

#: Called with what is being done, how many steps of it are done, and of how many; None where their
#: number is not known.
ProgressCallback: TypeAlias = Callable[[str, float, float | None], None]
#: What functions take as ``progress``: a callback; True for bars on a terminal's stderr, or a line
#: in a notebook; else nothing is shown.
ProgressOption: TypeAlias = bool | ProgressCallback | None
#: Shows one stage, given its label and its number of steps, and yields what advances it.
Progress: TypeAlias = Callable[[str, float | None], AbstractContextManager[Callable[[float], None]]]


@contextmanager
def progress(
    label: str, total: float | None = None, *, unit: str = "", enabled: bool = True
) -> Iterator[Callable[[float], None]]:
    """A progress bar that exists only where someone can see it, or lines where a program asks.

    Args:
        label: What is being done.
        total: The number of steps (or bytes, with ``unit="B"``). None for one line that says what
            is done, over which a download may draw its own bar.
        unit: ``"B"`` shows sizes and speed as a download does.
        enabled: False for ``--quiet``.

    Yields:
        A function that advances the bar by a number of steps.
    """
    if enabled and os.environ.get(VARIABLE) == "json":
        with _told(_json_lines(), label, total) as advance:
            yield advance
        return
    if enabled and "ipykernel" in sys.modules:
        with _line(label, total) as advance:
            yield advance
        return
    if not (enabled and sys.stderr.isatty()):
        yield lambda _step: None
        return
    if total is None and not unit:
        sys.stderr.write(f"\r\x1b[K{label} …\r")
        sys.stderr.flush()
        try:
            yield lambda _step: None
        finally:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        MofNCompleteColumn,
        Progress,
        ProgressColumn,
        SpinnerColumn,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )

    columns: list[ProgressColumn] = [SpinnerColumn(), TextColumn("{task.description}")]
    if total is not None:
        columns.append(BarColumn())
        columns += (
            [DownloadColumn(), TransferSpeedColumn()] if unit == "B" else [MofNCompleteColumn()]
        )
        columns.append(TimeRemainingColumn())
    columns.append(TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(label, total=total)
        yield lambda step: bar.advance(task, step)


def _json_lines() -> ProgressCallback:
    """What writes a stage to stderr as ``{"stage": "reading", "done": 1, "total": 2}``, a line."""
    told = -math.inf

    def tell(label: str, done: float, total: float | None) -> None:
        nonlocal told
        if time.monotonic() - told < _EVERY_S and (total is None or done < total):
            return
        told = time.monotonic()
        sys.stderr.write(json.dumps({"stage": label, "done": done, "total": total}) + "\n")
        sys.stderr.flush()

    return tell


@contextmanager
def _line(label: str, total: float | None) -> Iterator[Callable[[float], None]]:
    """Progress in a notebook: a line that is written over, as its front end can."""
    done, told = 0.0, -math.inf

    def advance(steps: float) -> None:
        nonlocal done, told
        done += steps
        if time.monotonic() - told < _EVERY_S and (total is None or done < total):
            return
        told = time.monotonic()
        count = "" if total is None else f"{done:.0f}/{total:.0f}"
        sys.stderr.write(f"\r{f'{label} {count}':<{_COLUMNS}}")
        sys.stderr.flush()

    advance(0)
    try:
        yield advance
    finally:
        sys.stderr.write(f"\r{'':<{_COLUMNS}}\r")
        sys.stderr.flush()


def shown(option: ProgressOption) -> Progress:
    """What shows the stages of work in the way a caller asked for.

    Args:
        option: As given for ``progress``.

    Examples:
        >>> with shown(lambda *told: print(*told))("reading", 2) as advance:
        ...     advance(1)
        reading 0.0 2
        reading 1.0 2
    """
    if callable(option):
        return partial(_told, option)
    return partial(progress, enabled=bool(option))


@contextmanager
def _told(
    tell: ProgressCallback, label: str, total: float | None
) -> Iterator[Callable[[float], None]]:
    done = 0.0

    def advance(steps: float) -> None:
        nonlocal done
        done += steps
        tell(label, done, total)

    tell(label, done, total)
    yield advance


class ProgressStages:
    """Shows work of several stages, one after another.

    Args:
        option: As given for ``progress``.
    """

    def __init__(self, option: ProgressOption) -> None:
        self._progress, self._shown, self._done = shown(option), ExitStack(), 0.0
        self._label = ""
        self._advance: Callable[[float], None] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    def begin(self, label: str, total: float | None = None) -> None:
        """Shows a new bar in place of the one before; without steps one line."""
        self.end()
        self._label = label
        self._advance = self._shown.enter_context(self._progress(label, total or None))

    def advance(self, steps: float) -> None:
        """Advances the bar that is shown by a number of steps."""
        if self._advance is not None:
            self._done += steps
            self._advance(steps)

    def show(self, label: str, done: float, total: float) -> None:
        """Shows how many steps are done, on a new bar where another or none is shown."""
        if self._advance is None or self._label != label:
            self.begin(label, total)
        self.advance(done - self._done)

    def end(self) -> None:
        """Removes the bar from the terminal."""
        self._shown.close()
        self._advance, self._done = None, 0.0
