"""Settings that people write as YAML."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from imatch.core.errors import InputError


def read_mapping(path: Path) -> dict[str, Any]:
    """The mapping a YAML file holds; an empty file holds an empty one.

    Args:
        path: The file, UTF-8.

    Raises:
        InputError: The file is missing, is not YAML, or holds something else.
    """
    try:
        loaded = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        cause = getattr(error, "strerror", None) or "is not YAML"
        raise InputError(cause, subject=path, hint="name a YAML file of settings") from error
    if loaded is not None and not isinstance(loaded, dict):
        raise InputError("holds no mapping", subject=path, hint="write lines of key: value")
    return loaded or {}
