"""What a network came of: licences and origins, from file to file."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

from safetensors import SafetensorError, safe_open

from imatch.core.io.jsontext import parse_json

#: What is said of a file that says nothing.
UNKNOWN = "unknown; that of the file you named"
# Generations that are remembered.
_MOST = 20


class Begun(Protocol):
    """Any trainer's start.

    Attributes:
        origin: What the weights are.
        sha256: Their checksum, empty from scratch.
        parent: What they were trained from themselves, as `start_facts` tells it; None where
            nothing is known.
    """

    @property
    def origin(self) -> str: ...  # noqa: D102
    @property
    def sha256(self) -> str: ...  # noqa: D102
    @property
    def parent(self) -> Mapping[str, Any] | None: ...  # noqa: D102


def start_facts(start: Begun) -> dict[str, Any]:
    """What checkpoints, exported files and cards keep of a start, JSON-ready."""
    facts = {"origin": start.origin, "sha256": start.sha256}
    return facts if start.parent is None else facts | {"parent": dict(start.parent)}


def lineage_of(path: Path) -> tuple[str, dict[str, Any] | None]:
    """What a file of weights says of itself, or ``about.json`` beside a checkpoint.

    Args:
        path: The file.

    Returns:
        Its licence, `UNKNOWN` where it says none, and what it was trained from (`start_facts`),
        None where that is not told.
    """
    texts: list[str] = []
    if path.suffix == ".safetensors":
        with suppress(OSError, SafetensorError), safe_open(path, "pt") as file:
            texts.append((file.metadata() or {}).get("imatch", ""))
    with suppress(OSError, ValueError):
        texts.append((path.parent / "about.json").read_text(encoding="utf-8"))
    for text in texts:
        try:
            told = parse_json(text)
        except ValueError:
            continue
        if isinstance(told, dict) and isinstance(told.get("licence"), str):
            return told["licence"], known_start(told.get("start"))
    return UNKNOWN, None


def known_start(told: object, generations: int = _MOST) -> dict[str, Any] | None:
    """What a file tells of its start, as far as it is of `start_facts`' form; None without."""
    if not isinstance(told, dict) or generations == 0:
        return None
    facts = {name: told.get(name) for name in ("origin", "sha256")}
    if not all(isinstance(value, str) for value in facts.values()):
        return None
    parent = known_start(told.get("parent"), generations - 1)
    return facts if parent is None else facts | {"parent": parent}


def ancestry(start: Mapping[str, Any]) -> str:
    """A start and what it came of, in words for a card.

    Example:
        >>> ancestry({"origin": "a.st", "sha256": "ab", "parent": {"origin": "b", "sha256": ""}})
        'a.st ab, trained from b'
    """
    names = []
    generation: Mapping[str, Any] | None = start
    while generation is not None:
        names.append(f"{generation['origin']} {generation['sha256'][:12]}".strip())
        generation = generation.get("parent")
    return ", trained from ".join(names)
