"""CSV tables of dataclasses, written whole or appended to row by row with fsync."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any, ClassVar, Generic, Protocol, Self, TypeVar

from imatch.core.errors import InputError, OutputError
from imatch.core.io.files import append, disk_errors

#: Cells of a 3 x 3 matrix, row by row, as their columns end.
CELLS = tuple(f"{i}{j}" for i in range(3) for j in range(3))
RowT = TypeVar("RowT", bound="Tabular")


# What makes a spreadsheet take a cell for a formula, of either width (OWASP, "CSV Injection").
# The apostrophes of a text's own are told from the mark by one more.
_FORMULA = re.compile(r"'*[=+\-@\t\r\n＝＋－＠]")


def as_cell(value: object) -> object:
    """Marks a text that a spreadsheet would run as a formula, by an apostrophe before it.

    Args:
        value: A cell; anything but a text comes back as it is.

    Examples:
        >>> as_cell("=1+1"), as_cell(-1.5), as_cell("field")
        ("'=1+1", -1.5, 'field')
    """
    return f"'{value}" if isinstance(value, str) and _FORMULA.match(value) else value


def of_cell(text: str) -> str:
    """Removes the apostrophe that `as_cell` added; returns any other text as it is."""
    return text[1:] if text.startswith("'") and _FORMULA.match(text) else text


class Tabular(Protocol):
    """A row that goes to CSV and back."""

    @classmethod
    def columns(cls) -> list[str]:
        """Names of the columns."""

    def row(self) -> dict[str, str]:
        """The values as texts."""

    @classmethod
    def from_row(cls, row: Mapping[str, str]) -> Self:
        """The inverse of `row`."""


class Plain:
    """Dataclasses of str, int and float fields as CSV; a tuple of nine becomes nine columns.

    Texts are written by `as_cell` and read by `of_cell`.
    """

    matrices: ClassVar[dict[str, str]] = {}
    __dataclass_fields__: ClassVar[dict[str, Any]]

    @classmethod
    def columns(cls) -> list[str]:
        """Names of the columns, matrices spread out."""
        names: list[str] = []
        for field in fields(cls):
            letter = cls.matrices.get(field.name)
            names += [field.name] if letter is None else [f"{letter}{cell}" for cell in CELLS]
        return names

    def row(self) -> dict[str, str]:
        """The values as texts; floats to ten digits."""
        values: list[str] = []
        for field in fields(self):
            value = getattr(self, field.name)
            items = value if field.name in self.matrices else (value,)
            values += [f"{v:.10g}" if isinstance(v, float) else str(as_cell(v)) for v in items]
        return dict(zip(self.columns(), values, strict=True))

    @classmethod
    def from_row(cls, row: Mapping[str, str]) -> Self:
        """The inverse of `row`.

        Raises:
            KeyError: A column is missing.
            ValueError: A number is none.
        """
        kinds: dict[str, Callable[[str], Any]] = {"str": of_cell, "int": int, "float": float}
        values: dict[str, Any] = {}
        for field in fields(cls):
            letter = cls.matrices.get(field.name)
            if letter is None:
                values[field.name] = kinds.get(str(field.type), of_cell)(row[field.name])
            else:
                values[field.name] = tuple(float(row[f"{letter}{cell}"]) for cell in CELLS)
        return cls(**values)


class Journal(Generic[RowT]):
    """A CSV file that grows a row at a time and survives a crash after every one.

    Args:
        path: The file; made with its header where it is missing or empty. What a crash left of its
            last line is cut off.
        kind: What its rows are.

    Attributes:
        rows: What it held.

    Raises:
        InputError: It is another table.
        OutputError: It is a link, or the disk refused.
    """

    def __init__(self, path: Path, kind: type[RowT]) -> None:
        self._path = path
        with disk_errors(path):
            mend(path)
            held = path.exists() and path.stat().st_size > 0
            self.rows = read_rows(path, kind) if held else []
            if not held:
                append(path, _csv_line(kind.columns()).encode())

    def append(self, row: RowT) -> RowT:
        """Write a row and see it onto the disk.

        Returns:
            The row as a later run reads it: what is made of it is then the same, to the last digit,
            whether a run was interrupted or not.

        Raises:
            OutputError: The disk refused.
        """
        texts = row.row()
        with disk_errors(self._path):
            append(_not_a_link(self._path), _csv_line(texts.values()).encode())
        return type(row).from_row(texts)


def mend(path: Path) -> None:
    """Removes an incomplete last line that a crash left.

    Raises:
        OutputError: The file is a link, to what may be none of ours.
    """
    if _not_a_link(path).exists():
        content = path.read_bytes()
        whole = content[: content.rfind(b"\n") + 1]
        if whole != content:
            with path.open("r+b") as file:
                file.truncate(len(whole))


def _not_a_link(path: Path) -> Path:
    """Returns a path that is no link: appending through one would change another file."""
    if path.is_symlink():
        raise OutputError("is a link", subject=path, hint="put the file itself in its place")
    return path


def text_rows(path: Path, *, encoding: str = "utf-8") -> Iterator[str]:
    """The lines of a table for `csv`, which lets a NUL pass into names of files.

    Raises:
        OSError: The file cannot be read.
        UnicodeDecodeError: It is in another encoding.
        csv.Error: It holds a NUL.
    """
    with path.open(newline="", encoding=encoding) as file:
        for line in file:
            if "\0" in line:
                raise csv.Error("line contains NUL")
            yield line


def read_rows(path: Path, kind: type[RowT]) -> list[RowT]:
    """Read a table written by `Journal` or `write_rows`.

    Raises:
        InputError: The file is missing or is another table.
    """
    try:
        return [kind.from_row(row) for row in _whole_rows(path)]
    except OSError as error:
        raise InputError(error.strerror or str(error), subject=path) from error
    except (KeyError, ValueError, TypeError, csv.Error) as error:
        raise InputError(
            f"is no table of results of this version ({error})",
            subject=path,
            hint="pass --overwrite to begin anew",
        ) from error


def _whole_rows(path: Path) -> Iterator[dict[str, str]]:
    for number, row in enumerate(csv.DictReader(text_rows(path)), start=1):
        # What `csv` makes of a row that is cut short or too long.
        if None in row or None in row.values():
            raise ValueError(f"row {number} has other columns")
        yield row


def write_rows(path: Path, kind: type[RowT], rows: Iterable[RowT]) -> None:
    """Write a whole table."""
    write_csv(path, kind.columns(), (row.row().values() for row in rows))


def write_csv(path: Path, columns: Iterable[str], rows: Iterable[Iterable[object]]) -> None:
    """Write a table of other rows, texts from users and files made cells by `as_cell` before."""
    with path.open("w", newline="", encoding="utf-8") as file:
        file.write(_csv_line(columns))
        file.writelines(_csv_line(row) for row in rows)


def _csv_line(cells: Iterable[object]) -> str:
    line = io.StringIO(newline="")
    # Python before 3.13 quotes a carriage return only where it ends lines, so that here it has to.
    csv.writer(line, lineterminator="\r\n").writerow(cells)
    return f"{line.getvalue()[:-2]}\n"
