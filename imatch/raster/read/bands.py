"""Selects bands by index or name, or by default."""

from __future__ import annotations

import difflib
from collections.abc import Sequence

from rasterio.enums import ColorInterp
from rasterio.io import DatasetReader

from imatch.core.errors import InputError

_COLOURS = (ColorInterp.red, ColorInterp.green, ColorInterp.blue)
#: What products call red, green and blue, in lower case.
_NAMES = (
    ("red", "r", "b04", "b4"),
    ("green", "g", "b03", "b3"),
    ("blue", "b", "b02", "b2"),
)


def band_names(dataset: DatasetReader) -> tuple[str, ...]:
    """One name a band: its description, else its colour, else its number (``"2"``)."""
    names = []
    for index in dataset.indexes:
        colour = dataset.colorinterp[index - 1]
        fallback = colour.name if colour in _COLOURS else str(index)
        names.append((dataset.descriptions[index - 1] or "").strip() or fallback)
    return tuple(names)


def select_bands(
    names: Sequence[str], wanted: Sequence[int | str], *, subject: str
) -> tuple[int, ...]:
    """Find the asked bands.

    A name matches exactly, else without regard to case, else as the first word of a description
    (``"B4"`` finds ``"B4, central wavelength 665 nm"``); a number in text counts as an index when
    no band is called so.

    Args:
        names: The names there are.
        wanted: 1-based indices or names.
        subject: The file, for the message.

    Returns:
        1-based indices, in the order asked.

    Raises:
        InputError: A band is not there, or none was asked for.
    """
    if not wanted:
        raise InputError("no band was asked for", subject=subject, hint=_there_are(names))
    return tuple(_find(names, item, subject) for item in wanted)


def _find(names: Sequence[str], item: int | str, subject: str) -> int:
    if not isinstance(item, int):
        text = item.strip()
        lower = [name.lower() for name in names]
        first_words = [name.replace(",", " ").split(" ")[0] for name in lower]
        for candidates, value in (
            (list(names), text),
            (lower, text.lower()),
            (first_words, text.lower()),
        ):
            if value in candidates:
                return candidates.index(value) + 1
        if not text.isdecimal():
            close = difflib.get_close_matches(text, names, n=1)
            also = f"did you mean {close[0]!r}? " if close else ""
            raise InputError(
                f"has no band {item!r}", subject=subject, hint=also + _there_are(names)
            )
        item = int(text)
    if not 1 <= item <= len(names):
        raise InputError(f"has no band {item}", subject=subject, hint=_there_are(names))
    return item


def _there_are(names: Sequence[str]) -> str:
    listed = ", ".join(
        str(i) if name == str(i) else f"{i} ({name})" for i, name in enumerate(names, start=1)
    )
    return f"its bands are {listed}"


def default_bands(dataset: DatasetReader) -> tuple[int, ...]:
    """Chooses the bands to match by default: at most three, never the alpha band.

    Red, green and blue by the bands' names, else by the file's colour interpretation, else the
    first three bands there are.
    """
    colours = dataset.colorinterp
    usable = [i for i in dataset.indexes if colours[i - 1] is not ColorInterp.alpha]
    usable = usable or list(dataset.indexes)
    # Names first: GDAL calls the bands of any 8-bit file of three or four red, green and blue.
    names = [name.lower().replace(",", " ").split(" ")[0] for name in band_names(dataset)]
    picked = [next((i for i in usable if names[i - 1] in aliases), None) for aliases in _NAMES]
    found = [i for i in picked if i is not None]
    if len(found) == 3:
        return tuple(found)
    if len(usable) > 3 and all(colour in colours for colour in _COLOURS):
        return tuple(colours.index(colour) + 1 for colour in _COLOURS)
    return tuple(usable[:3])
