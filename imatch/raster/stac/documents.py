"""Reads STAC documents: items, collections, catalogues and lists of items, from files and URLs."""

from __future__ import annotations

import re
import time
import warnings
from collections.abc import Iterator
from functools import lru_cache
from os import PathLike, fspath
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urljoin, urlsplit

from imatch.core.errors import InputError
from imatch.core.extras import require_extra
from imatch.core.io.http import ask
from imatch.core.io.jsontext import parse_json

if TYPE_CHECKING:
    import pystac

_SUFFIXES = (".json", ".geojson")
# Addresses of an API's items and collections end in no suffix.
_API = re.compile(r"/collections/[^/]+(?:/items(?:/[^/]+)?)?/?$|/search$")
#: Versions of the specification whose items are read, as they begin.
_VERSIONS = ("1.", "0.8.", "0.9.")
_LARGEST = 1 << 26
_FRESH_S = 60
#: Items of a collection.
_MOST_ITEMS = 10_000
_HINT = "name an item or a collection of STAC 1"


def split_name(path: str | PathLike[str]) -> tuple[str, tuple[str, ...]] | None:
    """Splits a name into a STAC document and the assets that are asked of it.

    Args:
        path: ``item.json``, ``item.json#B04,B03``, or a URL of either kind; a file of such a name
            comes first.

    Returns:
        The document's path or URL, and the keys; None where it is no such name.

    Examples:
        >>> split_name("https://host/collections/c/items/a#B04,B03")
        ('https://host/collections/c/items/a', ('B04', 'B03'))
        >>> split_name("scene.tif") is None
        True
    """
    text = fspath(path)
    name, _, keys = text.partition("#")
    wanted = tuple(key.strip() for key in keys.split(",") if key.strip())
    if name.lower().startswith(("http://", "https://")):
        place = urlsplit(name).path
        known = place.lower().endswith(_SUFFIXES) or _API.search(place) is not None
        return (name, wanted) if known else None
    if not name.lower().endswith(_SUFFIXES) or text.startswith(("/vsi", "<")):
        return None
    try:
        if not Path(name).is_file() or (keys and Path(text).exists()):
            return None
        with Path(name).open("rb") as file:
            found = b'"stac_version"' in file.read(_LARGEST)
    except (OSError, ValueError):
        return None
    return (name, wanted) if found else None


def read_document(name: str) -> dict[str, Any]:
    """Reads a STAC document.

    Args:
        name: A path or URL.

    Raises:
        InputError: It cannot be read, or is none.
    """
    if "://" in name:
        content = ask(name, headers={"Accept": "application/geo+json, application/json"}).body
    else:
        try:
            content = Path(name).read_bytes()
        except OSError as error:
            raise InputError(error.strerror or str(error), subject=name) from error
    try:
        document = parse_json(content)
    except ValueError as error:
        raise InputError(f"is no JSON ({error})", subject=name, hint=_HINT) from error
    if not isinstance(document, dict) or not isinstance(document.get("type"), str):
        raise InputError("is no STAC document", subject=name, hint=_HINT)
    return document


def read_item(document: dict[str, Any], name: str) -> pystac.Item:
    """Turns the JSON of an item into one, with absolute addresses.

    Args:
        document: What `read_document` gave, or a feature of a list.
        name: Where it lies.

    Raises:
        InputError: It is no item, or of a version that is not read.
        ConfigError: pystac is not installed.
    """
    require_extra("pystac", "STAC items are read by it")
    import pystac

    version = document.get("stac_version")
    if document.get("type") != "Feature" or version is None:
        raise InputError("is no STAC item", subject=name, hint=_HINT)
    if not str(version).startswith(_VERSIONS):
        raise InputError(
            f"is of STAC version {version}, which is not read", subject=name, hint=_HINT
        )
    missing = [key for key in ("id", "assets", "properties") if not document.get(key)]
    if missing:
        raise InputError(f"is an item without {missing[0]}", subject=name, hint=_HINT)
    try:
        with warnings.catch_warnings():  # Of items of older versions.
            warnings.simplefilter("ignore")
            return pystac.Item.from_dict(document, href=_absolute(name), preserve_dict=True)
    except Exception as error:  # pystac's errors have no common base, nor has what it trips over.
        detail = " ".join(str(error).split())[:200] or type(error).__name__
        raise InputError(f"is a damaged STAC item ({detail})", subject=name, hint=_HINT) from error


