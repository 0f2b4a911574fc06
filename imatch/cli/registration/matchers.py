"""``imatch matchers``: what there is to choose from."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from imatch.cli.console import print_json, stdout_console
from imatch.cli.logs import Verb
from imatch.cli.options.common import format_option

if TYPE_CHECKING:
    from imatch.matchers import MatcherRow


@click.command(cls=Verb)
@format_option
def matchers(fmt: str) -> None:
    """List the matchers and whether their weights are on this machine."""
    from rich.table import Table

    from imatch.matchers import MATCHERS
    from imatch.models.weights import CORRUPT, MISSING, PRESENT

    rows = [matcher_row(MATCHERS[name]) for name in MATCHERS]
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


def matcher_row(row: MatcherRow) -> dict[str, Any]:
    """One matcher, and the worst state that any of its weights is in."""
    from imatch.models.weights import CORRUPT, MISSING, PRESENT, spec_of, weight_row

    states = {name: weight_row(spec_of(name))["state"] for name in row.weights}
    worst = next((state for state in (CORRUPT, MISSING) if state in states.values()), PRESENT)
    return {
        "name": row.name,
        "kind": row.kind,
        "weights": states,
        "state": worst,
        "licence": row.licence,
        "summary": row.summary,
    }
