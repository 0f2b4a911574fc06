"""Apply a registration to many files; one that fails does not cost the others."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from imatch.core.errors import ImatchError, OutputError
from imatch.core.workers import begin_worker, one_thread_each
from imatch.pipeline.apply.file import ApplyOptions, FileOrPart, apply_file, output_paths
from imatch.pipeline.apply.geotransform import check_geotransform
from imatch.pipeline.registration.geo_correction import GeoCorrection


@dataclass(frozen=True)
class Applied:
    """What became of a file.

    Attributes:
        path: The file.
        out: What was written, None if nothing was.
        remark: What else there is to say of it.
        error: Why nothing was written, None if something was.
    """

    path: FileOrPart
    out: Path | None = None
    remark: str = ""
    error: ImatchError | None = None


def apply_files(
    mapping: GeoCorrection,
    paths: Sequence[FileOrPart],
    folder: Path,
    options: ApplyOptions | None = None,
    *,
    jobs: int = 1,
    on_progress: Callable[[float], None] | None = None,
) -> Iterator[Applied]:
    """Apply a registration to rasters, vectors and products, into one folder.

    Args:
        mapping: The registration.
        paths: The files.
        folder: Where the outputs go, under their inputs' names; made where it is missing.
        options: How they are written.
        jobs: Worker processes; each file is one's own, and already takes two threads.
        on_progress: Told the share of a file done since it was told last; the shares of all files
            add up to their number.

    Yields:
        What became of each file, as they are done.

    Raises:
        ConfigError: Two files would have one output.
        InputError: A geotransform is to be corrected, and the reference has none.
        OutputError: The folder cannot be made.
        ImatchError: A worker process was killed.
    """
    options = options or ApplyOptions()
    if options.geotransform_only:
        check_geotransform(mapping.reference)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(error.strerror or str(error), subject=folder) from error
    output_paths(list(paths), folder)
    told = on_progress or (lambda _share: None)
    if jobs <= 1 or len(paths) <= 1:
        for path in paths:
            rest = [1.0]

            def tell(share: float, rest: list[float] = rest) -> None:
                rest[0] -= share
                told(share)

            done = _apply(mapping, path, folder, options, tell)
            told(rest[0])
            yield done
        return
    for done in _in_processes(mapping, paths, folder, options, jobs):
        told(1.0)
        yield done


def _apply(
    mapping: GeoCorrection,
    path: FileOrPart,
    folder: Path,
    options: ApplyOptions,
    on_progress: Callable[[float], None] | None = None,
) -> Applied:
    try:
        out, remark = apply_file(mapping, path, folder, options, on_progress=on_progress)
    except ImatchError as error:
        return Applied(path, error=error)
    return Applied(path, out, remark)


def _in_processes(
    mapping: GeoCorrection,
    paths: Sequence[FileOrPart],
    folder: Path,
    options: ApplyOptions,
    jobs: int,
) -> Iterator[Applied]:
    # Fresh interpreters: GDAL's caches and OpenCV's threads do not survive a fork.
    pool = ProcessPoolExecutor(
        min(jobs, len(paths)), mp_context=get_context("spawn"), initializer=begin_worker
    )
    waiting: list[Future[Any]] = []
    try:
        with one_thread_each():
            waiting = [pool.submit(_apply, mapping, path, folder, options) for path in paths]
        for future in as_completed(waiting):
            yield future.result()
    except BrokenProcessPool as error:
        raise ImatchError(
            "a worker process was killed, perhaps for its memory",
            hint="what was finished is kept: apply the rest with fewer --jobs",
        ) from error
    finally:
        if not all(future.done() for future in waiting):
            # The pool has no way of its own to end work that has begun (before Python 3.14).
            for process in list((pool._processes or {}).values()):
                process.terminate()
        pool.shutdown(wait=True, cancel_futures=True)
