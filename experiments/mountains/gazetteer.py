"""Where mountains are: gazetteers, names as they compare, and candidates for a mention."""

from __future__ import annotations

import csv
import math
import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

from rapidfuzz import fuzz, process

from imatch.core.errors import InputError

SHIPPED = Path(__file__).with_name("gazetteer.csv")
Box = tuple[float, float, float, float]
"""(west, south, east, north) in degrees."""

#: GeoNames: codes of its class T that are mountains, and what they are here.
_GEONAMES = {
    **dict.fromkeys(("MT", "PK", "HLL", "CONE", "ROCK", "NTK", "NTKS"), "peak"),
    **dict.fromkeys(("MTS", "PKS", "HLLS", "RDGE", "UPLD"), "range"),
    "VLC": "volcano",
}
_KINDS = {"peak", "volcano", "range"}
#: Words that say only that it is a mountain, in the languages of the names.
_GENERIC_TEXT = (
    "mount mt mts mountain mountains mont monte mons peak pk pik pic pico piz peaks volcano volcan"
    " vulkan cerro nevado gunung jabal jebel jbel djebel dagi dag san zan shan yama take dake ben"
    " gora hill hills range ranges massif the of la le de del"
)
_GENERIC = frozenset(_GENERIC_TEXT.split())
_JAPANESE = re.compile(r"(?<=\w)-(san|zan|yama|dake|take|sen)\b")
#: Least similarity of a name, percent, and how far a candidate has to be ahead of the next.
_LEAST, _AHEAD = 88.0, 0.1
_KM_PER_DEGREE = 111.32
#: Most tokens of a name that is looked up in a sentence.
_MOST_WORDS = 8


@dataclass(frozen=True)
class Place:
    """A mountain, a range, or another place of a gazetteer.

    Attributes:
        name: What it is called first.
        kind: ``peak``, ``volcano``, ``range`` or ``other``.
        lat: Latitude of its summit or middle, degrees.
        lon: Longitude, degrees.
        elevation_m: Height in metres, NaN where it is not known.
        box: Its extent; None for a single summit.
        aliases: Other names.
        context: Words that stand near it in texts: its country, region, range.
        mentions: How often texts name it, 0 where that is not known.
    """

    name: str
    kind: str
    lat: float
    lon: float
    elevation_m: float = math.nan
    box: Box | None = None
    aliases: tuple[str, ...] = ()
    context: tuple[str, ...] = ()
    mentions: int = 0

    @property
    def names(self) -> tuple[str, ...]:
        """All its names, without what tells it from others of the name."""
        return (self.name.partition(" (")[0], *self.aliases)

    def bbox(self, margin_km: float = 5.0) -> Box:
        """Returns its extent and a margin around it; a summit gets the margin alone.

        Args:
            margin_km: Kilometres on each side.
        """
        west, south, east, north = self.box or (self.lon, self.lat, self.lon, self.lat)
        high = margin_km / _KM_PER_DEGREE
        # A degree of longitude is shortest at the end nearer to a pole.
        shrink = math.cos(math.radians(min(max(abs(south), abs(north)), 89.0)))
        wide = high / shrink
        return (
            max(west - wide, -180.0),
            max(south - high, -90.0),
            min(east + wide, 180.0),
            min(north + high, 90.0),
        )


@dataclass(frozen=True)
class Candidate:
    """A place that a mention may mean.

    Attributes:
        place: The place.
        similarity: Of the names, percent.
        score: What candidates are ranked by: similarity, words of the context, mentions.
    """

    place: Place
    similarity: float
    score: float


@dataclass
class Gazetteer:
    """Places by name.

    Args:
        places: The places.
    """

    places: Sequence[Place]
    _by_key: dict[str, list[int]] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self._by_key = {}
        for index, place in enumerate(self.places):
            for key in {key for name in place.names for key in (whole(name), core(name)) if key}:
                self._by_key.setdefault(key, []).append(index)
        self._keys = list(self._by_key)

    def candidates(self, name: str, context: str = "", limit: int = 5) -> list[Candidate]:
        """Returns the places that a name may mean, the likeliest first.

        Names that are equal without case, diacritics and words such as "Mount" come before those
        that are only similar (`rapidfuzz`, at least 88 %).

        Args:
            name: The name as the text has it.
            context: The text around it, whose words may name a country or region.
            limit: Most candidates.
        """
        scores: dict[int, float] = {}
        for key in (whole(name), core(name)):
            for index in self._by_key.get(key, ()):
                exact = 100.0 if key == whole(name) else 97.0
                scores[index] = max(scores.get(index, 0.0), exact)
        if not scores and len(core(name)) >= 4:
            # The core decides: "Mount Aaa" and "Mount Bbb" share half of their letters.
            for key, similarity, _ in process.extract(
                core(name), self._keys, scorer=fuzz.ratio, score_cutoff=_LEAST, limit=4 * limit
            ):
                for index in self._by_key[key]:
                    scores[index] = max(scores.get(index, 0.0), float(similarity))
        words = set(whole(context).split()) - set(whole(name).split())
        found = [
            Candidate(self.places[index], similarity, self._rank(index, similarity, words))
            for index, similarity in scores.items()
        ]
        return sorted(found, key=lambda one: (-one.score, one.place.name))[:limit]

    def _rank(self, index: int, similarity: float, words: set[str]) -> float:
        place = self.places[index]
        near = {word for text in place.context for word in whole(text).split()} & words
        return similarity / 100 + 0.3 * len(near) + 0.05 * math.log1p(place.mentions)


