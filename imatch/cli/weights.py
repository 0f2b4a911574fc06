"""``imatch weights``: which checkpoints there are, here and elsewhere."""

from __future__ import annotations

import click

from imatch.cli.console import print_json, stdout_console
from imatch.cli.group import SuggestingGroup
from imatch.cli.logs import Verb, note
from imatch.cli.options.common import format_option
from imatch.cli.options.match import matchers_option
from imatch.cli.options.values import complete_weights


@click.group(cls=SuggestingGroup)
def weights() -> None:
    """List, fetch or locate checkpoints."""


@weights.command("list", cls=Verb)
@format_option
def list_(fmt: str) -> None:
    """List all checkpoints and whether they are on this machine."""
    from rich.table import Table

    from imatch.matchers.weights import list_weights

    rows = list_weights()
    if fmt == "json":
        print_json(rows)
        return
    table = Table(
        "name",
        "here",
        "MB",
        "licence",
        "from",
        "what",
        box=None,
        pad_edge=False,
        padding=(0, 2, 0, 0),
    )
    for row in rows:
        megabytes = f"{row['size'] / 1e6:.1f}"
        here = row["where"] or row["state"]
        table.add_row(row["name"], here, megabytes, row["licence"], row["source"], row["note"])
    with stdout_console() as console:
        console.print(table)


@weights.command(cls=Verb)
@click.argument("names", nargs=-1, shell_complete=complete_weights)
@matchers_option("All that this matcher needs; may be repeated.")
@click.option("--all-default", is_flag=True, help="All whose licence lets us fetch them for you.")
@click.option("--overwrite", is_flag=True, help="Fetch again what is already in the cache.")
def fetch(
    names: tuple[str, ...], matchers: tuple[str, ...], *, all_default: bool, overwrite: bool
) -> None:
    """Download checkpoints into the cache and verify them.

    What is on this machine already is left as it is.
    """
    from imatch.matchers.weights import fetch_all

    if not (names or matchers or all_default):
        raise click.UsageError("name weights, or pass --matcher NAME or --all-default")
    fetch_all(names, matchers=matchers, all_default=all_default, overwrite=overwrite, on_file=note)


@weights.command(cls=Verb)
@click.argument("name", required=False, shell_complete=complete_weights)
def path(name: str | None) -> None:
    """Print where a checkpoint lies, or without NAME the cache folder."""
    from imatch.models.weights import cache_dir, require_weights

    click.echo(cache_dir() if name is None else require_weights(name).path)
