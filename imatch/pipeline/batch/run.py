"""Runs a batch of pairs, resumable.

Every finished pair is on disk before the next is asked for: its document in ``results/``, its row
in ``results.csv``. Whatever is killed, the rest goes on, and a run that was cut off is resumed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from imatch.core.errors import ConfigError, WeightsError
from imatch.core.redaction import redacted
from imatch.matchers import MATCHERS
from imatch.matchers.feature_cache import FeatureCache
from imatch.pipeline.batch.executor import BatchExecutor
from imatch.pipeline.batch.journal import BatchFolder
from imatch.pipeline.batch.local import LocalWorkers
from imatch.pipeline.batch.pairs import BatchPair, check_pairs, name_pairs
from imatch.pipeline.batch.result import OUTCOMES, BatchResult
from imatch.pipeline.batch.worker import BatchTask, Finish, result_path
from imatch.pipeline.pair.config import MatchConfig
from imatch.pipeline.pair.identity import contents, files_of, settings_of
from imatch.pipeline.pair.provenance import versions
from imatch.pipeline.registration.io import read_registration
from imatch.pipeline.registration.result import Registration
from imatch.raster.names import located

__all__ = ["BatchPair", "BatchResult", "BatchRun", "run_batch"]


@dataclass(frozen=True)
class BatchRun:
    """Result of a batch.

    Attributes:
        out: Its folder.
        results: A row for each pair, in their order.
        settings: What was asked of every pair, JSON-ready.
        sessions: Command, time, engine and versions of each session, in order.
        summary: What ``summary.json`` says; empty before there is one.
    """

    out: Path
    results: list[BatchResult]
    settings: dict[str, Any]
    sessions: list[dict[str, Any]]
    summary: dict[str, Any] = field(default_factory=dict)

    @property
    def counts(self) -> dict[str, int]:
        """How many pairs have each status, the worst first."""
        found = Counter(row.status for row in self.results)
        return {status: found[status] for status in OUTCOMES}

    def registration(self, name: str) -> Registration:
        """The registration of a pair, read from its document.

        Raises:
            InputError: The pair could not be run, or its document cannot be read.
        """
        return read_registration(result_path(self.out, name))

    def registrations(self) -> Iterator[tuple[BatchResult, Registration]]:
        """Every pair that was run, with its registration, one by one."""
        for row in self.results:
            if row.status != "error":
                yield row, self.registration(row.name)


def run_batch(
    pairs: Sequence[BatchPair],
    config: MatchConfig | None,
    out: Path,
    *,
    jobs: int = 1,
    dask: str | None = None,
    executor: BatchExecutor | None = None,
    resume: bool = False,
    overwrite: bool = False,
    retries: int = 1,
    timeout: float | None = None,
    cache: FeatureCache | None = None,
    warp: Mapping[str, Any] | None = None,
    finish: Finish | None = None,
    settings: Mapping[str, Any] | None = None,
    command: str = "",
    on_result: Callable[[BatchResult], None] | None = None,
) -> BatchRun:
    """Register many pairs; leaves ``results/NAME.json`` and ``results.csv`` in a folder.

    Rows are kept as they come; an error, a killed worker or a pair out of time is a row of status
    ``error`` and never the end of the others.

    Args:
        pairs: The pairs; those without a name are named after their files.
        config: Settings they share; the defaults when None.
        out: Folder, made where it is missing. Workers on other machines have to see it, and the
            images, under the same paths.
        jobs: Worker processes on this machine; more than one take one thread each.
        dask: Run on a Dask cluster instead: ``"local"`` for one of `jobs` processes, or the address
            of a scheduler (``"tcp://host:8786"``).
        executor: Run on this instead of what `jobs` and `dask` describe.
        resume: Go on with the run that is in the folder, if there is one: what has an answer is
            kept as long as its files and settings are the same, errors are tried again.
        overwrite: Throw away the run that is in the folder.
        retries: How often a pair is begun anew after its worker was killed or failed unforeseen.
        timeout: Most seconds a pair may take; None for any.
        cache: Where features are kept on disk for all workers; None for none.
        warp: Register whole scenes and leave ``registered/NAME.tif`` of those that are accepted
            (``ok``, and as near as was asked), written with these arguments of
            `imatch.pipeline.apply.raster.apply_raster`.
        finish: See `BatchTask.finish`.
        settings: Of `finish`, JSON-ready: what must be the same when a run is resumed.
        command: Command line to remember.
        on_result: Called with each row, those of an earlier session first.

    Returns:
        A row for each pair.

    Raises:
        InputError: There are no pairs, images are missing, or names clash.
        ConfigError: Settings make no sense, or are not those of the run to resume.
        OutputError: The folder holds something else, is in use, or the disk refused.
        ImatchError: The matcher cannot be loaded, or the cluster cannot be reached.
    """
    notify = on_result or (lambda _row: None)
    config = config or MatchConfig()
    if retries < 0 or (timeout is not None and timeout <= 0):
        raise ConfigError("retries count from 0, and a timeout is more than 0 seconds")
    if config.points is not None:
        raise ConfigError(
            "are tie points of one pair, not of many",
            subject="points",
            hint="match that pair by itself, or name them in the column points of a table of pairs",
        )
    pairs = [_absolute(pair) for pair in name_pairs(pairs)]
    check_pairs(pairs, config)
    _ready_weights(pairs, config)
    engine = executor or _engine(jobs, dask)
    if cache is not None:
        cache.prepare()
    asked = {**settings_of(config), **(settings or {})}
    # What they hold: that of files which single pairs name is in the pairs' keys.
    asked["files"] = list(map(contents, files_of(config)))
    asked["warp"] = None if warp is None else dict(warp)
    session = {
        "command": redacted(command),
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        **engine.facts(),
        "cache": None if cache is None else str(cache.folder),
        "versions": versions(),
    }
    out = out.absolute()
    folder = BatchFolder(out, asked, session, resume=resume, overwrite=overwrite)
    complete = False
    try:
        tried = {name: row.attempts for name, row in folder.rows.items()}
        waiting = [pair for pair in pairs if not folder.finished(pair)]
        again = {pair.name for pair in waiting}
        for pair in pairs:
            if pair.name not in again:
                notify(folder.rows[pair.name])
        task = BatchTask(config, out, cache, warp, finish)
        if waiting:
            with closing(engine.run(task, waiting, retries=retries, timeout=timeout)) as rows:
                for row in rows:
                    counted = replace(row, attempts=row.attempts + tried.get(row.name, 0))
                    folder.append(counted)
                    notify(counted)
        complete = True
    finally:
        folder.close(pairs if complete else ())
    return BatchRun(out, [folder.rows[pair.name] for pair in pairs], asked, folder.sessions)


def _engine(jobs: int, dask: str | None) -> BatchExecutor:
    if dask is None:
        return LocalWorkers(jobs)
    from imatch.pipeline.batch.dask import DaskWorkers

    return DaskWorkers(dask, jobs)


def _absolute(pair: BatchPair) -> BatchPair:
    """Returns a path made absolute, since workers may have another current folder."""
    here = Path.cwd()
    masks = {
        name: located(str(mask), here)
        for name in ("ref_mask", "tgt_mask", "points")
        if (mask := pair.settings.get(name))
    }
    settings = {**pair.settings, **masks}
    reference, target = located(pair.reference, here), located(pair.target, here)
    return BatchPair(pair.name, reference, target, settings)


def _ready_weights(pairs: Sequence[BatchPair], config: MatchConfig) -> None:
    """Find every checkpoint, once; workers would each fetch their own."""
    from imatch.models.weights import require_weights

    configs = {pair.config(config).matcher: pair.config(config) for pair in pairs}
    for name, wanted in configs.items():
        for weight in MATCHERS[name].weights:
            try:
                require_weights(weight, wanted.weights.get(weight), fetch=wanted.fetch)
            except WeightsError:
                # The cascade goes on without a stage, unless the user named its weights.
                if name != "auto" or wanted.weights:
                    raise
