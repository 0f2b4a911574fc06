"""Opens an index in whichever store keeps it: a folder, or a LanceDB database."""

from __future__ import annotations

from os import PathLike, fspath
from pathlib import Path

from imatch.core.errors import ConfigError
from imatch.retrieval.index.folder import FolderStore
from imatch.retrieval.index.manifest import FILE, IndexManifest, read_manifest
from imatch.retrieval.index.store import Store

#: How the name of an index ends that a LanceDB database keeps.
LANCE = ".lance"


def is_lance(index: str | PathLike[str]) -> bool:
    """Whether a LanceDB database keeps an index: its name ends in ``.lance``.

    Raises:
        ConfigError: The index is a URL with another name, where no folder can be.

    Examples:
        >>> is_lance("archive.index"), is_lance("archive.lance"), is_lance("s3://bucket/a.lance")
        (False, True, True)
    """
    name = fspath(index)
    if name.rstrip("/").endswith(LANCE):
        return True
    if "://" in name:
        raise ConfigError(
            "is no folder, and no LanceDB database by its name",
            subject=name,
            hint=f"let the name of an index on object storage end in {LANCE}",
        )
    return False


def manifest_of(index: str | PathLike[str]) -> IndexManifest | None:
    """The manifest of an index; None where there is none.

    Raises:
        InputError: It is damaged or of another version.
        ImatchError: LanceDB is not installed.
    """
    if is_lance(index):
        from imatch.retrieval.index.lance_tables import lance_manifest

        return lance_manifest(fspath(index))
    folder = Path(index)
    return read_manifest(folder) if (folder / FILE).exists() else None


def open_store(index: str | PathLike[str]) -> Store:
    """Open an index for searching.

    Raises:
        InputError: It is none, or is damaged.
        ImatchError: LanceDB is not installed.
    """
    if is_lance(index):
        from imatch.retrieval.index.lance import LanceStore

        return LanceStore.open(fspath(index))
    return FolderStore.open(Path(index))


def open_to_write(index: str | PathLike[str], manifest: IndexManifest | None = None) -> Store:
    """Open an index to add to it or remove from it; one process at a time may.

    Args:
        index: The folder, or path or URL of the database.
        manifest: Makes the index where there is none; None insists that there is one.

    Raises:
        InputError: There is none, or it is damaged.
        OutputError: The place holds something else, is in use, or cannot be written to.
        ImatchError: LanceDB is not installed.
    """
    if is_lance(index):
        from imatch.retrieval.index.lance import LanceStore

        return LanceStore.open_to_write(fspath(index), manifest)
    return FolderStore.open_to_write(Path(index), manifest)
