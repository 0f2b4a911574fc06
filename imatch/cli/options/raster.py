"""Options of the verbs that write rasters."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from imatch.cli.options.common import CommandT, added
from imatch.cli.options.values import parse_bounds, parse_creation, parse_resampling


def raster_options(command: CommandT) -> CommandT:
    """What the rasters that are written look like, in one order for every verb.

    The parameters are ``grid``, ``res``, ``bounds``, ``resampling`` (``auto`` lets the content
    decide), ``creation`` and ``cog``.
    """
    return added(command, _RASTER_OPTIONS)


def raster_fields(params: dict[str, Any]) -> dict[str, Any]:
    """Take what `raster_options` gave out of a command's parameters, for `apply_raster`."""
    names = ("grid", "res", "bounds", "resampling", "creation", "cog")
    return {name: params.pop(name) for name in names}


#: An item beside each of many rasters; ``register`` names the item of its one.
items_option = click.option(
    "--stac",
    is_flag=True,
    help="Write a STAC item beside each GeoTIFF, NAME.json, with its certificate.",
)


def in_place_options(command: CommandT) -> CommandT:
    """Correcting the geocoding instead of the pixels: ``geotransform_only`` and ``inexact``."""
    return added(command, _IN_PLACE_OPTIONS)


def chosen_register_fields(params: dict[str, Any]) -> dict[str, Any]:
    """Take what `raster_options` and `in_place_options` gave out of a command's parameters.

    Raises:
        click.UsageError: They contradict each other.
    """
    from imatch.pipeline.apply.file import ApplyOptions

    given = {name: params.pop(name) for name in ("geotransform_only", "inexact")}
    fields = {**raster_fields(params), **given}
    for name in ("grid", "res", "bounds", "resampling") if fields["geotransform_only"] else ():
        if fields[name] != getattr(ApplyOptions, name):
            raise click.UsageError(
                f"--geotransform-only leaves the pixels as they are, so --{name} has no meaning"
            )
    return fields


_RASTER_OPTIONS: tuple[Callable[[Any], Any], ...] = (
    click.option(
        "--grid",
        type=click.Choice(["reference", "target"]),
        default="reference",
        show_default=True,
        help="Whose pixel lattice to write on: the reference's frame, or the file's own.",
    ),
    click.option(
        "--res",
        type=click.FloatRange(min=0, min_open=True),
        metavar="SIZE",
        help="Pixel size to write, in units of the output's CRS.  [default: the file's own]",
    ),
    click.option(
        "--bounds",
        type=float,
        nargs=4,
        metavar="LEFT BOTTOM RIGHT TOP",
        callback=parse_bounds,
        help="Ground to write, in the output's CRS; widened to whole pixels.",
    ),
    click.option(
        "--resampling",
        multiple=True,
        metavar="METHOD|PATTERN=METHOD",
        callback=parse_resampling,
        help="nearest, bilinear, cubic, lanczos, or auto: nearest for classes and masks, cubic for"
        " measurements. For some files alone as 'landcover*.tif=nearest'; may be repeated."
        "  [default: auto]",
    ),
    click.option(
        "--co",
        "creation",
        multiple=True,
        metavar="KEY=VALUE",
        callback=parse_creation,
        help="Creation option of GDAL's GTiff (or COG) driver, as COMPRESS=ZSTD; may be repeated.",
    ),
    click.option("--cog", is_flag=True, help="Write cloud-optimised GeoTIFF."),
)
_IN_PLACE_OPTIONS: tuple[Callable[[Any], Any], ...] = (
    click.option(
        "--geotransform-only",
        is_flag=True,
        help="Correct where a raster says it lies, and leave its pixels untouched.",
    ),
    click.option(
        "--inexact",
        type=click.Choice(["refuse", "accept", "gcps"]),
        default="refuse",
        show_default=True,
        help="With --geotransform-only: what to do where the correction is curved by over 0.1 px.",
    ),
)
