"""Where training starts from: a network with its licence and origins, told from file to file."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from safetensors import SafetensorError, safe_open
from torch import nn

from imatch.core.errors import InputError
from imatch.core.io.jsontext import parse_json

NetworkT_co = TypeVar("NetworkT_co", bound=nn.Module, covariant=True)

SCRATCH = "scratch"
OWN_LICENCE = "Apache-2.0"
#: What is said of a file that says nothing.
UNKNOWN = "unknown; that of the file you named"
# Generations that are remembered.
_MOST = 20


@dataclass(frozen=True, eq=False, kw_only=True)
class Initialisation(Generic[NetworkT_co]):
    """A network to start from.

    Attributes:
        network: The network.
        licence: Of its weights; what is trained from them inherits it.
        origin: What the weights are.
        sha256: Their checksum, empty from scratch.
        parent: What they were trained from themselves, as `facts` tells it; None where nothing is
            known.
    """

    network: NetworkT_co
    licence: str = OWN_LICENCE
    origin: str = SCRATCH
    sha256: str = ""
    parent: Mapping[str, Any] | None = None

    def facts(self) -> dict[str, Any]:
        """Returns what checkpoints, exported files and cards keep of it, JSON-ready."""
        facts = {"origin": self.origin, "sha256": self.sha256}
        return facts if self.parent is None else facts | {"parent": dict(self.parent)}


def named_file(start: str, hint: str) -> Path:
    """Returns the file of weights that a setting names.

    Args:
        start: The setting.
        hint: What else it may be.

    Raises:
        InputError: The file does not exist.
    """
    path = Path(start).expanduser()
    if not path.is_file():
        raise InputError("does not exist", subject=start, hint=f"model.start is {hint}")
    return path


def lineage_of(path: Path) -> tuple[str, dict[str, Any] | None]:
    """Reads what a file of weights says of itself, or ``about.json`` beside a checkpoint.

    Args:
        path: The file.

    Returns:
        Its licence, `UNKNOWN` where it says none, and what it was trained from, as
        `Initialisation.facts` tells it, None where that is not known.
    """
    texts: list[str] = []
    if path.suffix == ".safetensors":
        with suppress(OSError, SafetensorError), safe_open(path, "pt") as file:
            texts.append((file.metadata() or {}).get("imatch", ""))
    with suppress(OSError, ValueError):
        texts.append((path.parent / "about.json").read_text(encoding="utf-8"))
    for text in texts:
        try:
            record = parse_json(text)
        except ValueError:
            continue
        if isinstance(record, dict) and isinstance(record.get("licence"), str):
            return record["licence"], parse_start(record.get("start"))
    return UNKNOWN, None


def parse_start(record: object, generations: int = _MOST) -> dict[str, Any] | None:
    """Returns a file's record of its start in the form of `Initialisation.facts`, or None."""
    if not isinstance(record, dict) or generations == 0:
        return None
    facts = {name: record.get(name) for name in ("origin", "sha256")}
    if not all(isinstance(value, str) for value in facts.values()):
        return None
    parent = parse_start(record.get("parent"), generations - 1)
    return facts if parent is None else facts | {"parent": parent}


def ancestry(start: Mapping[str, Any]) -> str:
    """Describes a start and what it came of, for a card.

    Examples:
        >>> ancestry({"origin": "a.st", "sha256": "ab", "parent": {"origin": "b", "sha256": ""}})
        'a.st ab, trained from b'
    """
    names = []
    generation: Mapping[str, Any] | None = start
    while generation is not None:
        names.append(f"{generation['origin']} {generation['sha256'][:12]}".strip())
        generation = generation.get("parent")
    return ", trained from ".join(names)
