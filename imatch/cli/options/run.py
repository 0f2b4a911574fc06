"""Options of the verbs that match many pairs, and what they mean."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from imatch.cli.options.common import PATH, CommandT, added, check_resume, resume_option
from imatch.cli.options.values import parse_size

if TYPE_CHECKING:
    from imatch.matchers.feature_cache import FeatureCache


@dataclass(frozen=True)
class RunOptions:
    """Where and how pairs are matched.

    Attributes:
        jobs: Worker processes.
        dask: A cluster: ``local``, a scheduler's address, or None for processes of our own.
        resume: Go on with an earlier run.
        overwrite: Throw an earlier run away.
        cache: Where features are kept, None for nowhere.
    """

    jobs: int
    dask: str | None
    resume: bool
    overwrite: bool
    cache: FeatureCache | None


def run_options(command: CommandT) -> CommandT:
    """Adds the options that make a `RunOptions`."""
    return added(command, _RUN_OPTIONS)


def chosen_run(params: dict[str, Any]) -> RunOptions:
    """Take what `run_options` gave out of a command's parameters.

    Raises:
        click.UsageError: They contradict each other.
    """
    from imatch.matchers.feature_cache import open_cache

    jobs, dask = chosen_workers(params)
    resume, overwrite = params.pop("resume"), params.pop("overwrite")
    check_resume(resume=resume, overwrite=overwrite)
    folder, limit = params.pop("cache_folder"), params.pop("cache_size")
    cache = None if params.pop("no_cache") else open_cache(folder, limit)
    return RunOptions(jobs, dask, resume, overwrite, cache)


def workers_options(command: CommandT) -> CommandT:
    """``--jobs`` and ``--dask``."""
    return added(command, _WORKERS_OPTIONS)


def chosen_workers(params: dict[str, Any]) -> tuple[int, str | None]:
    """Takes what `workers_options` gave out of a command's parameters: jobs, and a cluster."""
    from imatch.core.cluster import LOCAL

    jobs, dask = params.pop("jobs"), params.pop("dask")
    return jobs or ((os.cpu_count() or 1) if dask == LOCAL else 1), dask


_WORKERS_OPTIONS: tuple[Callable[[Any], Any], ...] = (
    click.option(
        "--jobs",
        type=click.IntRange(1),
        metavar="N",
        help="Worker processes; more than one take one thread each."
        "  [default: 1; with --dask local one a core]",
    ),
    click.option(
        "--dask",
        metavar="ADDRESS",
        help="Run on a Dask cluster: local, or a scheduler's address such as tcp://host:8786.",
    ),
)
_RUN_OPTIONS: tuple[Callable[[Any], Any], ...] = (
    *_WORKERS_OPTIONS,
    resume_option,
    click.option(
        "--overwrite", is_flag=True, help="Throw away the run that the output folder holds."
    ),
    click.option(
        "--cache",
        "cache_folder",
        type=PATH,
        envvar="IMATCH_CACHE",
        show_envvar=True,
        metavar="DIR",
        help="Where features are kept between pairs and runs.  [default: the user's cache folder]",
    ),
    click.option(
        "--cache-size",
        callback=parse_size,
        metavar="SIZE",
        help="What they may take; the least recently used go.  [default: 2GB]",
    ),
    click.option("--no-cache", is_flag=True, help="Keep no features on disk."),
)
