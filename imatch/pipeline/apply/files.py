"""Applies a registration to many files in processes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from imatch.core.errors import ImatchError, OutputError
from imatch.core.io.files import check_local
from imatch.core.pool import map_processes
from imatch.pipeline.apply.file import ApplyOptions, FileOrPart, apply_file, output_paths
from imatch.pipeline.apply.geotransform import check_geotransform
from imatch.pipeline.registration.geo_correction import GeoCorrection


@dataclass(frozen=True)
class Applied:
    """Result of applying a registration to a file.

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
        check_local(folder)
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(error.strerror or str(error), subject=folder) from error
    output_paths(list(paths), folder)
    report_progress = on_progress or (lambda _share: None)
    if jobs <= 1 or len(paths) <= 1:
        for path in paths:
            rest = [1.0]

            def report(share: float, rest: list[float] = rest) -> None:
                rest[0] -= share
                report_progress(share)

            done = _apply(mapping, folder, options, path, report)
            report_progress(rest[0])
            yield done
        return
    work = partial(_apply, mapping, folder, options)
    hint = "what was finished is kept: apply the rest with fewer --jobs"
    for done in map_processes(work, paths, jobs, hint=hint):
        report_progress(1.0)
        yield done


def _apply(
    mapping: GeoCorrection,
    folder: Path,
    options: ApplyOptions,
    path: FileOrPart,
    on_progress: Callable[[float], None] | None = None,
) -> Applied:
    try:
        out, remark = apply_file(mapping, path, folder, options, on_progress=on_progress)
    except ImatchError as error:
        return Applied(path, error=error)
    return Applied(path, out, remark)
