"""Options and value types that several verbs share.

Defaults stay None here: the configuration model owns them, and importing it would slow the help.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from imatch.cli.errors import DEBUG
from imatch.cli.logs import VERBOSITY

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

CommandT = TypeVar("CommandT", bound=Callable[..., Any])

MODELS = ("auto", "translation", "similarity", "affine", "homography")


def parse_bands(
    _ctx: click.Context, _param: click.Parameter, value: str | None
) -> tuple[int | str, ...] | None:
    """``4,3,2`` or ``B04,B03,B02``: whole numbers are positions from 1, anything else a name."""
    if value is None:
        return None
    names = [part.strip() for part in value.split(",")]
    if not all(names):
        raise click.BadParameter(f"{value!r} is not a list of numbers or names such as 4,3,2")
    bands = tuple(int(name) if name.lstrip("-").isdigit() else name for name in names)
    if any(isinstance(band, int) and band < 1 for band in bands):
        raise click.BadParameter(f"{value!r}: bands count from 1")
    return bands


def parse_named_files(
    _ctx: click.Context, _param: click.Parameter, values: tuple[str, ...]
) -> dict[str, str] | None:
    """Each ``NAME=FILE``, split at its first equals sign."""
    files = {}
    for value in values:
        name, equals, path = value.partition("=")
        if not (name and equals and path):
            raise click.BadParameter(f"{value!r} is not of the form NAME=FILE")
        files[name] = path
    return files or None


def parse_creation(
    _ctx: click.Context, _param: click.Parameter, values: tuple[str, ...]
) -> dict[str, str]:
    """Each ``KEY=VALUE`` of ``--co``; the last of a key counts."""
    options = {}
    for value in values:
        name, equals, setting = value.partition("=")
        if not (name.strip() and equals and setting.strip()):
            raise click.BadParameter(f"{value!r} is not of the form KEY=VALUE")
        options[name.strip().upper()] = setting.strip()
    return options


def parse_bounds(
    _ctx: click.Context,
    _param: click.Parameter,
    value: tuple[float, float, float, float] | None,
) -> tuple[float, float, float, float] | None:
    """Left, bottom, right, top, which enclose something."""
    if value is not None and not (value[0] < value[2] and value[1] < value[3]):
        raise click.BadParameter("give LEFT BOTTOM RIGHT TOP, with LEFT < RIGHT and BOTTOM < TOP")
    return value


def known_matcher(_ctx: click.Context, _param: click.Parameter, value: str | None) -> str | None:
    """A row of the registry of matchers; a wrong name is answered by the nearest one."""
    from imatch.core.errors import MatcherError
    from imatch.matchers import MATCHERS

    try:
        return None if value is None else MATCHERS[value].name
    except MatcherError as error:
        raise click.BadParameter(str(error)) from error


def known_matchers(
    ctx: click.Context, param: click.Parameter, values: tuple[str, ...]
) -> tuple[str, ...]:
    """Rows of the registry of matchers."""
    return tuple(name for value in values if (name := known_matcher(ctx, param, value)))


def complete_matcher(
    _ctx: click.Context, _param: click.Parameter, incomplete: str
) -> list[CompletionItem | str]:
    """The matchers that begin so."""
    from imatch.matchers import MATCHERS

    return [name for name in MATCHERS if name.startswith(incomplete)]


def complete_weights(
    _ctx: click.Context, _param: click.Parameter, incomplete: str
) -> list[CompletionItem | str]:
    """The weights that begin so."""
    from imatch.models.weights import WEIGHTS

    return [name for name in WEIGHTS if name.startswith(incomplete)]


def verbosity_options(command: CommandT) -> CommandT:
    """``-v``, ``-q`` and ``--debug``, understood before and after the verb."""

    def louder(ctx: click.Context, _param: click.Parameter, value: int) -> None:
        if value:
            ctx.meta[VERBOSITY] = value

    def quieter(ctx: click.Context, _param: click.Parameter, value: bool) -> None:
        if value:
            ctx.meta[VERBOSITY] = -1

    def debug(ctx: click.Context, _param: click.Parameter, value: bool) -> None:
        if value:
            ctx.meta[DEBUG] = True

    for option in (
        click.option(
            "--debug",
            is_flag=True,
            is_eager=True,
            expose_value=False,
            callback=debug,
            help="Show the traceback of an error.",
        ),
        click.option(
            "-q",
            "--quiet",
            is_flag=True,
            expose_value=False,
            callback=quieter,
            help="Say nothing but errors and the answer.",
        ),
        click.option(
            "-v",
            "--verbose",
            count=True,
            expose_value=False,
            callback=louder,
            help="Log what happens on stderr; twice or thrice for more.",
        ),
    ):
        command = option(command)
    return command


format_option = click.option(
    "--format",
    "fmt",
    type=click.Choice(["text", "json"]),
    default="text",
    show_default=True,
    help="What to print on stdout.",
)

overwrite_option = click.option(
    "--overwrite", is_flag=True, help="Replace output files that exist."
)


def raster_options(command: CommandT) -> CommandT:
    """What the rasters that are written look like, in one order for every verb.

    The parameters are ``grid``, ``res``, ``bounds``, ``resampling`` (``auto`` lets the content
    decide), ``creation`` and ``cog``.
    """
    for option in reversed(_RASTER_OPTIONS):
        command = option(command)
    return command


def config_options(command: CommandT) -> CommandT:
    """Everything that makes a `MatchConfig`, under the parameter names of its fields."""
    for option in reversed(_CONFIG_OPTIONS):
        command = option(command)
    return command


def config_fields(params: dict[str, Any]) -> dict[str, Any]:
    """The fields of `MatchConfig` that were given on the command line.

    Args:
        params: The values of `config_options`; ``bands``, ``nodata`` stand for both images unless
            one has its own. It is emptied of them.

    Returns:
        Field name to value, without what was not given.
    """
    for both in ("bands", "nodata"):
        value = params.pop(both)
        for side in ("ref", "tgt"):
            if params[f"{side}_{both}"] is None:
                params[f"{side}_{both}"] = value
    if params.pop("no_geocoding"):
        params["use_geocoding"] = False
    params["fetch"] = not params.pop("offline")
    return {name: value for name, value in params.items() if value is not None}


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
        type=click.Choice(["auto", "nearest", "bilinear", "cubic", "lanczos"]),
        default="auto",
        show_default=True,
        help="auto is nearest for classes and masks, cubic for measurements.",
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
_FILE = click.Path(path_type=Path)
_CONFIG_OPTIONS: tuple[Callable[[Any], Any], ...] = (
    click.option(
        "-m",
        "--matcher",
        metavar="NAME",
        callback=known_matcher,
        shell_complete=complete_matcher,
        help="Which matcher; see imatch matchers.  [default: auto]",
    ),
    click.option(
        "--model",
        type=click.Choice(MODELS),
        help="Family of the transform; auto takes the simplest that explains the tie points."
        "  [default: auto]",
    ),
    click.option(
        "--bands",
        metavar="LIST",
        callback=parse_bands,
        help="Bands to match in both images, as 4,3,2 or B04,B03,B02.",
    ),
    click.option(
        "--ref-bands", metavar="LIST", callback=parse_bands, help="Those of the reference."
    ),
    click.option("--tgt-bands", metavar="LIST", callback=parse_bands, help="Those of the target."),
    click.option(
        "--nodata",
        type=float,
        metavar="VALUE",
        help="What marks no ground in both images where the files do not say.",
    ),
    click.option("--ref-nodata", type=float, metavar="VALUE", help="That of the reference."),
    click.option("--tgt-nodata", type=float, metavar="VALUE", help="That of the target."),
    click.option(
        "--ref-mask",
        type=_FILE,
        help="Ground of the reference to ignore: a raster, or polygons (of clouds, say).",
    ),
    click.option("--tgt-mask", type=_FILE, help="Ground of the target to ignore."),
    click.option(
        "--size",
        type=int,
        metavar="PX",
        help="Longer side of what the matcher sees.  [default: 1024]",
    ),
    click.option(
        "--max-keypoints", type=int, metavar="N", help="Keypoints an image.  [default: 2048]"
    ),
    click.option(
        "--threshold",
        "threshold_px",
        type=float,
        metavar="PX",
        help="Largest residual of an inlier, in working pixels.  [default: 3.0]",
    ),
    click.option(
        "--margin",
        type=float,
        metavar="SHARE",
        help="How far beyond the overlap to look, as a share of it.  [default: 0.1]",
    ),
    click.option(
        "--no-geocoding", is_flag=True, help="Ignore where the files say they lie; compare pixels."
    ),
    click.option(
        "--gsd",
        "gsd_m",
        type=float,
        metavar="M",
        help="Metres a reference pixel, for images that do not say.",
    ),
    click.option(
        "--tolerance",
        metavar="TOL",
        help="How far any place may be off with 95 % confidence, as 0.3px (target pixels) or 3m;"
        " exits with 3 if that is not met.",
    ),
    click.option(
        "--device", metavar="NAME", help="auto, cpu, cuda, cuda:1 or mps.  [default: auto]"
    ),
    click.option("--seed", type=int, metavar="N", help="Seed of everything random.  [default: 0]"),
    click.option(
        "--weights",
        multiple=True,
        metavar="NAME=FILE",
        callback=parse_named_files,
        help="A checkpoint of your own; may be repeated.",
    ),
    click.option(
        "--offline",
        is_flag=True,
        envvar="IMATCH_OFFLINE",
        show_envvar=True,
        help="Download nothing.",
    ),
)
