"""Folder of an index: vectors and chip windows as flat files, with a journal of images.

``manifest.json`` says what the index was made with. The rest lies in a folder of the manifest's
generation, ``g1`` at first: ``vectors.f32`` (rows of float32) and ``cells.f64`` (left, top, width,
height, side), which only grow and are mapped rather than read, and ``images.jsonl``, a line for
each image with the rows that are its own. A line is written after the rows it names, so rows that
no line names were cut off by an interruption, and do not count. Removal writes a new generation.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
from affine import Affine
from filelock import FileLock
from numpy.typing import NDArray
from pydantic import TypeAdapter
from rasterio.crs import CRS

from imatch.core.errors import InputError, OutputError
from imatch.core.io.files import append, disk_errors, inside, remove_leftovers
from imatch.core.io.tables import mend
from imatch.core.run_folder import LOCK, lock_folder
from imatch.raster.geocoding_check import misplaced
from imatch.raster.names import container_of, is_remote
from imatch.raster.remote.versions import remote_fingerprint
from imatch.retrieval.chips import ChipWindow
from imatch.retrieval.index.manifest import FILE, IndexManifest, read_manifest, write_manifest

VECTORS, CELLS, IMAGES = "vectors.f32", "cells.f64", "images.jsonl"
_LOG = logging.getLogger(__name__)
_CELL = 5
# Rows copied at a time.
_ROWS = 1 << 16


@dataclass(frozen=True)
class IndexedImage:
    """An image whose chips are in the index.

    Attributes:
        path: The file, absolute.
        bytes: Its size then; 0 for what is no plain file.
        modified_ns: Its time of modification then.
        width: Columns.
        height: Rows.
        crs: ``"EPSG:32631"`` or WKT, None without geocoding.
        transform: Corner-based affine coefficients (a, b, c, d, e, f), None without geocoding.
        gsd_m: Metres a pixel, None where unknown.
        first: Its first row.
        count: Its rows.
        left_out: Cells without enough valid ground.
    """

    path: str
    bytes: int
    modified_ns: int
    width: int
    height: int
    crs: str | None
    transform: tuple[float, float, float, float, float, float] | None
    gsd_m: float | None
    first: int
    count: int
    left_out: int = 0

    @property
    def rows(self) -> range:
        """The image's rows in the index."""
        return range(self.first, self.first + self.count)

    def unchanged(self, file: str) -> bool:
        """Whether the file is still the one whose chips these are.

        Args:
            file: Its path, or its URL with credentials; one that cannot be reached passes.
        """
        try:
            return (self.bytes, self.modified_ns) == file_facts(file)
        except InputError:
            return True


def file_facts(file: str) -> tuple[int, int]:
    """Size in bytes and time of modification in ns; zeros where there is no plain file.

    Of a URL the second is a number that changes with its version.

    Raises:
        InputError: A URL cannot be reached.
    """
    if is_remote(file):
        found = remote_fingerprint(file)
        digest = hashlib.sha256(f"{found.version} {found.modified_ns}".encode()).digest()
        return found.size, int.from_bytes(digest[:7])
    with suppress(OSError):
        path = Path(container_of(file) or file)
        facts = path.stat()
        if path.is_file():
            return facts.st_size, facts.st_mtime_ns
    return 0, 0


_IMAGE = TypeAdapter(IndexedImage)


