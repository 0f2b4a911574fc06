"""``imatch doctor``: what is installed here, and what is wrong."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from imatch.cli.console import print_json, stdout_console
from imatch.cli.logs import Verb
from imatch.cli.options.common import format_option

if TYPE_CHECKING:
    from imatch.health import Report


@click.command(cls=Verb)
@format_option
def doctor(fmt: str) -> None:
    """Say what is installed here and what is wrong.

    Exits with 1 if something is wrong that prevents matching.
    """
    from imatch.health import examine

    report = examine()
    if fmt == "json":
        print_json(report.to_dict())
    else:
        _print(report)
    if report.prevents_matching:
        click.get_current_context().exit(1)


def _print(report: Report) -> None:
    from rich.markup import escape
    from rich.table import Table

    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    for title, rows in report.sections.items():
        table.add_row(f"[bold]{title}[/]")
        for name, value in rows.items():
            table.add_row(f"  {escape(name)}", escape(value))
    verdict = "[bold]What is wrong[/]" if report.problems else "[bold green]Nothing is wrong.[/]"
    lines = [
        f"  [{'red' if problem.fatal else 'yellow'}]{'error' if problem.fatal else 'note'}[/] "
        f"{escape(problem.what)}: {escape(problem.todo)}"
        for problem in report.problems
    ]
    with stdout_console() as console:
        for part in (table, verdict, *lines):
            console.print(part)
