"""Progress for people: a bar on a terminal's stderr, nothing anywhere else."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import partial
from typing import Self

#: What long work shows its progress by, given a label and a number of steps: `progress`, for one.
Progress = Callable[[str, float | None], AbstractContextManager[Callable[[float], None]]]


@contextmanager
def progress(
    label: str, total: float | None = None, *, unit: str = "", enabled: bool = True
) -> Iterator[Callable[[float], None]]:
    """A progress bar that exists only where someone can see it.

    Args:
        label: What is being done.
        total: The number of steps (or bytes, with ``unit="B"``); None for a spinner.
        unit: ``"B"`` shows sizes and speed as a download does.
        enabled: False for ``--quiet``.

    Yields:
        A function that advances the bar by a number of steps.
    """
    if not (enabled and sys.stderr.isatty()):
        yield lambda _step: None
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


#: Shows nothing.
no_progress: Progress = partial(progress, enabled=False)


class ProgressStages:
    """Shows work of several stages, a bar for each, one after another.

    Args:
        progress: Makes a bar.
    """

    def __init__(self, progress: Progress) -> None:
        self._progress, self._shown, self._done = progress, ExitStack(), 0.0
        self._advance: Callable[[float], None] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    def begin(self, label: str, total: float | None = None) -> None:
        """Shows a new bar in place of the one before; without steps one that only turns."""
        self.end()
        self._advance = self._shown.enter_context(self._progress(label, total or None))

    def advance(self, steps: float) -> None:
        """Advances the bar that is shown by a number of steps."""
        if self._advance is not None:
            self._done += steps
            self._advance(steps)

    def show(self, label: str, done: float, total: float) -> None:
        """Shows how many steps are done, on a new bar where none is shown."""
        if self._advance is None:
            self.begin(label, total)
        self.advance(done - self._done)

    def end(self) -> None:
        """Removes the bar from the terminal."""
        self._shown.close()
        self._advance, self._done = None, 0.0
