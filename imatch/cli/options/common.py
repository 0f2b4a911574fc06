"""Options that many verbs share.

Defaults of a configuration stay None: its model owns them, and a file of settings may.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar, get_args, get_origin

import click

from imatch.cli.logs import OFFLINE
from imatch.core.io.offline import VARIABLE

if TYPE_CHECKING:
    from pydantic import BaseModel

#: A file or folder, of which nothing is asked yet.
PATH = click.Path(path_type=Path)
CommandT = TypeVar("CommandT", bound=Callable[..., Any])


def added(command: CommandT, options: Sequence[Callable[[Any], Any]]) -> CommandT:
    """Adds options to a command, shown by its help in the order given."""
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
    default_text = default if info.default_factory or info.default is None else info.default
    if default_text is not None:
        text += f"  [default: {default_text}]"
    values = {"default": None, "type": _type_of(info.annotation), **attrs}
    return click.option(flag or f"--{field.replace('_', '-')}", field, help=text, **values)


def _type_of(annotation: Any) -> Any:
    """Returns the click type of a field; None for texts and flags."""
    for part in (annotation, *get_args(annotation)):
        if get_origin(part) is Literal:
            return click.Choice(get_args(part))
        if part is Path:
            return PATH
        if part in (int, float):
            return part
    return None


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


def output_folder_option(
    text: str, *, name: str = "out", metavar: str = "DIR"
) -> Callable[[Any], Any]:
    """``--output``, the folder that a verb has to be given.

    Args:
        text: Its help.
        name: Name of the parameter.
        metavar: What the help calls it.
    """
    return click.option(
        "-o", "--output", name, type=PATH, required=True, metavar=metavar, help=text
    )


def output_file_option(text: str, metavar: str) -> Callable[[Any], Any]:
    """``--output``, a file ``out`` that may be asked for.

    Args:
        text: Its help.
        metavar: What the help calls it, its suffix included.
    """
    return click.option("-o", "--output", "out", type=PATH, metavar=metavar, help=text)


def registration_option(text: str) -> Callable[[Any], Any]:
    """``--registration``, a file for the registration that an answer rests on.

    Args:
        text: Its help.
    """
    return click.option("--registration", type=PATH, metavar="FILE", help=text)


def number_option(
    flag: str, kind: Any, default: float, metavar: str, text: str
) -> Callable[[Any], Any]:
    """An option for a number that has a default of its own.

    Args:
        flag: What to type.
        kind: Its type, perhaps a range.
        default: What it is unless told otherwise.
        metavar: What the help calls the number.
        text: Its help.
    """
    return click.option(
        flag, type=kind, default=default, show_default=True, metavar=metavar, help=text
    )


def jobs_option(text: str = "Worker processes.") -> Callable[[Any], Any]:
    """``--jobs``, 1 by default.

    Args:
        text: Its help.
    """
    return number_option("--jobs", click.IntRange(1), 1, "N", text)


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


def check_resume(*, resume: bool, overwrite: bool) -> None:
    """Refuses to go on with a run and to throw it away.

    Raises:
        click.UsageError: Both are wanted.
    """
    if resume and overwrite:
        raise click.UsageError("--resume and --overwrite contradict each other")
