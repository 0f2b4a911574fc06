"""Cells that spreadsheets would run, and tables that come back as they were."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imatch.core.errors import InputError, OutputError
from imatch.core.io.tables import Journal, Plain, as_cell, mend, of_cell, read_rows, write_rows

DANGEROUS = tuple("=+-@\t\r\n＝＋－＠")


@dataclass(frozen=True)
class Line(Plain):
    name: str
    shift: float = -1.5
    count: int = -2


@given(st.text(alphabet=st.sampled_from("=+-@\t\r\n＋'ab1 "), max_size=6))
def test_cells_are_no_formulas_and_come_back(text: str) -> None:
    cell = str(as_cell(text))
    assert not cell.startswith(DANGEROUS)
    assert of_cell(cell) == text


def test_numbers_stay_numbers() -> None:
    assert as_cell(-1.5) == -1.5
    assert as_cell("plain") == "plain"
    assert Line("a").row() == {"name": "a", "shift": "-1.5", "count": "-2"}


@pytest.mark.parametrize(
    "name", ["+2", "=HYPERLINK(1)", "-a", "@x", "'quoted", "'=x", "a,b", "a\rb\n"]
)
def test_tables_keep_such_names(tmp_path: Path, name: str) -> None:
    path = tmp_path / "table.csv"
    write_rows(path, Line, [Line(name)])
    journal = Journal(path, Line)
    journal.append(Line(name, 2.0))
    assert read_rows(path, Line) == [Line(name), Line(name, 2.0)]
    with path.open(newline="") as file:
        assert not any(row[0].startswith(DANGEROUS) for row in csv.reader(file))


def test_a_journal_does_not_grow_elsewhere(tmp_path: Path) -> None:
    other, link = tmp_path / "notes.txt", tmp_path / "results.csv"
    other.write_text("mine, and no line end")
    link.symlink_to(other)
    for touch in (lambda: Journal(link, Line), lambda: mend(link)):
        with pytest.raises(OutputError, match="is a link"):
            touch()
    assert other.read_text() == "mine, and no line end"


@pytest.mark.parametrize("text", ["name,shift,count\na,1\n", "name,shift,count\na,1,2,3\n"])
def test_a_row_of_another_length_is_no_row(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.csv").write_text(text)
    with pytest.raises(InputError, match="row 1 has other columns"):
        read_rows(tmp_path / "a.csv", Line)
