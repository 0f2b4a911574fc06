"""Progress for people: a bar on a terminal's stderr, nothing anywhere else."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager


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
