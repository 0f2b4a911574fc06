"""LanceDB database of an index: chips and images as two tables, on a disk or an object store.

The table ``chips`` has of each chip its row, window, outline (WKB in longitude and latitude) and
vector; ``images`` of each image its facts and the rows that are its own, and in its metadata the
manifest. Each write is one commit. An image is listed after its chips are there, and taken from
the list before they go, so that chips no image lists were left by an interruption, and do not
count. Rows are never numbered anew: what is removed leaves a gap.

LanceDB: https://lancedb.github.io/lancedb/.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, replace
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, TypeVar

import numpy as np
import shapely
from filelock import FileLock
from numpy.typing import NDArray

from imatch.core.errors import InputError, OutputError
from imatch.core.redaction import get_logger
from imatch.core.run_folder import lock_folder
from imatch.retrieval.chips import ChipWindow
from imatch.retrieval.index.footprints import polygons
from imatch.retrieval.index.lance_tables import (
    CHIPS,
    REOPEN,
    WINDOW,
    check_place,
    chips_schema,
    create_tables,
    images_schema,
    lance_errors,
    open_tables,
)
from imatch.retrieval.index.manifest import IndexManifest
from imatch.retrieval.index.store import IndexedImage, Store, cell_table
from imatch.retrieval.index.vector_index import (
    RERANKED,
    ROUNDS,
    TRAINING,
    cells_for,
    check_finite,
    nearest,
    probes_for,
    similarities,
)

if TYPE_CHECKING:
    import pyarrow as pa
    from lancedb.table import Table

_LOG = get_logger(__name__)
# Fewer are looked at one by one: a structure would gain nothing.
_FEWEST = 1 << 12
# Rows scanned at a time.
_ROWS = 1 << 16
# Images added between two compactions: each is a commit, whose list of files grows with it.
_COMPACT = 1000
# How long what was removed or joined stays on the disk, for readers that opened it before.
_KEPT = timedelta(minutes=10)
# Ranges of rows named in one condition.
_RANGES = 200
# What the name of a structure begins with; the number of its cells follows.
_CELLS_OF = "cells_"

PartT = TypeVar("PartT")


class LanceStore(Store):
    """An open index in a LanceDB database.

    Args:
        uri: Path or URL of the database.
        manifest: What it was made with.
        images: Its images, in the order of their rows.
        chips: The open table of chips.
        listing: The open table of images.
    """

    def __init__(
        self,
        uri: str,
        manifest: IndexManifest,
        images: list[IndexedImage],
        chips: Table,
        listing: Table,
    ) -> None:
        super().__init__(uri, manifest, images)
        self._chips, self._listing = chips, listing
        self._lock: FileLock | None = None
        self._appended = 0
        # A condition that leaves out rows which no image lists; none are there as a rule.
        self._listed: str | None = None
        with lance_errors(uri):
            there = chips.count_rows()
        if there < len(self):
            raise InputError(
                f"holds {there} chips, and its list of images names {len(self)}",
                subject=uri,
                hint="the copy is incomplete: index the images anew",
            )
        if there > len(self):
            self._listed = _outside(_gaps(images))

    @classmethod
    def open(cls, uri: str) -> Self:
        """Open an index for searching.

        Raises:
            InputError: It is none, or is damaged.
            ImatchError: LanceDB is not installed.
        """
        found = open_tables(uri)
        return cls(uri, found.manifest, found.images, found.chips, found.listing)

    @classmethod
    def open_to_write(cls, uri: str, manifest: IndexManifest | None = None) -> Self:
        """Open an index to add to it or remove from it; one process at a time may.

        A lock keeps others out of a folder. On an object store nothing does.

        Args:
            uri: Path or URL of the database.
            manifest: Makes the index where there is none; None insists that there is one.

        Raises:
            InputError: There is none, or it is damaged.
            OutputError: The place holds something else, is in use, or cannot be written to.
            ImatchError: LanceDB is not installed.
        """
        if manifest is None:
            cls.open(uri)
        check_place(uri)
        remote = "://" in uri
        lock = (
            None if remote else lock_folder(Path(uri), "another process is writing to this index")
        )
        try:
            if manifest is not None:
                create_tables(uri, manifest)
            store = cls.open(uri)
            store._remove_unlisted()
        except BaseException:
            if lock is not None:
                lock.release()
            raise
        store._lock = lock
        return store

    def close(self) -> None:
        """See `Store.close`."""
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    @property
    def compressed(self) -> bool:
        """Whether its structure keeps a bit for each number of a vector.

        RaBitQ (Gao & Long, SIGMOD 2024), of which the best are compared exactly: built in a tenth
        of the time that product quantisation takes there. It wants numbers by the eight.
        """
        return self.manifest.structure == "ivfpq" and self.manifest.model.dim % 8 == 0

    @property
    def cells_name(self) -> str:
        """See `Store.cells_name`."""
        return f"{self.name} ({CHIPS})"

    def cells(self, rows: NDArray[np.int64]) -> NDArray[np.float64]:
        """See `Store.cells`."""
        wanted = ", ".join(map(str, rows.tolist()))
        with lance_errors(self.name):
            query = self._chips.search().where(f"row IN ({wanted})").limit(len(rows))
            found = query.select(["row", *WINDOW]).to_arrow()
        at = {int(row): place for place, row in enumerate(found["row"].to_pylist())}
        if not at.keys() >= set(rows.tolist()):
            raise InputError("lacks chips that it found", subject=self.name, hint=REOPEN)
        table = np.stack([found[name].to_numpy().astype(np.float64) for name in WINDOW], axis=1)
        return np.asarray(table[[at[row] for row in rows.tolist()]])

    def scan(self) -> Iterator[tuple[NDArray[np.int64], NDArray[np.float32]]]:
        """See `Store.scan`."""
        query = self._chips.search()
        if self._listed is not None:
            query = query.where(self._listed)
        with lance_errors(self.name):
            for batch in query.select(["row", "vector"]).to_batches(_ROWS):
                values = batch.column("vector").flatten().to_numpy()
                yield (
                    batch.column("row").to_numpy(),
                    np.asarray(values.reshape(-1, self.manifest.model.dim), dtype=np.float32),
                )

    def searcher(self, probes: int | None = None) -> LanceSearcher:
        """See `Store.searcher`."""
        return LanceSearcher(self, self._structure(), probes)

    def nearest_in_cells(self, query: NDArray[np.float32], k: int, probes: int) -> pa.Table:
        """Searches the structure and returns the columns ``row`` and ``_distance``, nearest first.

        Args:
            query: (dim,).
            k: How many.
            probes: Cells looked into.
        """
        asked: Any = self._chips.search(query)
        asked = asked.distance_type("l2").nprobes(probes).limit(k)
        if self.compressed:
            asked = asked.refine_factor(RERANKED)
        if self._listed is not None:
            asked = asked.where(self._listed, prefilter=True)
        with lance_errors(self.name):
            found: pa.Table = asked.select(["row", "_distance"]).to_arrow()
        return found

    def append(
        self, image: IndexedImage, vectors: NDArray[np.float32], windows: Iterable[ChipWindow]
    ) -> None:
        """See `Store.append`."""
        import pyarrow as pa

        image = replace(image, first=self.next_row)
        cells = cell_table(windows)
        if not image.count == len(vectors) == len(cells):
            raise ValueError(f"{image.count} rows, {len(vectors)} vectors, {len(cells)} windows")
        check_finite(vectors)
        outlines = shapely.to_wkb(polygons(image, cells))
        schema = chips_schema(self.manifest.model.dim)
        table = pa.table(
            {
                "row": np.arange(image.first, image.rows.stop),
                **{name: cells[:, i] for i, name in enumerate(WINDOW)},
                "geometry": pa.array(outlines, pa.binary()),
                "vector": pa.FixedSizeListArray.from_arrays(
                    pa.array(np.ascontiguousarray(vectors, np.float32).ravel()), vectors.shape[1]
                ),
            }
        ).cast(schema)
        with lance_errors(self.name, OutputError):
            self._chips.add(table)
            self._listing.add(pa.Table.from_pylist([asdict(image)], schema=images_schema()))
        self.images[image.path] = image
        self._appended += 1
        if self._appended % _COMPACT == 0:
            self._compact()

    def remove(self, paths: Iterable[str], *, refresh: bool = False) -> int:
        """See `Store.remove`."""
        gone = [self.images[path] for path in paths]
        with lance_errors(self.name, OutputError):
            for part in _parts(sorted(image.first for image in gone), _RANGES):
                self._listing.delete(f"first IN ({', '.join(map(str, part))})")
        for image in gone:
            del self.images[image.path]
        self._delete([(image.first, image.rows.stop) for image in gone])
        if refresh:
            self.refresh()
        return sum(image.count for image in gone)

    def refresh(self) -> None:
        """See `Store.refresh`: outlines are written with their chips."""
        from lancedb.index import BTree, IvfFlat, IvfRq

        kind, count = self.manifest.structure, len(self)
        cells, before = cells_for(count), self._structure()
        with lance_errors(self.name, OutputError):
            if "row_idx" not in {index.name for index in self._chips.list_indices()}:
                self._chips.create_index("row", config=BTree())
            # Made anew where four times as many chips want twice as many cells.
            if kind != "flat" and count >= _FEWEST and before != cells:
                options: dict[str, Any] = {
                    "distance_type": "l2",
                    "num_partitions": cells,
                    "max_iterations": ROUNDS,
                    "sample_rate": TRAINING,
                }
                made = (IvfRq if self.compressed else IvfFlat)(**options)
                self._chips.create_index("vector", config=made, name=f"{_CELLS_OF}{cells}")
                if before is not None:
                    self._chips.drop_index(f"{_CELLS_OF}{before}")
        self._compact()

    def warn_of_rest(self) -> None:
        """See `Store.warn_of_rest`."""
        if self._listed is not None:
            _LOG.warning(
                "%s: holds chips that no image lists, of an interruption: index the images again,"
                " which adds what is missing",
                self.name,
            )

    def _structure(self) -> int | None:
        """The cells of the structure; None where there is none yet."""
        with lance_errors(self.name):
            names = [index.name for index in self._chips.list_indices()]
        found = [int(name[len(_CELLS_OF) :]) for name in names if name.startswith(_CELLS_OF)]
        return max(found, default=None)

    def _remove_unlisted(self) -> None:
        """Removes the chips that an interruption left."""
        if self._listed is not None:
            self._delete(_gaps(list(self.images.values())))
            self._listed = None

    def _delete(self, ranges: Sequence[tuple[int, int | None]]) -> None:
        with lance_errors(self.name, OutputError):
            for part in _parts(ranges, _RANGES):
                self._chips.delete(" OR ".join(_inside(*rows) for rows in part))

    def _compact(self) -> None:
        """Joins small files, takes new rows into the structure and frees what no row is in."""
        with lance_errors(self.name, OutputError):
            for table in (self._chips, self._listing):
                table.optimize(cleanup_older_than=_KEPT)


class LanceSearcher:
    """Finds the nearest of the vectors in a database.

    Args:
        store: The index.
        cells: Of its structure; None looks at every vector.
        probes: Cells looked into; None for one in 6, at least 16.
    """

    def __init__(self, store: LanceStore, cells: int | None, probes: int | None) -> None:
        self._store = store
        self._probes = None if cells is None else probes_for(cells, probes)

    def search(
        self, queries: NDArray[np.float32], k: int
    ) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """See `NearestRows.search`."""
        queries = np.ascontiguousarray(queries, dtype=np.float32)
        k = min(k, len(self._store))
        squared = np.full((len(queries), k), np.inf, dtype=np.float32)
        rows = np.full((len(queries), k), -1, dtype=np.int64)
        if k == 0:
            return squared.astype(np.float64), rows
        if self._probes is None:
            return self._every(queries, squared, rows)
        for number, query in enumerate(queries):
            found = self._store.nearest_in_cells(query, k, self._probes)
            squared[number, : len(found)] = found["_distance"].to_numpy()
            rows[number, : len(found)] = found["row"].to_numpy()
        return similarities(squared, rows)

    def _every(
        self, queries: NDArray[np.float32], squared: NDArray[np.float32], rows: NDArray[np.int64]
    ) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """Compares every vector, part by part."""
        k = squared.shape[1]
        for part, vectors in self._store.scan():
            check_finite(vectors)
            near, places = nearest(queries, vectors, k)
            squared = np.hstack([squared, near])
            rows = np.hstack([rows, part[places]])
            # Of equals the first, as where all are compared at once.
            order = np.lexsort((rows, squared), axis=1)[:, :k]
            squared = np.take_along_axis(squared, order, axis=1)
            rows = np.take_along_axis(rows, order, axis=1)
        return similarities(squared, rows)


def _gaps(images: list[IndexedImage]) -> list[tuple[int, int | None]]:
    """Ranges of rows that no image lists; the last has no end."""
    gaps: list[tuple[int, int | None]] = []
    begin = 0
    for image in images:
        if image.first > begin:
            gaps.append((begin, image.first))
        begin = image.rows.stop
    return [*gaps, (begin, None)]


def _inside(first: int, stop: int | None) -> str:
    return f"(row >= {first})" if stop is None else f"(row >= {first} AND row < {stop})"


def _outside(ranges: list[tuple[int, int | None]]) -> str:
    return " AND ".join(f"NOT {_inside(*rows)}" for rows in ranges)


def _parts(items: Sequence[PartT], size: int) -> Iterator[Sequence[PartT]]:
    return (items[start : start + size] for start in range(0, len(items), size))
