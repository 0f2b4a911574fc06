"""Options of the verbs that write a registration."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import click

from imatch.cli.options.common import PATH, CommandT, added
from imatch.core.errors import ConfigError
from imatch.export.formats import FORMATS


def by_suffix(formats: Iterable[str]) -> str:
    """What the help says of an output that may be repeated, each in one of some formats."""
    return f"may be repeated. The suffix is the format: {' '.join(formats)}"


def output_options(what: str) -> Callable[[CommandT], CommandT]:
    """``--output``, repeated, and ``--plot``: ``outputs`` and ``plot``.

    Args:
        what: How the help begins.
    """
    options: tuple[Callable[[Any], Any], ...] = (
        click.option(
            "-o",
            "--output",
            "outputs",
            type=PATH,
            multiple=True,
            help=f"{what}; {by_suffix(FORMATS)}",
        ),
        click.option("--plot", type=PATH, metavar="FILE.png", help="Draw the result."),
    )
    return lambda command: added(command, options)


def with_plot(outputs: tuple[Path, ...], plot: Path | None) -> tuple[Path, ...]:
    """All files to write, the picture among them.

    Raises:
        ConfigError: The picture is of another format.
    """
    if plot is None:
        return outputs
    if plot.suffix.lower() != ".png":
        raise ConfigError("--plot draws a .png", subject=plot)
    return (*outputs, plot)
