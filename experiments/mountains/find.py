"""Mountains of a text and where they are, as a table, JSON or GeoJSON."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from experiments.mountains.gazetteer import (
    Box,
    Candidate,
    Gazetteer,
    Place,
    is_ambiguous,
    mountains,
)
from experiments.mountains.sentences import english_share, sentences_of, words_of
from experiments.mountains.tagger import Tagger
from imatch.core.errors import InputError
from imatch.core.io.jsontext import to_json
from imatch.core.progress import ProgressOption, shown

#: Characters on either side of a mention that its context is taken from.
_AROUND = 400
#: Share of common English words below which a text is taken for another language's.
_LEAST_ENGLISH = 0.1
#: What is meant as the name of a file.
_FILE = re.compile(
    r"\S+\.(?:csv|html?|jsonl?|md|pdf|rst|te?xt|xml)|(?:/|\./|\.\./|~)\S+", re.IGNORECASE
)
#: Sentences between two showings of progress.
_STEP = 256


@dataclass(frozen=True)
class Mention:
    """A mountain that a text names.

    Attributes:
        text: As the text has it.
        start: Its first character.
        end: The character after its last.
        probability: That it is a mountain, by the tagger.
        status: ``found`` in the gazetteer; ``ambiguous``: several places of the name; ``unknown``:
            none.
        candidates: Places that it may mean, the likeliest first.
    """

    text: str
    start: int
    end: int
    probability: float
    status: Literal["found", "ambiguous", "unknown"]
    candidates: tuple[Candidate, ...]

    @property
    def place(self) -> Place | None:
        """The place, where there is no doubt which."""
        return self.candidates[0].place if self.status == "found" else None


def find_mentions(
    text: str,
    tagger: Tagger,
    gazetteer: Gazetteer,
    *,
    least: float | None = None,
    progress: ProgressOption = None,
) -> list[Mention]:
    """Finds the mountains that a text names, and their places.

    Args:
        text: English text of any length.
        tagger: Marks the names.
        gazetteer: Knows the places.
        least: Probability below which a name is left out; the tagger's own when None.
        progress: Shows how many sentences are done.

    Raises:
        InputError: The text is empty, or in another script.
    """
    letters = [char for char in text if char.isalpha()]
    if not letters:
        raise InputError("holds no word", subject="text", hint="pass a sentence or a file of text")
    if sum(char < "\u0250" or "\u1e00" <= char <= "\u1eff" for char in letters) < len(letters) / 2:
        raise InputError(
            "is written in other than Latin letters",
            subject="text",
            hint="the tagger was trained on English sentences",
        )
    cut = [
        [(start + a, start + b) for a, b in words_of(text[start:end])]
        for start, end in sentences_of(text)
    ]
    mentions = []
    with shown(progress)("marking mountains", len(cut)) as advance:
        for at in range(0, len(cut), _STEP):
            part = cut[at : at + _STEP]
            tokens = [[text[a:b] for a, b in words] for words in part]
            for words, found in zip(part, tagger.tag(tokens, least), strict=True):
                for item in found:
                    start, end = words[item.span[0]][0], words[item.span[1] - 1][1]
                    mentions.append(_placed(text, start, end, item.probability, gazetteer))
            advance(len(part))
    return mentions


def _placed(text: str, start: int, end: int, probability: float, gazetteer: Gazetteer) -> Mention:
    name = text[start:end]
    around = text[max(start - _AROUND, 0) : end + _AROUND]
    found = tuple(
        one for one in gazetteer.candidates(name, around) if one.place in mountains([one.place])
    )
    status: Literal["found", "ambiguous", "unknown"] = "found"
    if not found:
        status = "unknown"
    elif is_ambiguous(found):
        status = "ambiguous"
    return Mention(name, start, end, probability, status, found)


def choose(mentions: Sequence[Mention], number: int | None, name: str | None) -> Place:
    """Returns the one place that is meant.

    Args:
        mentions: The mountains of a text.
        number: Number of the candidate, from 1, where a name is ambiguous; None to refuse those.
        name: Which mention, as the text has it; None where only one is named.

    Raises:
        InputError: There is none, or several places could be meant.
    """
    wanted = [one for one in mentions if name is None or one.text == name]
    if not wanted:
        cause = "names no mountain" if name is None else f"names no mountain {name!r}"
        raise InputError(cause, subject="text")
    names = dict.fromkeys(one.text for one in wanted)
    if len(names) > 1 and len({one.place or one.text for one in wanted}) > 1:
        raise InputError(
            f"names several mountains: {', '.join(names)}",
            subject="text",
            hint=f"choose one by --mention {next(iter(names))!r}",
        )
    mention = max(wanted, key=lambda one: (one.place is not None, one.probability))
    if not mention.candidates:
        raise InputError(
            "is not in the gazetteer",
            subject=mention.text,
            hint="name a larger one with --gazetteer, such as GeoNames' dump of the country",
        )
    if number is None and mention.place is None:
        shown_places = "; ".join(
            f"{k}: {one.place.name} ({' '.join(one.place.context[:3])})"
            for k, one in enumerate(mention.candidates, start=1)
        )
        raise InputError(
            f"may be any of {shown_places}", subject=mention.text, hint="choose by --candidate N"
        )
    index = 0 if number is None else number - 1
    if not 0 <= index < len(mention.candidates):
        raise InputError(f"has {len(mention.candidates)} candidates", subject=mention.text)
    return mention.candidates[index].place


def as_records(mentions: Sequence[Mention], margin_km: float) -> list[dict[str, Any]]:
    """Returns mentions as plain values: span, probability, status, place and candidates."""
    return [
        {
            "text": one.text,
            "start": one.start,
            "end": one.end,
            "probability": round(one.probability, 4),
            "status": one.status,
            "place": None if one.place is None else _facts(one.place, margin_km),
            "candidates": [
                {**_facts(item.place, margin_km), "score": round(item.score, 3)}
                for item in one.candidates
            ],
        }
        for one in mentions
    ]


def as_geojson(mentions: Sequence[Mention], margin_km: float) -> dict[str, Any]:
    """Returns a FeatureCollection (RFC 7946); a mention without a certain place has no geometry."""
    features = []
    for one, record in zip(mentions, as_records(mentions, margin_km), strict=True):
        place = record.pop("place")
        feature: dict[str, Any] = {"type": "Feature", "geometry": None, "properties": record}
        if place is not None and one.place is not None:
            point = [one.place.lon, one.place.lat]
            feature["geometry"] = {"type": "Point", "coordinates": point}
            feature["bbox"] = place["bbox"]
            record |= {key: place[key] for key in ("name", "kind", "elevation_m")}
        features.append(feature)
    return {"type": "FeatureCollection", "features": features}


def as_table(mentions: Sequence[Mention], margin_km: float) -> str:
    """Returns lines of span, probability, place, coordinates and bounding box."""
    rows = [("mention", "at", "prob", "place", "lat", "lon", "west,south,east,north")]
    for one in mentions:
        at = f"{one.start}-{one.end}"
        start = (one.text, at, f"{one.probability:.2f}")
        if one.place is not None:
            place = one.place
            box = ",".join(f"{value:.3f}" for value in place.bbox(margin_km))
            rows.append((*start, place.name, f"{place.lat:.3f}", f"{place.lon:.3f}", box))
        elif one.candidates:
            names = "; ".join(item.place.name for item in one.candidates)
            rows.append((*start, f"ambiguous: {names}", "", "", ""))
        else:
            rows.append((*start, "not in the gazetteer", "", "", ""))
    widths = [max(len(row[k]) for row in rows) for k in range(len(rows[0]))]
    lines = (
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        for row in rows
    )
    return "\n".join(line.rstrip() for line in lines)


def _facts(place: Place, margin_km: float) -> dict[str, Any]:
    box: Box = place.bbox(margin_km)
    return {
        "name": place.name,
        "kind": place.kind,
        "lat": place.lat,
        "lon": place.lon,
        "elevation_m": place.elevation_m,
        "bbox": [round(value, 5) for value in box],
    }


def written(mentions: Sequence[Mention], form: str, margin_km: float) -> str:
    """Returns mentions as text.

    Args:
        mentions: The mentions.
        form: ``table``, ``json`` or ``geojson``.
        margin_km: Kilometres around a summit.
    """
    if form == "table":
        return as_table(mentions, margin_km)
    made = as_geojson if form == "geojson" else as_records
    return to_json(made(mentions, margin_km))


def notes(text: str, mentions: Sequence[Mention]) -> list[str]:
    """Returns what a reader of the mentions has to know beside them, a line each.

    Args:
        text: The text.
        mentions: What was found in it.
    """
    lines = [] if mentions else ["no mountain found"]
    if english_share(text[a:b] for a, b in words_of(text)) < _LEAST_ENGLISH:
        lines.append(
            "the text hardly has an English word; the tagger learnt from English sentences"
        )
    return lines


def text_of(given: str) -> str:
    """Returns a text, or the text of the file that is named.

    Raises:
        InputError: It is empty, or the file cannot be read or is not there.
    """
    path = Path(given)
    try:
        is_file = len(given) < 4096 and "\n" not in given and path.is_file()
        text = path.read_text(encoding="utf-8") if is_file else given
    except (OSError, ValueError) as error:
        cause = getattr(error, "strerror", None) or "is no text in UTF-8"
        raise InputError(cause, subject=path) from error
    if not is_file and _FILE.fullmatch(given):
        raise InputError("does not exist", subject=path, hint="pass a text, or a file of it")
    if not text.strip():
        raise InputError("is empty", subject=path if is_file else "text")
    return text
