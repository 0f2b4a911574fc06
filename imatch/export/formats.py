"""The registry of output formats, which help texts list and files are written by."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib import import_module
from os import path as os_path
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

from imatch.core.errors import ConfigError, ImatchError, OutputError
from imatch.core.io.files import atomic_path, check_output

if TYPE_CHECKING:
    from imatch.pipeline.registration.result import Registration


@dataclass(frozen=True)
class Format:
    """A row of the registry: one output format.

    Attributes:
        description: One line for help texts.
        writer: ``"module:function"``; imported only when a file is written, since GDAL, geopandas
            and matplotlib are slow to load.
        located: The writer also wants ``folder``, the folder in which the file will finally lie.
        needs_transform: Ground control points come from the transform: without one there is nothing
            to put into them.
    """

    description: str
    writer: str
    located: bool = False
    needs_transform: bool = False


#: Suffix to format; a new format is a new row.
ROWS: dict[str, Format] = {
    ".json": Format(
        "the whole registration, readable back",
        "imatch.pipeline.registration.io:write_json",
    ),
    ".geojson": Format(
        "tie points as GeoJSON in WGS 84 longitude and latitude",
        "imatch.export.vectors:write_geojson",
    ),
    ".gpkg": Format(
        "tie points and shift vectors as GeoPackage layers in the reference's CRS",
        "imatch.export.vectors:write_geopackage",
    ),
    ".points": Format(
        "ground control points for the QGIS Georeferencer",
        "imatch.export.gcps:write_points",
        needs_transform=True,
    ),
    ".csv": Format(
        "tie points as a table",
        "imatch.export.tables:write_csv",
    ),
    ".npz": Format(
        "tie points and matrices as NumPy arrays",
        "imatch.export.tables:write_npz",
    ),
    ".vrt": Format(
        "the target with ground control points, for GDAL and gdalwarp",
        "imatch.export.gcps:write_vrt",
        located=True,
        needs_transform=True,
    ),
    ".png": Format(
        "a picture: matches, before and after, residuals",
        "imatch.export.plot:write_png",
    ),
}

#: Suffix to a one-line description, in the order in which help texts list them.
FORMATS: Mapping[str, str] = MappingProxyType(
    {suffix: row.description for suffix, row in ROWS.items()}
)


@dataclass
class WriteLog:
    """The outcome of writing several files.

    Attributes:
        lines: What to tell of each.
        failures: Why some could not be written.
    """

    lines: list[str] = field(default_factory=list)
    failures: list[ImatchError] = field(default_factory=list)

    @contextmanager
    def attempt(self, path: Path, remark: str = "") -> Iterator[None]:
        """Notes that the block wrote a file, or why it could not, which does not cost the others.

        Args:
            path: The file.
            remark: What else there is to say of it.
        """
        try:
            yield
        except ImatchError as error:
            self.failures.append(error)
        else:
            self.wrote(path, remark)

    def wrote(self, path: Path, remark: str = "") -> None:
        """Notes that a file was written."""
        self.lines.append(f"wrote {path} ({remark})" if remark else f"wrote {path}")

    def refused(self, what: object, reason: str = "") -> None:
        """Notes that something was not to be written, and perhaps why."""
        self.lines.append(f"not written: {what}: {reason}" if reason else f"not written: {what}")

    def check(self) -> None:
        """Raises the first failure, if there is one."""
        if self.failures:
            raise self.failures[0]


#: Names of the formats beside JSON, without which no result of a batch is written.
EXPORTS = tuple(suffix.lstrip(".") for suffix in FORMATS if suffix != ".json")

#: The suffixes of formats that a registration without a transform cannot be written in.
NEED_A_TRANSFORM = frozenset(suffix for suffix, row in ROWS.items() if row.needs_transform)


def write(registration: Registration, path: Path, *, overwrite: bool = False) -> None:
    """Writes a registration in the format that the suffix of a path names, whole or not at all.

    Args:
        registration: What `imatch.match` returned.
        path: Where to; its suffix is one of `FORMATS`, in any case.
        overwrite: Whether an existing file may be replaced.

    Raises:
        ConfigError: The suffix is not one of `FORMATS`.
        OutputError: The place refuses, or this registration lacks what the format needs (map
            coordinates, the target's file, the working images).
    """
    row = _format(path)
    module, _, function = row.writer.partition(":")
    writer = getattr(import_module(module), function)
    with atomic_path(path, overwrite=overwrite) as temporary:
        try:
            if row.located:
                writer(registration, temporary, folder=path.parent)
            else:
                writer(registration, temporary)
        except OutputError as error:
            # The writer knows only the temporary file; people want to read the name they gave.
            if error.subject is None:
                raise OutputError(error.cause, subject=path, hint=error.hint) from error
            raise


def write_all(
    registration: Registration,
    paths: Sequence[Path],
    *,
    overwrite: bool = False,
    log: WriteLog | None = None,
    on_stage: Callable[[str], None] | None = None,
) -> WriteLog:
    """Write a registration to every file that can be written; one that cannot costs no other.

    Args:
        registration: What to write, refusals included: they are results too.
        paths: Files, the format from the suffix.
        overwrite: Whether existing files may be replaced.
        log: Where to add what became of them; a new one when None.
        on_stage: Told which file is being written.

    Returns:
        What became of each file.
    """
    log = WriteLog() if log is None else log
    for path in paths:
        if registration.transform is None and path.suffix.lower() in NEED_A_TRANSFORM:
            log.refused(path, "there is no transform to take control points from")
            continue
        if on_stage is not None:
            on_stage(f"writing {path.name}")
        with log.attempt(path):
            write(registration, path, overwrite=overwrite)
    return log


def check_outputs(paths: Sequence[Path], *, overwrite: bool, inputs: Sequence[Path] = ()) -> None:
    """Refuses, before any work is done, outputs that could not be written after it.

    Args:
        paths: The files to be written.
        overwrite: Whether existing files may be replaced.
        inputs: Files that are read; none of them may be written over, whatever `overwrite` says.

    Raises:
        ConfigError: A suffix is not one of `FORMATS`, or a path is named twice.
        OutputError: A path is an input, exists, or lies in a folder that cannot be written to.
    """
    seen: set[Path] = set()
    for path in paths:
        _format(path)
        place = Path(os_path.realpath(path))
        if place in seen:
            raise ConfigError("is named twice as output", subject=path)
        seen.add(place)
        if place in {Path(os_path.realpath(file)) for file in inputs}:
            raise OutputError(
                "is also an input", subject=path, hint="name another file for the result"
            )
        check_output(path, overwrite=overwrite)


def _format(path: Path) -> Format:
    suffix = path.suffix.lower()
    if suffix in ROWS:
        return ROWS[suffix]
    known = ", ".join(ROWS)
    if not suffix:
        raise ConfigError("has no suffix to tell the format", subject=path, hint=f"use {known}")
    close = difflib.get_close_matches(suffix, ROWS, n=1, cutoff=0.6)
    advice = f"did you mean {close[0]}? " if close else ""
    raise ConfigError(
        f"unknown format {suffix}", subject=path, hint=f"{advice}the formats are {known}"
    )
