"""A row of results: one matcher on one case; written and read as CSV."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, ClassVar, Literal, Protocol, Self, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

from imatch.bench.cases import CELLS, UNRELATED
from imatch.bench.metrics import FALSE_ACCEPT_PX
from imatch.core.errors import InputError, OutputError

Outcome: TypeAlias = Literal["ok", "uncertain", "failed", "error"]
OUTCOMES: tuple[Outcome, ...] = ("ok", "uncertain", "failed", "error")
NAN = float("nan")
NO_MATRIX = (NAN,) * 9
Nine: TypeAlias = tuple[float, ...]
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


@dataclass(frozen=True)
class Result(Plain):
    """What one matcher made of one case.

    Attributes:
        case: The case's name.
        source: Its data set.
        variant: Its variant.
        tag: Its conditions.
        matcher: Registry name.
        status: ``ok``, ``uncertain``, ``failed``, or ``error`` where it could not be run.
        answer: Reference pixel to presented target pixel, row by row; NaN unless `status` is
            ``ok``. Columns ``h00…h22``.
        corner_error_px: Of the answer; NaN without an answer or without truth.
        n_matches: Putative matches.
        n_inliers: Matches that agree.
        seconds: Wall time of the match, without loading the model or reading files.
        peak_mb: Largest resident memory of the worker so far, in 10⁶ bytes.
        model: Kind of the transform, empty where none was found.
        found_by: The stage of a cascade that gave the answer; of a single matcher its name.
        guess: The transform of an ``uncertain`` result, else NaN. Columns ``u00…u22``.
        guess_error_px: Its corner error.
        shift_x_px: Displacement by the transform at the centre of the overlap, target pixels.
        shift_y_px: The same in y.
        true_shift_x_px: The true displacement of that point.
        true_shift_y_px: The same in y.
        ci95_x_px: Half-width of the stated 95 % interval of the shift.
        ci95_y_px: The same in y.
        inside_ci95_x: 1 where the interval contains the truth, 0 where not, -1 where none is known.
        inside_ci95_y: The same in y.
        reason: Why the status is what it is.
        error: What prevented the run; empty otherwise.
    """

    matrices: ClassVar[dict[str, str]] = {"answer": "h", "guess": "u"}

    case: str
    source: str
    variant: str
    tag: str
    matcher: str
    status: str
    answer: Nine = NO_MATRIX
    corner_error_px: float = NAN
    n_matches: int = 0
    n_inliers: int = 0
    seconds: float = NAN
    peak_mb: float = NAN
    model: str = ""
    found_by: str = ""
    guess: Nine = NO_MATRIX
    guess_error_px: float = NAN
    shift_x_px: float = NAN
    shift_y_px: float = NAN
    true_shift_x_px: float = NAN
    true_shift_y_px: float = NAN
    ci95_x_px: float = NAN
    ci95_y_px: float = NAN
    inside_ci95_x: int = -1
    inside_ci95_y: int = -1
    reason: str = ""
    error: str = ""

    @property
    def positive(self) -> bool:
        """Whether there was anything to find."""
        return self.variant != UNRELATED

    @property
    def score_px(self) -> float:
        """The error that counts: infinite unless the answer was ``ok``."""
        known = self.status == "ok" and np.isfinite(self.corner_error_px)
        return self.corner_error_px if known else float("inf")

    @property
    def false_accept(self) -> bool:
        """Whether a wrong answer was called ``ok``."""
        return self.status == "ok" and (not self.positive or self.score_px > FALSE_ACCEPT_PX)

    @property
    def matrix(self) -> NDArray[np.float64] | None:
        """(3, 3) answer or guess, None where there is neither."""
        for nine in (self.answer, self.guess):
            if np.isfinite(nine).all():
                return np.array(nine).reshape(3, 3)
        return None

    @property
    def shift_errors(self) -> list[tuple[float, float]]:
        """(error, half-width) of each axis for which an interval was stated and the truth known."""
        axes = (
            (self.shift_x_px - self.true_shift_x_px, self.ci95_x_px),
            (self.shift_y_px - self.true_shift_y_px, self.ci95_y_px),
        )
        return [axis for axis in axes if np.isfinite(axis).all()]

    def in_one_line(self) -> Result:
        """The same with texts that need no second line in a table."""
        return replace(
            self, reason=" ".join(self.reason.split()), error=" ".join(self.error.split())
        )


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


def read_rows(path: Path, kind: type[RowT]) -> list[RowT]:
    """Read a table written by `Journal` or `write_rows`.

    Raises:
        InputError: The file is missing or is another table.
    """
    try:
        with path.open(newline="", encoding="utf-8") as file:
            return [kind.from_row(row) for row in csv.DictReader(file)]
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
