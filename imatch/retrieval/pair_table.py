"""Reads tables of image pairs with optional labels."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

from imatch.core.errors import InputError
from imatch.core.io.tables import of_cell, text_rows
from imatch.raster.names import located

#: Names a column may have.
_FIRST, _SECOND = ("a", "reference"), ("b", "target")
_LABEL, _GROUP, _SCORE = ("label", "same", "duplicate"), ("group", "place"), ("score",)
_TRUE, _FALSE = {"1", "true", "yes"}, {"0", "false", "no"}


@dataclass(frozen=True)
class ImagePair:
    """Two images.

    Attributes:
        a: One file.
        b: The other.
        label: Whether they belong together, None where that is not told.
        group: The place: pairs of one place are held out together. Without a column, `a`.
        score: What another program gave the pair, None without.
    """

    a: str
    b: str
    label: bool | None = None
    group: str = ""
    score: float | None = None


def read_pairs(path: Path) -> list[ImagePair]:
    """Read a CSV with columns ``a``, ``b`` (or ``reference``, ``target``).

    ``label`` (1 or 0), ``group`` and ``score`` may be there too. Paths start from the file's
    folder. A table of labels and scores alone needs no images.

    Raises:
        InputError: It cannot be read, lacks a column, holds no pairs or a value that is none.
    """
    try:
        rows = list(csv.DictReader(text_rows(path, encoding="utf-8-sig")))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        cause = getattr(error, "strerror", None) or "is no CSV"
        raise InputError(cause, subject=path, hint="name a CSV of pairs") from error
    if not rows:
        raise InputError("holds no pairs", subject=path, hint="write columns a, b and a row a pair")
    names = {name.strip().casefold(): name for name in rows[0] if name is not None}
    first, second, label, group, score = (
        next((names[name] for name in known if name in names), None)
        for known in (_FIRST, _SECOND, _LABEL, _GROUP, _SCORE)
    )
    if (first is None or second is None) and (label is None or score is None):
        raise InputError(
            f"has the columns {', '.join(names)}",
            subject=path,
            hint="name the images in columns a and b",
        )
    pairs = []
    for number, row in enumerate(rows, start=2):
        images = [_file(row[name], path) if name is not None else "" for name in (first, second)]
        pairs.append(
            ImagePair(
                images[0],
                images[1],
                _answer(row[label], path, number) if label else None,
                (row[group] or "").strip() if group else images[0] or str(number),
                _number(row[score], path, number) if score else None,
            )
        )
    return pairs


def _file(text: str | None, table: Path) -> str:
    name = of_cell((text or "").strip())
    if not name:
        raise InputError("a pair lacks an image", subject=table, hint="fill the columns a and b")
    return located(name, table.absolute().parent)


def _answer(text: str | None, table: Path, line: int) -> bool | None:
    word = (text or "").strip().casefold()
    if word in _TRUE | _FALSE:
        return word in _TRUE
    if not word:
        return None
    raise InputError(f"line {line}: {text!r} is no answer", subject=table, hint="write 1 or 0")


def _number(text: str | None, table: Path, line: int) -> float:
    try:
        return float(text or "")
    except ValueError as error:
        raise InputError(
            f"line {line}: {text!r} is no number", subject=table, hint="give every pair a score"
        ) from error
