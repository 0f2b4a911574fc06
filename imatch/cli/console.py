"""Where tables, summaries and documents go."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

from imatch.core.redaction import redacted

if TYPE_CHECKING:
    from rich.console import Console

    from imatch.pipeline.registration.result import Registration

# Wide enough for every table: a pipe has no edge to wrap at.
PIPE_WIDTH = 250


@contextmanager
def stdout_console() -> Iterator[Console]:
    """A rich console on stdout; plain and wide where stdout is no terminal.

    What is printed on it appears when the block ends, without the blanks rich pads lines with.
    """
    from rich.console import Console

    console = Console(
        file=sys.stdout, width=None if sys.stdout.isatty() else PIPE_WIDTH, highlight=False
    )
    with console.capture() as capture:
        yield console
    click.echo("\n".join(line.rstrip() for line in capture.get().splitlines()))


def command_line() -> str:
    """The command that runs, as a shell takes it; without the secrets of URLs."""
    return redacted(shlex.join(["imatch", *sys.argv[1:]]))


def print_json(document: Any) -> None:
    """Print one JSON document on stdout, to the letter (NaN is an error, not a token)."""
    click.echo(redacted(json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False)))


def refusal(registration: Registration) -> str | None:
    """Why the answer is not what was asked for, None if it is."""
    from imatch.export.text import certificate_text

    if registration.accepted:
        return None
    if registration.status != "ok":
        return f"{registration.status}: {registration.reason}"
    return f"tolerance not met: {certificate_text(registration)}"


@contextmanager
def status_line(*, enabled: bool) -> Iterator[Callable[[str], None]]:
    """One line on a terminal's stderr that says what is being done, and is gone afterwards.

    No spinner with a thread of its own: a download's progress bar may take the line over.

    Args:
        enabled: False for ``--quiet``.

    Yields:
        A function that replaces the line.
    """
    if not (enabled and sys.stderr.isatty()):
        yield lambda _text: None
        return

    def say(text: str) -> None:
        click.echo(f"\r\x1b[K{text} …\r", nl=False, err=True)

    try:
        yield say
    finally:
        click.echo("\r\x1b[K", nl=False, err=True)
