"""Fingerprints of input files, to detect a change between reading and answering."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from imatch.core.errors import InputError

#: Larger files are known by parts of them.
WHOLE_BYTES = 64 << 20
#: Bytes of a part, and how many of them lie evenly from the first byte to the last.
_PART, _PARTS = 1 << 18, 24


@dataclass(frozen=True)
class Fingerprint:
    """Path, size, modification time and checksum of a file.

    Attributes:
        path: The file, absolute.
        size: Bytes.
        modified_ns: Time of modification, nanoseconds.
        sha256: Of its content, or of parts of it.
        whole: Whether all of the content went into `sha256`; else `size` and `modified_ns` count
            too where two are compared.
    """

    path: str
    size: int
    modified_ns: int
    sha256: str
    whole: bool

    @classmethod
    def of(cls, path: Path) -> Fingerprint:
        """Takes the fingerprint of a file.

        Raises:
            InputError: It cannot be read.
        """
        try:
            with path.open("rb") as file:
                facts = os.fstat(file.fileno())
                whole = facts.st_size <= WHOLE_BYTES
                digest = hashlib.file_digest(file, "sha256") if whole else _of_parts(file, facts)
        except OSError as error:
            raise InputError(
                error.strerror or str(error), subject=path, hint="is it there, and readable?"
            ) from error
        facts_ns = facts.st_mtime_ns
        return cls(str(path.absolute()), facts.st_size, facts_ns, digest.hexdigest(), whole)

    def is_of(self, other: Fingerprint) -> bool:
        """Returns whether two fingerprints are of one content, as far as size and checksum tell."""
        same = (self.size, self.sha256, self.whole) == (other.size, other.sha256, other.whole)
        return same and (self.whole or self.modified_ns == other.modified_ns)

    def check(self) -> None:
        """Checks that the file has not changed since.

        Raises:
            InputError: It has changed, or is gone.
        """
        try:
            same = self.is_of(Fingerprint.of(Path(self.path)))
        except InputError:
            same = False
        if not same:
            raise InputError(
                "has changed while it was read",
                subject=self.path,
                hint="run it again when nothing else writes to it",
            )

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON; ``sha256``, or ``sha256_of_parts`` of a large file."""
        kind = "sha256" if self.whole else "sha256_of_parts"
        return {
            "path": self.path,
            "bytes": self.size,
            "modified_ns": self.modified_ns,
            kind: self.sha256,
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Fingerprint:
        """The inverse of `to_dict`."""
        whole = "sha256" in data
        digest = data["sha256" if whole else "sha256_of_parts"]
        return cls(data["path"], data["bytes"], data["modified_ns"], digest, whole)


def fingerprints(paths: Iterable[Path]) -> tuple[Fingerprint, ...]:
    """Takes the fingerprints of files, of each once.

    Raises:
        InputError: One cannot be read.
    """
    return tuple(Fingerprint.of(path) for path in dict.fromkeys(paths) if path.is_file())


def check_unchanged(files: Iterable[Fingerprint]) -> None:
    """Checks that none of the files has changed since.

    Raises:
        InputError: One has changed, or is gone.
    """
    for file in files:
        file.check()


def _of_parts(file: BinaryIO, facts: os.stat_result) -> Any:
    digest = hashlib.sha256()
    last = facts.st_size - _PART
    for number in range(_PARTS):
        file.seek(last * number // (_PARTS - 1))
        digest.update(file.read(_PART))
    return digest
