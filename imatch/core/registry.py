"""Registries: names to classes that are imported on first use."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from typing import Any, ClassVar, Generic, TypeVar

from imatch.core.errors import ImatchError, MatcherError
from imatch.core.extras import how_to_install
from imatch.core.redaction import get_logger

_LOG = get_logger(__name__)
RowT = TypeVar("RowT", bound="Row")


@dataclass(frozen=True)
class Row:
    """One entry of a registry.

    Attributes:
        name: What users type.
        target: ``"package.module:attribute"``, imported on `load`.
        error: What is raised where a thing of this kind cannot be loaded.
    """

    name: str
    target: str
    error: ClassVar[type[ImatchError]] = MatcherError

    def load(self) -> Any:
        """Import and return what the row points at.

        Raises:
            ImatchError: `error`: the module or the attribute cannot be imported.
        """
        return self._import(self.target)

    def _import(self, target: str) -> Any:
        module, _, attribute = target.partition(":")
        try:
            return getattr(import_module(module), attribute)
        except ImatchError:
            raise  # It says what is missing.
        except Exception as error:  # Others' modules raise what they like.
            raise self.error(
                f"cannot be loaded: {error}", subject=self.name, hint=how_to_install(error)
            ) from error


class Registry(Generic[RowT]):
    """An ordered table of rows, open to other packages through an entry-point group.

    A plug-in that is broken costs nothing but itself: it is left out, with a warning the first time
    that plug-ins are looked at, which is where a name is not a built-in row's.

    Args:
        kind: What the rows are, for messages (``"matcher"``).
        rows: The built-in rows.
        group: Entry-point group; each entry point's object is a row (or a function returning one).

    Attributes:
        error: What is raised for an unknown name.
    """

    error: type[ImatchError] = MatcherError

    def __init__(self, kind: str, rows: list[RowT], group: str | None = None) -> None:
        self.kind = kind
        self._builtin = {row.name: row for row in rows}
        self._row = type(rows[0]) if rows else Row
        self._group = group
        self._plugins: dict[str, RowT] | None = None
        self._broken: dict[str, str] = {}

    def rows(self) -> Mapping[str, RowT]:
        """All rows by name, built-in ones first; a plug-in cannot replace a built-in row."""
        if self._plugins is None:
            self._plugins = {}
            for point in entry_points(group=self._group) if self._group else ():
                try:
                    row = self._row_of(point)
                except Exception as error:  # Others' modules raise what they like.
                    cause = f"{type(error).__name__}: {error}"
                    self._broken[point.name] = cause
                    _LOG.warning("the %s plug-in %s is left out (%s)", self.kind, point.name, cause)
                else:
                    self._plugins.setdefault(row.name, row)
        return {**self._builtin, **self._plugins, **self._builtin}

    def broken(self) -> Mapping[str, str]:
        """Name of each entry point that gives no row -> why."""
        self.rows()
        return self._broken

    def _row_of(self, point: EntryPoint) -> RowT:
        row = point.load()
        if callable(row) and not isinstance(row, Row):
            row = row()
        if not isinstance(row, self._row):
            raise TypeError(f"{point.value} gives a {type(row).__name__}, no {self._row.__name__}")
        return row  # type: ignore[return-value]  # `_row` is RowT.

    def __contains__(self, name: object) -> bool:
        return name in self._builtin or name in self.rows()

    def __iter__(self) -> Iterator[str]:
        return iter(self.rows())

    def __getitem__(self, name: str) -> RowT:
        if name in self._builtin:
            return self._builtin[name]
        rows = self.rows()
        if name in rows:
            return rows[name]
        close = difflib.get_close_matches(name, rows, n=1, cutoff=0.5)
        hint = f"did you mean {close[0]!r}?" if close else f"choose one of {', '.join(self)}"
        raise self.error(f"unknown {self.kind}", subject=name, hint=hint)
