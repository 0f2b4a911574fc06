"""Which pairs a batch is made of, and the table they may come in."""

from __future__ import annotations

import csv
import difflib
import hashlib
import json
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePath
from typing import Any

import yaml

from imatch.core.errors import ConfigError, InputError
from imatch.pipeline.config import MatchConfig, make_config
from imatch.raster.gdal import is_virtual

REQUIRED = ("reference", "target")
# What decides for the whole run, and what no table may say of one pair.
_NO_COLUMNS = frozenset({"device", "fetch", "weights"})
_SETTINGS = tuple(name for name in MatchConfig.model_fields if name not in _NO_COLUMNS)
_LISTED = 10
_LONGEST_NAME = 120


@dataclass(frozen=True)
class BatchPair:
    """One pair of a batch.

    Attributes:
        name: Its name, under which everything about it is written; see `safe_name`.
        reference: Path (or URL) of the reference.
        target: Path (or URL) of the target.
        settings: Fields of `MatchConfig` that differ from the run's for this pair alone.
    """

    name: str
    reference: str
    target: str
    settings: Mapping[str, Any] = field(default_factory=dict)

    def config(self, base: MatchConfig) -> MatchConfig:
        """The run's settings with the pair's own.

        Raises:
            ConfigError: A setting is unknown or makes no sense.
        """
        return make_config(base, **self.settings) if self.settings else base

    @property
    def key(self) -> str:
        """Changes with the images (by their size and time), their places and the settings."""
        facts = [_facts(self.reference), _facts(self.target), dict(self.settings)]
        text = json.dumps(facts, sort_keys=True, default=str)
        return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


def safe_name(text: str) -> str:
    """A name that is a file name everywhere: letters, digits, ``.``, ``_``, ``+`` and ``-``.

    Example:
        >>> safe_name("S2A 2018/08:B4"), safe_name("..")
        ('S2A_2018_08_B4', 'pair')
    """
    name = re.sub(r"[^\w.+-]+", "_", text).strip("._")
    if len(name) <= _LONGEST_NAME:
        return name or "pair"
    digest = hashlib.blake2b(text.encode(), digest_size=4).hexdigest()
    return f"{name[: _LONGEST_NAME - 9]}-{digest}"


def name_pairs(pairs: Iterable[BatchPair]) -> list[BatchPair]:
    """Name the pairs that have no name, after their files.

    Two files of one stem give that stem, others both stems; where that does not tell two pairs
    apart, a digest of the paths does, so that a name does not depend on the other pairs' order.
    """
    pairs = list(pairs)
    made = [pair.name or _files_name(pair) for pair in pairs]
    taken = Counter(name.casefold() for name in made)
    named = []
    for pair, name in zip(pairs, made, strict=True):
        if not pair.name and taken[name.casefold()] > 1:
            paths = f"{pair.reference}\n{pair.target}\n{sorted(pair.settings.items())}"
            name += "-" + hashlib.blake2b(paths.encode(), digest_size=4).hexdigest()
        named.append(replace(pair, name=name))
    return named


def check_pairs(pairs: Sequence[BatchPair], config: MatchConfig) -> None:
    """Refuse, before anything runs, a batch that cannot be run as it is.

    Args:
        pairs: The pairs.
        config: The settings they share.

    Raises:
        InputError: There are none, files are missing (all are told), or names clash.
        ConfigError: A pair's settings make no sense.
    """
    if not pairs:
        raise InputError("there are no pairs", hint="name at least one reference and its target")
    for pair in pairs:
        if safe_name(pair.name) != pair.name:
            raise InputError(
                "is no name for files",
                subject=repr(pair.name),
                hint=f"use letters, digits, . _ + and -, such as {safe_name(pair.name)}",
            )
    # Not to be told apart on the file systems of Windows and macOS.
    spelt: dict[str, list[str]] = defaultdict(list)
    for pair in pairs:
        spelt[pair.name.casefold()].append(pair.name)
    twice = [names[0] for names in spelt.values() if len(names) > 1]
    if twice:
        raise InputError(
            f"{len(twice)} name{'s' * (len(twice) > 1)} of pairs occur twice: {_some(twice)}",
            hint="give every pair a name of its own",
        )
    for pair in pairs:
        if _same_file(pair.reference, pair.target):
            raise InputError(
                "is reference and target at once",
                subject=pair.reference,
                hint=f"name another file for the pair {pair.name}",
            )
        try:
            pair.config(config)
        except ConfigError as error:
            subject = f"pair {pair.name}: {error.subject}"
            raise ConfigError(error.cause, subject=subject, hint=error.hint) from error
    files = (
        file
        for pair in pairs
        for file in (pair.reference, pair.target, *_masks(pair))
        if not is_virtual(file)
    )
    missing = [file for file in dict.fromkeys(files) if not Path(file).exists()]
    if missing:
        raise InputError(
            f"{len(missing)} of the images "
            f"{'do' if len(missing) > 1 else 'does'} not exist: {_some(missing)}",
            hint="check the paths; those of a table start from its folder",
        )


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
    header, _, _ = text.partition("\n")
    separator = max(",;\t", key=header.count)
    # Strict, so that an unclosed quote is told rather than swallowing the rest of the table.
    rows = csv.reader(text.splitlines(keepends=True), delimiter=separator, strict=True)
    try:
        columns = [column.strip() for column in next(rows, [])]
        _check_columns(path, columns)
        pairs = [
            _pair(path, rows.line_num, columns, [cell.strip() for cell in row])
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
    if name.endswith("_mask"):
        return _located(path, text)
    if name.endswith("_bands"):
        parts = [part for part in re.split(r"[,;\s]+", text) if part]
        return [int(part) if part.isdigit() else part for part in parts]
    if name == "tolerance":
        return text
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(
            f"line {line}: {text!r} is no value for {name}", subject=path, hint="check it"
        ) from error


def _located(table: Path, text: str) -> str:
    """A path as seen from the table's folder; URLs and ``/vsi…`` paths as they are."""
    if is_virtual(text):
        return text
    return str(table.absolute().parent / Path(text).expanduser())


def _files_name(pair: BatchPair) -> str:
    reference, target = (_stem(path) for path in (pair.reference, pair.target))
    return safe_name(reference if reference == target else f"{reference}__{target}")


def _stem(path: str) -> str:
    return PurePath(path.rstrip("/")).stem


def _masks(pair: BatchPair) -> list[str]:
    named = (pair.settings.get(name) for name in ("ref_mask", "tgt_mask"))
    return [str(mask) for mask in named if mask]


def _facts(path: str) -> list[Any]:
    """Where a file is, how large and how old; of what is no file, only its name."""
    if is_virtual(path):
        return [path]
    try:
        facts = Path(path).stat()
    except OSError:
        return [path]
    return [path, facts.st_size, facts.st_mtime_ns]


def _same_file(one: str, other: str) -> bool:
    if is_virtual(one) or is_virtual(other):
        return one == other
    return Path(one).resolve() == Path(other).resolve()


def _some(names: Sequence[str]) -> str:
    """All of a few names, the first of many."""
    more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return ", ".join(names[:_LISTED]) + more
