"""Where tables and summaries go."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from rich.console import Console

# Wide enough for every table: a pipe has no edge to wrap at.
PIPE_WIDTH = 200


def stdout_console() -> Console:
    """A rich console on stdout; plain and wide where stdout is no terminal."""
    from rich.console import Console

    return Console(
        file=sys.stdout,
        width=None if sys.stdout.isatty() else PIPE_WIDTH,
        highlight=False,
        soft_wrap=not sys.stdout.isatty(),
    )


def print_json(document: Any) -> None:
    """Print one JSON document on stdout, to the letter (NaN is an error, not a token)."""
    click.echo(json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False))
