"""``imatch match``: two files in, a registration out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from imatch.cli.console import seen, show_registration
from imatch.cli.logs import Verb
from imatch.cli.options.common import format_option, overwrite_option
from imatch.cli.options.match import chosen_config, config_options
from imatch.cli.options.output import output_options, with_plot


@click.command(cls=Verb)
@click.argument("ref", metavar="REFERENCE")
@click.argument("tgt", metavar="TARGET")
@output_options("A file to write")
@overwrite_option
@format_option
@config_options
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
    import imatch
    from imatch.core.progress import ProgressStages
    from imatch.export import check_outputs, write_all

    outputs = with_plot(outputs, plot)
    config = chosen_config(fields)
    check_outputs(outputs, overwrite=overwrite, inputs=[Path(ref), Path(tgt)])
    registration = imatch.match(ref, tgt, config, progress=seen())
    with ProgressStages(seen()) as stages:
        log = write_all(registration, outputs, overwrite=overwrite, on_stage=stages.begin)
    show_registration(registration, fmt, log)
