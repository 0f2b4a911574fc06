"""Runs every matcher on every case in worker processes, journalled and resumable."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Self

from imatch.benchmark import worker
from imatch.benchmark.cases import (
    Case,
    check_images,
    fingerprint,
    parse_filters,
    read_cases,
    select_cases,
)
from imatch.benchmark.detectors import DetectorResult
from imatch.benchmark.environment import environment
from imatch.benchmark.results import Result
from imatch.core.io.files import atomic_path
from imatch.core.io.tables import Journal, write_rows
from imatch.core.pool import WorkerPool
from imatch.core.run_folder import RunFolder, first_change, plain_change
from imatch.pipeline.pair.config import MatchConfig, make_config
from imatch.pipeline.pair.identity import contents, files_of, settings_of

SCHEMA = "imatch.bench-run/1"
RESULTS, DETECTORS, RUN = "results.csv", "detectors.csv", "run.json"
SUMMARIES = ("summary.json", "summary.md", "report.html")


@dataclass(frozen=True)
class BenchPlan:
    """The cases, matchers and settings of a benchmark.

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
        """Returns what must be equal for two runs to be the same."""
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
        """Returns the sha256 of the contents of images, masks and weights, wherever they lie."""
        images = (str(path) for case in self.cases for path in case.images(self.root))
        named = (file for config in self.configs for file in files_of(config))
        held = [
            [file.get("sha256", file.get("sha256_of_parts")) for file in contents(path)[1:]]
            for path in dict.fromkeys([*images, *named])
        ]
        return hashlib.sha256(json.dumps(held).encode()).hexdigest()


@dataclass(frozen=True)
class Run:
    """The results of a benchmark.

    Attributes:
        results: A row for each case and matcher, by matcher in order, then case in order.
        detectors: The keypoints' rows.
        sessions: Machine, commit, command and time of each session of the run, in order.
        summary: What ``summary.json`` says; empty before there is one.
    """

    results: list[Result]
    detectors: list[DetectorResult]
    sessions: list[dict[str, Any]]
    summary: dict[str, Any] = field(default_factory=dict)


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
    """Runs a plan and leaves ``results.csv`` (and ``detectors.csv``) in a folder.

    Each matcher runs in worker processes of its own, so that its peak of memory is its own; rows
    reach the disk one by one.

    Args:
        plan: What to run.
        out: Folder, made where it is missing.
        jobs: Worker processes at a time; more than one take one thread each.
        resume: Go on with the run that is in the folder, if there is one.
        overwrite: Throw away the run that is in the folder.
        command: Command line to remember.
        on_result: Called with each row, those of an earlier session first.

    Raises:
        ImatchError: A matcher cannot be loaded, an image is missing, the folder cannot be used or
            holds another run.
    """
    notify = on_result or (lambda _result: None)
    check_images(plan.cases, plan.root)
    folder = RunFolder(out, "benchmark", RUN, SCHEMA, files=(RESULTS, DETECTORS, *SUMMARIES))
    sessions = folder.open(
        plan.identity(),
        resume=resume,
        overwrite=overwrite,
        session={**environment(command), "jobs": jobs},
        members={"origin": dict(plan.origin), "root": str(plan.root)},
        describe=_difference,
    )

    order = [(config.matcher, case.name) for config in plan.configs for case in plan.cases]
    rows = Journal(out / RESULTS, Result)
    keypoints = Journal(out / DETECTORS, DetectorResult) if plan.detectors else None
    wanted = set(order)
    results = {key: row for row in rows.rows if (key := (row.matcher, row.case)) in wanted}
    held = keypoints.rows if keypoints else []
    measured = {key: row for row in held if (key := (row.matcher, row.case)) in results}
    for result in results.values():
        notify(result)
    for config in plan.configs:
        waiting = [case for case in plan.cases if (config.matcher, case.name) not in results]
        task = worker.CaseTask(config, plan.root, plan.fit_size, plan.detectors)
        for result, points in _run_matcher(task, waiting, jobs):
            key = result.matcher, result.case
            if points is not None and keypoints is not None:
                # First, so that a row of results always has its keypoints beside it.
                measured[key] = keypoints.append(points)
            results[key] = rows.append(result)
            notify(result)
    points_of = [measured[key] for key in order if key in measured]
    done = Run([results[key] for key in order], points_of, sessions)
    # Workers finish in any order; the finished table has one.
    with atomic_path(out / RESULTS, overwrite=True) as path:
        write_rows(path, Result, done.results)
    if plan.detectors:
        with atomic_path(out / DETECTORS, overwrite=True) as path:
            write_rows(path, DetectorResult, done.detectors)
    return done


def _difference(key: str, before: Any, now: Any) -> str:
    if key == "matchers":
        return f"it ran {', '.join(before)}, not {', '.join(now)}"
    if key == "cases":
        return f"it ran {before['count']} cases, and these {now['count']} are not the same"
    if key == "settings":
        return next(filter(None, map(first_change, before, now)), "the settings differ")
    if key == "files":
        return "its images, masks or weights hold something else by now"
    if key == "detectors":
        return f"it ran {'with' if before else 'without'} --detectors"
    return plain_change(key, before, now)


def _run_matcher(
    task: worker.CaseTask, cases: Sequence[Case], jobs: int
) -> Iterator[tuple[Result, DetectorResult | None]]:
    """Yields the rows of one matcher as they come."""
    if not cases:
        return
    with WorkerPool(
        min(jobs, len(cases)),
        worker.start,
        (task,),
        # More than one share the machine.
        single_thread=jobs > 1,
        subject=task.config.matcher,
        hint="run again with --resume, and with fewer --jobs",
    ) as pool:
        yield from pool.map(worker.run, cases)
