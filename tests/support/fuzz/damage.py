"""Ways to damage a file: its bytes, the values it states, and the claims of its header."""

from __future__ import annotations

import json
import re
import struct
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any, TypeAlias

import yaml

from tests.support.fuzz.headers import (
    NUMBERS,
    claim,
    geocoding,
    jp2_size,
    jpeg_size,
    png_size,
    tiff_tag,
)

#: Changes bytes at random, and says how; None where it cannot be done to such a file.
Damage: TypeAlias = Callable[[bytes, Random], tuple[bytes, str] | None]

_DEEP = 3000
VALUES: tuple[Any, ...] = (
    *(None, True, "", "text", "nan", "-1", "1e999", "a\0b", "\ud800", "é" * 300, "x" * 100_000),
    *("../../outside", "/etc/passwd", "EPSG:999999", "=1+1", "+2", "a\nb", ",", '"', "::"),
    *([], {}, [1, 2], [[1, 2], [3]], {"a": 1}, [None], [1e308] * 9, [0.0] * 9, [0.0] * 6),
)


def damaged(path: Path, rng: Random) -> str:
    """Damage a file in place, in one of the ways that suit it; says how."""
    content = path.read_bytes()
    # What knows the format finds more than what does not.
    ways = [*BYTES, *_suiting(path) * 3]
    while True:
        done = rng.choice(ways)(content, rng)
        if done is not None and done[0] != content:
            path.write_bytes(done[0])
            return done[1]


def _suiting(path: Path) -> list[Damage]:
    suffix = path.suffix.lower()
    for suffixes, ways in _BY_SUFFIX.items():
        if suffix in suffixes:
            return ways
    return []


# Bytes, whatever they mean ---------------------------------------------------------------------


def _place(content: bytes, rng: Random) -> int:
    """A position, half of them in the header."""
    size = max(1, len(content))
    return rng.randrange(min(size, 512) if rng.random() < 0.4 else size)


def truncate(content: bytes, rng: Random) -> tuple[bytes, str]:
    """Cut the end off."""
    at = 0 if rng.random() < 0.05 else _place(content, rng)
    return content[:at], f"truncated to {at} of {len(content)} bytes"


def flip(content: bytes, rng: Random) -> tuple[bytes, str]:
    """Change some bytes."""
    changed, places = bytearray(content or b"\0"), []
    for _ in range(rng.choice((1, 1, 2, 8, 64))):
        at = _place(content, rng)
        changed[at] = rng.randrange(256)
        places.append(at)
    return bytes(changed), f"bytes changed at {places[:8]}"


def insert(content: bytes, rng: Random) -> tuple[bytes, str]:
    """Put bytes in between."""
    at, count = _place(content, rng), rng.choice((1, 2, 7, 64, 1000))
    return content[:at] + rng.randbytes(count) + content[at:], f"{count} bytes inserted at {at}"


def delete(content: bytes, rng: Random) -> tuple[bytes, str]:
    """Take bytes out."""
    at, count = _place(content, rng), rng.choice((1, 2, 7, 64, 1000))
    return content[:at] + content[at + count :], f"{count} bytes deleted at {at}"


def duplicate(content: bytes, rng: Random) -> tuple[bytes, str]:
    """Repeat a block."""
    at, count = _place(content, rng), rng.choice((4, 64, 1000, 5000))
    block = content[at : at + count]
    return content[:at] + block + content[at:], f"{count} bytes at {at} twice"


def zero(content: bytes, rng: Random) -> tuple[bytes, str]:
    """Lose a block, as a bad disk does."""
    at, count = _place(content, rng), rng.choice((4, 64, 512, 4096))
    block = bytes(min(count, len(content) - at))
    return content[:at] + block + content[at + len(block) :], f"{count} bytes at {at} zero"


