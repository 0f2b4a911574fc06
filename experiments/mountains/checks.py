"""Checks of training sentences: what is dropped, what is repaired, and why."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import Field
from rapidfuzz import fuzz, process

from experiments.mountains.gazetteer import Gazetteer, NameMatcher, core, gazetteer_names, whole
from experiments.mountains.sentences import (
    Problem,
    Range,
    Sentence,
    english_share,
    read_entries,
    write_sentences,
)
from imatch.core.io.files import atomic_folder
from imatch.core.io.jsontext import to_json
from imatch.core.io.tables import as_cell, write_csv
from imatch.core.settings import Settings

_SEPARATORS = {",", ";", "/", "and", "or", "&"}
_MARKS = {"``", "''", '"', "'", "’", "“", "”", ",", "(", ")"}
_NAME = "\N{WHITE SQUARE}"


class CheckConfig(Settings):
    """What sentences have to be like.

    Attributes:
        shortest: Fewest tokens.
        longest: Most tokens.
        english: Whether sentences of another language or script are dropped.
        likeness: Percent of letters that two sentences have in common, names and numbers put
            aside, for them to be of one template.
        most_alike: Sentences of one template that are kept.
        often: Mentions of a name above which it is reported as too frequent.
        strict: Whether sentences are dropped whose names the gazetteer knows only as other places.
        contradicted: Times that a name must be left unmarked for each time it is marked, for its
            marks to count as slips and be taken off; 0 to leave them.
    """

    shortest: int = Field(default=3, ge=1)
    longest: int = Field(default=200, ge=1)
    english: bool = True
    likeness: float = Field(default=90.0, gt=0, le=100)
    most_alike: int = Field(default=3, ge=1)
    often: int = Field(default=20, ge=1)
    strict: bool = False
    contradicted: float = Field(default=3.0, ge=0)


@dataclass(frozen=True)
class Report:
    """Outcome of a check.

    Attributes:
        kept: The sentences that are left, repaired.
        dropped: What was dropped and why.
        repaired: How many spans were changed by repairing labels.
        often: Names that are too frequent, with their mentions.
        others: Names that the gazetteer knows only as other places, with their mentions.
        contradicted: Names whose marks were taken off, since the sentences mostly leave them
            unmarked, with the number of these marks.
    """

    kept: list[Sentence]
    dropped: list[Problem]
    repaired: int
    often: dict[str, int]
    others: dict[str, int]
    contradicted: dict[str, int]

    def facts(self) -> dict[str, Any]:
        """Returns the figures, JSON-ready."""
        counts = Counter(name for one in self.kept for name in one.names)
        return {
            "kept": len(self.kept),
            "dropped": len(self.dropped),
            "reasons": dict(Counter(problem.reason for problem in self.dropped).most_common()),
            "repaired_spans": self.repaired,
            "mentions": sum(counts.values()),
            "names": len(counts),
            "without_mountain": sum(not one.spans for one in self.kept),
            "too_often": self.often,
            "other_places": self.others,
            "contradicted": self.contradicted,
        }


def check(
    entries: Iterable[Sentence | Problem],
    config: CheckConfig | None = None,
    *,
    against: Iterable[Sentence] = (),
    gazetteer: Gazetteer | None = None,
) -> Report:
    """Checks sentences, repairs their labels, and drops those that would harm a training.

    Args:
        entries: What `read_entries` gives.
        config: What they have to be like.
        against: Sentences of other splits, none of which may occur.
        gazetteer: Tells names of other places; none are told without it.
    """
    config = config or CheckConfig()
    known = {_letters(one) for one in against}
    entries = list(entries)
    dropped: list[Problem] = entries_of(entries, Problem)
    sentences: list[Sentence] = entries_of(entries, Sentence)
    kept: list[Sentence] = []
    repaired = 0
    names = {whole(name) for one in sentences for name in one.names}
    rules: list[tuple[str, Callable[[Sentence], str | None]]] = [
        ("too short or too long", lambda one: _length(one, config)),
        ("another script or language", lambda one: _language(one) if config.english else None),
        ("in another split as well", lambda one: _within(one, known)),
    ]
    seen: set[str] = set()
    for one in sentences:
        found = next(((why, text) for why, rule in rules if (text := rule(one))), None)
        if found is None and _letters(one) in seen:
            found = ("twice in this file", one.text[:80])
        if found is not None:
            dropped.append(Problem(one.id, *found))
            continue
        seen.add(_letters(one))
        mended = repair(one, names)
        repaired += len(set(one.spans) ^ set(mended.spans)) > 0
        kept.append(mended)
    slips = contradictions(kept, config.contradicted, gazetteer) if config.contradicted else {}
    kept = [_without(one, slips) for one in kept]
    kept, alike = _templates(kept, config)
    dropped += alike
    others = _other_places(kept, gazetteer)
    if config.strict and others:
        wrong = [one for one in kept if any(name in others for name in one.names)]
        dropped += [
            Problem(one.id, "no mountain by the gazetteer", ", ".join(one.names)) for one in wrong
        ]
        kept = [one for one in kept if one not in wrong]
    counts = Counter(name for one in kept for name in one.names)
    often = {name: count for name, count in counts.most_common() if count > config.often}
    return Report(kept, dropped, repaired, often, others, slips)


def contradictions(
    sentences: Sequence[Sentence], times: float, gazetteer: Gazetteer | None = None
) -> dict[str, int]:
    """Returns names that are marked by mistake: the sentences mostly leave them unmarked.

    A name that is unmarked inside a longer one ("Denali National Park") counts as unmarked, so
    names that the gazetteer has as mountains are never returned.

    Args:
        sentences: All sentences.
        times: Occurrences without a mark, at least three, for each mark.
        gazetteer: Knows names of mountains.

    Returns:
        The names by `experiments.mountains.gazetteer.whole`, with their marks.
    """
    marked = Counter(whole(name) for one in sentences for name in one.names)
    matcher = NameMatcher(marked)
    unmarked: Counter[str] = Counter()
    for one in sentences:
        for start, end in matcher.match(one.tokens):
            if not any(first < end and start < last for first, last in one.spans):
                unmarked[whole(" ".join(one.tokens[start:end]))] += 1
    known = {whole(name) for name in gazetteer_names(gazetteer.places)} if gazetteer else set()
    return {
        name: marked[name]
        for name, count in unmarked.most_common()
        if count >= max(times * marked[name], 3) and name not in known
    }


def _without(one: Sentence, names: Collection[str]) -> Sentence:
    """Takes the marks off some names of a sentence."""
    left = [
        span for span, name in zip(one.spans, one.names, strict=True) if whole(name) not in names
    ]
    return replace(one, spans=tuple(left))


def repair(sentence: Sentence, names: Collection[str] = ()) -> Sentence:
    """Repairs spans: takes articles and marks off their ends, and parts names that were joined.

    Labels without ``B`` (the IO scheme) join names that touch. A span is parted at commas, "and"
    and the like between words in capitals, and where it is two names that occur alone elsewhere.

    Args:
        sentence: The sentence.
        names: Names by `experiments.mountains.gazetteer.whole`.
    """
    spans: list[Range] = []
    for start, end in sentence.spans:
        for first, last in _parted(sentence.tokens, start, end, names):
            while first < last and (
                sentence.tokens[first] in _MARKS
                or (sentence.tokens[first] in ("the", "The") and last - first > 1)
            ):
                first += 1
            while first < last and sentence.tokens[last - 1] in _MARKS:
                last -= 1
            if first < last:
                spans.append((first, last))
    return replace(sentence, spans=tuple(spans))


def _parted(tokens: Sequence[str], start: int, end: int, names: Collection[str]) -> list[Range]:
    for at in range(start + 1, end - 1):
        capital = tokens[at - 1][:1].isupper() or at - start > 1
        if tokens[at] in _SEPARATORS and capital and tokens[at + 1][:1].isupper():
            return [(start, at), *_parted(tokens, at + 1, end, names)]
    for at in range(start + 1, end):
        left, right = (whole(" ".join(part)) for part in (tokens[start:at], tokens[at:end]))
        # One word alone is too often part of a longer name.
        if min(len(left.split()), len(right.split())) > 1 and left in names and right in names:
            return [(start, at), *_parted(tokens, at, end, names)]
    return [(start, end)]


def entries_of(entries: Iterable[Any], kind: type) -> list[Any]:
    """Returns the entries of one kind."""
    return [entry for entry in entries if isinstance(entry, kind)]


def _length(one: Sentence, config: CheckConfig) -> str | None:
    count = len(one.tokens)
    return None if config.shortest <= count <= config.longest else f"{count} tokens"


def _language(one: Sentence) -> str | None:
    letters = [char for char in one.text if char.isalpha()]
    latin = sum("LATIN" in unicodedata.name(char, "") for char in letters)
    if letters and latin < 0.7 * len(letters):
        return f"{latin} of {len(letters)} letters are Latin"
    if english_share(one.tokens) == 0:
        return "no English function word among its words"
    return None


def _within(one: Sentence, known: Collection[str]) -> str | None:
    return one.text[:80] if _letters(one) in known else None


def _letters(one: Sentence) -> str:
    """What two sentences have in common that differ only in case and marks."""
    return " ".join(re.findall(r"\w+", one.text.casefold()))


def _template(one: Sentence) -> str:
    """A sentence with names and numbers put aside."""
    inside = {at for start, end in one.spans for at in range(start, end)}
    firsts = {start for start, _ in one.spans}
    words = [
        _NAME if at in firsts else re.sub(r"\d+", "0", token.casefold())
        for at, token in enumerate(one.tokens)
        if at in firsts or at not in inside
    ]
    return " ".join(words)


def _templates(
    sentences: list[Sentence], config: CheckConfig
) -> tuple[list[Sentence], list[Problem]]:
    """Drops sentences beyond the first few of one template."""
    texts = [_template(one) for one in sentences]
    groups: dict[str, list[int]] = defaultdict(list)
    # Of one template are sentences with the same beginning or the same end.
    for index, text in enumerate(texts):
        words = text.split()
        groups[" ".join(words[:3])].append(index)
        groups["… " + " ".join(words[-4:])].append(index)
    alike: dict[int, set[int]] = defaultdict(set)
    for members in groups.values():
        if len(members) <= config.most_alike:
            continue
        chosen = [texts[index] for index in members]
        likeness = process.cdist(
            chosen, chosen, scorer=fuzz.ratio, score_cutoff=config.likeness, dtype=np.uint8
        )
        for row, column in np.argwhere(np.tril(likeness, -1) > 0):
            alike[members[row]].add(members[column])
    kept: list[Sentence] = []
    dropped: list[Problem] = []
    gone: set[int] = set()
    for index, one in enumerate(sentences):
        before = alike[index] - gone
        if len(before) >= config.most_alike:
            gone.add(index)
            first = sentences[min(before)]
            detail = f"like {first.id or first.text[:60]} and {len(before) - 1} more"
            dropped.append(Problem(one.id, "of one template with others", detail))
        else:
            kept.append(one)
    return kept, dropped


def _other_places(sentences: Sequence[Sentence], gazetteer: Gazetteer | None) -> dict[str, int]:
    if gazetteer is None:
        return {}
    counts = Counter(name for one in sentences for name in one.names)
    others = {}
    for name, count in counts.most_common():
        same = [
            one.place
            for one in gazetteer.candidates(name)
            if whole(name) in map(whole, one.place.names)
            or core(name) in map(core, one.place.names)
        ]
        if same and all(place.kind == "other" for place in same):
            others[name] = count
    return others


def check_file(
    path: Path,
    out: Path,
    config: CheckConfig,
    *,
    against: Sequence[Path] = (),
    gazetteer: Gazetteer | None = None,
    overwrite: bool = False,
) -> Report:
    """Checks a file of sentences and writes what is kept, what is dropped, and the figures.

    Args:
        path: The file, see `read_entries`.
        out: Folder for ``kept.jsonl``, ``dropped.csv`` and ``report.json``; it is made.
        config: What sentences have to be like.
        against: Files of the other splits.
        gazetteer: Tells names of other places.
        overwrite: Whether an existing folder may be replaced.

    Raises:
        InputError: A file cannot be read.
        OutputError: The folder cannot be written.
    """
    others = [one for file in against for one in entries_of(read_entries(file), Sentence)]
    report = check(list(read_entries(path)), config, against=others, gazetteer=gazetteer)
    out.parent.mkdir(parents=True, exist_ok=True)
    with atomic_folder(out, overwrite=overwrite) as made:
        write_sentences(made / "kept.jsonl", report.kept)
        rows = [
            [as_cell(text) for text in (one.id, one.reason, one.detail)] for one in report.dropped
        ]
        write_csv(made / "dropped.csv", ("id", "reason", "detail"), rows)
        (made / "report.json").write_text(to_json(report.facts()) + "\n", encoding="utf-8")
    return report
