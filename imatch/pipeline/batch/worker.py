"""Runs one pair of a batch and writes its result."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeAlias

import cv2

from imatch.core.errors import ImatchError
from imatch.core.io.files import atomic_path, inside
from imatch.core.io.offline import is_offline, offline
from imatch.core.pool import WorkerError, error_text, worker_name
from imatch.matchers.feature_cache import FeatureCache
from imatch.pipeline.batch.pairs import BatchPair
from imatch.pipeline.batch.result import BatchResult
from imatch.pipeline.pair.config import MatchConfig
from imatch.pipeline.pair.match import match
from imatch.pipeline.pair.registrar import Registrar, load_registrar, registrar_key
from imatch.pipeline.registration.io import write_json
from imatch.pipeline.registration.result import Registration
from imatch.pipeline.scene.checkpoint import clear
from imatch.raster.names import is_known_again

RESULTS, REGISTERED, STATE = "results", "registered", "state"
Finish: TypeAlias = Callable[[Registration, BatchPair, Path], None]
# Models in memory, since a table may name a matcher for each pair.
_MODELS = 2


@dataclass(frozen=True)
class BatchTask:
    """Settings of a batch, sent to every worker.

    Attributes:
        config: The settings they share.
        out: The batch's folder, absolute.
        cache: Where features are kept on disk, None for memory only.
        warp: Register the whole scene (`imatch.pipeline.scene.register.register`), not the
            reduced pair alone, and write the target as registered, with these arguments of
            `apply_raster`.
        finish: Called with each registration, its pair and the folder, to write more of it. It has
            to be importable by name (a module's function, or an object of a module's class).
        single_thread: One thread only, since several workers share the machine.
        offline: Make no request, wherever the worker is.
    """

    config: MatchConfig
    out: Path
    cache: FeatureCache | None = None
    warp: Mapping[str, Any] | None = None
    finish: Finish | None = None
    single_thread: bool = False
    offline: bool = field(default_factory=is_offline)


def result_path(out: Path, name: str) -> Path:
    """Returns the path of a pair's JSON document."""
    return inside(out / RESULTS, f"{name}.json")


def registered_path(out: Path, name: str) -> Path:
    """Returns the path of a pair's warped target."""
    return inside(out / REGISTERED, f"{name}.tif")


def run_pair(task: BatchTask, pair: BatchPair) -> BatchResult:
    """Registers a pair, writes its document, and returns its row of the table.

    Raises:
        WorkerError: Something other than an `ImatchError` went wrong; it may be worth another try.
    """
    # Neither a network nor its random numbers are shared: threads of one process take turns.
    with _TURN:
        started = time.perf_counter()
        if task.single_thread:
            cv2.setNumThreads(1)
        try:
            key = pair.key  # Of the images as they are before they are read.
            with offline(task.offline):
                result = replace(_run(task, pair), key=key)
        except ImatchError as error:
            result = BatchResult.failed(pair, str(error))
        except Exception as error:
            raise WorkerError(error_text(error)) from error
        seconds = time.perf_counter() - started
        return replace(result, seconds=seconds, worker=worker_name()).in_one_line()


def prepare(task: BatchTask) -> None:
    """Load what every pair needs.

    Raises:
        ImatchError: The matcher cannot be loaded.
    """
    with _TURN:
        _model(task, task.config)


def _run(task: BatchTask, pair: BatchPair) -> BatchResult:
    config = pair.config(task.config)
    registrar, cache = _model(task, config)
    before = (0, 0) if cache is None else (cache.computed, cache.found)
    if task.warp is None:
        registration = match(pair.reference, pair.target, registrar)
    else:
        registration = _register(task, pair, registrar)
    with atomic_path(result_path(task.out, pair.name), overwrite=True) as path:
        write_json(registration, path)
    if task.finish is not None:
        task.finish(registration, pair, task.out)
    if task.warp is not None:
        clear(task.out / STATE / pair.name)  # Not before: a killed worker begins the pair anew.
    result = BatchResult.of(pair, registration)
    if cache is None:
        return result
    return replace(result, extracted=cache.computed - before[0], from_cache=cache.found - before[1])


def _register(task: BatchTask, pair: BatchPair, registrar: Registrar) -> Registration:
    """Register a whole scene and write it; what a killed worker had of it is gone on with."""
    from imatch.pipeline.apply.raster import apply_raster
    from imatch.pipeline.pair.provenance import inputs_of
    from imatch.pipeline.registration.geo_correction import GeoCorrection as Places
    from imatch.pipeline.scene.register import register_scene

    known = is_known_again(pair.reference) and is_known_again(pair.target)
    registration = register_scene(
        pair.reference,
        pair.target,
        registrar,
        state=inside(task.out / STATE, pair.name) if known else None,
        overwrite=True,
    )
    path = registered_path(task.out, pair.name)
    path.unlink(missing_ok=True)
    if registration.accepted:
        path.parent.mkdir(exist_ok=True)
        assert task.warp is not None
        apply_raster(
            Places.of(registration),
            pair.target,
            path,
            nodata=registrar.config.tgt_nodata,
            inputs=inputs_of(registration),
            overwrite=True,
            **task.warp,
        )
    return registration


def _model(task: BatchTask, config: MatchConfig) -> tuple[Registrar, FeatureCache | None]:
    """The registrar of a configuration, of which the models are loaded once, and its cache."""
    folder = None if task.cache is None else str(task.cache.folder)
    key = registrar_key(config), folder
    if key not in _models:
        _models[key] = load_registrar(config, cache=task.cache), task.cache
    _models.move_to_end(key)
    while len(_models) > _MODELS:
        _models.popitem(last=False)
    registrar, cache = _models[key]
    return registrar.configured(config), cache


_TURN = threading.Lock()
_models: OrderedDict[tuple[object, ...], tuple[Registrar, FeatureCache | None]] = OrderedDict()
