"""What the values of options mean: callbacks that read them, and what the shell may complete."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

_UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}
RESAMPLINGS = ("auto", "nearest", "bilinear", "cubic", "lanczos")
_SIZE = re.compile(r"(\d+\.?\d*|\.\d+)\s*([KMGT]?)B?", re.IGNORECASE)


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


def parse_resampling(
    _ctx: click.Context, _param: click.Parameter, values: tuple[str, ...]
) -> str | dict[str, str]:
    """One method for all files, or methods by pattern, in which ``*`` stands for the others."""
    found = {"*": "auto"}
    for value in values:
        pattern, _, method = value.rpartition("=")
        if method not in RESAMPLINGS:
            raise click.BadParameter(
                f"{value!r} is not METHOD or PATTERN=METHOD; methods are {', '.join(RESAMPLINGS)}"
            )
        found[pattern or "*"] = method
    return found if len(found) > 1 else found["*"]


def parse_bounds(
    _ctx: click.Context,
    _param: click.Parameter,
    value: tuple[float, float, float, float] | None,
) -> tuple[float, float, float, float] | None:
    """Left, bottom, right, top, which enclose something."""
    if value is not None and not (value[0] < value[2] and value[1] < value[3]):
        raise click.BadParameter("give LEFT BOTTOM RIGHT TOP, with LEFT < RIGHT and BOTTOM < TOP")
    return value


def parse_size(_ctx: click.Context, _param: click.Parameter, value: str | None) -> int | None:
    """``2GB``, ``500M``: bytes, in powers of ten."""
    if value is None:
        return None
    found = _SIZE.fullmatch(value.strip())
    size = round(float(found[1]) * _UNITS[found[2].upper()]) if found else 0
    if size < 1:
        raise click.BadParameter(f"{value!r} is no size such as 500MB or 2GB")
    return size


def parse_split(
    _ctx: click.Context, _param: click.Parameter, value: str | None
) -> tuple[float, ...] | None:
    """``0.8/0.2``: shares of train and val, and of test where there is a third."""
    if value is None:
        return None
    try:
        return tuple(float(part) for part in value.split("/"))
    except ValueError as error:
        raise click.BadParameter(f"{value!r} is not of the form 0.8/0.2") from error


def parse_box(
    _ctx: click.Context, _param: click.Parameter, value: str
) -> tuple[float, float, float, float]:
    """``west,south,east,north`` in degrees."""
    try:
        west, south, east, north = (float(part) for part in value.split(","))
    except ValueError as error:
        raise click.BadParameter(f"{value!r} is not west,south,east,north") from error
    return west, south, east, north


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
    """Completes the name of a matcher."""
    from imatch.matchers import MATCHERS

    return [name for name in MATCHERS if name.startswith(incomplete)]


def complete_weights(
    _ctx: click.Context, _param: click.Parameter, incomplete: str
) -> list[CompletionItem | str]:
    """Completes the name of a checkpoint."""
    from imatch.models.weights import WEIGHTS

    return [name for name in WEIGHTS if name.startswith(incomplete)]
