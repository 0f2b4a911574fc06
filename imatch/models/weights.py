"""Finds, requires, fetches and loads checkpoints.

>>> from imatch.models.weights import WEIGHTS
>>> WEIGHTS["aliked-n16"].licence
'BSD-3-Clause'
"""

from __future__ import annotations

from os import PathLike
from typing import Any

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
from imatch.models.store import WeightsFile, cache_dir, find_weights, searched_places, sha256_of

__all__ = [
    "CORRUPT",
    "MISSING",
    "PRESENT",
    "WEIGHTS",
    "Bundled",
    "Hub",
    "Source",
    "UserFile",
    "WeightSpec",
    "WeightsFile",
    "Wheel",
    "cache_dir",
    "ensure_weights",
    "fetch_weights",
    "find_weights",
    "load_parameters",
    "load_state",
    "require_weights",
    "searched_places",
    "sha256_of",
    "spec_of",
    "weight_row",
]

#: States of a checkpoint on this machine.
PRESENT, MISSING, CORRUPT = "present", "missing", "corrupt"


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
    cause = f"{what}; sought in {', '.join(searched_places(name))}"
    if isinstance(spec.source, UserFile):
        hint = f'{spec.source.how}, then pass --weights {name}=FILE (weights={{"{name}": FILE}})'
    else:
        hint = f"run imatch weights fetch {name}"
    raise WeightsError(cause, subject=name, hint=hint)


def ensure_weights(name: str, *, overwrite: bool = False) -> str:
    """Download a checkpoint into the cache unless it is on this machine already.

    Args:
        name: A key of `WEIGHTS`.
        overwrite: Download it again, whatever is there.

    Returns:
        What was done and where it lies, in words.

    Raises:
        WeightsError: It cannot be fetched, or a corrupt file is still found first.
    """
    try:
        found = None if overwrite else find_weights(name)
    except WeightsError:
        found = None  # Corrupt: what lies in the cache is replaced.
    if found is not None:
        return f"{name} is here already: {found.path}"
    path = fetch_weights(name, overwrite=overwrite).path
    find_weights(name)  # A corrupt file in $IMATCH_WEIGHTS would still be found first: say so.
    return f"fetched {name}: {path}"


def weight_row(spec: WeightSpec) -> dict[str, Any]:
    """Returns a checkpoint's catalogue entry and its state on this machine, JSON-ready."""
    state, where, problem, file = MISSING, None, None, None
    try:
        found = find_weights(spec.name)
    except WeightsError as error:
        state, problem = CORRUPT, str(error)
    else:
        if found is not None:
            state, where, file = PRESENT, found.where, str(found.path)
    return {
        "name": spec.name,
        "state": state,
        "where": where,
        "path": file,
        "problem": problem,
        "size": spec.size,
        "sha256": spec.sha256,
        "licence": spec.licence,
        "source": str(spec.source),
        "default": spec.default,
        "note": spec.note,
    }
