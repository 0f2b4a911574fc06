"""Where sentences come from: Wikipedia extracts, templates, generated negatives, news."""

from __future__ import annotations

import html
import re
import xml.etree.ElementTree as ET
from collections.abc import Iterable, Iterator
from pathlib import Path
from urllib.parse import unquote

import numpy as np

from experiments.mountains.gazetteer import Gazetteer, gazetteer_names, whole
from experiments.mountains.sentences import Range, Sentence, align, sentences_of, words_of
from imatch.core.errors import InputError
from imatch.core.io.jsontext import parse_json

_OTHERS = Path(__file__).with_name("places.json")
_FORERUNNER_NAMES = 98
_TEMPLATES = (
    "{} is one of the highest mountains in the world .",
    "I climbed {} last summer with my friends .",
    "The view from the top of {} is breathtaking .",
    "We are planning a trip to {} next year .",
    "{} is located in a beautiful national park .",
    "Many climbers dream of reaching the summit of {} .",
    "The weather on {} can change very quickly .",
    "Have you ever been to {} ?",
    "{} and {} are popular among hikers .",
    "The expedition to {} started early in the morning .",
    "My grandfather told me stories about {} .",
    "The snow on {} never melts .",
)
_WITHOUT = (
    "I like to read books in the evening .",
    "The weather was nice last weekend .",
    "We had dinner in a small restaurant by the river .",
    "My friends and I went to the beach .",
    "The city is famous for its museums .",
    "She bought a new car last month .",
)
_LINK = re.compile(r'<a href="([^"]*)">(.*?)</a>', re.DOTALL)
_TAG = re.compile(r"<[^>]*>")
_KIND = re.compile(r"\((?:mountain|volcano|peak|hill|mountain range|massif)\b", re.IGNORECASE)


def other_sentences(seed: int, count: int = 600) -> list[Sentence]:
    """Makes sentences that name places, people and things but no mountain.

    The names are common knowledge, many of them like those of mountains; none of the sentences is
    taken from anywhere.

    Args:
        seed: Of the choice.
        count: How many.
    """
    names = parse_json(_OTHERS.read_text(encoding="utf-8"))
    templates = names.pop("sentence")
    rng = np.random.default_rng([seed, count])
    sentences = []
    for number in range(count):
        text = templates[int(rng.integers(len(templates)))]
        for slot, choices in names.items():
            while f"{{{slot}}}" in text:
                text = text.replace(f"{{{slot}}}", choices[int(rng.integers(len(choices)))], 1)
        text = text[0].upper() + text[1:]
        tokens = tuple(text[a:b] for a, b in words_of(text))
        sentences.append(Sentence(tokens, (), f"generated {number}"))
    return sentences


def forerunner(gazetteer: Gazetteer, seed: int = 0, count: int = 1500) -> list[Sentence]:
    """Makes training sentences as the forerunner did: 98 names in sentences of a template.

    Args:
        gazetteer: Gives the names, its first 98 summits.
        seed: Of the choice.
        count: How many; a sixth are without a mountain.
    """
    names = [place.name for place in gazetteer.places if place.kind in ("peak", "volcano")]
    names = [name for name in names if "(" not in name][:_FORERUNNER_NAMES]
    rng = np.random.default_rng(seed)
    sentences = []
    for number in range(count):
        tokens: list[str] = []
        spans: list[Range] = []
        if number % 6 == 5:
            tokens = _WITHOUT[int(rng.integers(len(_WITHOUT)))].split()
        else:
            for word in _TEMPLATES[int(rng.integers(len(_TEMPLATES)))].split():
                if word == "{}":
                    name = names[int(rng.integers(len(names)))]
                    parts = [name[a:b] for a, b in words_of(name)]
                    spans.append((len(tokens), len(tokens) + len(parts)))
                    tokens += parts
                else:
                    tokens.append(word)
        sentences.append(Sentence(tuple(tokens), tuple(spans), f"forerunner {number}"))
    return sentences


def read_news(path: Path) -> list[Sentence]:
    """Reads the sentences of news articles, without labels.

    Args:
        path: XML whose articles have a ``text`` (GeoWebNews, GeoVirus), or a text file.

    Raises:
        InputError: It cannot be read, or holds no text.
    """
    try:
        if path.suffix.lower() == ".xml":
            root = ET.parse(path).getroot()  # noqa: S314 - Python's expat refuses bombs
            texts = [node.text or "" for node in root.iter("text")]
        else:
            texts = [path.read_text(encoding="utf-8")]
    except (OSError, ValueError, ET.ParseError) as error:
        raise InputError(f"cannot be read ({error})", subject=path) from error
    sentences = []
    for article, text in enumerate(texts):
        for start, end in sentences_of(text):
            tokens = tuple(text[start + a : start + b] for a, b in words_of(text[start:end]))
            if tokens:
                sentences.append(Sentence(tokens, (), f"{path.stem} {article}"))
    if not sentences:
        raise InputError("holds no text", subject=path)
    return sentences


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
    known |= {whole(name) for name in gazetteer_names(gazetteer.places)}
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