def exchange(content: bytes, rng: Random) -> tuple[bytes, str]:
    """Exchange two blocks."""
    count = rng.choice((2, 4, 64, 512))
    a, b = sorted((_place(content, rng), _place(content, rng)))
    b = max(b, a + count)
    one, other = content[a : a + count], content[b : b + count]
    whole = content[:a] + other + content[a + count : b] + one + content[b + count :]
    return whole, f"{count} bytes at {a} and {b} exchanged"


BYTES: tuple[Damage, ...] = (truncate, flip, insert, delete, duplicate, zero, exchange)


# Text ------------------------------------------------------------------------------------------


def text_bytes(content: bytes, rng: Random) -> tuple[bytes, str]:
    """Another encoding, NUL, a mark, nothing at all."""
    at = _place(content, rng)
    return rng.choice(
        (
            (b"", "empty"),
            (b"\n\n", "blank lines"),
            (content[:at] + b"\0" + content[at:], f"NUL at {at}"),
            (content[:at] + b"\xff\xfe" + content[at:], f"no UTF-8 at {at}"),
            (b"\xef\xbb\xbf" + content, "byte order mark"),
            (content.decode("utf-8", "replace").encode("utf-16"), "UTF-16"),
            (content.replace(b"\n", b"\r"), "carriage returns"),
            (content + content, "twice"),
        )
    )


def text_number(content: bytes, rng: Random) -> tuple[bytes, str] | None:
    """Another number."""
    found = list(re.finditer(rb"-?\d+(\.\d+)?([eE][-+]?\d+)?", content))
    if not found:
        return None
    match, value = rng.choice(found), rng.choice((*NUMBERS, "", "text", "[1]", "1,2"))
    new = str(value).encode()
    return (
        content[: match.start()] + new + content[match.end() :],
        f"{match[0].decode()} at {match.start()} became {value!r}",
    )


def xml_part(content: bytes, rng: Random) -> tuple[bytes, str] | None:
    """Lose, repeat or rename an element."""
    found = list(re.finditer(rb"<(\w+)[^<>]*>[^<>]*</\1>|<\w+[^<>]*/>", content))
    if not found:
        return None
    match = rng.choice(found)
    new = rng.choice((b"", match[0] * 2, match[0] * 2000, re.sub(rb"\w+", b"x", match[0], count=1)))
    return content[: match.start()] + new + content[match.end() :], f"element {match[0][:40]!r}"


def csv_cell(content: bytes, rng: Random) -> tuple[bytes, str] | None:
    """Another cell, a missing or a repeated line."""
    lines = content.decode("utf-8", "replace").splitlines()
    if not lines:
        return None
    at = rng.randrange(len(lines))
    cells = lines[at].split(",")
    column = rng.randrange(len(cells))
    kind = rng.randrange(4)
    if kind == 0:
        lines.insert(at, lines[at])
    elif kind == 1:
        del lines[at]
    elif kind == 2:
        del cells[column]
        lines[at] = ",".join(cells)
    else:
        cells[column] = str(rng.choice((*NUMBERS, *VALUES)))
        lines[at] = ",".join(cells)
    said = f"line {at + 1}, column {column + 1}: way {kind}, {cells[column : column + 1]!r:.60}"
    return ("\n".join(lines) + "\n").encode("utf-8", "replace"), said


def _tree_damage(tree: Any, rng: Random) -> tuple[Any, str]:
    """Change one value of a tree of lists and mappings."""
    places: list[tuple[Any, Any, str]] = []

    def walk(node: Any, name: str, depth: int) -> None:
        items = node.items() if isinstance(node, dict) else enumerate(node)
        # Of long columns of numbers the first ones will do.
        for key, item in [*items][:20]:
            where = f"{name}/{key}"
            places.append((node, key, where))
            if isinstance(item, dict | list) and depth < 8:
                walk(item, where, depth + 1)

    if isinstance(tree, dict | list):
        walk(tree, "", 0)
    kind = rng.random()
    if not places or kind < 0.04:
        value = rng.choice((*VALUES, *NUMBERS))
        return value, f"all became {value!r:.60}"
    node, key, where = rng.choice(places)
    if kind < 0.15:
        del node[key]
        return tree, f"{where} deleted"
    if kind < 0.22:
        deep: Any = node[key]
        for _ in range(200):
            deep = [deep]
        node[key] = deep
        return tree, f"{where} nested"
    old = node[key]
    if isinstance(old, list) and old and kind < 0.5:
        node[key] = rng.choice((old[:-1], old[1:], old * 2, old * 50, [old], old[0], old[::-1]))
        return tree, f"{where} of another length"
    number = isinstance(old, int | float)
    node[key] = rng.choice(NUMBERS if number and rng.random() < 0.7 else VALUES)
    return tree, f"{where} became {node[key]!r:.60}"


