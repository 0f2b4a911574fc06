"""``imatch matchers``: what there is to choose from."""

from __future__ import annotations

import click

from imatch.cli.console import print_json, stdout_console
from imatch.cli.logs import Verb
from imatch.cli.options.common import format_option


@click.command(cls=Verb)
@format_option
def matchers(fmt: str) -> None:
    """List the matchers and whether their weights are on this machine."""
    from rich.table import Table

    from imatch.matchers.weights import list_matchers
    from imatch.models.weights import CORRUPT, MISSING, PRESENT

    rows = list_matchers()
    if fmt == "json":
        print_json(rows)
        return
    table = Table(
        "name", "kind", "weights", "licence", "what", box=None, pad_edge=False, padding=(0, 2, 0, 0)
    )
    colours = {PRESENT: "green", MISSING: "yellow", CORRUPT: "red"}
    for row in rows:
        state = row["state"]
        here = f"[{colours[state]}]{state}[/]" if row["weights"] else "none needed"
        table.add_row(row["name"], row["kind"], here, row["licence"], row["summary"])
    with stdout_console() as console:
        console.print(table)