def is_ambiguous(candidates: Sequence[Candidate]) -> bool:
    """Whether the first candidate is hardly likelier than the second, which is another place."""
    if len(candidates) < 2:
        return False
    first, second = candidates[:2]
    return first.score - second.score < _AHEAD


def whole(name: str) -> str:
    """Returns a name as it compares: no case, diacritics, dots or hyphens; "Mt." is "mount".

    Examples:
        >>> whole("Mt. Gerlachovský-štít"), whole("Fuji-san")
        ('mount gerlachovsky stit', 'fuji san')
    """
    text = unicodedata.normalize("NFKD", name.casefold().replace("ß", "ss").replace("ø", "o"))
    text = "".join(char for char in text if not unicodedata.combining(char))
    text = text.replace("'s", "s").replace("’s", "s").replace("'", "").replace("’", "")
    words = re.findall(r"\w+", text)
    return " ".join({"mt": "mount", "mts": "mountains", "st": "saint"}.get(w, w) for w in words)


def core(name: str) -> str:
    """Returns what is left of a name without the words that say it is a mountain.

    Examples:
        >>> core("Mt. Fuji"), core("Fuji-san"), core("Pik Lenin"), core("Lenin Peak")
        ('fuji', 'fuji', 'lenin', 'lenin')
    """
    words = whole(_JAPANESE.sub(r" \1", name.casefold())).split()
    kept = [word for word in words if word not in _GENERIC]
    return " ".join(kept or words)


@lru_cache
def shipped() -> tuple[Place, ...]:
    """The mountains and ranges that come with the experiment."""
    return tuple(_table(SHIPPED))


def load_gazetteer(path: Path | None = None) -> Gazetteer:
    """Reads a gazetteer.

    Args:
        path: A table like the shipped one (``.csv``), a dump of GeoNames (``.txt``), or a file of
            features with a ``name`` (Natural Earth's elevation points or regions; any format of
            GDAL); the shipped one when None.

    Raises:
        InputError: It cannot be read, or has no coordinates.
    """
    if path is None:
        return Gazetteer(shipped())
    if not path.exists():
        raise InputError("does not exist", subject=path)
    readers = {".csv": _table, ".txt": _geonames}
    try:
        places = list(readers.get(path.suffix.lower(), _features)(path))
    except (OSError, UnicodeDecodeError, ValueError, csv.Error) as error:
        raise InputError(
            f"is no gazetteer ({error})",
            subject=path,
            hint="name a table with name, lat and lon, GeoNames' .txt or a file of features",
        ) from error
    if not places:
        raise InputError("names no place", subject=path)
    return Gazetteer(places)


def _table(path: Path) -> Iterator[Place]:
    with path.open(newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file)
        missing = {"name", "lat", "lon"} - set(reader.fieldnames or ())
        if missing:
            raise ValueError(f"it lacks the columns {', '.join(sorted(missing))}")
        for number, row in enumerate(reader, start=2):
            try:
                corners = [row.get(side) or "" for side in ("west", "south", "east", "north")]
                box = tuple(float(value) for value in corners) if all(corners) else None
                yield _checked(
                    Place(
                        row["name"],
                        row.get("kind") or "peak",
                        float(row["lat"]),
                        float(row["lon"]),
                        float(row.get("elevation_m") or "nan"),
                        box,  # type: ignore[arg-type]
                        _parts(row.get("aliases")),
                        tuple((row.get("context") or "").split()),
                        int(row.get("mentions") or 0),
                    )
                )
            except (TypeError, ValueError) as error:
                raise ValueError(f"line {number}: {error}") from error


