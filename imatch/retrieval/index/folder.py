"""Folder of an index: vectors and chip windows as flat files, with a journal of images.

``manifest.json`` says what the index was made with. The rest lies in a folder of the manifest's
generation, ``g1`` at first: ``vectors.f32`` (rows of float32) and ``cells.f64`` (left, top, width,
height, side), which only grow and are mapped rather than read, and ``images.jsonl``, a line for
each image with the rows that are its own. A line is written after the rows it names, so rows that
no line names were cut off by an interruption, and do not count. Removal writes a new generation.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
from filelock import FileLock
from numpy.typing import NDArray
from pydantic import TypeAdapter

from imatch.core.errors import InputError, OutputError
from imatch.core.io.files import append, disk_errors, inside, remove_leftovers
from imatch.core.io.tables import mend
from imatch.core.run_folder import LOCK, lock_folder
from imatch.retrieval.chips import ChipWindow
from imatch.retrieval.index.footprints import write_footprints
from imatch.retrieval.index.manifest import FILE, IndexManifest, read_manifest, write_manifest
from imatch.retrieval.index.store import CELL, IndexedImage, Store, cell_table, check_image
from imatch.retrieval.index.vector_index import Searcher, build

VECTORS, CELLS, IMAGES = "vectors.f32", "cells.f64", "images.jsonl"
STRUCTURE, FOOTPRINTS = "structure.faiss", "footprints.parquet"
_LOG = logging.getLogger(__name__)
# Rows copied or scanned at a time.
_ROWS = 1 << 16
_IMAGE = TypeAdapter(IndexedImage)


class FolderStore(Store):
    """An open index in a folder of its own.

    Args:
        path: The folder.
        manifest: What it was made with.
        images: Its images, in the order of their rows.
    """

    def __init__(self, path: Path, manifest: IndexManifest, images: list[IndexedImage]) -> None:
        super().__init__(str(path), manifest, images)
        self.path = path
        self._lock: FileLock | None = None

    @classmethod
    def open(cls, path: Path) -> Self:
        """Open an index for searching.

        Raises:
            InputError: It is none, or is damaged.
        """
        manifest = read_manifest(path)
        folder = path / f"g{manifest.generation}"
        for name in (IMAGES, VECTORS, CELLS):
            inside(path, f"{folder.name}/{name}")  # What is added to a link goes to its target.
        store = cls(path, manifest, _read_images(folder / IMAGES))
        rows = 0
        for image in store.images.values():
            if image.first != rows:
                raise InputError(
                    f"has rows from {image.first} for {image.path}, where {rows} are before it",
                    subject=folder / IMAGES,
                    hint="index the images anew",
                )
            rows += image.count
        for name, width in ((VECTORS, 4 * manifest.model.dim), (CELLS, 8 * CELL)):
            file = folder / name
            if len(store) and (not file.exists() or file.stat().st_size < len(store) * width):
                raise InputError(
                    "is shorter than its list of images says",
                    subject=file,
                    hint="the disk was full or the copy is incomplete: index the images anew",
                )
        return store

    @classmethod
    def open_to_write(cls, path: Path, manifest: IndexManifest | None = None) -> Self:
        """Open an index to add to it or remove from it; one process at a time may.

        Args:
            path: The folder.
            manifest: Makes the index where there is none; None insists that there is one.

        Raises:
            InputError: There is none, or it is damaged.
            OutputError: The folder holds something else, is in use, or cannot be written to.
        """
        remove_leftovers(path)
        if manifest is None or (path / FILE).exists():
            read_manifest(path)
        elif path.exists() and (not path.is_dir() or any(_foreign_files(path))):
            raise OutputError("exists and is no index", subject=path, hint="choose another folder")
        lock = lock_folder(path, "another process is writing to this index")
        try:
            with disk_errors(path):
                if manifest is not None and not (path / FILE).exists():
                    (path / f"g{manifest.generation}").mkdir(exist_ok=True)
                    write_manifest(path, manifest)
                store = cls._open_repaired(path)
        except BaseException:
            lock.release()
            raise
        store._lock = lock
        return store

    @classmethod
    def _open_repaired(cls, path: Path) -> Self:
        """Opens an index to write, after removing what an interruption left."""
        manifest = read_manifest(path)
        folder = path / f"g{manifest.generation}"
        folder.mkdir(exist_ok=True)
        for other in path.glob("g*"):
            if other != folder and other.name[1:].isdigit():
                shutil.rmtree(other, ignore_errors=True)
        remove_leftovers(folder)
        mend(folder / IMAGES)
        store = cls.open(path)
        for name, width in ((VECTORS, 4 * manifest.model.dim), (CELLS, 8 * CELL)):
            (folder / name).touch()
            os.truncate(folder / name, len(store) * width)
        return store

    def warn_of_rest(self) -> None:
        """See `Store.warn_of_rest`."""
        file, width = self.folder / VECTORS, 4 * self.manifest.model.dim
        if file.exists() and file.stat().st_size > len(self) * width:
            _LOG.warning(
                "%s: holds rows that %s does not name, of an interruption or because the list is"
                " damaged: index the images again, which adds what is missing",
                file,
                IMAGES,
            )

    def close(self) -> None:
        """See `Store.close`."""
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    @property
    def folder(self) -> Path:
        """The folder of the current generation."""
        return self.path / f"g{self.manifest.generation}"

    @property
    def vectors(self) -> NDArray[np.float32]:
        """(N, dim) mapped from the disk."""
        return self._mapped(VECTORS, "<f4", self.manifest.model.dim)

    @property
    def cell_table(self) -> NDArray[np.float64]:
        """(N, 5) left, top, width, height and side, mapped from the disk."""
        return self._mapped(CELLS, "<f8", CELL)

    @property
    def cells_name(self) -> str:
        """See `Store.cells_name`."""
        return str(self.folder / CELLS)

    def cells(self, rows: NDArray[np.int64]) -> NDArray[np.float64]:
        """See `Store.cells`."""
        return np.asarray(self.cell_table[rows])

    def scan(self) -> Iterator[tuple[NDArray[np.int64], NDArray[np.float32]]]:
        """See `Store.scan`."""
        vectors = np.asarray(self.vectors)
        for start in range(0, len(vectors), _ROWS):
            part = vectors[start : start + _ROWS]
            yield np.arange(start, start + len(part)), part

    def searcher(self, probes: int | None = None) -> Searcher:
        """See `Store.searcher`."""
        return Searcher(self.vectors, self.folder / STRUCTURE, probes)

    def _mapped(self, name: str, kind: str, width: int) -> NDArray[Any]:
        rows = len(self)
        if not rows:
            return np.zeros((0, width), dtype=kind)
        return np.memmap(self.folder / name, dtype=kind, mode="r", shape=(rows, width))

    def append(
        self, image: IndexedImage, vectors: NDArray[np.float32], windows: Iterable[ChipWindow]
    ) -> None:
        """See `Store.append`."""
        image = replace(image, first=self.next_row)
        table = cell_table(windows)
        if not image.count == len(vectors) == len(table):
            raise ValueError(f"{image.count} rows, {len(vectors)} vectors, {len(table)} windows")
        with disk_errors(self.path, hint="is the disk full?"):
            append(self.folder / VECTORS, np.ascontiguousarray(vectors, "<f4").tobytes())
            append(self.folder / CELLS, np.ascontiguousarray(table, "<f8").tobytes())
            append(self.folder / IMAGES, _line(image))
        self.images[image.path] = image

    def remove(self, paths: Iterable[str], *, refresh: bool = False) -> int:
        """See `Store.remove`: all others are written anew, as the next generation."""
        gone = set(paths)
        kept = [image for image in self.images.values() if image.path not in gone]
        before = len(self)
        manifest = self.manifest.model_copy(update={"generation": self.manifest.generation + 1})
        new = FolderStore(self.path, manifest, [])
        old, cells, vectors = self.folder, self.cell_table, self.vectors
        try:
            shutil.rmtree(new.folder, ignore_errors=True)
            new.folder.mkdir()
            for image in kept:
                _copy(new, image, vectors, cells)
            if refresh:
                new.refresh()
            write_manifest(self.path, manifest)
        except OSError as error:
            shutil.rmtree(new.folder, ignore_errors=True)
            raise OutputError(error.strerror or str(error), subject=self.path) from error
        self.manifest, self.images = manifest, new.images
        shutil.rmtree(old, ignore_errors=True)
        return before - len(self)

    def refresh(self) -> None:
        """See `Store.refresh`."""
        write_footprints(self.path / FOOTPRINTS, self.images.values(), np.asarray(self.cell_table))
        kind = self.manifest.structure
        if kind != "flat" and len(self):
            build(self.vectors, self.folder / STRUCTURE, kind)


def _copy(
    new: FolderStore, image: IndexedImage, vectors: NDArray[np.float32], cells: NDArray[np.float64]
) -> None:
    first, rows = new.next_row, image.rows
    for start in range(rows.start, rows.stop, _ROWS):
        part = slice(start, min(start + _ROWS, rows.stop))
        append(new.folder / VECTORS, np.ascontiguousarray(vectors[part]).tobytes())
        append(new.folder / CELLS, np.ascontiguousarray(cells[part]).tobytes())
    moved = replace(image, first=first)
    append(new.folder / IMAGES, _line(moved))
    new.images[moved.path] = moved


def _line(image: IndexedImage) -> bytes:
    return f"{json.dumps(asdict(image), ensure_ascii=False, allow_nan=False)}\n".encode()


def _read_images(path: Path) -> list[IndexedImage]:
    """Reads the complete lines of a journal of images."""
    if not path.exists():
        return []
    try:
        content = path.read_text(encoding="utf-8")
        return [_read_image(line) for line in content[: content.rfind("\n") + 1].splitlines()]
    except (OSError, ValueError) as error:
        first = str(error).strip().splitlines()[-1].strip()
        raise InputError(
            f"is damaged ({first})", subject=path, hint="index the images anew"
        ) from error


def _read_image(line: str) -> IndexedImage:
    image = _IMAGE.validate_json(line)
    check_image(image)
    return image


def _foreign_files(path: Path) -> Iterable[Path]:
    """Returns the files in a folder that are not an index's."""
    return (file for file in path.iterdir() if file.name not in (LOCK, "g1"))
