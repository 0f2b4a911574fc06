"""``imatch train``: train a network on one's own images."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from imatch.cli.console import seen, stdout_console
from imatch.cli.logs import Verb, note
from imatch.cli.options.common import (
    PATH,
    files_offline_option,
    overwrite_option,
    resume_option,
    settings_option,
)

if TYPE_CHECKING:
    from imatch.training.trainer import Outcome

_ENDED = {
    "done": "done",
    "early": "stopped early, since nothing became better any more",
    "time": "stopped when its time was up; go on with --resume",
    "interrupted": "interrupted; go on with --resume",
}


@click.command(cls=Verb)
@click.argument("trainer", required=False)
@click.argument("config", required=False, type=PATH)
@click.option(
    "-o",
    "--output",
    "run",
    type=PATH,
    metavar="RUN",
    help="Folder for the checkpoints, the log and the configuration.",
)
@settings_option
@resume_option
@click.option("--overfit-batch", is_flag=True, help="Learn a single batch, to see that it can be.")
@click.option(
    "--device", metavar="NAME", help="auto, cpu, cuda, cuda:1 or mps, instead of the setting."
)
@click.option(
    "--export",
    type=PATH,
    metavar="FILE",
    help="Write the best checkpoint of RUN as a small .safetensors file with a model card; without"
    " CONFIG nothing is trained.",
)
@click.option("--list", "listing", is_flag=True, help="List the trainers.")
@click.option("--template", is_flag=True, help="Print all settings with what they mean.")
@overwrite_option
@files_offline_option
def train(
    trainer: str | None,
    config: Path | None,
    *,
    run: Path | None,
    settings: tuple[str, ...],
    resume: bool,
    overfit_batch: bool,
    device: str | None,
    export: Path | None,
    listing: bool,
    template: bool,
    overwrite: bool,
) -> None:
    """Train a network with TRAINER as CONFIG (a YAML file) says.

    Every checkpoint carries its configuration. A run that was interrupted, by Ctrl-C or by a
    crash, goes on with --resume (and then needs no CONFIG) as if nothing had happened.
    """
    from imatch.training.registry import TRAINERS
    from imatch.training.registry import train as start

    if listing:
        _list()
        return
    if trainer is None:
        raise click.UsageError("name a trainer; --list shows them")
    row = TRAINERS[trainer]
    if template:
        from imatch.core.settings import template as written

        click.echo(written(row.load_config()), nl=False)
        return
    if run is None:
        raise click.UsageError("name a folder for the run with -o")
    if config is not None or resume or settings or overfit_batch:
        if device is not None:
            settings = (*settings, f"device={device}")
        outcome = start(
            trainer,
            run,
            config,
            settings=settings,
            resume=resume,
            overfit=overfit_batch,
            on_licence=lambda licence: note(
                f"licence of the start, and so of what comes of it: {licence}"
            ),
            progress=seen(),
        )
        _report(outcome, run)
        if outcome.ended == "interrupted":
            raise KeyboardInterrupt
    elif export is None:
        raise click.UsageError("name a configuration; --template prints one")
    if export is not None:
        card = row.load_export()(run, export, overwrite=overwrite)
        note(f"wrote {export} and {card}")


def _report(outcome: Outcome, run: Path) -> None:
    click.echo(f"{_ENDED[outcome.ended]} at step {outcome.step}: {run}")
    if outcome.best is not None:
        click.echo(f"best at step {outcome.best[0]}: {outcome.best[1]:.4f}")
    for name, value in sorted(outcome.figures.items()):
        click.echo(f"{name:24} {value:.4f}")


def _list() -> None:
    from rich.table import Table

    from imatch.training.registry import TRAINERS

    table = Table("name", "what", box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for name in TRAINERS:
        table.add_row(name, TRAINERS[name].summary)
    with stdout_console() as console:
        console.print(table)
