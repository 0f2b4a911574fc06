"""Options of the verbs that embed images."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from imatch.cli.options.common import CommandT, added, offline_option
from imatch.cli.options.values import parse_bands

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

    from imatch.retrieval.embedders import Embedder

DEFAULT_EMBEDDER = "efficientnet-lite0"


def complete_embedder(
    _ctx: click.Context, _param: click.Parameter, incomplete: str
) -> list[CompletionItem | str]:
    """The embedders that begin so."""
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

bands_option = click.option(
    "--bands",
    metavar="LIST",
    callback=parse_bands,
    help="Bands to look at, as 4,3,2 or B04,B03,B02.",
)

device_option = click.option(
    "--device", metavar="NAME", default="auto", help="auto, cpu, cuda, cuda:1 or mps."
)


def embedder_options(command: CommandT) -> CommandT:
    """``--embedder``, ``--device`` and ``--offline``."""
    return added(command, (embedder_option, device_option, offline_option))


def chosen_embedder(name: str | None, *, device: str, offline: bool) -> Embedder:
    """Load an embedder; a person's command may fetch its weights, unless told otherwise.

    Args:
        name: Its name or file; the default when None.
        device: Where it runs.
        offline: Whether ``--offline`` was given.

    Raises:
        ImatchError: There is none of that name, or its weights are not here; the message says that
            ``edges`` needs none.
    """
    from imatch.core.errors import WeightsError
    from imatch.retrieval.embedders import load_embedder

    try:
        return load_embedder(name or DEFAULT_EMBEDDER, device=device, fetch=not offline)
    except WeightsError as error:
        if name is not None:
            raise
        raise WeightsError(
            error.cause,
            subject=error.subject,
            hint=f"{error.hint}, or pass --embedder edges, which needs no weights",
        ) from error
