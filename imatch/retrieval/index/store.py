"""Interface of what keeps an index: of each chip a row with its vector and window."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, Self

import numpy as np
from affine import Affine
from numpy.typing import NDArray
from rasterio.crs import CRS

from imatch.core.errors import InputError
from imatch.raster.geocoding_check import misplaced
from imatch.raster.names import container_of, is_remote
from imatch.raster.remote.versions import remote_fingerprint
from imatch.retrieval.chips import ChipWindow
from imatch.retrieval.index.manifest import IndexManifest

#: Numbers of a chip's window: left, top, width, height and side.
CELL = 5


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


def check_image(image: IndexedImage) -> None:
    """Checks what a list of images says of one.

    Raises:
        ValueError: It makes no sense.
    """
    if min(image.first, image.count, image.bytes, image.left_out) < 0:
        raise ValueError(f"{image.path}: a count below zero")
    if min(image.width, image.height) < 1 or "\0" in image.path:
        raise ValueError(f"{image.path!r} is no image")
    if image.crs is not None and image.transform is not None:
        crs = CRS.from_user_input(image.crs)
        wrong = misplaced(Affine(*image.transform), crs, (image.width, image.height))
        if wrong is not None:
            raise ValueError(f"{image.path}: {wrong}")


def cell_table(windows: Iterable[ChipWindow]) -> NDArray[np.float64]:
    """(N, 5) left, top, width, height and side of windows."""
    rows = [[w.left, w.top, w.width, w.height, w.side] for w in windows]
    return np.array(rows, dtype=np.float64).reshape(-1, CELL)


class NearestRows(Protocol):
    """Finds the nearest of many vectors."""

    def search(
        self, queries: NDArray[np.float32], k: int
    ) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """The nearest rows of each query, nearest first.

        Args:
            queries: (Q, dim).
            k: How many.

        Returns:
            (Q, k') similarities, 1 less half the squared distance, and (Q, k') rows, where k' is
            `k` or the number of vectors; a row of -1 means that no more were found.
        """


class Store(ABC):
    """An open index.

    Args:
        name: Folder or URL, as messages and results name it.
        manifest: What it was made with.
        images: Its images, in the order of their rows.
    """

    def __init__(self, name: str, manifest: IndexManifest, images: list[IndexedImage]) -> None:
        self.name, self.manifest = name, manifest
        self.images = {image.path: image for image in images}

    def __len__(self) -> int:
        return sum(image.count for image in self.images.values())

    @property
    def next_row(self) -> int:
        """The row that what is added begins with."""
        last = next(reversed(self.images.values()), None)
        return 0 if last is None else last.rows.stop

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def image_of(self, rows: NDArray[np.int64]) -> list[IndexedImage]:
        """The image of each row."""
        images = [image for image in self.images.values() if image.count]
        starts = np.array([image.first for image in images], dtype=np.int64)
        owners = np.searchsorted(starts, rows, side="right") - 1
        return [images[int(place)] for place in owners]

    def windows(self, rows: NDArray[np.int64]) -> list[ChipWindow]:
        """The window of each row.

        Raises:
            InputError: One makes no sense.
        """
        return [self._window(row, cell) for row, cell in zip(rows, self.cells(rows), strict=True)]

    def _window(self, row: int, cell: NDArray[np.float64]) -> ChipWindow:
        left, top, width, height, side = cell
        if not (np.isfinite(cell).all() and min(width, height, side) >= 1):
            raise InputError(
                f"is damaged (row {row})", subject=self.cells_name, hint="index the images anew"
            )
        return ChipWindow(int(left), int(top), int(width), int(height), float(side))

    @property
    @abstractmethod
    def cells_name(self) -> str:
        """What messages call the table of windows."""

    @abstractmethod
    def cells(self, rows: NDArray[np.int64]) -> NDArray[np.float64]:
        """(N, 5) left, top, width, height and side of each row."""

    @abstractmethod
    def scan(self) -> Iterator[tuple[NDArray[np.int64], NDArray[np.float32]]]:
        """Rows and their vectors, (N,) and (N, dim), part by part, every row once."""

    @abstractmethod
    def searcher(self, probes: int | None = None) -> NearestRows:
        """What finds the nearest rows.

        Args:
            probes: Cells looked into, where the index has a structure; None for one in 6, at least
                16.

        Raises:
            InputError: The index is damaged.
        """

    @abstractmethod
    def append(
        self, image: IndexedImage, vectors: NDArray[np.float32], windows: Iterable[ChipWindow]
    ) -> None:
        """Add an image's rows, on the disk before this returns.

        Args:
            image: The image; its `first` is set here.
            vectors: (count, dim).
            windows: As many.

        Raises:
            OutputError: The disk refused; the index is then as it was.
        """

    @abstractmethod
    def remove(self, paths: Iterable[str], *, refresh: bool = False) -> int:
        """Remove images.

        Args:
            paths: Images as the index names them.
            refresh: Also bring up to date what follows from the rows, before any reader sees it.

        Returns:
            The rows that went.

        Raises:
            OutputError: The disk refused; the index is then as it was.
        """

    @abstractmethod
    def refresh(self) -> None:
        """Bring what follows from the rows up to date: structure and footprints.

        Raises:
            OutputError: The disk refused.
        """

    @abstractmethod
    def warn_of_rest(self) -> None:
        """Log a warning if there are rows that the list of images does not name."""

    @abstractmethod
    def close(self) -> None:
        """Lets others write to the index."""
