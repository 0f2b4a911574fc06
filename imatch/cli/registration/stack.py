"""``imatch stack``: a time series tied together, through whatever dates match."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from imatch.cli.console import command_line, seen, stdout_console
from imatch.cli.errors import NOT_REGISTERED
from imatch.cli.logs import Verb, note
from imatch.cli.options.common import format_option, output_folder_option
from imatch.cli.options.match import chosen_config, config_options
from imatch.cli.options.raster import items_option, raster_fields, raster_options
from imatch.cli.options.run import chosen_run, run_options

if TYPE_CHECKING:
    from imatch.pipeline.stack.result import Stack
    from imatch.pipeline.stack.run import Model


@click.command(cls=Verb)
@click.argument("images", nargs=-1, required=True, metavar="IMAGES...")
@output_folder_option(
    "Folder for stack.json, transforms/, edges.csv, report.html and the pairs' results."
)
@click.option(
    "--reference",
    metavar="IMAGE",
    help="The image the others are laid on, by its path or name.  [default: the most central]",
)
@click.option(
    "--pairs",
    default="auto",
    show_default=True,
    metavar="CHOICE",
    help="Which pairs to match: all, reference, neighbours:K (in time), or auto: all of up to 12"
    " images, else those with the reference, the neighbours and the same season of other years,"
    " and more only for what these do not tie.",
)
@click.option(
    "--joint",
    type=click.Choice(["auto", "translation", "similarity", "affine"]),
    default="auto",
    show_default=True,
    help="Family of the images' transforms; auto takes the simplest that explains the pairs.",
)
@run_options
@click.option(
    "--warp",
    is_flag=True,
    help="Also write every image that is ok, and near enough, onto the reference's pixels, into"
    " DIR/registered.",
)
@raster_options
@items_option
@format_option
@config_options
def stack(
    images: tuple[str, ...],
    *,
    out: Path,
    reference: str | None,
    pairs: str,
    joint: Model,
    warp: bool,
    stac: bool,
    fmt: str,
    **fields: Any,
) -> None:
    """Tie IMAGES of one place together, taken on many dates.

    Where two dates do not match, others lead from one to the other: pairs are matched one by one,
    and all transforms are solved together from them. A wrong pair is outvoted and named; an image
    that nothing ties is named too. Every file in DIR/transforms is a result for imatch apply.

    Exits with 0 if every image is tied, 3 if one is uncertain, not tied or does not meet the
    --tolerance.

    \b
    imatch stack scenes/T36UYA_*.tif -o stack --jobs 2
    imatch stack *.jp2 -o stack --reference T31TCJ_20180823.jp2 --pairs neighbours:3 --warp
    """  # noqa: D301 - click wants the backspace itself.
    import imatch
    from imatch.export import WriteLog

    rasters, run, log = raster_fields(fields), chosen_run(fields), WriteLog()
    solved = imatch.stack(
        images,
        out,
        config=chosen_config(fields),
        reference=reference,
        pairs=pairs,
        joint=joint,
        warp=warp,
        **rasters,
        stac=stac,
        **vars(run),
        command=command_line(),
        log=log,
        progress=seen(),
    )
    for line in log.lines:
        note(line)
    log.check()
    _show(solved, fmt)
    note(f"wrote {out / 'report.html'}")
    if not solved.sure or not all(i.registration.accepted for i in solved.images):
        click.get_current_context().exit(NOT_REGISTERED)


def _show(solved: Stack, fmt: str) -> None:
    from imatch.core.io.jsontext import to_json
    from imatch.export.stack.tables import headline, print_stack

    if fmt == "json":
        click.echo(to_json(solved.to_dict()))
    else:
        with stdout_console() as console:
            print_stack(solved, console)
    if not solved.sure and (fmt == "json" or not sys.stdout.isatty()):
        click.echo(f"imatch: {headline(solved)}", err=True)
