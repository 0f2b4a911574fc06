"""Benchmark cases: a table of image pairs with the warp to apply and the true transform."""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from imatch.core.errors import ConfigError, InputError
from imatch.core.io.tables import CELLS, as_cell, of_cell, text_rows, write_csv

UNRELATED = "unrelated"
KEYS = ("case", "source", "variant", "tag")
_GOLDEN = (5**0.5 - 1) / 2
# Entries of a matrix beyond this lead out of any image.
_LARGEST = 1e12
#: What a table must have.
COLUMNS = (
    *KEYS,
    "ref",
    "tgt",
    *(f"w{cell}" for cell in CELLS),
    *(f"h{cell}" for cell in CELLS),
)
#: What it may have beside.
TOLERANCE = "tol_px"


@dataclass(frozen=True, eq=False)
class Case:
    """An image pair with its true transform.

    Attributes:
        name: Unique name, the column ``case``.
        source: Data set.
        variant: How the pair is presented (``near``, ``free``); ``unrelated`` shows two places.
        tag: Conditions, such as ``snow/clear`` (reference/target); may be empty.
        ref: Reference image, as written in the table.
        tgt: Target image, as written in the table.
        warp: (3, 3) target pixel to presented target pixel.
        truth: (3, 3) reference pixel to presented target pixel; None where the pair is unrelated.
        tol_px: How well the truth is known, pixels: a smaller error is as good as none.
    """

    name: str
    source: str
    variant: str
    tag: str
    ref: str
    tgt: str
    warp: NDArray[np.float64]
    truth: NDArray[np.float64] | None
    tol_px: float = 0.0

    @property
    def positive(self) -> bool:
        """Returns whether the two images show the same place."""
        return self.truth is not None

    def images(self, root: Path) -> tuple[Path, Path]:
        """Returns the reference and target files; absolute paths in the table stay as they are."""
        return root / self.ref, root / self.tgt

    def row(self) -> dict[str, str]:
        """Returns the case as a row of a table, numbers with 12 significant digits."""
        truth = np.full((3, 3), np.nan) if self.truth is None else self.truth
        texts = (self.name, self.source, self.variant, self.tag, self.ref, self.tgt)
        numbers = (f"{value:.12g}" for value in (*self.warp.ravel(), *truth.ravel()))
        row = dict(zip(COLUMNS, (*(str(as_cell(t)) for t in texts), *numbers), strict=True))
        return row | {TOLERANCE: f"{self.tol_px:.12g}"}