def _recent(name: str) -> dict[str, Any]:
    """A document as it was within this minute: addresses in it may be signed for an hour."""
    changed = time.time() // _FRESH_S if "://" in name else _modified(name)
    return _cached(name, int(changed))


def _modified(name: str) -> int:
    try:
        return Path(name).stat().st_mtime_ns
    except OSError:
        return 0


@lru_cache(maxsize=256)
def _cached(name: str, _changed: int) -> dict[str, Any]:
    return read_document(name)


def open_item(name: str) -> pystac.Item:
    """Reads the item that a document is, or the only one that it lists.

    Args:
        name: A path or URL.

    Raises:
        InputError: It cannot be read, or lists several items.
    """
    document = _recent(name)
    if document["type"] == "Feature":
        return read_item(document, name)
    names = [place for place, _ in listed_items(document, name)]
    if len(names) != 1:
        such = f"such as {names[0]}; " if names else ""
        raise InputError(
            f"lists {len(names)} items",
            subject=name,
            hint=f"name one of them, {such}stack, batch and index take all of them",
        )
    return read_item(_recent(names[0]), names[0])


def item_names(path: str | PathLike[str]) -> list[str] | None:
    """Lists the items of a collection, a catalogue or a list of items.

    Args:
        path: Its path or URL, with perhaps ``#`` and the assets wanted of each.

    Returns:
        The paths or URLs of the items, with the same ending; None where `path` is no STAC document,
        or an item itself.

    Raises:
        InputError: It cannot be read, or lists no items.
    """
    split = split_name(path)
    if split is None:
        return None
    name, keys = split
    document = _recent(name)
    if document["type"] == "Feature":
        return None
    ending = f"#{','.join(keys)}" if keys else ""
    found = [f"{place}{ending}" for place, _ in listed_items(document, name)]
    if not found:
        raise InputError("lists no items", subject=name, hint=_HINT)
    return list(dict.fromkeys(found))


def licences(document: dict[str, Any], name: str) -> dict[str, str]:
    """Returns what the collections right below a catalogue say of their licence, by name.

    Args:
        document: The catalogue, or a collection.
        name: Where it lies.

    Raises:
        InputError: A collection cannot be read.
    """
    below = [_recent(_join(name, link["href"])) for link in _links(document, "child")]
    return {
        str(one.get("id")): str(one.get("license") or "not stated")
        for one in (document, *below)
        if one["type"] == "Collection"
    }


def listed_items(
    document: dict[str, Any], name: str
) -> Iterator[tuple[str, dict[str, Any] | None]]:
    """Follows a document to all items that it leads to.

    Args:
        document: A collection, a catalogue or a list of items.
        name: Where it lies.

    Yields:
        The path or URL of an item, and the item's document where a list holds it.

    Raises:
        InputError: A document cannot be read, or there are too many items.
    """
    waiting, seen, count = [(document, name)], {name}, 0
    while waiting:
        parent, place = waiting.pop(0)
        if parent["type"] == "FeatureCollection":
            found = [(_own_address(item, place), item) for item in parent.get("features", ())]
        else:
            found = [(_join(place, link["href"]), None) for link in _links(parent, "item")]
        for address, item in found:
            count += 1
            if count > _MOST_ITEMS:
                cause = f"lists more than {_MOST_ITEMS} items"
                raise InputError(cause, subject=name, hint="name a smaller collection")
            yield address, item
        # A static collection has item links besides its address of an API's items.
        further = ["child", "next"] + ([] if found else ["items"])
        for link in (one for rel in further for one in _links(parent, rel)):
            address = _join(place, link["href"])
            if address not in seen:
                seen.add(address)
                waiting.append((_recent(address), address))


def _links(document: dict[str, Any], rel: str) -> list[dict[str, Any]]:
    links = document.get("links", ())
    return [link for link in links if link.get("rel") == rel and isinstance(link.get("href"), str)]


def _own_address(item: dict[str, Any], place: str) -> str:
    links = _links(item, "self") if isinstance(item, dict) else []
    if not links:
        raise InputError(
            "lists an item that has no address of its own (a link 'self')",
            subject=place,
            hint="save each item as a file",
        )
    return _join(place, links[0]["href"])


def _join(base: str, href: str) -> str:
    """An address as seen from the document that holds it."""
    if "://" in href or href.startswith("/"):
        return urljoin(base, href) if base.startswith("http") else href
    return urljoin(base, href) if "://" in base else str((Path(base).parent / href).resolve())


def _absolute(name: str) -> str:
    return name if "://" in name else str(Path(name).absolute())
