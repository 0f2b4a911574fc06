"""``imatch eval retrieval``: whether an embedder finds places again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from imatch.cli.console import seen, show_figures, write_json
from imatch.cli.logs import Verb
from imatch.cli.options.common import PATH
from imatch.cli.options.embedder import chips_options, figures_options

_SHOWN = ("top_1", "top_5", "top_10", "top_20", "recall_5", "map", "map_5", "map_r")


@click.command(cls=Verb)
@click.argument("chips", type=PATH)
@chips_options
@click.option(
    "--between",
    nargs=2,
    metavar="A B",
    help="Ask with the chips of one season or date for those of another, instead of with every"
    " chip for all others.",
)
@figures_options
def retrieval(
    chips: Path,
    *,
    out: Path | None,
    offline: bool,
    overwrite: bool,
    fmt: str,
    **given: Any,
) -> None:
    """Ask with each chip of CHIPS (a folder of imatch data prepare) for others of its place.

    Chips of other places in the same season are what it is to be told from. Figures: accuracy at
    1, 2, 3, 5, 10 and 20, recall, mAP (also at 5, for places with one answer, and at 10) and MAP@R.

    \b
    imatch eval retrieval chips -e efficientnet-lite0 -e model.safetensors
    imatch eval retrieval chips --split test --between dec-feb jun-aug
    """  # noqa: D301 - click wants the backspace itself.
    from imatch.core.io.files import check_output
    from imatch.core.io.jsontext import to_json
    from imatch.training.evaluate.retrieval import evaluate_retrieval

    if out is not None:
        check_output(out, overwrite=overwrite)
    document = evaluate_retrieval(chips, fetch=not offline, progress=seen(), **given)
    write_json(out, document, overwrite=overwrite)
    if fmt == "json":
        click.echo(to_json(document))
    else:
        found = document["embedders"]
        show_figures(
            {name: {key: figures[key] for key in _SHOWN} for name, figures in found.items()}
        )
