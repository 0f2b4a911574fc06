"""Names to classes, without importing anything until one is asked for."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import entry_points
from typing import Any, Generic, TypeVar

from imatch.core.errors import ImatchError, MatcherError

RowT = TypeVar("RowT", bound="Row")


@dataclass(frozen=True)
class Row:
    """One entry of a registry.

    Attributes:
        name: What users type.
        target: ``"package.module:attribute"``, imported on `load`.
    """

    name: str
    target: str

    def load(self) -> Any:
        """Import and return what the row points at.

        Raises:
            MatcherError: The module or the attribute cannot be imported.
        """
        module, _, attribute = self.target.partition(":")
        try:
            return getattr(import_module(module), attribute)
        except (ImportError, AttributeError) as error:
            raise MatcherError(f"cannot be loaded: {error}", subject=self.name) from error


class Registry(Generic[RowT]):
    """An ordered table of rows, open to other packages through an entry-point group.

    Args:
        kind: What the rows are, for messages (``"matcher"``).
        rows: The built-in rows.
        group: Entry-point group; each entry point's object is a row (or a function returning one).
    """

    def __init__(self, kind: str, rows: list[RowT], group: str | None = None) -> None:
        self.kind = kind
        self._builtin = {row.name: row for row in rows}
        self._group = group
        self._plugins: dict[str, RowT] | None = None

    def rows(self) -> Mapping[str, RowT]:
        """All rows by name, built-in ones first; a plug-in cannot replace a built-in row."""
        if self._plugins is None:
            self._plugins = {}
            for point in entry_points(group=self._group) if self._group else ():
                row: RowT = point.load()
                self._plugins.setdefault(row.name, row)
        return {**self._plugins, **self._builtin}

    def __iter__(self) -> Iterator[str]:
        builtin_first = [*self._builtin, *(n for n in self.rows() if n not in self._builtin)]
        return iter(builtin_first)

    def __getitem__(self, name: str) -> RowT:
        rows = self.rows()
        if name in rows:
            return rows[name]
        close = difflib.get_close_matches(name, rows, n=1, cutoff=0.5)
        hint = f"did you mean {close[0]!r}?" if close else f"choose one of {', '.join(self)}"
        raise self.error(f"unknown {self.kind}", subject=name, hint=hint)

    error: type[ImatchError] = MatcherError
