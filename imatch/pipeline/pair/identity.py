"""Identity of a result: all settings and files that decide it.

All of a configuration counts, but for what is named here: no setting can be forgotten.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from imatch.core.errors import InputError
from imatch.core.io.fingerprint import fingerprints
from imatch.core.redaction import redacted
from imatch.models.store import named_file
from imatch.pipeline.pair.config import MatchConfig
from imatch.raster.names import is_remote, is_virtual, local_files
from imatch.raster.remote.versions import remote_fingerprint

#: Settings that change no answer: whether weights may be downloaded.
NEUTRAL = frozenset({"fetch"})
#: Settings whose values are files.
NAMING_FILES = ("ref_mask", "tgt_mask", "dem", "points", "weights")


def settings_of(config: MatchConfig, *, besides: Iterable[str] = ()) -> dict[str, Any]:
    """All settings that decide an answer, JSON-ready.

    Args:
        config: The settings.
        besides: Others that do not decide what is kept.
    """
    return config.model_dump(mode="json", exclude={*NEUTRAL, *besides})


def files_of(config: MatchConfig) -> list[str]:
    """The files that settings name: masks, a DEM, tie points and weights."""
    masks = [str(mask) for mask in (config.ref_mask, config.tgt_mask) if mask is not None]
    dem = [str(config.dem)] if isinstance(config.dem, Path) else []
    points = [str(config.points)] if isinstance(config.points, Path) else []
    return [*masks, *dem, *points, *(str(named_file(file)) for file in config.weights.values())]


def contents(path: str) -> list[Any]:
    """Returns the name of a path and its files' fingerprints, JSON-ready.

    The name first, then the fingerprint of the file, of the archive it is part of, or of every
    file of a folder.
    """
    if is_remote(path):
        try:
            # Without its credentials: signed anew, it is the same file.
            return [redacted(path), remote_fingerprint(path).to_dict()]
        except InputError:
            return [redacted(path)]
    named = path if is_virtual(path) else str(Path(path).absolute())
    files = local_files([path])
    if Path(path).is_dir():
        files = tuple(sorted(file for file in Path(path).rglob("*") if file.is_file()))
    try:
        return [named, *(one.to_dict() for one in fingerprints(files))]
    except InputError:
        return [named]  # Whoever reads it will say why it cannot be read.
