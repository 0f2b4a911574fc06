"""Prepare a data set: from images and polygons to chips, pairs, keypoints and a manifest."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

from imatch.core.errors import ImatchError, InputError, OutputError
from imatch.core.io.files import atomic_path, disk_errors, remove_leftovers
from imatch.core.io.jsontext import parse_json
from imatch.core.pool import map_processes
from imatch.core.progress import ProgressOption, ProgressStages
from imatch.datasets.chip_files import Coding
from imatch.datasets.config import PrepareConfig
from imatch.datasets.manifest import (
    CARD,
    CHIPS,
    KEYPOINTS,
    MANIFEST,
    PAIRS,
    SCHEMA,
    SHEET,
    DatasetManifest,
    load_manifest,
)
from imatch.datasets.polygons import Tally
from imatch.datasets.prepare.merge_tables import merge_tables
from imatch.datasets.prepare.scan import Scene, SceneCatalogue, SkippedScene, scan
from imatch.datasets.prepare.sites import SceneFacts, SiteBatch, batches_of, outlines_of, plan_sites
from imatch.datasets.prepare.write_chips import write_chips
from imatch.raster.read.render import stretch_limits

_STATE = ".state"
_OURS = (MANIFEST, CHIPS, PAIRS, KEYPOINTS, SHEET, CARD)
_FOLDERS = ("chips", "changed", _STATE)
# Longer side at which a whole image is looked at.
_OVERVIEW = 512


def prepare(
    config: PrepareConfig,
    out: Path,
    *,
    jobs: int = 1,
    resume: bool = False,
    overwrite: bool = False,
    command: str = "",
    progress: ProgressOption = None,
) -> DatasetManifest:
    """Prepares a data set for training: chips, pairs, keypoints and a manifest.

    Args:
        config: What to cut and how.
        out: Folder to write; made where it is missing.
        jobs: Worker processes.
        resume: Go on where a run with the same settings and images broke off; a finished data set
            is returned as it is.
        overwrite: Throw away the data set that the folder holds.
        command: What was typed, to be remembered.
        progress: True shows how far the work is on a terminal's stderr; a callback is told.

    Returns:
        The manifest of what was written; it is the last file to appear.

    Raises:
        InputError: Nothing can be cut, or only one place that cannot be divided.
        OutputError: The folder holds something else, or the disk refused.
    """
    _check_folder(out, resume=resume, overwrite=overwrite)
    with ProgressStages(progress) as stages:
        return _prepare(
            config,
            out,
            stages,
            jobs=jobs,
            resume=resume,
            overwrite=overwrite,
            command=command,
        )


def _prepare(
    config: PrepareConfig,
    out: Path,
    stages: ProgressStages,
    *,
    jobs: int,
    resume: bool,
    overwrite: bool,
    command: str,
) -> DatasetManifest:
    """See `prepare`."""
    stages.begin("looking at the images")
    found = scan(config)
    identity = _identity(config, found)
    finished = _begin(out, identity, resume=resume, overwrite=overwrite)
    if finished is not None:
        return finished
    found, facts = _read_overviews(found, config, out)
    plan = plan_sites(found, config)
    tally = Tally()
    outlines = outlines_of(plan, config, tally)
    batches = batches_of(plan.sites, config, facts, outlines)
    stages.begin("cutting", len(batches))
    done = []
    for result in _run(batches, config, out, jobs):
        done.append(result)
        stages.advance(1)
    stages.begin("writing the manifest")
    manifest = merge_tables(config, out, identity, found, plan, tally, done, command)
    shutil.rmtree(out / _STATE, ignore_errors=True)
    return manifest


def _check_folder(out: Path, *, resume: bool, overwrite: bool) -> None:
    if out.exists() and not out.is_dir():
        raise OutputError("is a file", subject=out, hint="name a folder")
    remove_leftovers(out)
    held = {path.name for path in out.iterdir()} if out.is_dir() else set()
    if not held:
        return
    if not held <= {*_OURS, *_FOLDERS}:
        other = sorted(held - {*_OURS, *_FOLDERS})[0]
        raise OutputError(
            f"holds something else ({other})", subject=out, hint="name another folder"
        )
    if not (resume or overwrite):
        raise OutputError(
            "already holds a data set",
            subject=out,
            hint="pass --resume to go on, or --overwrite to throw it away",
        )


def _identity(config: PrepareConfig, found: SceneCatalogue) -> str:
    """Hashes what must be the same for two runs to make one data set."""
    scenes = [*found.geocoded, *(scene for group in found.aligned for scene in group.scenes)]
    files = []
    for path in sorted({scene.path for scene in scenes}):
        status = Path(path).stat()
        files.append((path, status.st_size, status.st_mtime_ns))
    text = json.dumps([SCHEMA, config.model_dump(mode="json"), files])
    return hashlib.sha256(text.encode()).hexdigest()


def _begin(out: Path, identity: str, *, resume: bool, overwrite: bool) -> DatasetManifest | None:
    """Makes the folder ready; returns the manifest where there is nothing left to do."""
    if overwrite:
        for name in _OURS:
            (out / name).unlink(missing_ok=True)
        for name in _FOLDERS:
            shutil.rmtree(out / name, ignore_errors=True)
    state = out / _STATE / "run.json"
    if resume and (out / MANIFEST).exists():
        held = load_manifest(out)
        if held.document.get("identity") != identity:
            raise _other_run(out)
        shutil.rmtree(out / _STATE, ignore_errors=True)
        return held
    record = json.dumps({"identity": identity}).encode()
    with disk_errors(out):
        if resume and state.exists() and state.read_bytes() != record:
            raise _other_run(out)
        state.parent.mkdir(parents=True, exist_ok=True)
        if not state.exists():
            with atomic_path(state) as temporary:
                temporary.write_bytes(record)
    return None


def _other_run(out: Path) -> OutputError:
    return OutputError(
        "holds a data set of other images or settings",
        subject=out,
        hint="pass --overwrite to throw it away, or name another folder",
    )


def _read_overviews(
    found: SceneCatalogue, config: PrepareConfig, out: Path
) -> tuple[SceneCatalogue, dict[str, SceneFacts]]:
    """Reads every image once at low resolution; what cannot be read drops out."""
    sources = {source.name: source for source in config.sources}
    memory = out / _STATE / "scenes.json"
    known: dict[str, Any] = parse_json(memory.read_text(), finite=False) if memory.exists() else {}
    facts: dict[str, SceneFacts] = {}
    skipped: list[SkippedScene] = []

    def usable(scene: Scene) -> bool:
        if scene.path not in known:
            try:
                known[scene.path] = asdict(_facts(scene, sources[scene.source].bands))
            except ImatchError as error:
                known[scene.path] = error.cause
        item = known[scene.path]
        if isinstance(item, str):
            skipped.append(SkippedScene(scene.path, item))
            return False
        coding = Coding(**item["coding"])
        facts[scene.path] = SceneFacts(tuple(item["low"]), tuple(item["high"]), coding)
        return True

    geocoded = tuple(scene for scene in found.geocoded if usable(scene))
    aligned = []
    for group in found.aligned:
        left = tuple(scene for scene in group.scenes if usable(scene))
        if left:
            # The residual of a pair says nothing of what is left of it.
            whole = len(left) == len(group.scenes)
            aligned.append(replace(group, scenes=left, residual=group.residual if whole else None))
    with atomic_path(memory, overwrite=True) as temporary:
        temporary.write_text(json.dumps(known))
    unique = dict.fromkeys([*found.skipped, *skipped])
    return replace(found, geocoded=geocoded, aligned=tuple(aligned), skipped=tuple(unique)), facts


def _facts(scene: Scene, bands: Sequence[int | str] | None) -> SceneFacts:
    factor = max(1.0, max(scene.info.size) / _OVERVIEW)
    size = tuple(max(1, round(side / factor)) for side in scene.info.size)
    image = scene.open(bands).read(size=(size[0], size[1]))
    if not image.valid.any():
        raise InputError("has no valid pixels", subject=scene.path)
    limits = stretch_limits(image)
    coding = Coding.of(scene.info.dtypes, float(limits[:, 0].min()), float(limits[:, 1].max()))
    return SceneFacts(tuple(limits[:, 0].tolist()), tuple(limits[:, 1].tolist()), coding)


def _run(
    batches: Sequence[SiteBatch], config: PrepareConfig, out: Path, jobs: int
) -> Iterator[dict[str, Any]]:
    """Yields the results of all batches, finished ones from an earlier run's files."""
    todo = []
    for batch in batches:
        path = _result_path(out, batch.number)
        if path.exists():
            yield parse_json(path.read_text(), finite=False)
        else:
            todo.append(batch)
    work = partial(_one, config=config, out=out)
    hint = "pass --resume, and fewer --jobs"
    yield from map_processes(work, todo, jobs, subject=out, hint=hint)


def _one(batch: SiteBatch, config: PrepareConfig, out: Path) -> dict[str, Any]:
    result = write_chips(batch, config, out).to_dict()
    result["number"] = batch.number
    with atomic_path(_result_path(out, batch.number), overwrite=True) as temporary:
        temporary.write_text(json.dumps(result))
    return result


def _result_path(out: Path, number: int) -> Path:
    return out / _STATE / f"{number:06d}.json"
