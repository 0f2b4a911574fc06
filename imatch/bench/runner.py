"""Run every matcher over every case, keep each row as it comes, go on where a run broke off."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Self

from imatch.bench import worker
from imatch.bench.cases import (
    Case,
    check_images,
    fingerprint,
    parse_filters,
    read_cases,
    select_cases,
)
from imatch.bench.detectors import DetectorResult
from imatch.bench.environment import environment
from imatch.bench.results import Result
from imatch.core.errors import ConfigError, ImatchError, OutputError
from imatch.core.io.files import atomic_path, remove_leftovers
from imatch.core.io.jsontext import parse_json
from imatch.core.io.tables import Journal, checked_sittings, mend, read_rows, write_rows
from imatch.core.workers import one_thread_each
from imatch.pipeline.pair.config import MatchConfig, make_config
from imatch.pipeline.pair.identity import contents, files_of, settings_of

SCHEMA = "imatch.bench-run/1"
RESULTS, DETECTORS, RUN = "results.csv", "detectors.csv", "run.json"
SUMMARIES = ("summary.json", "summary.md", "report.html")
FILES = (RESULTS, DETECTORS, RUN, *SUMMARIES)


@dataclass(frozen=True)
class BenchPlan:
    """What a benchmark runs.

    Attributes:
        cases: The cases, in order.
        root: Folder that their paths start from.
        configs: The settings of each matcher.
        fit_size: Raise the working size to each pair's longest side.
        detectors: Measure keypoints of the matchers that have some.
        origin: What else to remember of the run: the table's name, the selection.
    """

    cases: tuple[Case, ...]
    root: Path
    configs: tuple[MatchConfig, ...]
    fit_size: bool = True
    detectors: bool = False
    origin: tuple[tuple[str, Any], ...] = ()

    @classmethod
    def of_table(
        cls,
        table: Path,
        matchers: Sequence[str],
        *,
        root: Path | None = None,
        filters: Sequence[str] = (),
        limit: int | None = None,
        detectors: bool = False,
        config: MatchConfig | None = None,
    ) -> Self:
        """Reads a table of cases and chooses what to run.

        Args:
            table: The table (`read_cases`).
            matchers: Names of matchers.
            root: Folder that the image paths start from; that of the table when None.
            filters: ``KEY=VALUE`` texts, see `parse_filters`.
            limit: At most so many cases, see `select_cases`.
            detectors: Measure keypoints too.
            config: Settings that the matchers share; a ``size`` it names is kept, otherwise nothing
                is reduced.

        Raises:
            InputError: The table cannot be read.
            ConfigError: A filter makes no sense, or no case passes.
        """
        chosen = parse_filters(filters)
        selected = select_cases(read_cases(table), chosen, limit)
        base = config or MatchConfig()
        return cls(
            tuple(selected),
            table.parent if root is None else root,
            tuple(make_config(base, matcher=name) for name in dict.fromkeys(matchers)),
            fit_size="size" not in base.model_fields_set,
            detectors=detectors,
            origin=(
                ("table", str(table)),
                ("filters", {key: list(values) for key, values in chosen.items()}),
                ("limit", limit),
            ),
        )

    def identity(self) -> dict[str, Any]:
        """What must be the same for two runs to be one."""
        return {
            "cases": {"sha256": fingerprint(self.cases), "count": len(self.cases)},
            "matchers": [config.matcher for config in self.configs],
            "settings": [settings_of(config) for config in self.configs],
            "files": self._files,
            "fit_size": self.fit_size,
            "detectors": self.detectors,
        }

    @cached_property
    def _files(self) -> str:
        """sha256 of what the images, the masks and the weights hold, wherever they lie."""
        images = (str(path) for case in self.cases for path in case.images(self.root))
        named = (file for config in self.configs for file in files_of(config))
        held = [
            [file.get("sha256", file.get("sha256_of_parts")) for file in contents(path)[1:]]
            for path in dict.fromkeys([*images, *named])
        ]
        return hashlib.sha256(json.dumps(held).encode()).hexdigest()


@dataclass(frozen=True)
class Run:
    """What came of a benchmark.

    Attributes:
        results: A row for each case and matcher, by matcher in order, then case in order.
        detectors: The keypoints' rows.
        sittings: Machine, commit, command and time of each sitting of the run, in order.
    """

    results: list[Result]
    detectors: list[DetectorResult]
    sittings: list[dict[str, Any]]


def run_benchmark(
    plan: BenchPlan,
    out: Path,
    *,
    jobs: int = 1,
    resume: bool = False,
    overwrite: bool = False,
    command: str = "",
    on_result: Callable[[Result], None] | None = None,
) -> Run:
    """Run a plan; leaves ``results.csv`` (and ``detectors.csv``) in a folder.

    Each matcher runs in worker processes of its own, so that its peak of memory is its own; rows
    reach the disk one by one.

    Args:
        plan: What to run.
        out: Folder, made where it is missing.
        jobs: Worker processes at a time; more than one take one thread each.
        resume: Go on with the run that is in the folder, if there is one.
        overwrite: Throw away the run that is in the folder.
        command: Command line to remember.
        on_result: Called with each row, those of an earlier sitting first.

    Raises:
        ImatchError: A matcher cannot be loaded, an image is missing, the folder cannot be used or
            holds another run.
    """
    notify = on_result or (lambda _result: None)
    check_images(plan.cases, plan.root)
    sittings = _open(plan, out, resume=resume, overwrite=overwrite)
    sittings.append({**environment(command), "jobs": jobs})
    _write_run(out, plan, sittings)

    order = [(config.matcher, case.name) for config in plan.configs for case in plan.cases]
    results, detectors = _earlier(plan, out, set(order))
    for result in results.values():
        notify(result)
    with _journals(plan, out) as (rows, keypoints):
        for config in plan.configs:
            waiting = [case for case in plan.cases if (config.matcher, case.name) not in results]
            task = worker.CaseTask(config, plan.root, plan.fit_size, plan.detectors, jobs > 1)
            for result, measured in _run_matcher(task, waiting, jobs):
                if measured is not None:
                    # First, so that a row of results always has its keypoints beside it.
                    key = measured.matcher, measured.case
                    detectors[key] = keypoints.append(measured)
                results[result.matcher, result.case] = rows.append(result)
                notify(result)
    done = Run(
        [results[key] for key in order], [detectors[k] for k in order if k in detectors], sittings
    )
    # Workers finish in any order; the finished table has one.
    with atomic_path(out / RESULTS, overwrite=True) as path:
        write_rows(path, Result, done.results)
    if plan.detectors:
        with atomic_path(out / DETECTORS, overwrite=True) as path:
            write_rows(path, DetectorResult, done.detectors)
    return done


def _open(plan: BenchPlan, out: Path, *, resume: bool, overwrite: bool) -> list[dict[str, Any]]:
    """Make the folder ready; give the earlier sittings of the run that is to go on."""
    try:
        out.mkdir(parents=True, exist_ok=True)
        remove_leftovers(out)
        there = any(out.iterdir())
    except OSError as error:
        raise OutputError(error.strerror or str(error), subject=out) from error
    if resume and (out / RUN).exists():
        return _same_run(plan, out)
    if there and not overwrite:
        kept = (out / RUN).exists()
        raise OutputError(
            "already holds a benchmark" if kept else "already exists and is not empty",
            subject=out,
            hint="pass --resume to go on with it, or --overwrite to begin anew"
            if kept
            else "choose another folder, or pass --overwrite",
        )
    for name in FILES:
        (out / name).unlink(missing_ok=True)
    return []


def _same_run(plan: BenchPlan, out: Path) -> list[dict[str, Any]]:
    path = out / RUN
    anew = "repeat the options it was begun with, or pass --overwrite to begin anew"
    try:
        before = parse_json(path.read_text(encoding="utf-8"))
        identity, sittings = before["identity"], checked_sittings(before["sittings"])
        same_schema = before["schema"] == SCHEMA
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise OutputError(
            "is no record of a benchmark", subject=path, hint="pass --overwrite to begin anew"
        ) from error
    if not same_schema:
        raise OutputError("is of another version", subject=path, hint="pass --overwrite")
    now = plan.identity()
    for key in now:
        if identity.get(key) != now[key]:
            raise ConfigError(
                f"cannot resume: {_difference(key, identity.get(key), now[key])}",
                subject=out,
                hint=anew,
            )
    return sittings


def _difference(key: str, before: Any, now: Any) -> str:
    if key == "matchers":
        return f"it ran {', '.join(before)}, not {', '.join(now)}"
    if key == "cases":
        return f"it ran {before['count']} cases, and these {now['count']} are not the same"
    if key == "settings":
        changed = [
            f"{name} was {old.get(name)!r} and is {new[name]!r}"
            for old, new in zip(before, now, strict=True)
            for name in new
            if old.get(name) != new[name]
        ]
        return changed[0] if changed else "the settings differ"
    if key == "files":
        return "its images, masks or weights hold something else by now"
    if key == "detectors":
        return f"it ran {'with' if before else 'without'} --detectors"
    return f"{key} was {before!r} and is {now!r}"


def _write_run(out: Path, plan: BenchPlan, sittings: Sequence[dict[str, Any]]) -> None:
    document = {
        "schema": SCHEMA,
        "identity": plan.identity(),
        "origin": dict(plan.origin),
        "root": str(plan.root),
        "sittings": list(sittings),
    }
    with atomic_path(out / RUN, overwrite=True) as path:
        path.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")


def _earlier(
    plan: BenchPlan, out: Path, wanted: set[tuple[str, str]]
) -> tuple[dict[tuple[str, str], Result], dict[tuple[str, str], DetectorResult]]:
    """Rows of earlier sittings, whole lines only."""
    results: dict[tuple[str, str], Result] = {}
    detectors: dict[tuple[str, str], DetectorResult] = {}
    for name in (RESULTS, DETECTORS):
        mend(out / name)
    if (out / RESULTS).exists():
        rows = read_rows(out / RESULTS, Result)
        results = {(r.matcher, r.case): r for r in rows if (r.matcher, r.case) in wanted}
    if plan.detectors and (out / DETECTORS).exists():
        measured = read_rows(out / DETECTORS, DetectorResult)
        detectors = {(d.matcher, d.case): d for d in measured if (d.matcher, d.case) in results}
    return results, detectors


@contextmanager
def _journals(plan: BenchPlan, out: Path) -> Iterator[tuple[Journal, Journal]]:
    rows = Journal(out / RESULTS, Result.columns())
    keypoints = Journal(out / DETECTORS, DetectorResult.columns()) if plan.detectors else rows
    try:
        yield rows, keypoints
    finally:
        rows.close()
        keypoints.close()


def _run_matcher(
    task: worker.CaseTask, cases: Sequence[Case], jobs: int
) -> Iterator[tuple[Result, DetectorResult | None]]:
    """Rows of one matcher as they come."""
    if not cases:
        return
    # Fresh interpreters: forked ones would inherit this process's memory, and torch's threads.
    pool = ProcessPoolExecutor(
        min(jobs, len(cases)),
        mp_context=get_context("spawn"),
        initializer=worker.start,
        initargs=(task,),
    )
    waiting: list[Future[tuple[Result, DetectorResult | None]]] = []
    try:
        with one_thread_each(task.single_thread):
            waiting = [pool.submit(worker.run, case) for case in cases]
        for future in as_completed(waiting):
            yield future.result()
    except BrokenProcessPool as error:
        raise ImatchError(
            "a worker process was killed, perhaps for its memory",
            subject=task.config.matcher,
            hint="run again with --resume, and with fewer --jobs",
        ) from error
    finally:
        _end(pool, waiting)


def _end(pool: ProcessPoolExecutor, waiting: Sequence[Future[Any]]) -> None:
    """Close the pool; at an error or an interrupt without waiting for what runs."""
    if not all(future.done() for future in waiting):
        # The pool has no way of its own to end work that has begun (before Python 3.14).
        for process in list((pool._processes or {}).values()):
            process.terminate()
    pool.shutdown(wait=True, cancel_futures=True)
