"""Finds, requires, fetches and loads checkpoints.

>>> from imatch.models.weights import WEIGHTS
>>> WEIGHTS["aliked-n16"].licence
'BSD-3-Clause'
"""

from __future__ import annotations

from os import PathLike

from imatch.core.errors import WeightsError
from imatch.models.catalogue import (
    WEIGHTS,
    Bundled,
    Hub,
    Source,
    UserFile,
    WeightSpec,
    Wheel,
    spec_of,
)
from imatch.models.checkpoint import load_parameters, load_state
from imatch.models.fetch import fetch_weights
from imatch.models.store import WeightsFile, cache_dir, find_weights, sha256_of, sought

__all__ = [
    "WEIGHTS",
    "Bundled",
    "Hub",
    "Source",
    "UserFile",
    "WeightSpec",
    "WeightsFile",
    "Wheel",
    "cache_dir",
    "fetch_weights",
    "find_weights",
    "load_parameters",
    "load_state",
    "require_weights",
    "sha256_of",
    "sought",
    "spec_of",
]


def require_weights(
    name: str, explicit: PathLike[str] | str | None = None, *, fetch: bool = False
) -> WeightsFile:
    """Find a checkpoint, or say exactly what is missing and what to do about it.

    Args:
        name: A key of `WEIGHTS`.
        explicit: A file the user names, as for `find_weights`.
        fetch: Download it when it is not on this machine.

    Returns:
        The verified file.

    Raises:
        WeightsError: It is not there (and may not or cannot be fetched), or is corrupt.
    """
    found = find_weights(name, explicit)
    if found is not None:
        return found
    spec = spec_of(name)
    if fetch and spec.default:
        return fetch_weights(name)
    what = f"weights not found: {spec.filename} (sha256 {spec.sha256}, licence {spec.licence})"
    cause = f"{what}; sought in {', '.join(sought(name))}"
    if isinstance(spec.source, UserFile):
        hint = f'{spec.source.how}, then pass --weights {name}=FILE (weights={{"{name}": FILE}})'
    else:
        hint = f"run imatch weights fetch {name}"
    raise WeightsError(cause, subject=name, hint=hint)
