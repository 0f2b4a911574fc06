"""``imatch weights``: which checkpoints there are, here and elsewhere."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from imatch.cli.console import print_json, stdout_console
from imatch.cli.group import SuggestingGroup
from imatch.cli.logs import Verb, note
from imatch.cli.options.common import format_option, verbosity_options
from imatch.cli.options.values import complete_matcher, complete_weights, known_matchers
from imatch.core.errors import WeightsError

if TYPE_CHECKING:
    from imatch.models.weights import WeightSpec

PRESENT, MISSING, CORRUPT = "present", "missing", "corrupt"


@click.group(cls=SuggestingGroup)
def weights() -> None:
    """List, fetch or locate checkpoints."""


@weights.command("list", cls=Verb)
@format_option
@verbosity_options
def list_(fmt: str) -> None:
    """List all checkpoints and whether they are on this machine."""
    from rich.table import Table

    from imatch.models.weights import WEIGHTS

    rows = [weight_row(spec) for spec in WEIGHTS.values()]
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
@click.option(
    "-m",
    "--matcher",
    "matchers",
    metavar="NAME",
    multiple=True,
    callback=known_matchers,
    shell_complete=complete_matcher,
    help="All that this matcher needs; may be repeated.",
)
@click.option("--all-default", is_flag=True, help="All whose licence lets us fetch them for you.")
@click.option("--overwrite", is_flag=True, help="Fetch again what is already in the cache.")
@verbosity_options
def fetch(
    names: tuple[str, ...], matchers: tuple[str, ...], *, all_default: bool, overwrite: bool
) -> None:
    """Download checkpoints into the cache and verify them.

    What is on this machine already is left as it is.
    """
    from imatch.core.io.files import remove_leftovers
    from imatch.matchers import MATCHERS
    from imatch.models.weights import WEIGHTS, cache_dir, spec_of

    if not (names or matchers or all_default):
        raise click.UsageError("name weights, or pass --matcher NAME or --all-default")
    wanted = [spec_of(name).name for name in names]
    wanted += [name for matcher in matchers for name in MATCHERS[matcher].weights]
    if all_default:
        wanted += [spec.name for spec in WEIGHTS.values() if spec.default]
    remove_leftovers(cache_dir())
    failure = None
    for name in dict.fromkeys(wanted):
        try:
            note(_fetch_one(name, overwrite=overwrite))
        except WeightsError as error:
            failure = failure or error  # One server that is down does not cost the others.
    if failure is not None:
        raise failure


def _fetch_one(name: str, *, overwrite: bool) -> str:
    from imatch.models.weights import fetch_weights, find_weights

    try:
        found = None if overwrite else find_weights(name)
    except WeightsError:
        found = None  # Corrupt: what lies in the cache is replaced.
    if found is not None:
        return f"{name} is here already: {found.path}"
    path = fetch_weights(name, overwrite=overwrite).path
    find_weights(name)  # A corrupt file in $IMATCH_WEIGHTS would still be found first: say so.
    return f"fetched {name}: {path}"


@weights.command(cls=Verb)
@click.argument("name", required=False, shell_complete=complete_weights)
@verbosity_options
def path(name: str | None) -> None:
    """Print where a checkpoint lies, or without NAME the cache folder."""
    from imatch.models.weights import cache_dir, require_weights

    click.echo(cache_dir() if name is None else require_weights(name).path)


def weight_row(spec: WeightSpec) -> dict[str, Any]:
    """What is known of one checkpoint, and what state it is in on this machine."""
    from imatch.models.weights import find_weights

    state, where, problem, file = MISSING, None, None, None
    try:
        found = find_weights(spec.name)
    except WeightsError as error:
        state, problem = CORRUPT, str(error)
    else:
        if found is not None:
            state, where, file = PRESENT, found.where, str(found.path)
    return {
        "name": spec.name,
        "state": state,
        "where": where,
        "path": file,
        "problem": problem,
        "size": spec.size,
        "sha256": spec.sha256,
        "licence": spec.licence,
        "source": str(spec.source),
        "default": spec.default,
        "note": spec.note,
    }
