"""Sentences whose mountains are marked: their labels, and files of them in three formats."""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from imatch.core.errors import InputError
from imatch.core.io.files import atomic_path
from imatch.core.io.jsontext import parse_json

LABELS = ("O", "B-MOUNTAIN", "I-MOUNTAIN")
"""Labels of a word: outside, first of a name, further one of a name (BIO, also called IOB2)."""

Range = tuple[int, int]
"""Half-open range of tokens or characters."""

#: Words of which an English sentence of ten holds at least one.
_ENGLISH_TEXT = (
    "a an and are as at be been by for from had has have he her his in into is it its of on or"
    " she that the their there they this to was were which who will with"
)
_ENGLISH = frozenset(_ENGLISH_TEXT.split())
_WORD = re.compile(r"(?:Mt|Mts|St|Ste|Dr|Mr|Mrs)\.|(?:[^\W\d_]\.){2,}|\w+(?:[-‐]\w+)*|[^\w\s]")
_POSSESSIVE = re.compile(r"['’]s\b")
_END = re.compile(r"(?<=[.!?])[\"'”’)]*\s+(?=[\"'“‘(]*[^\W\d_a-z])|\n\s*\n")
_ABBREVIATED = re.compile(r"\b(?:Mt|Mts|St|Ste|Dr|Mr|Mrs|Ms|No|Prof|Gen|Col|[A-Z])\.$")


@dataclass(frozen=True)
class Sentence:
    """A tokenised sentence and its mountains.

    Attributes:
        tokens: The words and marks.
        spans: Half-open ranges of tokens that name a mountain, in order, none overlapping.
        id: What it is called in its file.
    """

    tokens: tuple[str, ...]
    spans: tuple[Range, ...] = ()
    id: str = ""

    @property
    def text(self) -> str:
        """The tokens with blanks between them."""
        return " ".join(self.tokens)

    @property
    def names(self) -> tuple[str, ...]:
        """The mountains' names as they are written."""
        return tuple(" ".join(self.tokens[start:end]) for start, end in self.spans)

    @property
    def tags(self) -> list[str]:
        """The labels of the tokens."""
        tags = [LABELS[0]] * len(self.tokens)
        for start, end in self.spans:
            tags[start:end] = [LABELS[1], *[LABELS[2]] * (end - start - 1)]
        return tags


def spans_of(tags: Sequence[str]) -> tuple[Range, ...]:
    """Reads the spans of BIO, IO or BIOES labels of any kind of entity; a stray ``I`` begins one.

    Args:
        tags: Labels as ``O``, ``B-MOUNTAIN`` or ``I``.

    Raises:
        ValueError: A label of another scheme or another kind of entity.

    Examples:
        >>> spans_of(["B-MOUNTAIN", "I-MOUNTAIN", "O", "I-MOUNTAIN", "B-MOUNTAIN"])
        ((0, 2), (3, 4), (4, 5))
    """
    spans: list[Range] = []
    inside = False
    for index, tag in enumerate(tags):
        prefix, _, kind = tag.partition("-")
        if prefix not in tuple("OBIES") or kind.upper() not in ("", "MOUNTAIN", "MOUNT", "MNT"):
            raise ValueError(f"the label {tag!r} is none of {', '.join(LABELS)}")
        if prefix == "O":
            inside = False
        elif prefix in "BS" or not inside:
            spans.append((index, index + 1))
            inside = prefix != "S"
        else:
            spans[-1] = (spans[-1][0], index + 1)
            inside = prefix != "E"
    return tuple(spans)


def words_of(text: str) -> list[Range]:
    """Cuts a text into words and marks, as ranges of its characters.

    Examples:
        >>> [("Mt. Cook's face"[a:b]) for a, b in words_of("Mt. Cook's face")]
        ['Mt.', 'Cook', "'s", 'face']
    """
    found, at = [], 0
    while at < len(text):
        match = _POSSESSIVE.match(text, at) or _WORD.match(text, at)
        if match is None:
            at += 1
            continue
        found.append(match.span())
        at = match.end()
    return found


def sentences_of(text: str) -> list[Range]:
    """Cuts a text into sentences, as ranges of its characters without the blanks around them."""
    cuts, start = [], 0
    for match in _END.finditer(text):
        if not _ABBREVIATED.search(text[start : match.start()]):
            cuts.append((start, match.end()))
            start = match.end()
    cuts.append((start, len(text)))
    trimmed = []
    for first, last in cuts:
        part = text[first:last]
        if part.strip():
            trimmed.append(
                (first + len(part) - len(part.lstrip()), last - len(part) + len(part.rstrip()))
            )
    return trimmed


def english_share(tokens: Iterable[str]) -> float:
    """Returns the share of words that are common English ones; NaN for fewer than ten words.

    It is about a third in English, and mostly below a tenth in other languages.
    """
    words = [token.lower() for token in tokens if token.isalpha()]
    return sum(word in _ENGLISH for word in words) / len(words) if len(words) >= 10 else math.nan


def align(words: Sequence[Range], start: int, end: int) -> Range:
    """Returns the range of words that a range of characters covers.

    Raises:
        ValueError: The range covers none, or begins or ends inside a word.
    """
    inside = [k for k, (first, last) in enumerate(words) if first < end and last > start]
    if not inside or words[inside[0]][0] < start or words[inside[-1]][1] > end:
        raise ValueError(f"characters {start} to {end} are no whole words")
    return inside[0], inside[-1] + 1


