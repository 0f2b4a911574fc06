"""Reads and writes the JSON document of a registration."""

from __future__ import annotations

from os import PathLike
from pathlib import Path
from typing import Any, get_args

from imatch.core.errors import InputError
from imatch.core.io.jsontext import parse_json, to_json
from imatch.geometry.acceptance import Status
from imatch.pipeline.registration.result import Registration


def write_json(registration: Registration, path: Path) -> None:
    """Write the document of `Registration.to_dict`, UTF-8."""
    path.write_text(to_json(registration.to_dict()) + "\n", encoding="utf-8")


def read_registration(path: str | PathLike[str]) -> Registration:
    """Read a registration back from the ``.json`` file that it was saved as.

    The working images are not in the file, so `Registration.preview` is None.

    Args:
        path: The file.

    Returns:
        The registration.

    Raises:
        InputError: It cannot be read, is not JSON, or not a registration of a known schema.

    Examples:
        >>> import cv2, imatch, numpy as np
        >>> ground = cv2.resize(np.random.default_rng(0).random((40, 40)), (320, 320))
        >>> found = imatch.match(ground[:, :280], ground[:, 20:300], matcher="sift")
        >>> file = getfixture("tmp_path") / "result.json"
        >>> found.save(file)
        >>> imatch.read_registration(file).status
        'ok'
    """
    path = Path(path)
    try:
        data = parse_json(path.read_text(encoding="utf-8"))
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
    except (TypeError, ValueError, IndexError, AttributeError, OverflowError) as error:
        first = str(error).partition("\n")[0]
        raise InputError(
            f"holds a value that makes no sense ({first})", subject=path, hint="write it anew"
        ) from error
    return registration


def _check(data: dict[str, Any]) -> None:
    """Checks the parts of a document that `Registration.from_dict` does not."""
    if data["status"] not in get_args(Status):
        raise InputError(f"unknown status {data['status']!r}")
    lengths = {name: len(column) for name, column in data["tie_points"].items()}
    if len(set(lengths.values())) > 1:
        raise InputError(f"the tie points' columns differ in length: {lengths}")
