"""Options of the verbs that embed images."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from imatch.cli.options.common import (
    PATH,
    CommandT,
    added,
    format_option,
    number_option,
    offline_option,
    output_file_option,
    overwrite_option,
)
from imatch.cli.options.values import parse_bands

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem


def complete_embedder(
    _ctx: click.Context, _param: click.Parameter, incomplete: str
) -> list[CompletionItem | str]:
    """Completes the name of an embedder."""
    from imatch.retrieval.embedders import EMBEDDERS

    return [name for name in EMBEDDERS if name.startswith(incomplete)]


embedder_option = click.option(
    "-e",
    "--embedder",
    metavar="NAME",
    shell_complete=complete_embedder,
    help="An embedder by name (edges needs no weights), or a file that imatch train embedder"
    " --export wrote.",
)

#: An index by its path or URL; completed as a path is.
index_type = click.Path()

bands_option = click.option(
    "--bands",
    metavar="LIST",
    callback=parse_bands,
    help="Bands to look at, as 4,3,2 or B04,B03,B02.",
)

device_option = click.option(
    "--device", metavar="NAME", default="auto", help="auto, cpu, cuda, cuda:1 or mps."
)


no_embedder_option = click.option(
    "--no-embedder",
    "match_only",
    is_flag=True,
    help="Decide by the match alone; nothing is fetched for it.",
)


def decision_option(text: str) -> Callable[[Any], Any]:
    """``--decision``, a file.

    Args:
        text: Its help.
    """
    return click.option("--decision", type=PATH, metavar="FILE", help=text)


def embedder_options(command: CommandT) -> CommandT:
    """``--embedder``, ``--device`` and ``--offline``."""
    return added(command, (embedder_option, device_option, offline_option))


_CHIPS_OPTIONS: tuple[Callable[[Any], Any], ...] = (
    click.option(
        "-e",
        "--embedder",
        "embedders",
        multiple=True,
        metavar="NAME",
        shell_complete=complete_embedder,
        help="An embedder by name, or a file that imatch train embedder --export wrote; may be"
        " repeated.  [default: edges]",
    ),
    click.option(
        "--split", default="val", show_default=True, metavar="NAME", help="Which split: val, test…"
    ),
    click.option(
        "--source",
        "sources",
        multiple=True,
        metavar="NAME",
        help="Only this source; may be repeated.",
    ),
    number_option(
        "--crop",
        click.FloatRange(0.3, 1),
        0.896,
        "SHARE",
        "What is seen of a chip, from its middle: 224 of 250 px.",
    ),
)


def chips_options(command: CommandT) -> CommandT:
    """Which chips, seen by which embedders: ``embedders``, ``split``, ``sources`` and ``crop``."""
    return added(command, _CHIPS_OPTIONS)


def figures_options(command: CommandT) -> CommandT:
    """Where figures go and embedders run: all that verbs which measure embedders share."""
    output = output_file_option("Where all figures go.", "FILE.json")
    return added(command, (output, device_option, offline_option, overwrite_option, format_option))
