"""Prepare a data set: from images and polygons to chips, pairs, keypoints and a manifest."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np

from imatch._version import __version__
from imatch.core.errors import ImatchError, InputError, OutputError
from imatch.core.files import atomic_path
from imatch.core.journal import write_rows
from imatch.core.jsontext import to_json
from imatch.core.workers import begin_worker, one_thread_each
from imatch.raster.render import stretch_limits
from imatch.training.data.card import write_card
from imatch.training.data.chips import Coding
from imatch.training.data.config import PrepareConfig
from imatch.training.data.cut import Batch, Cut, SceneFacts, add_sums, cut
from imatch.training.data.manifest import (
    CHIPS,
    KEYPOINTS,
    MANIFEST,
    PAIRS,
    SCHEMA,
    ChipRow,
    KeypointRow,
    Manifest,
    PairRow,
    content_hash,
    counts,
    load_manifest,
)
from imatch.training.data.places import Level, Plan, Site, plan_sites
from imatch.training.data.polygons import Outline, Tally, reaching, read_polygons, within
from imatch.training.data.pool import pool_residuals
from imatch.training.data.survey import Scene, Skipped, Survey, survey

SHEET, CARD = "sheet.png", "README.md"
_STATE = ".state"
_OURS = (MANIFEST, CHIPS, PAIRS, KEYPOINTS, SHEET, CARD)
_FOLDERS = ("chips", "changed", _STATE)
# Chips along each side of what is read at once: JP2 and tiled files decode whole tiles anyway.
_ACROSS = 4
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
    on_stage: Callable[[str, int], None] | None = None,
    on_progress: Callable[[int], None] | None = None,
) -> Manifest:
    """Cut a data set for training.

    Args:
        config: What to cut and how.
        out: Folder to write; made where it is missing.
        jobs: Worker processes.
        resume: Go on where a run with the same settings and images broke off; a finished data set
            is returned as it is.
        overwrite: Throw away the data set that the folder holds.
        command: What was typed, to be remembered.
        on_stage: Called with what is done next and in how many steps.
        on_progress: Called after each step.

    Returns:
        The manifest of what was written; it is the last file to appear.

    Raises:
        InputError: Nothing can be cut, or only one place that cannot be divided.
        OutputError: The folder holds something else, or the disk refused.
    """
    stage = on_stage or (lambda _text, _steps: None)
    step = on_progress or (lambda _step: None)
    _check_folder(out, resume=resume, overwrite=overwrite)
    stage("looking at the images", 0)
    found = survey(config)
    identity = _identity(config, found)
    finished = _begin(out, identity, resume=resume, overwrite=overwrite)
    if finished is not None:
        return finished
    found, facts = _look(found, config, out)
    plan = plan_sites(found, config)
    tally = Tally()
    outlines = _outlines(plan, config, tally)
    batches = _batches(plan.sites, config, facts, outlines)
    stage("cutting", len(batches))
    done = []
    for result in _run(batches, config, out, jobs):
        done.append(result)
        step(1)
    stage("writing the manifest", 0)
    return _finish(config, out, identity, found, plan, tally, done, command)


def _check_folder(out: Path, *, resume: bool, overwrite: bool) -> None:
    if out.exists() and not out.is_dir():
        raise OutputError("is a file", subject=out, hint="name a folder")
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


def _identity(config: PrepareConfig, found: Survey) -> str:
    """What must be the same for two runs to make one data set."""
    scenes = [*found.geocoded, *(scene for group in found.aligned for scene in group.scenes)]
    files = []
    for path in sorted({scene.path for scene in scenes}):
        status = Path(path).stat()
        files.append((path, status.st_size, status.st_mtime_ns))
    text = json.dumps([SCHEMA, config.model_dump(mode="json"), files])
    return hashlib.sha256(text.encode()).hexdigest()


def _begin(out: Path, identity: str, *, resume: bool, overwrite: bool) -> Manifest | None:
    """Make the folder ready; the manifest where there is nothing left to do."""
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
        return held
    if resume and state.exists() and json.loads(state.read_text())["identity"] != identity:
        raise _other_run(out)
    try:
        state.parent.mkdir(parents=True, exist_ok=True)
        if not state.exists():
            with atomic_path(state) as temporary:
                temporary.write_text(json.dumps({"identity": identity}))
    except OSError as error:
        raise OutputError(error.strerror or str(error), subject=out) from error
    return None


def _other_run(out: Path) -> OutputError:
    return OutputError(
        "holds a data set of other images or settings",
        subject=out,
        hint="pass --overwrite to throw it away, or name another folder",
    )


def _look(found: Survey, config: PrepareConfig, out: Path) -> tuple[Survey, dict[str, SceneFacts]]:
    """Read every image once at low resolution; what cannot be read drops out."""
    sources = {source.name: source for source in config.sources}
    memory = out / _STATE / "scenes.json"
    known: dict[str, Any] = json.loads(memory.read_text()) if memory.exists() else {}
    facts: dict[str, SceneFacts] = {}
    skipped: list[Skipped] = []

    def usable(scene: Scene) -> bool:
        if scene.path not in known:
            try:
                known[scene.path] = asdict(_facts(scene, sources[scene.source].bands))
            except ImatchError as error:
                known[scene.path] = error.cause
        item = known[scene.path]
        if isinstance(item, str):
            skipped.append(Skipped(scene.path, item))
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


def _outlines(
    plan: Plan, config: PrepareConfig, tally: Tally
) -> dict[tuple[str, str, str], list[Outline]]:
    """Polygons of every level on a map, in its CRS."""
    levels: dict[tuple[str, str, str], Level] = {
        _key(site.level): site.level for site in plan.sites
    }
    out: dict[tuple[str, str, str], list[Outline]] = {}
    used: dict[str, set[int]] = {}
    known: dict[str, dict[str, list[Outline]]] = {}
    for source in config.sources:
        for name in source.polygons:
            path = config.root / name
            own = [level for level in levels.values() if level.source == source.name]
            mapped = [level for level in own if level.crs is not None]
            if not mapped:
                raise InputError(
                    f"cannot be placed: no image of {source.name} is geocoded",
                    subject=path,
                    hint="give geocoded images, or leave the polygons out",
                )
            for level in mapped:
                assert level.crs is not None
                system = level.crs.to_wkt()
                if system not in known.setdefault(str(path), {}):
                    # Counted once, however many systems it is needed in.
                    counter = Tally() if known[str(path)] else tally
                    known[str(path)][system] = read_polygons(path, level.crs, counter)
                outlines = known[str(path)][system]
                left, top, right, bottom = level.extent
                box = level.window(
                    int(left), int(top), int(np.ceil(right - left)), int(np.ceil(bottom - top))
                ).bounds
                inside = reaching(outlines, box)
                used.setdefault(str(path), set()).update(inside)
                out.setdefault(_key(level), []).extend(outlines[i] for i in inside)
            total = len(next(iter(known[str(path)].values())))
            if not used[str(path)]:
                raise InputError(
                    f"none of its {total} polygons lies on an image of {source.name}",
                    subject=path,
                    hint="check its CRS",
                )
            tally.outside += total - len(used[str(path)])
    return out


def _key(level: Level) -> tuple[str, str, str]:
    return level.source, level.place, level.name


def _batches(
    sites: Sequence[Site],
    config: PrepareConfig,
    facts: dict[str, SceneFacts],
    outlines: dict[tuple[str, str, str], list[Outline]],
) -> list[Batch]:
    """Neighbouring sites of one level together, in a fixed order."""
    sources = {source.name: source for source in config.sources}
    side = _ACROSS * config.chip
    groups: dict[tuple[tuple[str, str, str], int, int], list[Site]] = {}
    for site in sites:
        column, row = site.window[:2]
        groups.setdefault((_key(site.level), row // side, column // side), []).append(site)
    batches = []
    for number, ((key, _, _), members) in enumerate(groups.items()):
        level = members[0].level
        near: tuple[Outline, ...] = ()
        if key in outlines:
            boxes = np.array([level.box(site.window) for site in members])
            low, high = boxes.min(axis=0), boxes.max(axis=0)
            near = tuple(within(outlines[key], (low[0], low[1], high[2], high[3])))
        own = {scene.path: facts[scene.path] for scene in level.scenes}
        batches.append(Batch(number, tuple(members), sources[level.source], own, near))
    return batches


def _run(
    batches: Sequence[Batch], config: PrepareConfig, out: Path, jobs: int
) -> Iterator[dict[str, Any]]:
    """Results of all batches; those that an earlier run finished come from its files."""
    todo = []
    for batch in batches:
        path = _result_path(out, batch.number)
        if path.exists():
            yield json.loads(path.read_text())
        else:
            todo.append(batch)
    if jobs == 1 or len(todo) < 2:
        for batch in todo:
            yield _one(batch, config, out)
        return
    context = get_context("spawn")
    with (
        one_thread_each(),
        ProcessPoolExecutor(min(jobs, len(todo)), context, initializer=begin_worker) as pool,
    ):
        futures = [pool.submit(_one, batch, config, out) for batch in todo]
        try:
            for future in as_completed(futures):
                yield future.result()
        except BrokenProcessPool as error:
            raise OutputError(
                "a worker process was killed, for want of memory perhaps",
                subject=out,
                hint="pass --resume, and fewer --jobs",
            ) from error
        finally:
            for future in futures:
                future.cancel()


def _one(batch: Batch, config: PrepareConfig, out: Path) -> dict[str, Any]:
    result = cut(batch, config, out).to_dict()
    result["number"] = batch.number
    with atomic_path(_result_path(out, batch.number), overwrite=True) as temporary:
        temporary.write_text(json.dumps(result))
    return result


def _result_path(out: Path, number: int) -> Path:
    return out / _STATE / f"{number:06d}.json"


def _finish(
    config: PrepareConfig,
    out: Path,
    identity: str,
    found: Survey,
    plan: Plan,
    tally: Tally,
    done: list[dict[str, Any]],
    command: str,
) -> Manifest:
    """Gather the tables, drop what came of unreadable images, and write the manifest last."""
    done.sort(key=lambda result: result["number"])
    results = [Cut(**{k: v for k, v in result.items() if k != "number"}) for result in done]
    unreadable = {path: why for result in results for path, why in result.unreadable.items()}
    rows = [ChipRow.from_row(row) for result in results for row in result.chips]
    lost = {row.path for row in rows if row.image in unreadable}
    chips = [row for row in rows if row.path not in lost]
    if not chips:
        raise InputError(
            "no chip is good enough",
            subject=out,
            hint="lower --min-valid, raise --max-cloud, or cut smaller chips",
        )
    all_pairs = [PairRow.from_row(row) for result in results for row in result.pairs]
    pairs = pool_residuals([pair for pair in all_pairs if not {pair.a, pair.b} & lost])
    sites = {chip.site for chip in chips}
    points = [KeypointRow.from_row(row) for result in results for row in result.keypoints]
    points = [point for point in points if point.site in sites]
    missing = [name for name in config.shares if not any(chip.split == name for chip in chips)]
    if missing:
        raise InputError(
            f"no chip of {' and '.join(missing)} is good enough",
            subject=out,
            hint="add images, lower --min-valid or raise --max-cloud, or change --seed",
        )
    for path in lost | ({p.changed for p in all_pairs} - {p.changed for p in pairs} - {""}):
        (out / path).unlink(missing_ok=True)
    for name, kind, table in (
        (CHIPS, ChipRow, chips),
        (PAIRS, PairRow, pairs),
        (KEYPOINTS, KeypointRow, points),
    ):
        with atomic_path(out / name, overwrite=True) as temporary:
            write_rows(temporary, kind, table)
    skipped = [
        *found.skipped,
        *(Skipped(path, why) for path, why in sorted(unreadable.items())),
    ]
    files = [row.path for row in chips] + [row.changed for row in pairs if row.changed]
    partners = Counter(pair.a for pair in pairs) + Counter(pair.b for pair in pairs)
    document = {
        "schema": SCHEMA,
        "sha256": content_hash(out, [*files, CHIPS, PAIRS, KEYPOINTS]),
        "version": __version__,
        "command": command,
        "identity": identity,
        "config": config.model_dump(mode="json"),
        "counts": counts(chips, pairs, points),
        "alone": sum(chip.path not in partners for chip in chips),
        "refused": dict(sum((Counter(result.refused) for result in results), Counter())),
        "guarded": plan.lost,
        "notes": list(plan.notes),
        "skipped": [asdict(item) for item in skipped],
        "polygons": asdict(tally),
        "bands": _statistics(results),
        "sources": {
            source.name: {"licence": source.licence, "attribution": source.attribution}
            for source in config.sources
        },
        "bytes": sum((out / name).stat().st_size for name in set(files)),
    }
    manifest = Manifest(out, document, tuple(chips), tuple(pairs), tuple(points))
    write_card(manifest, out / CARD)
    _write_sheet(manifest, out / SHEET)
    with atomic_path(out / MANIFEST, overwrite=True) as temporary:
        temporary.write_text(to_json(document) + "\n", encoding="utf-8")
    shutil.rmtree(out / _STATE, ignore_errors=True)
    return manifest


def _statistics(results: Sequence[Cut]) -> dict[str, Any]:
    """Mean and deviation of each source's bands, over the training split alone."""
    total: dict[str, list[list[float]]] = {}
    for result in results:
        for key, table in result.sums.items():
            split, _, source = key.partition("/")
            if split == "train":
                total[source] = add_sums(total.get(source), table)
    out = {}
    for source, table in total.items():
        count, sums, squares, low, high = np.array(table).T
        mean = sums / count
        deviation = np.sqrt(np.maximum(squares / count - mean**2, 0))
        out[source] = {
            "mean": mean.round(4).tolist(),
            "std": deviation.round(4).tolist(),
            "min": low.tolist(),
            "max": high.tolist(),
        }
    return out


def _write_sheet(manifest: Manifest, path: Path) -> None:
    from imatch.training.data.pairs import ChipPairs
    from imatch.training.data.sheet import spread, write_sheet

    samples = []
    for split in manifest.document["counts"]:
        pairs = ChipPairs(manifest, split, max_changed=1.0, singles="auto")
        samples += [(split, pairs[i]) for i in spread([row.source for row in pairs.rows], 12)]
    with atomic_path(path, overwrite=True) as temporary:
        write_sheet(samples, temporary)
