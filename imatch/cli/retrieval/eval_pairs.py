"""``imatch eval pairs``: how good decisions about pairs are, and learning them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from imatch.cli.console import seen, write_json
from imatch.cli.logs import Verb, note, note_skipped
from imatch.cli.options.common import (
    PATH,
    format_option,
    output_file_option,
    overwrite_option,
    settings_option,
)
from imatch.cli.options.embedder import decision_option, embedder_options, no_embedder_option
from imatch.cli.options.match import matcher_config, matcher_option

if TYPE_CHECKING:
    from imatch.retrieval.decision import Task


@click.command(cls=Verb)
@click.argument("table", metavar="PAIRS.csv", type=PATH)
@click.option(
    "--task",
    type=click.Choice(["same", "duplicates"]),
    default="same",
    show_default=True,
    help="Whether pairs show the same ground, or are one picture.",
)
@click.option(
    "--fit",
    "store",
    type=PATH,
    metavar="FILE",
    help="Learn the decision from these pairs by cross-validation over their groups and store it;"
    " for a file MODEL.safetensors that is MODEL.decisions.json beside it.",
)
@decision_option("Judge this stored decision.  [default: the embedder's]")
@click.option(
    "--threshold",
    type=float,
    metavar="VALUE",
    help="Of given scores: from which the answer is yes.  [default: that of the best F1]",
)
@click.option(
    "--least-precision",
    type=click.FloatRange(0, 1),
    default=0.0,
    metavar="SHARE",
    help="With --fit: what the threshold has to reach.",
)
@no_embedder_option
@matcher_option()
@settings_option
@output_file_option("Where the figures with their curves go.", "FILE.json")
@embedder_options
@overwrite_option
@format_option
def pairs(
    table: Path,
    *,
    task: Task,
    store: Path | None,
    matcher: str | None,
    settings: tuple[str, ...],
    out: Path | None,
    offline: bool,
    overwrite: bool,
    fmt: str,
    **given: Any,
) -> None:
    """Measure yes-or-no answers about the pairs of a CSV: F1, precision, recall, calibration.

    The CSV has columns a, b (files, from its folder) and label (1 or 0), and may have group (pairs
    of one group are held out together). With a column score instead of files, those scores are
    measured.

    \b
    imatch eval pairs pairs.csv --task duplicates
    imatch eval pairs train.csv -e model.safetensors --fit model.decisions.json
    imatch eval pairs scores.csv --threshold 0.5 -o figures.json
    """  # noqa: D301 - click wants the backspace itself.
    from imatch.core.io.files import check_output
    from imatch.core.io.jsontext import to_json
    from imatch.retrieval.evaluate.score_pairs import evaluate_pairs

    if out is not None:
        check_output(out, overwrite=overwrite)
    config = matcher_config(matcher, settings, device=given["device"], offline=offline)
    found = evaluate_pairs(
        table,
        task,
        config,
        fit=store,
        fetch=not offline,
        overwrite=overwrite,
        progress=seen(),
        **given,
    )
    note_skipped(found.skipped)
    if found.held_out:
        note(f"wrote {store}")
    write_json(out, found.to_dict(), overwrite=overwrite)
    if fmt == "json":
        click.echo(to_json(found.to_dict()))
    else:
        for label, text in found.figures.rows(held_out=found.held_out):
            click.echo(f"{label:18} {text}")
