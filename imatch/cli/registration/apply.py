"""``imatch apply``: a solved registration on other rasters, vectors and whole products."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from imatch.cli.console import seen
from imatch.cli.errors import NOT_REGISTERED
from imatch.cli.logs import Verb, note
from imatch.cli.options.common import (
    PATH,
    files_offline_option,
    jobs_option,
    output_folder_option,
    overwrite_option,
)
from imatch.cli.options.raster import in_place_options, items_option, raster_options
from imatch.cli.options.values import parse_size
from imatch.core.errors import ImatchError

if TYPE_CHECKING:
    from imatch.pipeline.apply.files import Applied


@click.command(cls=Verb)
@click.argument("result", metavar="RESULT.json", type=PATH)
@click.argument("files", metavar="FILE...", nargs=-1, required=True, type=click.Path(path_type=str))
@output_folder_option(
    "Folder for the outputs, which keep their files' names; made where it is missing.",
    name="folder",
)
@raster_options
@click.option(
    "--nodata",
    type=float,
    metavar="VALUE",
    help="What marks missing ground in the rasters, instead of what they say.",
)
@in_place_options
@items_option
@click.option(
    "--max-unpacked",
    metavar="SIZE",
    callback=parse_size,
    help="Most that a product's files and pixels may take, as 50GB.  [default: 32GB, and of a zip"
    " a hundred times its size, 2000 times with the pixels]",
)
@click.option("--force", is_flag=True, help="Apply a result that is not ok, or not near enough.")
@overwrite_option
@jobs_option("Files at a time; each takes two threads.")
@files_offline_option
def apply(
    result: Path,
    files: tuple[str, ...],
    *,
    folder: Path,
    force: bool,
    **settings: Any,
) -> None:
    """Apply a registration to other files of the target's scene.

    RESULT.json is what match or register wrote. Rasters of any pixel size are put on the
    reference's lattice as GeoTIFF, vectors move with them and keep their format, and a Sentinel-2
    product (.SAFE folder or zip) is written whole.

    Exits with 1 if a file could not be done, after the others, and with 3 if the registration is
    not ok or does not meet the tolerance that was asked of it.

    \b
    imatch apply result.json B0*_10m.jp2 SCL_20m.jp2 fields.gpkg -o registered
    imatch apply result.json S2A_MSIL2A_20180823.SAFE -o registered --grid target --jobs 2
    imatch apply result.json scene.tif -o registered --geotransform-only
    """  # noqa: D301 - click wants the backspace itself.
    import imatch
    from imatch.export.text import refusal_text

    if settings["geotransform_only"] and settings["nodata"] is not None:
        raise click.UsageError(
            "--geotransform-only leaves the pixels as they are, so --nodata has no meaning"
        )
    registration = imatch.read_registration(result)
    if not (registration.accepted or force):
        click.echo(
            f"imatch: {result}: the registration is not to be applied,"
            f" {refusal_text(registration)}; pass --force to apply it nevertheless",
            err=True,
        )
        click.get_current_context().exit(NOT_REGISTERED)

    def tell(done: Applied) -> None:
        if done.error is None:
            note(f"wrote {done.out}" + (f" ({done.remark})" if done.remark else ""))

    try:
        imatch.apply(result, files, folder, **settings, force=force, on_file=tell, progress=seen())
    except ImatchError as error:
        for failure in getattr(error, "__notes__", ()):
            click.echo(f"imatch: error: {failure}", err=True)
        raise
