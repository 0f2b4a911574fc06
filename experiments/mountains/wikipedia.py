"""Sentences out of Wikipedia extracts, whose links say which names are mountains."""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from urllib.parse import unquote

from experiments.mountains.gazetteer import Gazetteer, mountains, whole
from experiments.mountains.sentences import Range, Sentence, align, sentences_of, words_of
from imatch.core.errors import InputError
from imatch.core.io.jsontext import parse_json

_LINK = re.compile(r'<a href="([^"]*)">(.*?)</a>', re.DOTALL)
_TAG = re.compile(r"<[^>]*>")
_KIND = re.compile(r"\((?:mountain|volcano|peak|hill|mountain range|massif)\b", re.IGNORECASE)


def convert(path: Path, gazetteer: Gazetteer, titles: Iterable[str] = ()) -> Iterator[Sentence]:
    """Reads articles with links and yields the sentences that link to a mountain.

    A link marks a mountain where its article is in the gazetteer, is among `titles`, or says so in
    brackets ("Ben Lomond (mountain)"). An article about a mountain seldom links to itself: its
    title is marked in its own text as well.

    Args:
        path: JSON lines of ``title`` and ``text``, links as ``<a href="Mount%20Fuji">…</a>``: what
            WikiExtractor writes with ``--json --links``.
        gazetteer: Knows mountains by name.
        titles: Articles that are known to be about mountains.

    Raises:
        InputError: The file cannot be read, or is of another format.
    """
    known = {whole(title) for title in titles}
    known |= {whole(name) for place in mountains(gazetteer.places) for name in place.names}
    try:
        with path.open(encoding="utf-8") as file:
            for number, line in enumerate(file, start=1):
                if line.strip():
                    entry = parse_json(line)
                    title, text = str(entry["title"]), str(entry["text"])
                    yield from _of_article(title, text, known, f"{title} {number}")
    except OSError as error:
        raise InputError(error.strerror or str(error), subject=path) from error
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"is no extract of articles with links ({error})",
            subject=path,
            hint="write one by WikiExtractor's --json --links",
        ) from error


def _of_article(title: str, text: str, known: set[str], name: str) -> Iterator[Sentence]:
    plain, marks = _plain(text, known)
    own = title.partition(" (")[0]
    if _is_mountain(title, known):
        marks += [match.span() for match in re.finditer(rf"\b{re.escape(own)}\b", plain)]
    for start, end in sentences_of(plain):
        words = [(start + a, start + b) for a, b in words_of(plain[start:end])]
        spans: list[Range] = []
        for first, last in sorted({mark for mark in marks if start <= mark[0] < end}):
            try:
                span = align(words, first, last)
            except ValueError:  # A link on part of a word.
                continue
            if not spans or span[0] >= spans[-1][1]:
                spans.append(span)
        if spans:
            yield Sentence(tuple(plain[a:b] for a, b in words), tuple(spans), f"{name}:{start}")


def _plain(text: str, known: set[str]) -> tuple[str, list[Range]]:
    """The text without its links, and the ranges of those to mountains."""
    parts: list[str] = []
    marks: list[Range] = []
    length = last = 0
    for match in _LINK.finditer(text):
        before = html.unescape(_TAG.sub("", text[last : match.start()]))
        shown = html.unescape(_TAG.sub("", match[2]))
        parts += [before, shown]
        length += len(before)
        target = unquote(html.unescape(match[1])).replace("_", " ").partition("#")[0]
        if _is_mountain(target, known) and shown.strip():
            marks.append((length, length + len(shown)))
        length += len(shown)
        last = match.end()
    parts.append(html.unescape(_TAG.sub("", text[last:])))
    return "".join(parts), marks


def _is_mountain(title: str, known: set[str]) -> bool:
    return _KIND.search(title) is not None or whole(title) in known
