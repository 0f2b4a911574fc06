"""Output of the command line: tables, summaries and documents on stdout, progress on stderr."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal

import click

from imatch.cli.errors import NOT_REGISTERED
from imatch.cli.logs import is_quiet, note
from imatch.core.redaction import redacted

if TYPE_CHECKING:
    from pathlib import Path

    from rich.console import Console

    from imatch.export import WriteLog
    from imatch.export.html import HtmlTable
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


def write_json(path: Path | None, document: Any, *, overwrite: bool) -> None:
    """Write a document where there is a path to write it to, and say so."""
    from imatch.core.io.files import atomic_path
    from imatch.core.io.jsontext import to_json

    if path is not None:
        with atomic_path(path, overwrite=overwrite) as temporary:
            temporary.write_text(to_json(document) + "\n", encoding="utf-8")
        note(f"wrote {path}")


def show_figures(
    rows: Mapping[str, Mapping[str, str | float | None]],
    what: str = "embedder",
    justify: Literal["left", "right"] = "left",
) -> None:
    """Print figures, a row for each of what they are of, a column a figure."""
    from rich.table import Table

    table = Table(what, box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for name in next(iter(rows.values())):
        table.add_column(name, justify=justify)
    for name, figures in rows.items():
        cells = [f"{v:.3f}" if isinstance(v, float) else str(v) for v in figures.values()]
        table.add_row(name, *cells)
    with stdout_console() as console:
        console.print(table)


def show_tables(tables: Iterable[HtmlTable | None]) -> None:
    """Print tables with their titles and notes."""
    from rich.markup import escape
    from rich.table import Table

    with stdout_console() as console:
        for table in tables:
            if table is None:
                continue
            printed = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
            for index, name in enumerate(table.header):
                printed.add_column(escape(name), justify="right" if index else "left")
            for row in table.rows:
                printed.add_row(*(escape(cell.text) for cell in row))
            console.print(f"[bold]{escape(table.title)}[/]")
            console.print(f"[dim]{escape(table.note)}[/]")
            console.print(printed)
            console.print()


def show_registration(registration: Registration, fmt: str, log: WriteLog) -> None:
    """Print the answer on stdout, and a refusal also on stderr unless a person sees it already.

    Args:
        registration: The answer. If it is not accepted, the command ends with exit code 3.
        fmt: ``text`` or ``json``.
        log: What became of the files that were to be written.

    Raises:
        ImatchError: One of them could not be.
    """
    from imatch.core.io.jsontext import to_json
    from imatch.export.summary import print_summary
    from imatch.export.text import refusal_text

    if fmt == "json":
        click.echo(to_json(registration.to_dict()))
    else:
        with stdout_console() as console:
            print_summary(registration, console)
    refused = refusal_text(registration)
    if refused is not None and (fmt == "json" or not sys.stdout.isatty()):
        click.echo(f"imatch: {refused}", err=True)
    for line in log.lines:
        note(line)
    log.check()
    if refused is not None:
        click.get_current_context().exit(NOT_REGISTERED)


def seen() -> bool:
    """Whether progress is shown: on a terminal's stderr, unless with ``-q``."""
    return not is_quiet()