def json_value(content: bytes, rng: Random) -> tuple[bytes, str] | None:
    """Another value, of JSON or of a line of JSON lines."""
    try:
        lines = [json.loads(content)]
        end = ""
    except ValueError:
        try:
            lines, end = [json.loads(line) for line in content.splitlines()], "\n"
        except ValueError:
            return None
    if not lines:
        return None
    at = rng.randrange(len(lines))
    if rng.random() < 0.04:
        text = rng.choice(("[", '{"a":')) * _DEEP * 40
        return text.encode(), "nested deeply"
    lines[at], said = _tree_damage(lines[at], rng)
    return ("\n".join(json.dumps(line) for line in lines) + end).encode(), said


def yaml_value(content: bytes, rng: Random) -> tuple[bytes, str] | None:
    """Another value of YAML."""
    if rng.random() < 0.1:
        return rng.choice(
            (
                (b"[" * _DEEP, "nested deeply"),
                (b"a: " + b"{b: " * _DEEP, "nested deeply"),
                (b"a: &a [x, x]\nb: &b [*a, *a]\nc: &c [*b, *b]\n", "aliases"),
                (b"a: &a\n  b: *a\n", "an alias of itself"),
                (b"!!python/object/apply:os.getcwd []\n", "a Python tag"),
                (b"a: 1\n\tb: 2\n", "a tab"),
                (b"1: 2\n[1, 2]: 3\n", "keys that are no text"),
                (b"? {a: 1}\n: 2\n", "a mapping for a key"),
            )
        )
    tree, said = _tree_damage(yaml.safe_load(content), rng)
    text = yaml.safe_dump(tree, allow_unicode=True).encode("utf-8", "surrogatepass")
    return text, said


def tensors(content: bytes, rng: Random) -> tuple[bytes, str] | None:
    """Another value in the header of a safetensors file."""
    try:
        (length,) = struct.unpack_from("<Q", content)
        tree, said = _tree_damage(json.loads(content[8 : 8 + length]), rng)
    except (struct.error, ValueError):
        return None
    header = json.dumps(tree).encode()
    if rng.random() < 0.1:
        return struct.pack("<Q", rng.choice((0, 2**40, 2**63))) + content[8:], "header's length"
    return struct.pack("<Q", len(header)) + header + content[8 + length :], said


_TEXT: list[Damage] = [text_bytes, text_number]
_BY_SUFFIX: dict[tuple[str, ...], list[Damage]] = {
    (".tif", ".ovr"): [tiff_tag, tiff_tag, geocoding, claim],
    (".png",): [png_size],
    (".jpg", ".jpeg"): [jpeg_size],
    (".jp2",): [jp2_size],
    (".safetensors",): [tensors],
    (".json", ".geojson", ".jsonl", ".zarray", ".zattrs", ".zmetadata"): [json_value, *_TEXT],
    (".csv",): [csv_cell, *_TEXT],
    (".yaml", ".yml"): [yaml_value, *_TEXT],
    (".vrt", ".xml", ".kml", ".gml", ".xsd"): [xml_part, *_TEXT],
    (".hdr", ".prj", ".pgw", ".jgw", ".wld", ".tfw", ".cpg", ".points", ".md"): _TEXT,
}
