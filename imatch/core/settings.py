"""Settings: frozen models, read from YAML (or JSON) files and ``KEY=VALUE``, mistakes in a line."""

from __future__ import annotations

import difflib
import inspect
import re
import textwrap
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, TypeVar, get_args

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from imatch.core.errors import ConfigError, InputError

#: Values in a text of settings, however often aliases repeat them.
_MOST_VALUES = 100_000
SettingsT = TypeVar("SettingsT", bound="Settings")


class Settings(BaseModel):
    """Base of settings models: frozen, unknown fields are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    #: What to show to those who write an override in another way.
    example: ClassVar[str] = "size=2048"


def load_settings(
    kind: type[SettingsT], path: Path | None = None, overrides: Sequence[str] = ()
) -> SettingsT:
    """Reads settings from a file and replaces single ones.

    Args:
        kind: The model to fill.
        path: A YAML file, or a JSON one, which is YAML too; None for the defaults.
        overrides: ``key=value`` or ``group.key=value``; the value is read as YAML.

    Raises:
        InputError: The file is missing or holds no mapping.
        ConfigError: A setting that does not exist, or an impossible value.
    """
    values = {} if path is None else read_mapping(path)
    for text in overrides:
        _override(values, text, kind.example)
    return make_settings(kind, values, path)


def make_settings(
    kind: type[SettingsT], values: Mapping[str, Any], path: Path | None = None
) -> SettingsT:
    """Makes settings of plain values, every one checked.

    Args:
        kind: The model to fill.
        values: The values.
        path: Where they come from, for the message.

    Raises:
        ConfigError: A setting that does not exist, or an impossible value.
    """
    try:
        return kind.model_validate(dict(values))
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(str(part) for part in first["loc"]) or "configuration"
        subject = name if path is None else f"{path}: {name}"
        if first["type"] == "extra_forbidden":
            hint = _known_names(kind, first["loc"][:-1])
            raise ConfigError("is no setting", subject=subject, hint=hint) from error
        cause = first["msg"].removeprefix("Value error, ")
        raise ConfigError(cause[:1].lower() + cause[1:], subject=subject) from error


def check_options(
    options: Mapping[str, Any], kind: type[Settings], function: Callable[..., Any]
) -> None:
    """Refuses keyword options that are neither settings nor a function's own.

    Args:
        options: What the function took by ``**``.
        kind: The settings it passes them to.
        function: The function, whose own keyword-only options may have been meant as well.

    Raises:
        ConfigError: An option that does not exist; the nearest one is suggested.
    """
    own = [
        name
        for name, parameter in inspect.signature(function).parameters.items()
        if parameter.kind is inspect.Parameter.KEYWORD_ONLY
    ]
    for name in options:
        if name not in kind.model_fields:
            known = [*own, *kind.model_fields]
            close = difflib.get_close_matches(name, known, n=1)
            raise ConfigError(
                f"is no option of imatch.{function.__name__}",
                subject=name,
                hint=f"did you mean {close[0]!r}?" if close else f"options are {', '.join(known)}",
            )


def as_yaml(settings: Settings) -> str:
    """Writes settings as a YAML document that `load_settings` reads back.

    Examples:
        >>> class Grid(Settings):
        ...     step: int = 5
        >>> print(as_yaml(Grid()), end="")
        step: 5
    """
    return yaml.safe_dump(settings.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


def template(kind: type[Settings], indent: str = "") -> str:
    """Writes all settings with their defaults and what they mean, as YAML to start from.

    Args:
        kind: The model.
        indent: Before each line.
    """
    meanings = _meanings(kind)
    lines = []
    for name, field in kind.model_fields.items():
        key = field.alias or name
        lines += [f"{indent}# {text}" for text in textwrap.wrap(meanings[name], 88)]
        default = field.get_default(call_default_factory=True)
        if isinstance(default, Settings):
            lines += [f"{indent}{key}:", template(type(default), indent + "  ").rstrip()]
        else:
            plain = list(default) if isinstance(default, tuple) else default
            value = yaml.safe_dump(plain, default_flow_style=True, allow_unicode=True)
            lines.append(f"{indent}{key}: {value.removesuffix('...' + chr(10)).strip()}")
    return "\n".join(lines) + "\n"


def read_mapping(path: Path) -> dict[str, Any]:
    """Reads the mapping that a YAML file holds; an empty file holds an empty one.

    Args:
        path: The file, UTF-8.

    Raises:
        InputError: The file is missing, is not YAML, or holds something else.
    """
    try:
        loaded = parse_yaml(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        text = "is not YAML in UTF-8" if isinstance(error, UnicodeDecodeError) else str(error)
        cause = getattr(error, "strerror", None) or text
        raise InputError(cause, subject=path, hint="name a YAML file of settings") from error
    if loaded is not None and not isinstance(loaded, dict):
        raise InputError("holds no mapping", subject=path, hint="write lines of key: value")
    for key in loaded or {}:
        if not isinstance(key, str):
            raise InputError(
                f"its key {key!r} is no name", subject=path, hint="write lines of key: value"
            )
    return loaded or {}


def parse_yaml(text: str) -> Any:
    """Reads a YAML text into plain types.

    Raises:
        ValueError: It is no YAML, nested more deeply than any settings, or too long.
    """
    try:
        loaded = yaml.safe_load(text)
        # Aliases may hold themselves, or a few lines more than any memory.
        _check_size(loaded, [_MOST_VALUES])
    except RecursionError:
        raise ValueError("is nested too deeply") from None
    # A date that does not exist, a mapping as a key.
    except (yaml.YAMLError, TypeError, OverflowError) as error:
        raise ValueError("is not YAML") from error
    return loaded


def _check_size(value: object, left: list[int]) -> None:
    """Checks the size of a YAML document, aliases expanded."""
    left[0] -= 1
    if left[0] < 0:
        raise ValueError("holds too many values")
    if isinstance(value, int) and abs(value) >= 1 << 64:
        raise ValueError("holds a number larger than that of any setting")
    items: Iterable[object] = ()
    if isinstance(value, dict):
        items = value.values()
    elif isinstance(value, list | set):
        items = value
    for item in items:
        _check_size(item, left)


def _override(values: dict[str, Any], text: str, example: str) -> None:
    name, equals, value = text.partition("=")
    if not equals:
        raise ConfigError("is not key=value", subject=text, hint=f"for example -s {example}")
    *groups, last = name.strip().split(".")
    for group in groups:
        inner = values.get(group)
        # A copy: the mapping may be shared with whoever loaded it.
        values[group] = dict(inner) if isinstance(inner, Mapping) else {}
        values = values[group]
    try:
        values[last] = parse_yaml(value)
    except ValueError as error:
        raise ConfigError(f"the value {error}", subject=text) from error


def _known_names(kind: type[BaseModel], groups: Sequence[int | str]) -> str:
    """Names the settings of a model, or of the group in it that some names lead to."""
    group, whose = kind, ""
    for before, part in zip(("", *groups), groups, strict=False):
        if isinstance(part, int):
            whose = f" of a {str(before).removesuffix('s')}"
        elif part in group.model_fields:
            group = _model_in(group.model_fields[part].annotation) or group
    return f"settings{whose} are {', '.join(group.model_fields)}"


def _model_in(annotation: Any) -> type[BaseModel] | None:
    """The model that an annotation is, or is a list or an option of."""
    if inspect.isclass(annotation) and issubclass(annotation, BaseModel):
        return annotation
    return next(filter(None, map(_model_in, get_args(annotation))), None)


def _meanings(kind: type[Settings]) -> dict[str, str]:
    """Returns each field's description, taken from docstrings of the model's bases without one."""
    meanings: dict[str, str] = {}
    for base in reversed(kind.__mro__):
        section = inspect.cleandoc(base.__doc__ or "").partition("Attributes:\n")[2]
        for entry in re.split(r"\n(?=    \w)", section):
            name, _, text = entry.strip().partition(":")
            meanings[name] = text.replace("``", "")
    for name, field in kind.model_fields.items():
        meanings[name] = field.description or meanings.get(name, "")
    return {
        name: re.sub(r"\bNone\b", "null", " ".join(text.split())) for name, text in meanings.items()
    }
