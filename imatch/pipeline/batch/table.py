"""Reads pairs with settings of their own from a CSV table."""

from __future__ import annotations

import csv
import difflib
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from imatch.core.errors import ConfigError, InputError
from imatch.core.io.tables import of_cell
from imatch.core.settings import parse_yaml
from imatch.pipeline.batch.pairs import BatchPair, name_pairs
from imatch.pipeline.pair.config import MatchConfig
from imatch.raster.names import located

REQUIRED = ("reference", "target")
# What decides for the whole run, and what no table may say of one pair.
_NO_COLUMNS = frozenset({"device", "fetch", "weights"})
_SETTINGS = tuple(name for name in MatchConfig.model_fields if name not in _NO_COLUMNS)


def read_pairs(path: Path) -> list[BatchPair]:
    """Read a table of pairs.

    Its columns are ``reference`` and ``target``, perhaps ``name``, and any setting of
    `MatchConfig` for the one pair (``ref_bands``, ``tgt_mask``, ``matcher``...); columns whose
    name begins with ``#`` are remarks. Relative paths start from the table's folder. Separated by
    commas, semicolons or tabs.

    Args:
        path: The CSV file, UTF-8.

    Returns:
        The pairs, named, in order.

    Raises:
        InputError: The table is missing, empty or lacks a column, or a row is not what it says.
        ConfigError: A value makes no sense as the setting it is given for.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise InputError(error.strerror or str(error), subject=path) from error
    except UnicodeDecodeError as error:
        raise InputError("is not text in UTF-8", subject=path, hint="save it as CSV") from error
    if "\0" in text:
        raise InputError("holds a NUL, so it is no text", subject=path, hint="save it as CSV")
    header, _, _ = text.partition("\n")
    separator = max(",;\t", key=header.count)
    # Strict, so that an unclosed quote is told rather than swallowing the rest of the table.
    rows = csv.reader(text.splitlines(keepends=True), delimiter=separator, strict=True)
    try:
        columns = [column.strip() for column in next(rows, [])]
        _check_columns(path, columns)
        pairs = [
            _pair(path, rows.line_num, columns, [of_cell(cell.strip()) for cell in row])
            for row in rows
            if any(cell.strip() for cell in row)
        ]
    except csv.Error as error:
        raise InputError(
            f"line {rows.line_num}: {error}", subject=path, hint="check its quotes"
        ) from error
    if not pairs:
        raise InputError("holds no pairs", subject=path, hint="write a row for each pair")
    return name_pairs(pairs)


def _check_columns(path: Path, columns: Sequence[str]) -> None:
    missing = [name for name in REQUIRED if name not in columns]
    if missing:
        found = ", ".join(columns) or "nothing"
        raise InputError(
            f"lacks the column{'s' * (len(missing) > 1)} {' and '.join(missing)}",
            subject=path,
            hint=f"its first line is {found[:80]}; write reference,target[,name] and settings",
        )
    known = (*REQUIRED, "name", *_SETTINGS)
    for name in columns:
        if name.startswith("#") or not name:
            continue
        if name not in known:
            close = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
            advice = f"did you mean {close[0]}? " if close else ""
            raise InputError(
                f"unknown column {name!r}",
                subject=path,
                hint=f"{advice}settings of a pair are named as in imatch match -s;"
                f" call it #{name} if it is a remark",
            )
        if columns.count(name) > 1:
            raise InputError(f"has two columns {name!r}", subject=path, hint="rename one")


def _pair(path: Path, line: int, columns: Sequence[str], cells: Sequence[str]) -> BatchPair:
    if len(cells) > len(columns) and any(cells[len(columns) :]):
        raise InputError(
            f"line {line} has {len(cells)} values for {len(columns)} columns",
            subject=path,
            hint="quote values that hold the separator",
        )
    row = {
        name: cell
        for name, cell in zip(columns, cells, strict=False)
        if cell and not name.startswith("#") and name
    }
    absent = [name for name in REQUIRED if name not in row]
    if absent:
        raise InputError(
            f"line {line} has no {' and no '.join(absent)}", subject=path, hint="name a file"
        )
    reference, target = (_located(path, row.pop(name)) for name in REQUIRED)
    name = row.pop("name", "")
    settings: dict[str, Any] = {key: _value(path, line, key, text) for key, text in row.items()}
    return BatchPair(name, reference, target, settings)


def _value(path: Path, line: int, name: str, text: str) -> Any:
    if name.endswith("_mask") or name == "points":
        return _located(path, text)
    if name.endswith("_bands"):
        parts = [part for part in re.split(r"[,;\s]+", text) if part]
        return [int(part) if part.isdigit() else part for part in parts]
    if name == "tolerance":
        return text
    try:
        return parse_yaml(text)
    except ValueError as error:
        raise ConfigError(
            f"line {line}: {text!r} is no value for {name}", subject=path, hint="check it"
        ) from error


def _located(table: Path, text: str) -> str:
    """A path as seen from the table's folder; URLs and ``/vsi…`` paths as they are."""
    return located(text, table.absolute().parent)