class Store:
    """An open index.

    Args:
        path: The folder.
        manifest: What it was made with.
        images: Its images, in the order of their rows.
    """

    def __init__(self, path: Path, manifest: IndexManifest, images: list[IndexedImage]) -> None:
        self.path, self.manifest = path, manifest
        self.images = {image.path: image for image in images}
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
        for name, width in ((VECTORS, 4 * manifest.model.dim), (CELLS, 8 * _CELL)):
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
        for name, width in ((VECTORS, 4 * manifest.model.dim), (CELLS, 8 * _CELL)):
            (folder / name).touch()
            os.truncate(folder / name, len(store) * width)
        return store

    def warn_of_rest(self) -> None:
        """Log a warning if there are rows that the list of images does not name."""
        file, width = self.folder / VECTORS, 4 * self.manifest.model.dim
        if file.exists() and file.stat().st_size > len(self) * width:
            _LOG.warning(
                "%s: holds rows that %s does not name, of an interruption or because the list is"
                " damaged: index the images again, which adds what is missing",
                file,
                IMAGES,
            )

    def close(self) -> None:
        """Releases the lock of the index."""
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __len__(self) -> int:
        return sum(image.count for image in self.images.values())

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
        return self._mapped(CELLS, "<f8", _CELL)

    def _mapped(self, name: str, kind: str, width: int) -> NDArray[Any]:
        rows = len(self)
        if not rows:
            return np.zeros((0, width), dtype=kind)
        return np.memmap(self.folder / name, dtype=kind, mode="r", shape=(rows, width))

    def cell(self, row: int) -> ChipWindow:
        """The cell of a row."""
        left, top, width, height, side = numbers = self.cell_table[row]
        if not (np.isfinite(numbers).all() and min(width, height, side) >= 1):
            raise InputError(
                f"is damaged (row {row})", subject=self.folder / CELLS, hint="index anew"
            )
        return ChipWindow(int(left), int(top), int(width), int(height), float(side))

    def image_of(self, rows: NDArray[np.int64]) -> list[IndexedImage]:
        """The image of each row."""
        images = [image for image in self.images.values() if image.count]
        starts = np.array([image.first for image in images], dtype=np.int64)
        owners = np.searchsorted(starts, rows, side="right") - 1
        return [images[int(place)] for place in owners]

    def append(
        self, image: IndexedImage, vectors: NDArray[np.float32], cells: Iterable[ChipWindow]
    ) -> None:
        """Add an image's rows, on the disk before this returns.

        Args:
            image: The image; its `first` is that of the rows to be written.
            vectors: (count, dim).
            cells: As many cells.

        Raises:
            OutputError: The disk refused; the index is then as it was.
        """
        rows = [[c.left, c.top, c.width, c.height, c.side] for c in cells]
        table = np.array(rows, dtype="<f8").reshape(-1, _CELL)
        if image.first != len(self) or not image.count == len(vectors) == len(table):
            raise ValueError(f"{image.count} rows from {image.first} do not follow {len(self)}")
        with disk_errors(self.path, hint="is the disk full?"):
            append(self.folder / VECTORS, np.ascontiguousarray(vectors, "<f4").tobytes())
            append(self.folder / CELLS, table.tobytes())
            append(self.folder / IMAGES, _line(image))
        self.images[image.path] = image

    def remove(
        self, paths: Iterable[str], ready: Callable[[Store], None] = lambda _new: None
    ) -> int:
        """Remove images, by writing all others anew.

        Args:
            paths: Images as the index names them.
            ready: Called with what is to be the index, before it is.

        Returns:
            The rows that went.

        Raises:
            OutputError: The disk refused; the index is then as it was.
        """
        gone = set(paths)
        kept = [image for image in self.images.values() if image.path not in gone]
        before = len(self)
        manifest = self.manifest.model_copy(update={"generation": self.manifest.generation + 1})
        new = Store(self.path, manifest, [])
        old, cells, vectors = self.folder, self.cell_table, self.vectors
        try:
            shutil.rmtree(new.folder, ignore_errors=True)
            new.folder.mkdir()
            for image in kept:
                _copy(new, image, vectors, cells)
            ready(new)
            write_manifest(self.path, manifest)
        except OSError as error:
            shutil.rmtree(new.folder, ignore_errors=True)
            raise OutputError(error.strerror or str(error), subject=self.path) from error
        self.manifest, self.images = manifest, new.images
        shutil.rmtree(old, ignore_errors=True)
        return before - len(self)


def _copy(
    new: Store, image: IndexedImage, vectors: NDArray[np.float32], cells: NDArray[np.float64]
) -> None:
    first, rows = len(new), image.rows
    for start in range(rows.start, rows.stop, _ROWS):
        part = slice(start, min(start + _ROWS, rows.stop))
        append(new.folder / VECTORS, np.ascontiguousarray(vectors[part]).tobytes())
        append(new.folder / CELLS, np.ascontiguousarray(cells[part]).tobytes())
    moved = IndexedImage(**{**asdict(image), "first": first})
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
    if min(image.first, image.count, image.bytes, image.left_out) < 0:
        raise ValueError(f"{image.path}: a count below zero")
    if min(image.width, image.height) < 1 or "\0" in image.path:
        raise ValueError(f"{image.path!r} is no image")
    if image.crs is not None and image.transform is not None:
        crs = CRS.from_user_input(image.crs)
        wrong = misplaced(Affine(*image.transform), crs, (image.width, image.height))
        if wrong is not None:
            raise ValueError(f"{image.path}: {wrong}")
    return image


def _foreign_files(path: Path) -> Iterable[Path]:
    """Returns the files in a folder that are not an index's."""
    return (file for file in path.iterdir() if file.name not in (LOCK, "g1"))
