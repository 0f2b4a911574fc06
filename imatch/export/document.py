"""The JSON document: the whole registration, for other programs and for people."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn, get_args

import numpy as np

from imatch.core.errors import InputError
from imatch.pipeline.result import Registration, Status


def to_json(value: object, *, indent: str = "") -> str:
    """Strictly valid JSON that can be read: lists of plain values stay on one line.

    Columns of a thousand tie points are one line each and a matrix three, where
    ``json.dumps(indent=2)`` gives every number a line of its own.

    Args:
        value: Dictionaries, sequences, numbers, strings, paths, NumPy arrays and scalars. NaN and
            infinities become null, since JSON has neither.
        indent: Blanks before the members of `value`'s parent.

    Returns:
        The text, without a final newline.

    Raises:
        TypeError: A value of another kind.

    Example:
        >>> print(to_json({"rmse_px": 0.5, "shift_px": (3.0, float("nan"))}))
        {
          "rmse_px": 0.5,
          "shift_px": [3.0, null]
        }
    """
    inner = indent + "  "
    match value:
        case np.ndarray() | np.generic():
            return to_json(value.tolist(), indent=indent)
        case Mapping() if value:
            rows = [
                f"{inner}{json.dumps(str(key), ensure_ascii=False)}: {to_json(item, indent=inner)}"
                for key, item in value.items()
            ]
            return "{\n" + ",\n".join(rows) + f"\n{indent}}}"
        case Mapping():
            return "{}"
        case str():
            return json.dumps(value, ensure_ascii=False)
        case Sequence() | set() | frozenset():
            items = [to_json(item, indent=inner) for item in value]
            if any("\n" in item or item.startswith("[") for item in items):
                return "[\n" + ",\n".join(inner + item for item in items) + f"\n{indent}]"
            return "[" + ", ".join(items) + "]"
        case Path():
            return json.dumps(str(value), ensure_ascii=False)
        case float() if not math.isfinite(value):
            return "null"
        case _:
            return json.dumps(value, allow_nan=False)


def write_json(registration: Registration, path: Path) -> None:
    """Write the document of `Registration.to_dict`, UTF-8."""
    path.write_text(to_json(registration.to_dict()) + "\n", encoding="utf-8")


def read_registration(path: Path) -> Registration:
    """Read back what `write` put into a ``.json`` file.

    The working images are not in the file, so `Registration.preview` is None.

    Args:
        path: The file.

    Returns:
        The registration.

    Raises:
        InputError: It cannot be read, is not JSON, or not a registration of a known schema.
    """
    try:
        data = json.loads(path.read_text(encoding="utf-8"), parse_constant=_no_constant)
    except OSError as error:
        raise InputError(error.strerror or str(error), subject=path) from error
    except ValueError as error:  # Also a UnicodeDecodeError: a picture given by mistake.
        raise InputError(
            f"is not JSON ({error})", subject=path, hint="name a .json file that match wrote"
        ) from error
    if not isinstance(data, dict):
        raise InputError(
            "is not a registration", subject=path, hint="name a .json file that match wrote"
        )
    try:
        registration = Registration.from_dict(data)
        _check(data)
    except InputError as error:
        raise InputError(error.cause, subject=path, hint=error.hint) from error
    except KeyError as error:
        raise InputError(f"lacks the key {error}", subject=path, hint="write it anew") from error
    except (TypeError, ValueError, IndexError, AttributeError) as error:
        raise InputError(
            f"holds a value that makes no sense ({error})", subject=path, hint="write it anew"
        ) from error
    return registration


def _check(data: dict[str, Any]) -> None:
    """What `Registration.from_dict` takes on trust."""
    if data["status"] not in get_args(Status):
        raise InputError(f"unknown status {data['status']!r}")
    lengths = {name: len(column) for name, column in data["tie_points"].items()}
    if len(set(lengths.values())) > 1:
        raise InputError(f"the tie points' columns differ in length: {lengths}")


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON number")
