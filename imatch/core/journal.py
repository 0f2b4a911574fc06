"""Tables that grow a row at a time: dataclasses as CSV rows, in a journal that survives crashes."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any, ClassVar, Protocol, Self, TypeVar

from imatch.core.errors import InputError, OutputError

#: Cells of a 3 x 3 matrix, row by row, as their columns end.
CELLS = tuple(f"{i}{j}" for i in range(3) for j in range(3))
RowT = TypeVar("RowT", bound="Tabular")


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
    """Dataclasses of str, int and float fields as CSV; a tuple of nine becomes nine columns."""

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
            values += [f"{v:.10g}" if isinstance(v, float) else str(v) for v in items]
        return dict(zip(self.columns(), values, strict=True))

    @classmethod
    def from_row(cls, row: Mapping[str, str]) -> Self:
        """The inverse of `row`.

        Raises:
            KeyError: A column is missing.
            ValueError: A number is none.
        """
        kinds = {"str": str, "int": int, "float": float}
        values: dict[str, Any] = {}
        for field in fields(cls):
            letter = cls.matrices.get(field.name)
            if letter is None:
                values[field.name] = kinds.get(str(field.type), str)(row[field.name])
            else:
                values[field.name] = tuple(float(row[f"{letter}{cell}"]) for cell in CELLS)
        return cls(**values)


class Journal:
    """A CSV file that grows a row at a time and survives a crash after every one.

    Args:
        path: The file; made with its header where it is missing or empty.
        columns: Names of the columns.
    """

    def __init__(self, path: Path, columns: list[str]) -> None:
        self._path, self._columns = path, columns
        try:
            self._file = path.open("a", newline="", encoding="utf-8")
            if self._file.tell() == 0:
                self._append(dict(zip(columns, columns, strict=True)))
        except OSError as error:
            raise OutputError(error.strerror or str(error), subject=path) from error

    def append(self, row: Tabular) -> None:
        """Write a row and see it onto the disk.

        Raises:
            OutputError: The disk refused.
        """
        try:
            self._append(row.row())
        except OSError as error:
            raise OutputError(error.strerror or str(error), subject=self._path) from error

    def _append(self, row: Mapping[str, str]) -> None:
        text = io.StringIO()
        csv.DictWriter(text, self._columns, lineterminator="\n").writerow(row)
        self._file.write(text.getvalue())
        self._file.flush()
        os.fsync(self._file.fileno())

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def mend(path: Path) -> None:
    """Cut off what a crash left of the last line."""
    if path.exists():
        content = path.read_bytes()
        whole = content[: content.rfind(b"\n") + 1]
        if whole != content:
            with path.open("r+b") as file:
                file.truncate(len(whole))


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


def checked_sittings(value: object) -> list[dict[str, Any]]:
    """What a record of a run says of each time it was begun or gone on with.

    Raises:
        TypeError: That is something else.
    """
    if not isinstance(value, list):
        raise TypeError("no list of sittings")
    for item in value:
        if not isinstance(item, dict):
            raise TypeError("a sitting is no mapping")
        if not all(isinstance(item.get(name, {}), dict) for name in ("machine", "versions")):
            raise TypeError("a sitting's machine or versions are no mapping")
    return value


def read_rows(path: Path, kind: type[RowT]) -> list[RowT]:
    """Read a table written by `Journal` or `write_rows`.

    Raises:
        InputError: The file is missing or is another table.
    """
    try:
        return [kind.from_row(row) for row in csv.DictReader(text_rows(path))]
    except OSError as error:
        raise InputError(error.strerror or str(error), subject=path) from error
    except (KeyError, ValueError, TypeError, csv.Error) as error:
        raise InputError(
            f"is no table of results of this version ({error})",
            subject=path,
            hint="pass --overwrite to begin anew",
        ) from error


def write_rows(path: Path, kind: type[RowT], rows: Iterable[RowT]) -> None:
    """Write a whole table."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, kind.columns(), lineterminator="\n")
        writer.writeheader()
        writer.writerows(row.row() for row in rows)
