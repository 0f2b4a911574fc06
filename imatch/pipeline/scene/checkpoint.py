"""Checkpoint of a scene: finished tiles on disk, to resume from."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from imatch.core.errors import ConfigError, OutputError
from imatch.core.io.files import append, disk_errors
from imatch.core.io.jsontext import json_values, parse_json
from imatch.core.io.tables import mend
from imatch.core.run_folder import RunFolder, first_change, plain_change
from imatch.pipeline.pair.identity import settings_of
from imatch.pipeline.pair.provenance import versions
from imatch.pipeline.scene.config import SceneConfig
from imatch.pipeline.scene.measure import TileResult
from imatch.raster import Source
from imatch.raster.remote.versions import fingerprints_of

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
        run = RunFolder(folder, "scene", _RUN, SCHEMA, files=(_TILES,))
        # Whatever else a folder holds that no scene was begun in is left alone.
        overwrite = overwrite or not (folder / _RUN).exists()
        run.open(identity, resume=True, overwrite=overwrite, describe=_difference)
        try:
            with disk_errors(folder):
                self._read_tiles()
        except OutputError:
            if not overwrite:
                raise
            self._done.clear()
            run.open(identity, resume=False, overwrite=True)

    @property
    def done(self) -> dict[tuple[int, int, int], TileResult]:
        """Tiles of an earlier run, by their keys."""
        return self._done

    def keep(self, results: Iterable[TileResult]) -> None:
        """Write down finished tiles, each a line.

        Raises:
            OutputError: The disk refuses.
        """
        lines = "".join(json.dumps(json_values(result.to_dict())) + "\n" for result in results)
        with disk_errors(self.folder, hint="make room and resume"):
            append(self.folder / _TILES, lines.encode())

    def _read_tiles(self) -> None:
        """Reads the stored tiles, leaving out a last line that was cut off."""
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
    """Removes a state folder; leaves any other folder alone."""
    if (folder / _RUN).exists():
        shutil.rmtree(folder, ignore_errors=True)


def identity_of(
    config: SceneConfig, sources: tuple[Source, Source], weights: Mapping[str, str]
) -> dict[str, Any]:
    """Returns what decides a scene's tie points: files' contents, settings, versions.

    Args:
        config: The settings.
        sources: Reference and target.
        weights: sha256 of the checkpoints in use, by weight name.

    Raises:
        ConfigError: An image is no file, so that no later run could know it again.
    """
    files: list[dict[str, Any]] = []
    for source in sources:
        if source.info.path is None and not source.remote and not source.files:
            raise ConfigError(
                "is no file, so its state cannot be kept",
                subject=source.info.name,
                hint="register it without a state folder",
            )
        files += [file.to_dict() for file in fingerprints_of(source)]
    return {
        "files": files,
        # What is asked of the certificate is asked of the tie points afterwards.
        "settings": settings_of(config, besides=["tolerance"]),
        "weights": dict(weights),
        "versions": versions(),
    }


def _difference(name: str, was: Any, now: Any) -> str:
    if name != "files":
        return first_change(was, now) or plain_change(name, was, now)
    for before, after in zip(was, now, strict=False):
        if before != after:
            path, earlier = after["path"], before["path"]
            same = earlier == path
            return f"{path} has changed since" if same else f"it read {earlier}, not {path}"
    return "its inputs differ"
