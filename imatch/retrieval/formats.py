"""Registry of the formats of search results, which the help lists and files are written by."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from imatch.core.errors import ConfigError
from imatch.core.io.files import atomic_path, check_output

if TYPE_CHECKING:
    from imatch.raster import Source
    from imatch.retrieval.results import SearchResult

#: Suffix -> ``"module:function"`` of its writer, imported when a file is written, and whether it
#: draws the query too; a new format is a new row.
FORMATS: dict[str, tuple[str, bool]] = {
    ".json": ("imatch.retrieval.results:write_hits_json", False),
    ".geojson": ("imatch.retrieval.results:write_hits_geojson", False),
    ".csv": ("imatch.retrieval.results:write_hits_csv", False),
    ".png": ("imatch.retrieval.figure:write_figure", True),
}


def check_result_files(paths: Sequence[Path], *, overwrite: bool) -> None:
    """Refuses early what could not be written later.

    Raises:
        ConfigError: A suffix is none of `FORMATS`.
        OutputError: As `check_output`.
    """
    for path in paths:
        if path.suffix.lower() not in FORMATS:
            raise ConfigError(
                "does not tell the format by its suffix",
                subject=path,
                hint=f"use {', '.join(FORMATS)}",
            )
        check_output(path, overwrite=overwrite)


def write_result(
    result: SearchResult, query: Source, path: Path, *, overwrite: bool = False
) -> None:
    """Writes a search result in the format that a suffix names.

    Args:
        result: What was found.
        query: The query, for the figure.
        path: Where to.
        overwrite: Whether an existing file may be replaced.

    Raises:
        ConfigError: Another suffix.
        OutputError: The place refuses.
    """
    check_result_files([path], overwrite=overwrite)
    name, draws = FORMATS[path.suffix.lower()]
    module, _, function = name.partition(":")
    write = getattr(import_module(module), function)
    with atomic_path(path, overwrite=overwrite) as temporary:
        write(result, temporary, *([query] if draws else []))
