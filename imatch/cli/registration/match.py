"""``imatch match``: two files in, a registration out."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from imatch.cli.console import refusal, status_line, stdout_console
from imatch.cli.errors import NOT_REGISTERED
from imatch.cli.logs import Verb, is_quiet, note
from imatch.cli.options.common import format_option, overwrite_option, verbosity_options
from imatch.cli.options.match import chosen_config, config_options
from imatch.core.errors import ConfigError, OutputError
from imatch.export.formats import FORMATS, NEED_A_TRANSFORM

if TYPE_CHECKING:
    from imatch.pipeline.registration.result import Registration


@click.command(cls=Verb)
@click.argument("ref", metavar="REFERENCE")
@click.argument("tgt", metavar="TARGET")
@click.option(
    "-o",
    "--output",
    "outputs",
    type=click.Path(path_type=Path),
    multiple=True,
    help=f"A file to write; may be repeated. The suffix is the format: {' '.join(FORMATS)}",
)
@click.option(
    "--plot", type=click.Path(path_type=Path), metavar="FILE.png", help="Draw the result."
)
@overwrite_option
@format_option
@config_options
@verbosity_options
def match(
    ref: str,
    tgt: str,
    *,
    outputs: tuple[Path, ...],
    plot: Path | None,
    overwrite: bool,
    fmt: str,
    **fields: Any,
) -> None:
    """Register the TARGET image to the REFERENCE image.

    Prints how the target lies on the reference, in pixels and metres, and how far to trust it.
    Exits with 0 if the answer is ok, 3 if it is uncertain, if there is none, or if it does not meet
    the --tolerance.

    \b
    imatch match august.tif november.tif
    imatch match a.jp2 b.tif --bands 4,3,2 -o result.json -o points.gpkg --plot result.png
    imatch match a.tif b.tif --tolerance 0.3px && echo "aligned"
    """  # noqa: D301 - click wants the backspace itself.
    from imatch.export import check_outputs
    from imatch.pipeline.pair.match import match as match_pair

    if plot is not None:
        if plot.suffix.lower() != ".png":
            raise ConfigError("--plot draws a .png", subject=plot)
        outputs = (*outputs, plot)
    config = chosen_config(fields)
    check_outputs(outputs, overwrite=overwrite, inputs=[Path(ref), Path(tgt)])

    with status_line(enabled=not is_quiet()) as on_stage:
        registration = match_pair(ref, tgt, config, on_stage=on_stage)
        said, failure = write_all(registration, outputs, overwrite=overwrite, on_stage=on_stage)
    show(registration, fmt)
    for line in said:
        note(line)
    if failure is not None:
        raise failure
    if refusal(registration) is not None:
        click.get_current_context().exit(NOT_REGISTERED)


def write_all(
    registration: Registration,
    outputs: Sequence[Path],
    *,
    overwrite: bool,
    on_stage: Callable[[str], None],
) -> tuple[list[str], OutputError | None]:
    """Write every output that can be written; one that cannot does not cost the others.

    Args:
        registration: What to write, refusals included: they are results too.
        outputs: Files, the format from the suffix.
        overwrite: Whether existing files may be replaced.
        on_stage: Told which file is being written.

    Returns:
        What to tell the user of each file, and the first failure.
    """
    from imatch.export import write

    said: list[str] = []
    failure: OutputError | None = None
    for path in outputs:
        if registration.transform is None and path.suffix.lower() in NEED_A_TRANSFORM:
            said.append(f"not written: {path}: there is no transform to take control points from")
            continue
        on_stage(f"writing {path.name}")
        try:
            write(registration, path, overwrite=overwrite)
        except OutputError as error:
            failure = failure or error
        else:
            said.append(f"wrote {path}")
    return said, failure


def show(registration: Registration, fmt: str) -> None:
    """Print the answer on stdout, and a refusal also on stderr unless a person sees it already."""
    from imatch.core.io.jsontext import to_json
    from imatch.export.terminal import print_summary

    if fmt == "json":
        click.echo(to_json(registration.to_dict()))
    else:
        with stdout_console() as console:
            print_summary(registration, console)
    refused = refusal(registration)
    if refused is not None and (fmt == "json" or not sys.stdout.isatty()):
        click.echo(f"imatch: {refused}", err=True)
