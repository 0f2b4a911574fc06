"""Parses YAML settings."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml

from imatch.core.errors import InputError

#: Values in a text of settings, however often aliases repeat them.
_MOST_VALUES = 100_000


def parse_yaml(text: str) -> Any:
    """What a YAML text holds, in plain types.

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
    """Count values, each as often as it is named."""
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


def read_mapping(path: Path) -> dict[str, Any]:
    """The mapping a YAML file holds; an empty file holds an empty one.

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
