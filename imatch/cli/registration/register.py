"""``imatch register``: the target put on the reference, whole and at full resolution."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import click

from imatch.cli.console import seen, show_registration
from imatch.cli.logs import Verb, note
from imatch.cli.options.common import PATH, format_option, overwrite_option
from imatch.cli.options.match import chosen_scene_config, config_options, scene_options
from imatch.cli.options.output import output_options, with_plot
from imatch.cli.options.raster import chosen_register_fields, in_place_options, raster_options


@click.command(cls=Verb)
@click.argument("ref", metavar="REFERENCE")
@click.argument("tgt", metavar="TARGET")
@click.argument("out", metavar="OUT.tif", type=PATH)
@output_options("A file to write beside OUT.tif")
@click.option(
    "--report",
    type=PATH,
    metavar="FILE.html",
    help="The evidence, before and after: a page, or its figures as .json.",
)
@click.option(
    "--stac",
    type=PATH,
    metavar="FILE.json",
    help="OUT.tif as a STAC item, with its certificate.",
)
@click.option(
    "--displacement",
    type=PATH,
    metavar="FILE.tif",
    help="What the registration moves: metres eastwards and northwards, and their 95 % bound.",
)
@raster_options
@in_place_options
@scene_options
@click.option(
    "--jobs",
    type=click.IntRange(1),
    metavar="N",
    help="Threads that measure tiles.  [default: as many as the machine has cores]",
)
@click.option("--resume", is_flag=True, help="Go on where an interrupted run broke off.")
@click.option(
    "--force", is_flag=True, help="Write OUT.tif even if the answer is not ok or not near enough."
)
@overwrite_option
@format_option
@config_options
def register(
    ref: str,
    tgt: str,
    out: Path,
    *,
    outputs: tuple[Path, ...],
    plot: Path | None,
    report: Path | None,
    stac: Path | None,
    displacement: Path | None,
    jobs: int | None,
    resume: bool,
    force: bool,
    overwrite: bool,
    fmt: str,
    **fields: Any,
) -> None:
    """Register the TARGET image to the REFERENCE image and write it as OUT.tif.

    Finds the rough answer on reduced images, measures tie points at full resolution tile by tile,
    bends the transform where that predicts held-out tie points better, and writes the target on the
    reference's pixels. Exits with 3, and writes no OUT.tif unless there is --force, if the answer
    is uncertain, if there is none, or if it does not meet the --tolerance.

    An interrupted run keeps the tiles it has measured beside OUT.tif; --resume goes on with them.

    \b
    imatch register august.tif november.tif november_registered.tif
    imatch register a.jp2 b.jp2 out.tif --cog --co COMPRESS=ZSTD -o result.json --report report.html
    imatch register item.json#visual b.tif out.tif --cog --stac out.json
    imatch register a.tif b.tif out.tif --geotransform-only --local none --tolerance 0.5px
    """  # noqa: D301 - click wants the backspace itself.
    import imatch
    from imatch.export import WriteLog

    outputs, rasters = with_plot(outputs, plot), chosen_register_fields(fields)
    config, log = chosen_scene_config(fields), WriteLog()
    try:
        registration = imatch.register(
            ref,
            tgt,
            out,
            config=config,
            outputs=outputs,
            report=report,
            stac=stac,
            displacement=displacement,
            **rasters,
            jobs=jobs or os.cpu_count() or 1,
            resume=resume,
            force=force,
            overwrite=overwrite,
            log=log,
            progress=seen(),
        )
    except (Exception, KeyboardInterrupt) as error:
        for text in getattr(error, "__notes__", ()):
            note(text)
        raise
    show_registration(registration, fmt, log)
