"""Nearest-neighbour search, exact or by inverted lists.

Distances are Euclidean; of unit vectors their order is that of the cosine. The similarity reported,
``1 - d² / 2``, is the cosine for these. A structure other than ``flat`` covers the rows it was
built of; later ones are searched exactly until it is built again, so an index is never behind.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from imatch.core.errors import ImatchError, InputError
from imatch.core.io.files import atomic_path
from imatch.retrieval.index.manifest import Structure

#: Vectors a cell that k-means is trained on, at most; more changes little (faiss warns below 39).
TRAINING = 64
#: Rounds of k-means; the recall is the same after 25, faiss's own number.
ROUNDS = 10
#: Of compressed vectors this many times more are taken, to be compared exactly.
RERANKED = 16
# No embedder gives numbers as large, whose squares would be infinite.
_LARGEST = 1e9
_ROWS = 1 << 16


def require_faiss() -> ModuleType:
    """Import faiss.

    Raises:
        ImatchError: It is not installed.
    """
    try:
        import faiss
    except ImportError as error:
        raise ImatchError(
            "is not installed", subject="faiss", hint="run pip install 'imatch[retrieval]'"
        ) from error
    module: ModuleType = faiss
    return module


def cells_for(count: int) -> int:
    """Returns the number of cells for `count` vectors: about the root, a power of two.

    More would make each search a little shorter and building much longer.

    Examples:
        >>> cells_for(10_000), cells_for(1_000_000)
        (128, 1024)
    """
    return int(2 ** np.clip(round(np.log2(np.sqrt(max(count, 1)))), 0, 16))


def probes_for(cells: int, probes: int | None) -> int:
    """Returns the number of cells to look into: what is asked for, or one in 6, at least 16."""
    return min(cells, probes or max(16, cells // 6))


def build(
    vectors: NDArray[np.float32],
    path: Path,
    structure: Structure,
    *,
    seed: int = 0,
    on_rows: Callable[[int], None] = lambda _rows: None,
) -> None:
    """Build a structure over all vectors and write it.

    ``ivf`` keeps the vectors by cell; ``ivfpq`` compresses the residual to its cell's centre to a
    byte for four numbers (product quantisation; Jégou, Douze & Schmid, PAMI 2011), and the best of
    what is found are compared exactly.

    Args:
        vectors: (N, dim) float32, may be mapped.
        path: The file.
        structure: ``ivf`` or ``ivfpq``.
        seed: Of what is sampled for training.
        on_rows: Called with the number of rows that were added.

    Raises:
        InputError: The vectors are no numbers.
        OutputError: The disk refused.
    """
    faiss = require_faiss()
    check_finite(vectors)
    count, dim = vectors.shape
    cells = min(cells_for(count), max(1, count // 39))
    if structure == "ivf":
        index = faiss.index_factory(dim, f"IVF{cells},Flat", faiss.METRIC_L2)
    else:
        parts = next(parts for parts in (dim // 4, dim // 2, dim, 1) if parts and dim % parts == 0)
        # A codebook of 256 needs as many vectors and more; few are told apart by fewer bits.
        bits = int(np.clip(np.floor(np.log2(max(count, 2) / 39)), 1, 8))
        index = faiss.index_factory(dim, f"IVF{cells},PQ{parts}x{bits}", faiss.METRIC_L2)
        index.pq.cp.niter = ROUNDS
        index.pq.cp.max_points_per_centroid = TRAINING
    index.cp.seed = seed + 1
    index.cp.max_points_per_centroid = TRAINING
    index.cp.niter = ROUNDS
    chosen = np.random.default_rng(seed).permutation(count)[: TRAINING * max(cells, 256)]
    index.train(np.ascontiguousarray(vectors[np.sort(chosen)]))
    for start in range(0, count, _ROWS):
        part = np.ascontiguousarray(vectors[start : start + _ROWS])
        index.add(part)
        on_rows(len(part))
    with atomic_path(path, overwrite=True) as temporary:
        faiss.write_index(index, str(temporary))


class Searcher:
    """Finds the nearest of many vectors.

    Args:
        vectors: (N, dim) float32, may be mapped.
        path: File of the structure; None, or a file that is not there, looks at every vector.
        probes: Cells looked into; None for one in 6, at least 16.

    Raises:
        InputError: The file is no structure of these vectors, or they are no numbers.
    """

    def __init__(
        self, vectors: NDArray[np.float32], path: Path | None = None, probes: int | None = None
    ) -> None:
        self._faiss = require_faiss()
        # A plain array, mapped as before: Faiss, once another library has taught it tensors (as
        # pytorch-metric-learning does), takes a subclass for one.
        self._vectors, self._mapped = np.asarray(vectors), vectors
        self._index: Any = None
        self._exact = True
        if path is not None and path.exists():
            self._index = self._read(path)
            cells = int(self._index.nlist)
            self._index.nprobe = probes_for(cells, probes)
            self._exact = not hasattr(self._index, "pq")
        else:
            check_finite(vectors)

    def _read(self, path: Path) -> Any:
        flags = self._faiss.IO_FLAG_MMAP | self._faiss.IO_FLAG_READ_ONLY
        try:
            index = self._faiss.read_index(str(path), flags)
        except RuntimeError as error:
            raise InputError(
                "cannot be read", subject=path, hint="build it again with imatch index"
            ) from error
        count, dim = self._vectors.shape
        if index.d != dim or index.ntotal > count:
            raise InputError(
                f"holds {index.ntotal} vectors of {index.d} numbers, the index {count} of {dim}",
                subject=path,
                hint="build it again with imatch index",
            )
        return index

    def search(
        self, queries: NDArray[np.float32], k: int
    ) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """The nearest rows of each query, nearest first.

        Args:
            queries: (Q, dim).
            k: How many.

        Returns:
            (Q, k') similarities and (Q, k') rows, where k' is `k` or the number of vectors; a row
            of -1 means that no more were found.
        """
        queries = np.ascontiguousarray(queries, dtype=np.float32)
        k = min(k, len(self._vectors))
        if k == 0:
            return np.zeros((len(queries), 0)), np.zeros((len(queries), 0), dtype=np.int64)
        if self._index is None:
            return similarities(*self._all(queries, 0, k))
        covered = int(self._index.ntotal)
        if self._exact:
            squared, rows = self._index.search(queries, min(k, covered))
        else:
            squared, rows = self._reranked(queries, min(k, covered))
        if covered < len(self._vectors):
            late = self._all(queries, covered, k)
            squared, rows = np.hstack([squared, late[0]]), np.hstack([rows, late[1]])
            squared[rows < 0] = np.inf
            order = np.argsort(squared, axis=1, kind="stable")[:, :k]
            squared = np.take_along_axis(squared, order, axis=1)
            rows = np.take_along_axis(rows, order, axis=1)
        if np.isnan(squared[rows >= 0]).any():
            raise _damaged(self._mapped)
        return similarities(squared, rows)

    def _all(
        self, queries: NDArray[np.float32], first: int, k: int
    ) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        part = self._vectors[first:]
        squared, rows = nearest(queries, part, k)
        return squared, np.where(rows < 0, -1, rows + first)

    def _reranked(
        self, queries: NDArray[np.float32], k: int
    ) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Search compressed vectors, and compare what is found exactly."""
        _, found = self._index.search(queries, min(RERANKED * k, int(self._index.ntotal)))
        squared = np.full(found.shape, np.inf, dtype=np.float32)
        for query, rows, out in zip(queries, found, squared, strict=True):
            good = rows >= 0
            out[good] = ((self._vectors[rows[good]] - query) ** 2).sum(axis=1)
        order = np.argsort(squared, axis=1, kind="stable")[:, :k]
        return (
            np.take_along_axis(squared, order, axis=1),
            np.take_along_axis(found, order, axis=1),
        )


