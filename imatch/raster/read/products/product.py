"""Products of satellites: named bands in files of their own, and the masks that come with them."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import TypeAlias

from imatch.core.errors import InputError

_OTHER = "download the product again, or name other --bands"


@dataclass(frozen=True)
class ProductBand:
    """A band of a product and how its numbers become what they measure.

    Attributes:
        name: What it is called in results.
        file: What GDAL is to open.
        index: 1-based band of that file.
        nodata: What marks missing ground by the product's format, where the file does not say.
        scale: What its numbers are multiplied by.
        offset: What is added then.
    """

    name: str
    file: str
    index: int = 1
    nodata: float | None = None
    scale: float = 1.0
    offset: float = 0.0


@dataclass(frozen=True)
class ClassLayer:
    """A raster of classes or flags that tells ground to leave out.

    Attributes:
        name: What it is called: ``"SCL"``.
        file: What GDAL is to open.
        index: 1-based band of that file.
        values: Numbers that are left out.
        bits: Bits of which any being set leaves a pixel out.
        of: Names of the images that it concerns; empty for all.
        is_flag: Whether its pixels are 0 or 1.
    """

    name: str
    file: str
    index: int = 1
    values: frozenset[int] = frozenset()
    bits: int = 0
    of: frozenset[str] = frozenset()
    is_flag: bool = False


@dataclass(frozen=True)
class PolygonLayer:
    """Polygons of a Sentinel-2 mask in GML, with coordinates in the CRS of their image.

    Attributes:
        name: What it is called: ``"MSK_CLOUDS"``.
        file: An XML file, also within a zip (``/vsizip/…``).
        of: Names of the images that it concerns; empty for all.
    """

    name: str
    file: str
    of: frozenset[str] = frozenset()


Layer: TypeAlias = ClassLayer | PolygonLayer


@dataclass(frozen=True)
class Product:
    """What a folder, an archive or a catalogue's item holds.

    Attributes:
        kind: What it is: ``"Landsat Collection 2 product"``.
        bands: Own name of each image to its bands, of which a picture has three.
        usual: Names of what is matched when nobody says what.
        other_names: Other names of the bands, in lower case, to their own.
        layers: What tells ground to leave out.
        left_out: What these layers leave out, in words.
        no_mask: Why there are no layers; empty where there are some.
        missing: Names of bands that metadata name, and the files that are not there.
        taken: The day it was taken, where metadata say.
        format_has_mask: Whether one that lacks its masks is not whole.
    """

    kind: str
    bands: Mapping[str, tuple[ProductBand, ...]]
    usual: tuple[str, ...]
    other_names: Mapping[str, str] = field(default_factory=dict)
    layers: tuple[Layer, ...] = ()
    left_out: str = ""
    no_mask: str = ""
    missing: Mapping[str, str] = field(default_factory=dict)
    taken: date | None = None
    format_has_mask: bool = True

    def layers_of(self, wanted: Sequence[int | str] | None) -> tuple[Layer, ...]:
        """Returns the layers that concern what is matched.

        Args:
            wanted: As for `choose`, all of them there.
        """
        names = {self._own(item) for item in (self.usual if wanted is None else wanted)}
        names |= {
            name
            for name, several in self.bands.items()
            if any(band.name.lower() in names for band in several)
        }
        return tuple(layer for layer in self.layers if not layer.of or layer.of & names)

    def _own(self, item: int | str) -> str:
        asked = str(item).strip().lower()
        lower = {name.lower(): name for name in self.bands}
        return lower.get(asked) or self.other_names.get(asked, asked)

    def choose(
        self, wanted: Sequence[int | str] | None, *, subject: str
    ) -> tuple[ProductBand, ...]:
        """Chooses bands by their own or their common names.

        Args:
            wanted: Names, in any case (``"B04"``, ``"red"``); None for the usual ones.
            subject: The product, for messages.

        Raises:
            InputError: A band is not there, or was asked for by number.
        """
        chosen: list[ProductBand] = []
        parts = {b.name.lower(): b for several in self.bands.values() for b in several}
        for item in self.usual if wanted is None else wanted:
            name = self._own(item)
            if name not in self.bands and name in parts:  # One of a picture's colours.
                chosen.append(parts[name])
                continue
            if isinstance(item, int) or name not in self.bands:
                lost = self.missing.get(name)
                if lost is not None:
                    cause = f"its band {item!r} is missing: there is no {lost}"
                    raise InputError(cause, subject=subject, hint=_OTHER)
                hint = self._hint(str(item).lower())
                raise InputError(f"has no band {item!r}", subject=subject, hint=hint)
            chosen += self.bands[name]
        if not chosen and not self.bands and self.missing:
            name, lost = next(iter(self.missing.items()))
            cause = f"holds none of the images that its metadata name, as {lost} of its band {name}"
            raise InputError(cause, subject=subject, hint="download the product again")
        if not chosen:
            raise InputError("no band was asked for", subject=subject, hint=self._hint(""))
        return tuple(chosen)

    def _hint(self, asked: str) -> str:
        common: dict[str, list[str]] = {}
        for other, name in self.other_names.items():
            common.setdefault(name, []).append(other)
        names = [
            f"{name} ({', '.join(common[name])})" if name in common else name
            for name in sorted(self.bands)
        ]
        close = difflib.get_close_matches(asked, [*map(str.lower, self.bands), *self.other_names])
        did = f"did you mean {close[0]}? " if close else ""
        return f"{did}its bands are {', '.join(names)}"


def one_scene(scenes: Iterable[str], kind: str, path: Path) -> str:
    """Returns the only scene that a folder or archive holds.

    Args:
        scenes: The scene of each file.
        kind: What a scene is, for the message.
        path: The folder or archive.

    Raises:
        InputError: It holds several.
    """
    names = sorted(set(scenes))
    if len(names) > 1:
        raise InputError(
            f"holds {len(names)} {kind}s ({', '.join(names[:2])}…)",
            subject=path,
            hint="keep each in a folder of its own, or name an image file",
        )
    return names[0]


def usual_bands(bands: Iterable[str]) -> tuple[str, ...]:
    """Returns red, green and blue where they are there, else the first three bands."""
    names = list(bands)
    colours = ("red", "green", "blue")
    return colours if set(colours) <= set(names) else tuple(names[:3])


def matching(pattern: re.Pattern[str], files: Iterable[str]) -> dict[str, re.Match[str]]:
    """Returns the files whose names match a pattern, by path, each with its match."""
    found = {file: pattern.search(re.split(r"[/\\]", file)[-1]) for file in files}
    return {file: match for file, match in found.items() if match is not None}