def read_cases(path: Path) -> list[Case]:
    """Reads a table of cases.

    Args:
        path: CSV file with the columns `COLUMNS`. ``w00…w22`` is the warp, ``h00…h22`` the truth,
            NaN for the variant ``unrelated``; ``tol_px``, if there is one, says how well it is
            known. Others are ignored.

    Raises:
        InputError: The file is missing or empty, lacks a column, or a row makes no sense.
    """
    try:
        reader = csv.DictReader(text_rows(path))
        missing = [name for name in COLUMNS if name not in (reader.fieldnames or ())]
        if not reader.fieldnames:
            raise InputError("is empty", subject=path, hint="name a table of cases")
        if missing:
            more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
            raise InputError(
                f"has no column {missing[0]!r}{more}",
                subject=path,
                hint=f"a table of cases has {', '.join(KEYS)}, ref, tgt, w00…w22, h00…h22",
            )
        cases = [_case(path, reader.line_num, row) for row in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        cause = getattr(error, "strerror", None) or "is not a CSV table"
        raise InputError(cause, subject=path, hint="name a table of cases") from error
    if not cases:
        raise InputError("holds no cases", subject=path, hint="add a row for each pair")
    seen: set[str] = set()
    for case in cases:
        if case.name in seen:
            raise InputError(f"names the case {case.name!r} twice", subject=path)
        seen.add(case.name)
    return cases


def write_cases(path: Path, cases: Iterable[Case]) -> None:
    """Writes a table of cases that `read_cases` reads."""
    write_csv(path, (*COLUMNS, TOLERANCE), (case.row().values() for case in cases))


def parse_filters(texts: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """Parses ``key=pattern`` texts to patterns by key.

    Raises:
        ConfigError: A text of another form, or an unknown key.
    """
    filters: dict[str, tuple[str, ...]] = {}
    for text in texts:
        key, equals, pattern = (part.strip() for part in text.partition("="))
        if not equals or key not in KEYS:
            raise ConfigError(
                "is not a filter", subject=text, hint=f"write KEY=VALUE, KEY one of {list(KEYS)}"
            )
        filters[key] = (*filters.get(key, ()), pattern)
    return filters


def select_cases(
    cases: Sequence[Case], filters: Mapping[str, Sequence[str]], limit: int | None = None
) -> list[Case]:
    """Selects cases by patterns, and an even subset of at most `limit`.

    Args:
        cases: All of them.
        filters: Column -> patterns (``*`` stands for anything); a case passes when every column
            named fits one of its patterns.
        limit: At most so many, spread evenly over those that pass, so that a table sorted by
            source still gives some of each; fewer are always some of more.

    Raises:
        ConfigError: No case passes.
    """
    chosen = [
        case
        for case in cases
        if all(
            any(fnmatchcase(value, pattern) for pattern in filters[key])
            for key, value in zip(
                KEYS, (case.name, case.source, case.variant, case.tag), strict=True
            )
            if key in filters
        )
    ]
    if not chosen:
        values = sorted({f"{case.source}/{case.variant}" for case in cases})
        raise ConfigError("no case passes the filters", hint=f"there are {', '.join(values)}")
    if limit is None or limit >= len(chosen):
        return chosen
    # By the golden ratio, whose multiples never fall into step with a table's own pattern (near and
    # free in turns, say) as a fixed stride would.
    order = sorted(range(len(chosen)), key=lambda i: i * _GOLDEN % 1)
    return [chosen[i] for i in sorted(order[:limit])]


def check_images(cases: Iterable[Case], root: Path) -> None:
    """Checks that all images exist, before the run.

    Raises:
        InputError: An image is not there.
    """
    wanted = dict.fromkeys(path for case in cases for path in case.images(root))
    missing = [path for path in wanted if not path.exists()]
    if missing:
        more = f", nor do {len(missing) - 1} more of the cases' images" if missing[1:] else ""
        raise InputError(
            f"does not exist{more}",
            subject=missing[0],
            hint="name with --root the folder that the paths start from",
        )


def fingerprint(cases: Iterable[Case]) -> str:
    """Returns the sha256 of the contents of the cases."""
    digest = hashlib.sha256()
    for case in cases:
        digest.update(repr(tuple(case.row().values())).encode())
    return digest.hexdigest()


def _case(path: Path, line: int, row: Mapping[str, str | None]) -> Case:
    def text(name: str) -> str:
        return (row[name] or "").strip()

    subject = f"{path}, line {line}"
    if not all(text(name) for name in ("case", "source", "variant", "ref", "tgt")):
        raise InputError("case, source, variant, ref or tgt is blank", subject=subject)
    try:
        warp, truth = (
            np.array([float(text(f"{letter}{cell}") or "nan") for cell in CELLS]).reshape(3, 3)
            for letter in "wh"
        )
        tolerance = float((row.get(TOLERANCE) or "").strip() or 0)
    except ValueError as error:
        raise InputError(f"a cell holds no number ({error})", subject=subject) from error
    if not 0 <= tolerance < np.inf:
        raise InputError("tol_px must be 0 or more", subject=subject)
    if np.abs(np.nan_to_num([warp, truth])).max() > _LARGEST:
        raise InputError("a matrix holds a number beyond any image", subject=subject)
    if not np.isfinite(warp).all() or abs(np.linalg.det(warp)) < 1e-12:
        raise InputError("w00…w22 cannot be inverted", subject=subject)
    unrelated = text("variant") == UNRELATED
    if unrelated == bool(np.isfinite(truth).any()) or (
        not unrelated and not np.isfinite(truth).all()
    ):
        raise InputError(
            "h00…h22 must be numbers, and NaN only where the variant is 'unrelated'",
            subject=subject,
        )
    texts = (of_cell(text(column)) for column in (*KEYS, "ref", "tgt"))
    name, source, variant, tag, ref, tgt = texts
    return Case(name, source, variant, tag, ref, tgt, warp, None if unrelated else truth, tolerance)