@dataclass(frozen=True)
class Problem:
    """An entry of a file that is no sentence.

    Attributes:
        id: Its name, or its line.
        reason: What is wrong, in a few words.
        detail: The same for this entry.
    """

    id: str
    reason: str
    detail: str


def read_entries(path: Path) -> Iterator[Sentence | Problem]:
    """Reads a file of sentences, those that are none as problems.

    Args:
        path: ``.jsonl`` (``tokens`` and ``tags``, or ``text`` and ``spans`` of characters),
            ``.conll``, ``.bio`` or ``.tsv`` (a token and its label a line, an empty line between
            sentences) or ``.json`` (spaCy's training data: a list of ``[text, {"entities":
            [[start, end, label], …]}]``).

    Raises:
        InputError: The file cannot be read or is of another format.
    """
    readers = {".jsonl": _jsonl, ".conll": _conll, ".bio": _conll, ".tsv": _conll, ".json": _spacy}
    reader = readers.get(path.suffix.lower())
    if reader is None:
        raise InputError(
            "is of no known format", subject=path, hint=f"known are {', '.join(readers)}"
        )
    try:
        content = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        cause = getattr(error, "strerror", None) or "is no text in UTF-8"
        raise InputError(cause, subject=path) from error
    try:
        for name, entry in reader(content):
            try:
                yield _sentence(name, entry)
            except ValueError as error:
                yield Problem(name, "labels do not fit the tokens", str(error))
    except (ValueError, TypeError) as error:
        raise InputError(f"cannot be read as {path.suffix} ({error})", subject=path) from error


def read_sentences(path: Path) -> list[Sentence]:
    """Reads a file of sentences, all of which have to be right.

    Raises:
        InputError: The file cannot be read, holds a wrong entry, or holds none.
    """
    sentences = []
    for entry in read_entries(path):
        if isinstance(entry, Problem):
            raise InputError(
                f"{entry.id}: {entry.detail}",
                subject=path,
                hint="python -m experiments.mountains validate drops such entries",
            )
        sentences.append(entry)
    if not sentences:
        raise InputError("holds no sentence", subject=path)
    return sentences


def write_sentences(path: Path, sentences: Iterable[Sentence], *, overwrite: bool = False) -> None:
    """Writes sentences as JSON lines of ``id``, ``tokens`` and ``tags``."""
    from json import dumps

    with (
        atomic_path(path, overwrite=overwrite) as temporary,
        temporary.open("w", encoding="utf-8") as file,
    ):
        for one in sentences:
            entry = {"id": one.id, "tokens": one.tokens, "tags": one.tags}
            file.write(dumps(entry, ensure_ascii=False) + "\n")


def _sentence(name: str, entry: dict[str, Any]) -> Sentence:
    """Makes a sentence of what a reader gives; ValueError where its parts do not fit."""
    if "tokens" in entry:
        tokens, tags = entry["tokens"], entry.get("tags")
        texts = isinstance(tokens, list) and all(isinstance(token, str) for token in tokens)
        if not texts or not isinstance(tags, list):
            raise ValueError("tokens and tags are not two lists")
        if len(tokens) != len(tags):
            raise ValueError(f"{len(tokens)} tokens and {len(tags)} labels")
        return Sentence(tuple(tokens), spans_of(tags), name)
    text = entry.get("text")
    if not isinstance(text, str):
        raise ValueError("has neither tokens nor text")
    words = words_of(text)
    spans: list[Range] = []
    for start, end, *label in entry.get("spans") or ():
        spans_of([f"B-{label[0]}" if label else "B"])
        spans.append(align(words, start, end))
    spans.sort()
    if any(after[0] < before[1] for before, after in pairwise(spans)):
        raise ValueError("two names overlap")
    return Sentence(tuple(text[a:b] for a, b in words), tuple(spans), name)


def _jsonl(content: str) -> Iterator[tuple[str, dict[str, Any]]]:
    for number, line in enumerate(content.splitlines(), start=1):
        if line.strip():
            entry = parse_json(line)
            if not isinstance(entry, dict):
                raise TypeError(f"line {number} is no object")
            yield str(entry.get("id", f"line {number}")), entry


def _conll(content: str) -> Iterator[tuple[str, dict[str, Any]]]:
    rows: list[list[str]] = []
    begun = 1
    for number, line in enumerate([*content.splitlines(), ""], start=1):
        cells = next(csv.reader([line], delimiter="\t", quoting=csv.QUOTE_NONE), [])
        cells = cells if len(cells) > 1 else line.split()
        if cells and cells[0] == "-DOCSTART-":
            continue
        if cells:
            begun = begun if rows else number
            rows.append(cells)
        elif rows:
            tags = [row[-1] for row in rows if len(row) > 1]
            yield f"line {begun}", {"tokens": [row[0] for row in rows], "tags": tags}
            rows = []


def _spacy(content: str) -> Iterator[tuple[str, dict[str, Any]]]:
    entries = parse_json(content)
    if not isinstance(entries, list):
        raise TypeError("it is no list of [text, {'entities': …}]")
    for number, entry in enumerate(entries, start=1):
        text, marks = entry
        yield f"entry {number}", {"text": text, "spans": marks["entities"]}
