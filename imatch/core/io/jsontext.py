"""Parses JSON strictly and writes it with one line per array."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

from imatch.core.redaction import redacted


def parse_json(text: str | bytes, *, finite: bool = True) -> Any:
    """Parses a JSON text and returns its value.

    Args:
        text: The text.
        finite: Whether numbers have to be finite, as JSON has it; else Python's NaN is taken, too.

    Raises:
        ValueError: It is no JSON, no UTF-8, or nested more deeply than anything of ours.

    Examples:
        >>> parse_json("[1.5, NaN]")
        Traceback (most recent call last):
        ValueError: NaN is not a JSON number
    """
    try:
        if not finite:
            return json.loads(text)
        return json.loads(text, parse_constant=_no_constant, parse_float=_finite)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def _no_constant(name: str) -> NoReturn:
    # Python's parser takes them, which no other does.
    raise ValueError(f"{name} is not a JSON number")


def _finite(text: str) -> float:
    value = float(text)
    if math.isinf(value):
        raise ValueError(f"{text} is beyond all numbers")
    return value


def _is_numpy(value: object) -> bool:
    """Whether it is an array or a scalar of NumPy, which what has none need not load."""
    return type(value).__module__ == "numpy"


def json_values(value: Any) -> Any:
    """Converts a value to JSON types: arrays and tuples become lists, what is not finite None.

    Args:
        value: Dictionaries, lists, tuples, numbers, strings, NumPy arrays and scalars.
    """
    match value:
        case _ if _is_numpy(value):
            return json_values(value.tolist())
        case Mapping():
            return {key: json_values(item) for key, item in value.items()}
        case list() | tuple():
            return [json_values(item) for item in value]
        case float() if not math.isfinite(value):
            return None
    return value


def to_json(value: object, *, indent: str = "") -> str:
    """Formats a value as strict JSON, lists of plain values on one line each.

    Columns of a thousand tie points are one line each and a matrix three, where
    ``json.dumps(indent=2)`` gives every number a line of its own.

    Args:
        value: Dictionaries, sequences, numbers, strings, paths, NumPy arrays and scalars. NaN and
            infinities become null, since JSON has neither; URLs in strings are `redacted`.
        indent: Blanks before the members of `value`'s parent.

    Returns:
        The text, without a final newline.

    Raises:
        TypeError: A value of another kind.

    Examples:
        >>> print(to_json({"rmse_px": 0.5, "shift_px": (3.0, float("nan"))}))
        {
          "rmse_px": 0.5,
          "shift_px": [3.0, null]
        }
    """
    inner = indent + "  "
    match value:
        case _ if _is_numpy(value):
            return to_json(value.tolist(), indent=indent)  # type: ignore[attr-defined]
        case Mapping() if value:
            rows = [
                f"{inner}{to_json(str(key))}: {to_json(item, indent=inner)}"
                for key, item in value.items()
            ]
            return "{\n" + ",\n".join(rows) + f"\n{indent}}}"
        case Mapping():
            return "{}"
        case str():
            return json.dumps(redacted(value), ensure_ascii=False)
        case Sequence() | set() | frozenset():
            items = [to_json(item, indent=inner) for item in value]
            if any("\n" in item or item.startswith("[") for item in items):
                return "[\n" + ",\n".join(inner + item for item in items) + f"\n{indent}]"
            return "[" + ", ".join(items) + "]"
        case Path():
            return json.dumps(redacted(str(value)), ensure_ascii=False)
        case float() if not math.isfinite(value):
            return "null"
        case _:
            return json.dumps(value, allow_nan=False)