def nearest(
    queries: NDArray[np.float32], vectors: NDArray[np.float32], k: int
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Compares every vector with every query.

    Args:
        queries: (Q, dim).
        vectors: (N, dim).
        k: How many.

    Returns:
        (Q, min(k, N)) squared distances and (Q, min(k, N)) places, nearest first.
    """
    faiss = require_faiss()
    squared, places = faiss.knn(queries, vectors, min(k, len(vectors)), metric=faiss.METRIC_L2)
    return squared, places


def check_finite(vectors: NDArray[np.float32]) -> None:
    """Checks that vectors are finite: a search would skip others silently.

    Raises:
        InputError: There are such.
    """
    for start in range(0, len(vectors), _ROWS):
        # Written so that NaN is caught, too.
        if not (np.abs(vectors[start : start + _ROWS]) < _LARGEST).all():
            raise _damaged(vectors)


def _damaged(vectors: NDArray[np.float32]) -> InputError:
    # Mapped from a file, or made here.
    return InputError(
        "holds vectors that are no numbers",
        subject=str(getattr(vectors, "filename", "the index")),
        hint="index the images anew",
    )


def similarities(
    squared: NDArray[np.float32], rows: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Returns similarities for squared distances, -inf where there is no row, and the rows."""
    similarity = 1 - squared.astype(np.float64) / 2
    similarity[rows < 0] = -np.inf
    return similarity, rows.astype(np.int64)
