"""Reads NumPy archives (NPZ) written by a run; refuses damaged ones."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from imatch.core.errors import InputError


def read_arrays(path: Path, names: Sequence[str]) -> list[NDArray[Any]]:
    """Read arrays of an ``.npz`` file; nothing in it is unpickled.

    Args:
        path: The file.
        names: The arrays wanted.

    Raises:
        InputError: It is damaged, or lacks one of them.
    """
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
            return [stored[name] for name in names]
    # A header may claim any shape.
    except (OSError, ValueError, KeyError, EOFError, MemoryError, SyntaxError) as error:
        cause: Exception = error
    except (zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError) as error:
        cause = error
    first = str(cause).strip().partition("\n")[0]
    raise InputError(
        f"is damaged ({first})", subject=path, hint="delete it: it is made anew"
    ) from cause


def check_archive(path: Path) -> str | None:
    """Says what is wrong with a zip archive whose members' checksums its readers leave unread.

    Args:
        path: The file; one that is no zip archive passes.

    Returns:
        A clause; None where nothing is wrong.
    """
    if not zipfile.is_zipfile(path):
        return None
    try:
        with zipfile.ZipFile(path) as archive:
            bad = archive.testzip()
    except (zipfile.BadZipFile, zlib.error, OSError, NotImplementedError, RuntimeError) as error:
        return str(error)
    return None if bad is None else f"the checksum of its part {bad} does not agree"
