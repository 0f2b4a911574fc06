"""Pages and tables: one HTML file that needs nothing from elsewhere, tables in Markdown too."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape

# Texts longer than this are broken into lines.
_LONG = 32
_STYLE = """
:root { --ink: #1d2329; --faint: #67717c; --line: #e3e6ea; --accent: #0072b2; }
* { box-sizing: border-box; }
body { margin: 0; font: 15px/1.5 system-ui, -apple-system, "Segoe UI", "DejaVu Sans", sans-serif;
  color: var(--ink); background: #f6f7f9; }
main { max-width: 1320px; margin: 0 auto; padding: 28px 24px 64px; }
h1 { font-size: 26px; margin: 0 0 4px; letter-spacing: -0.01em; }
h2 { font-size: 18px; margin: 0 0 6px; }
h3 { font-size: 15px; margin: 18px 0 8px; }
p { margin: 4px 0 12px; } p.note, figcaption, .faint { color: var(--faint); font-size: 13px; }
nav { margin: 14px 0 20px; display: flex; flex-wrap: wrap; gap: 6px 14px; font-size: 13.5px; }
a { color: var(--accent); text-decoration: none; } a:hover { text-decoration: underline; }
section { background: white; border: 1px solid var(--line); border-radius: 10px;
  padding: 18px 20px; margin: 0 0 18px; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-size: 13px; font-variant-numeric: tabular-nums; }
th, td { padding: 5px 9px; text-align: right; white-space: nowrap;
  border-bottom: 1px solid var(--line); }
th { color: var(--faint); font-weight: 600; } tr:last-child td { border-bottom: 0; }
th:first-child, td:first-child, table.words th, table.words td { text-align: left; }
table.words td { white-space: normal; }
th.word, td.word { text-align: left; } td.long { white-space: normal; min-width: 16em; }
img { max-width: 100%; height: auto; display: block; }
.gallery { display: grid; gap: 16px;
  grid-template-columns: repeat(auto-fill, minmax(min(540px, 100%), 1fr)); }
.shot { border: 1px solid var(--line); border-radius: 8px; padding: 10px; }
.shot > div { display: grid; grid-template-columns: repeat(4, 1fr); gap: 6px; }
.shot img { width: 100%; border-radius: 3px; } figure { margin: 0; }
section > figure { margin-top: 16px; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: 2px 16px; margin: 0;
  font-size: 13.5px; } dt { color: var(--faint); } dd { margin: 0; overflow-wrap: anywhere; }
code { font-size: 12.5px; }
@media print { body { background: white; } section { break-inside: avoid; border: 0; } }
"""


@dataclass(frozen=True)
class HtmlCell:
    """One value of a table.

    Attributes:
        text: What to print.
        share: 0 to 1, how good it is, for a tint; None for none.
    """

    text: str
    share: float | None = None


@dataclass(frozen=True)
class HtmlTable:
    """A table.

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
        """Check that every row has a cell for each column."""
        if any(len(row) != len(self.header) for row in self.rows):
            raise ValueError(f"table {self.title!r}: a row has not {len(self.header)} cells")

    def to_markdown(self) -> str:
        """The table with its title and note."""
        lines = [f"## {self.title}", "", *([self.note, ""] if self.note else [])]
        lines += [
            _markdown_row(self.header),
            "|" + "|".join("---" if word else "---:" for word in self.worded) + "|",
        ]
        lines += [_markdown_row([cell.text for cell in row]) for row in self.rows]
        return "\n".join(lines) + "\n"

    @property
    def worded(self) -> list[bool]:
        """Of each column whether it holds words."""
        return [index == 0 or name in self.words for index, name in enumerate(self.header)]


def page(
    title: str,
    heading: str,
    lead: str,
    sections: Sequence[tuple[str, str]],
    *,
    style: str = "",
    script: str = "",
) -> str:
    """A whole HTML document: a heading, links to its sections, the sections.

    Args:
        title: What the browser's tab says.
        heading: The page's own title.
        lead: A line under it.
        sections: (title, HTML) pairs.
        style: CSS to add to the house's.
        script: JavaScript to run once the page is there; the page has to be readable without.
    """
    links = "".join(f'<a href="#{anchor(name)}">{escape(name)}</a>' for name, _ in sections)
    bodies = "".join(
        f'<section id="{anchor(name)}"><h2>{escape(name)}</h2>{body}</section>'
        for name, body in sections
    )
    code = f"<script>{script}</script>" if script else ""
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{_STYLE}{style}</style></head>"
        f'<body><main><h1>{escape(heading)}</h1><p class="faint">{escape(lead)}</p>'
        f"<nav>{links}</nav>{bodies}</main>{code}</body></html>\n"
    )


def table_html(table: HtmlTable) -> str:
    """A table and its note, wide ones scrolling; its title is left to the section."""
    words = ' class="words"' if table.header[0] == "case" else ""
    head = "".join(
        f"<th{_class(name, word)}>{escape(name)}</th>"
        for name, word in zip(table.header, table.worded, strict=True)
    )
    rows = "".join(
        "<tr>"
        + "".join(
            f"<td{_class(cell.text, word)}{_tint(cell)}>{escape(cell.text)}</td>"
            for cell, word in zip(row, table.worded, strict=True)
        )
        + "</tr>"
        for row in table.rows
    )
    note = f'<p class="note">{code(table.note)}</p>' if table.note else ""
    return (
        f'{note}<div class="scroll"><table{words}><thead><tr>{head}</tr></thead>'
        f"<tbody>{rows}</tbody></table></div>"
    )


def image(data: bytes, kind: str, alt: str, caption: str = "") -> str:
    """A picture that is part of the page.

    Args:
        data: The file's bytes. An SVG becomes an image of its own, so that the identifiers of two
            of them cannot clash.
        kind: ``png``, ``jpeg`` or ``svg+xml``.
        alt: What it shows, for those who do not see it.
        caption: A line under it.
    """
    under = f"<figcaption>{code(caption)}</figcaption>" if caption else ""
    return f'<figure><img alt="{escape(alt)}" src="{data_url(data, kind)}">{under}</figure>'


def data_url(data: bytes, kind: str) -> str:
    """A picture's bytes as an address that holds them."""
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"


def definitions(facts: Iterable[tuple[str, str]]) -> str:
    """Names and texts as a list of two columns."""
    rows = (f"<dt>{escape(name)}</dt><dd>{code(text)}</dd>" for name, text in facts)
    return f"<dl>{''.join(rows)}</dl>"


def code(text: str) -> str:
    """Escaped, with `backticks` as code."""
    return re.sub(r"`([^`]*)`", r"<code>\1</code>", escape(text))


def anchor(title: str) -> str:
    """What a link to a section of this title points at.

    Example:
        >>> anchor("Do the stated intervals hold?")
        'do-the-stated-intervals-hold'
    """
    return re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")


def _class(text: str, word: bool) -> str:
    if not word:
        return ""
    return ' class="word long"' if len(text) > _LONG else ' class="word"'


def _tint(cell: HtmlCell) -> str:
    if cell.share is None:
        return ""
    return f' style="background: rgba(0, 158, 115, {0.32 * cell.share**1.5:.2f})"'


def _markdown_row(texts: Sequence[str]) -> str:
    return "| " + " | ".join(text.replace("|", "\\|") for text in texts) + " |"