def _geonames(path: Path) -> Iterator[Place]:
    with path.open(encoding="utf-8") as file:
        for number, line in enumerate(file, start=1):
            cells = line.rstrip("\n").split("\t")
            if len(cells) != 19:
                raise ValueError(f"line {number} has {len(cells)} columns, not GeoNames' 19")
            kind = _GEONAMES.get(cells[7], "other") if cells[6] == "T" else "other"
            height = cells[15] or (cells[16] if cells[16] != "-9999" else "")
            aliases = tuple(
                dict.fromkeys(name for name in (cells[2], *cells[3].split(",")) if name)
            )
            yield _checked(
                Place(
                    cells[1],
                    kind,
                    float(cells[4]),
                    float(cells[5]),
                    float(height or "nan"),
                    None,
                    aliases,
                    tuple(code for code in (cells[8], cells[10]) if code),
                    int(cells[14] or 0) if kind == "other" else 0,
                )
            )


def _features(path: Path) -> Iterator[Place]:
    import pyogrio

    try:
        frame = pyogrio.read_dataframe(path)
    except (pyogrio.errors.DataSourceError, pyogrio.errors.DataLayerError) as error:
        raise ValueError(str(error).partition("\n")[0]) from error
    columns = {name.lower(): name for name in frame.columns}
    if "name" not in columns or "geometry" not in columns:
        raise ValueError("its features have no name, or no coordinates")
    if frame.crs is not None:
        frame = frame.to_crs(4326)
    for row in frame.itertuples(index=False):
        values = dict(zip(frame.columns, row, strict=True))
        name, shape = values[columns["name"]], values["geometry"]
        if not isinstance(name, str) or not name.strip() or shape is None or shape.is_empty:
            continue
        middle = shape.representative_point()
        box = None if shape.geom_type == "Point" else tuple(float(v) for v in shape.bounds)
        feature = str(values.get(columns.get("featurecla", ""), "")).lower()
        is_range = box is not None and any(word in feature for word in ("range", "mtn", "mount"))
        kind = "range" if is_range else "other"
        if box is None:
            kind = "peak" if not feature or "mount" in feature or "elev" in feature else "other"
        height = values.get(columns.get("elevation", ""))
        regions = (values.get(columns.get(key, "")) for key in ("region", "subregion"))
        yield _checked(
            Place(
                name.strip(),
                kind,
                float(middle.y),
                float(middle.x),
                float(height) if isinstance(height, int | float) else math.nan,
                box,  # type: ignore[arg-type]
                _parts(values.get(columns.get("name_alt", ""))),
                tuple(word for text in regions if isinstance(text, str) for word in text.split()),
            )
        )


def _checked(place: Place) -> Place:
    if not (-90 <= place.lat <= 90 and -180 <= place.lon <= 180):
        raise ValueError(f"{place.name!r} is at latitude {place.lat}, longitude {place.lon}")
    if place.kind not in _KINDS | {"other"}:
        raise ValueError(f"the kind {place.kind!r} of {place.name!r} is none")
    return place


def _parts(text: object) -> tuple[str, ...]:
    if not isinstance(text, str):
        return ()
    return tuple(part.strip() for part in text.split("|") if part.strip())


class NameMatcher:
    """Marks words that are a known name, the longest first.

    Args:
        names: The names; a mention has to begin with a capital.
    """

    def __init__(self, names: Iterable[str]) -> None:
        self._known = {whole(name) for name in names}
        self._firsts = {name.partition(" ")[0] for name in self._known}

    def match(self, tokens: Sequence[str]) -> list[tuple[int, int]]:
        """Returns half-open ranges of tokens, none overlapping."""
        spans: list[tuple[int, int]] = []
        start = 0
        while start < len(tokens):
            end = self._end(tokens, start)
            if end:
                spans.append((start, end))
            start = end or start + 1
        return spans

    def _end(self, tokens: Sequence[str], start: int) -> int:
        """The end of the longest name that begins at a token; 0 where none does."""
        if not tokens[start][:1].isupper():
            return 0
        if whole(tokens[start]).partition(" ")[0] not in self._firsts:
            return 0
        for end in range(min(start + _MOST_WORDS, len(tokens)), start, -1):
            last = tokens[end - 1]
            if any(map(str.isalnum, last)) and whole(" ".join(tokens[start:end])) in self._known:
                return end
        return 0


def gazetteer_names(places: Iterable[Place]) -> list[str]:
    """Returns all names of the mountains among some places."""
    return [name for place in mountains(places) for name in place.names]


def mountains(places: Iterable[Place]) -> list[Place]:
    """Returns the places that are mountains or ranges."""
    return [place for place in places if place.kind in _KINDS]
