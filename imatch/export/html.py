"""HTML pages rendered from templates, and tables for pages and Markdown."""

from __future__ import annotations

import base64
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape


@dataclass(frozen=True)
class HtmlCell:
    """A cell of a table, with an optional tint.

    Attributes:
        text: What to print.
        share: 0 to 1, how good it is, for a tint; None for none.
    """

    text: str
    share: float | None = None


@dataclass(frozen=True)
class HtmlTable:
    """A table for a page, a terminal or Markdown.

    Attributes:
        title: What it shows.
        note: How to read it.
        header: Names of the columns.
        rows: Cells, as many in each row as there are columns.
        words: Columns of words, which are read from the left; the first always is.
    """

    title: str
    note: str
    header: tuple[str, ...]
    rows: tuple[tuple[HtmlCell, ...], ...]
    words: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Checks that every row has a cell for each column."""
        if any(len(row) != len(self.header) for row in self.rows):
            raise ValueError(f"table {self.title!r}: a row has not {len(self.header)} cells")

    def to_markdown(self) -> str:
        """Returns the table with its title and note as Markdown."""
        lines = [f"## {self.title}", "", *([self.note, ""] if self.note else [])]
        lines += [
            _markdown_row(self.header),
            "|" + "|".join("---" if word else "---:" for word in self.text_columns) + "|",
        ]
        lines += [_markdown_row([cell.text for cell in row]) for row in self.rows]
        return "\n".join(lines) + "\n"

    @property
    def text_columns(self) -> list[bool]:
        """Returns of each column whether it holds words."""
        return [index == 0 or name in self.words for index, name in enumerate(self.header)]


def render(template: str, **values: object) -> str:
    """Renders a template as one HTML document that loads nothing from elsewhere.

    Args:
        template: Name of a file in ``templates``, one that extends ``page.html.j2``.
        values: What the template shows; all texts are escaped.
    """
    # The sections of the page enter their titles here, for the links above them.
    return templates().get_template(template).render(values, titles=[])


@cache
def templates() -> Environment:
    """Returns the environment of the templates: all values escaped, undefined ones an error."""
    environment = Environment(
        loader=PackageLoader("imatch.export"),
        extensions=["jinja2.ext.do"],
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {"anchor": anchor, "code": code, "data_url": data_url}
    return environment


def data_url(data: bytes | str, kind: str) -> str:
    """Encodes a picture as a data URL.

    Args:
        data: The file's contents.
        kind: ``png``, ``jpeg`` or ``svg+xml``.
    """
    encoded = data.encode() if isinstance(data, str) else data
    return f"data:image/{kind};base64,{base64.b64encode(encoded).decode()}"


def code(text: str) -> Markup:
    """Escapes a text and marks up `backticks` as code."""
    return Markup(re.sub(r"`([^`]*)`", r"<code>\1</code>", str(escape(text))))  # noqa: S704 - it is.


def anchor(title: str) -> str:
    """Returns the identifier of the section of a title, for links to it.

    Examples:
        >>> anchor("Do the stated intervals hold?")
        'do-the-stated-intervals-hold'
    """
    return re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")


def _markdown_row(texts: Sequence[str]) -> str:
    return "| " + " | ".join(text.replace("|", "\\|") for text in texts) + " |"
