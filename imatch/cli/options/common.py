"""Options that many verbs share.

Defaults of a configuration stay None: its model owns them, and a file of settings may.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar, get_args, get_origin

import click

from imatch.cli.errors import DEBUG
from imatch.cli.logs import OFFLINE, VERBOSITY
from imatch.core.io.offline import VARIABLE

if TYPE_CHECKING:
    from pydantic import BaseModel

CommandT = TypeVar("CommandT", bound=Callable[..., Any])


def added(command: CommandT, options: Sequence[Callable[[Any], Any]]) -> CommandT:
    """A command with options, which its help shows in the order given."""
    for option in reversed(options):
        command = option(command)
    return command


def setting_option(
    model: type[BaseModel],
    field: str,
    flag: str | None = None,
    *,
    default: str | None = None,
    more: str = "",
    **attrs: Any,
) -> Callable[[Any], Any]:
    """An option that sets a field of a model, from which its type, choices and help come.

    Args:
        model: The settings.
        field: The field, and the name of the parameter: None unless the option is given.
        flag: What to type; the field's name when None.
        default: What the help says where the field's default is None.
        more: What to add to the field's description.
        **attrs: As for `click.option`, instead of what the field says.
    """
    info = model.model_fields[field]
    text = attrs.pop("help", None) or info.description or ""
    if more:
        text = text.rstrip(".") + more
    shown = default if info.default_factory or info.default is None else info.default
    if shown is not None:
        text += f"  [default: {shown}]"
    values = {"default": None, "type": _type_of(info.annotation), **attrs}
    return click.option(flag or f"--{field.replace('_', '-')}", field, help=text, **values)


def _type_of(annotation: Any) -> Any:
    """What click makes of a text for a field; None where it stays one, or is a flag."""
    for part in (annotation, *get_args(annotation)):
        if get_origin(part) is Literal:
            return click.Choice(get_args(part))
        if part is Path:
            return click.Path(path_type=Path)
        if part in (int, float):
            return part
    return None


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

settings_option = click.option(
    "-s",
    "--set",
    "settings",
    multiple=True,
    metavar="KEY=VALUE",
    help="One setting of the configuration, as seed=1; may be repeated.",
)


def _offline(ctx: click.Context, _param: click.Parameter, value: bool) -> bool:
    ctx.meta[OFFLINE] = value
    return value


def _offline_option(*, exposed: bool) -> Callable[[CommandT], CommandT]:
    return click.option(
        "--offline",
        is_flag=True,
        envvar=VARIABLE,
        show_envvar=True,
        expose_value=exposed,
        callback=_offline,
        help="Make no request: neither for weights nor for what files name on other hosts.",
    )


offline_option = _offline_option(exposed=True)
#: For verbs that would fetch nothing themselves.
files_offline_option = _offline_option(exposed=False)

resume_option = click.option(
    "--resume", is_flag=True, help="Go on with the run that the output folder holds."
)
