"""Checkpoint of a scene: finished tiles on disk, to resume from."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from imatch.core.errors import ConfigError, OutputError
from imatch.core.io.files import atomic_path
from imatch.core.io.fingerprint import fingerprints
from imatch.core.io.jsontext import parse_json
from imatch.core.io.tables import mend
from imatch.pipeline.pair.identity import settings_of
from imatch.pipeline.pair.provenance import versions
from imatch.pipeline.scene.config import SceneConfig
from imatch.pipeline.scene.measure import TileResult
from imatch.raster import Source

SCHEMA = "imatch.scene-state/2"
_RUN, _TILES = "run.json", "tiles.jsonl"


class SceneState:
    """A folder with the tiles measured so far.

    Args:
        folder: The folder; made where it is missing.
        identity: What must be the same for two runs to be one (`identity_of`).
        overwrite: Throw away what a run of another identity left there, or a damaged record.

    Raises:
        ConfigError: The folder holds another run, and may not be overwritten.
        OutputError: The folder cannot be used.
    """

    def __init__(self, folder: Path, identity: dict[str, Any], *, overwrite: bool = False) -> None:
        self.folder = folder
        self._done: dict[tuple[int, int, int], TileResult] = {}
        try:
            folder.mkdir(parents=True, exist_ok=True)
            if (folder / _RUN).exists():
                try:
                    self._resume(identity)
                    return
                except (ConfigError, OutputError):
                    if not overwrite:
                        raise
            self._begin(identity)
        except OSError as error:
            raise OutputError(error.strerror or str(error), subject=folder) from error

    @property
    def done(self) -> dict[tuple[int, int, int], TileResult]:
        """Tiles of an earlier run, by their keys."""
        return self._done

    def keep(self, results: Iterable[TileResult]) -> None:
        """Write down finished tiles, each a line.

        Raises:
            OutputError: The disk refuses.
        """
        lines = "".join(json.dumps(result.to_dict()) + "\n" for result in results)
        try:
            with (self.folder / _TILES).open("a", encoding="utf-8") as file:
                file.write(lines)
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise OutputError(
                error.strerror or str(error), subject=self.folder, hint="make room and resume"
            ) from error

    def _begin(self, identity: dict[str, Any]) -> None:
        self._done.clear()
        (self.folder / _TILES).unlink(missing_ok=True)
        document = {"schema": SCHEMA, "identity": identity}
        with atomic_path(self.folder / _RUN, overwrite=True) as path:
            path.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")

    def _resume(self, identity: dict[str, Any]) -> None:
        path = self.folder / _RUN
        anew = "repeat the files and options it was begun with, or overwrite it to begin anew"
        try:
            before = parse_json(path.read_text(encoding="utf-8"))
            known = before["schema"] == SCHEMA
            was = dict(before["identity"])
        except (ValueError, KeyError, TypeError) as error:
            raise OutputError("is no record of a scene", subject=path, hint=anew) from error
        # As JSON gives it back: tuples are lists there.
        now = json.loads(json.dumps(identity))
        if not known or was != now:
            what = _difference(was, now) if known else "it is of another version"
            raise ConfigError(f"cannot resume: {what}", subject=self.folder, hint=anew)
        self._read_tiles()

    def _read_tiles(self) -> None:
        """Whole lines only: the last may have been cut by whatever ended the run."""
        path = self.folder / _TILES
        mend(path)
        if not path.exists():
            return
        with path.open("rb") as file:
            for number, line in enumerate(file, start=1):
                try:
                    result = TileResult.from_dict(parse_json(line))
                except (ValueError, KeyError, TypeError) as error:
                    raise OutputError(
                        f"its line {number} is damaged ({error})",
                        subject=path,
                        hint="overwrite it to begin anew",
                    ) from error
                self._done[result.key] = result


def holds_tiles(folder: Path) -> bool:
    """Whether a folder keeps anything that would save work."""
    path = folder / _TILES
    return path.exists() and path.stat().st_size > 0


def clear(folder: Path) -> None:
    """Take a state folder away, if it is one."""
    if (folder / _RUN).exists():
        shutil.rmtree(folder, ignore_errors=True)


def identity_of(
    config: SceneConfig, sources: tuple[Source, Source], weights: Mapping[str, str]
) -> dict[str, Any]:
    """What decides a scene's tie points: what the files hold, the settings, the versions.

    Args:
        config: The settings.
        sources: Reference and target.
        weights: sha256 of the checkpoints in use, by weight name.

    Raises:
        ConfigError: An image is no file, so that no later run could know it again.
    """
    files: list[dict[str, Any]] = []
    for source in sources:
        if source.info.path is None:
            raise ConfigError(
                "is no file, so its state cannot be kept",
                subject=source.info.name,
                hint="register it without a state folder",
            )
        files += [file.to_dict() for file in fingerprints(source.files)]
    return {
        "files": files,
        # What is asked of the certificate is asked of the tie points afterwards.
        "settings": settings_of(config, besides=["tolerance"]),
        "weights": dict(weights),
        "versions": versions(),
    }


def _difference(was: dict[str, Any], now: dict[str, Any]) -> str:
    for before, after in zip(was.get("files", []), now["files"], strict=False):
        if before != after:
            same = before.get("path") == after["path"]
            name = after["path"]
            return f"{name} has changed since" if same else f"it read {before['path']}, not {name}"
    for key in ("settings", "weights", "versions"):
        old, new = was.get(key, {}), now[key]
        for name in sorted({*old, *new}):
            if old.get(name) != new.get(name):
                return f"{name} was {old.get(name)!r} and is {new.get(name)!r}"
    return "its inputs differ"
