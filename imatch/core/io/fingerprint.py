"""Fingerprints of input files, to detect a change between reading and answering."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any, BinaryIO

from imatch.core.errors import InputError
from imatch.core.io.http import ask
from imatch.core.redaction import redacted

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
        version: What the server of a URL calls this version of it (its ``ETag``), or what of its
            content was looked at; `sha256` is then empty. Empty for a file.
        url: Where to ask again; `path` has lost its credentials.
    """

    path: str
    size: int
    modified_ns: int
    sha256: str
    whole: bool
    version: str = ""
    url: str = field(default="", repr=False, compare=False)

    @classmethod
    def of_url(cls, url: str) -> Fingerprint | None:
        """Takes the fingerprint of what lies at an address of http or https.

        Returns:
            It, by what the server says of version, time and size; None where it says neither of the
            first two.

        Raises:
            InputError: It cannot be reached.
        """
        # A byte rather than the head alone, for which a signature may not be good.
        headers = ask(url, headers={"Range": "bytes=0-0"}, most=1).headers
        modified, version = headers.get("last-modified"), headers.get("etag", "")
        whole = headers.get("content-range", "").rpartition("/")[2]
        length = whole if whole.isdecimal() else headers.get("content-length", "")
        try:
            when = 0 if modified is None else int(parsedate_to_datetime(modified).timestamp())
        except ValueError:
            when = 0
        if not version and not when:
            return None
        size = int(length) if length.isdecimal() else 0
        return cls(redacted(url), size, when * 10**9, "", False, version or f"of {modified}", url)

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
        own, others = (
            (one.size, one.sha256, one.whole, one.version.removeprefix("W/"))
            for one in (self, other)
        )
        same = own == others
        return same and (self.whole or self.modified_ns == other.modified_ns)

    def check(self) -> None:
        """Checks that the file has not changed since.

        A URL that cannot be asked now, or whose credentials a document has not kept, passes.

        Raises:
            InputError: It has changed, or is gone.
        """
        try:
            if self.version:
                now = Fingerprint.of_url(self.url) if self.url else None
                same = now is None or self.is_of(now)
            else:
                same = self.is_of(Fingerprint.of(Path(self.path)))
        except InputError:
            same = bool(self.version)
        if not same:
            raise InputError(
                "has changed while it was read",
                subject=self.path,
                hint="run it again when nothing else writes to it",
            )

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON; ``sha256``, or ``sha256_of_parts`` of a large file."""
        kind = "sha256" if self.whole else "version" if self.version else "sha256_of_parts"
        return {
            "path": self.path,
            "bytes": self.size,
            "modified_ns": self.modified_ns,
            kind: self.version or self.sha256,
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Fingerprint:
        """The inverse of `to_dict`."""
        if "version" in data:
            known = data["path"], data["bytes"], data["modified_ns"]
            return cls(*known, "", False, data["version"])
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
