"""Searches an index for the ground that an image shows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from imatch.core.errors import InputError
from imatch.raster import RasterInfo, Source
from imatch.retrieval.chips import ChipGrid, ChipWindow, chip_factor
from imatch.retrieval.index.embed import embed_cells
from imatch.retrieval.index.footprints import outlines
from imatch.retrieval.index.store import IndexedImage, Store, cell_table
from imatch.retrieval.index.vector_index import check_finite

if TYPE_CHECKING:
    from imatch.retrieval.embedders import Embedder
    from imatch.retrieval.verify import Verification

# Chips that a query is cut into, at most: of a larger one the stride grows.
_MOST_CELLS = 64
# A hit that shares more than this much of the smaller chip with a better one of its image is left
# out: sliding chips find one place many times.
_OVERLAP = 0.4
# Chips looked at for each hit wanted, so that enough are left.
_MORE, _LEAST = 6, 32
# Rows whose windows are read at a time.
_LOOKED_UP = 256
FEWEST = 8
"""Images of fewer chips have no crowd of their own: their z-scores are taken together."""


@dataclass(frozen=True)
class Hit:
    """A chip of the index that looks like the query.

    Attributes:
        rank: From 1.
        similarity: 1 less half the squared distance of the vectors: the cosine of unit vectors.
        row: Its row in the index.
        image: The image it is of.
        cell: Where in the image.
        query_cell: The part of the query that found it.
        footprint: (longitude, latitude) round it, or None without geocoding.
        verification: What matching the query with it said, if it was asked.
    """

    rank: int
    similarity: float
    row: int
    image: IndexedImage
    cell: ChipWindow
    query_cell: ChipWindow
    footprint: tuple[tuple[float, float], ...] | None = None
    verification: Verification | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {
            "rank": self.rank,
            "similarity": self.similarity,
            "row": self.row,
            "image": self.image.path,
            "window": _window(self.cell),
            "query_window": _window(self.query_cell),
            "footprint": None if self.footprint is None else [list(p) for p in self.footprint],
            "verification": None if self.verification is None else self.verification.to_dict(),
        }


def _window(cell: ChipWindow) -> list[int]:
    return [cell.left, cell.top, cell.width, cell.height]


def query_cells(info: RasterInfo, grid: ChipGrid) -> list[ChipWindow]:
    """The chips a query is looked up by.

    Those that it would have in the index, the largest squares it holds (the index's resolution may
    be another), and, of an image smaller than a chip, the whole of it filling one.

    Args:
        info: The query.
        grid: How the index is cut.
    """
    smallest = grid.chip_px * chip_factor(info, grid.gsd_m)
    stride = grid.stride
    cells = ChipGrid(grid.chip_px, stride, grid.gsd_m).cells(info)
    while len(cells) > _MOST_CELLS:
        stride *= 1.25
        cells = ChipGrid(grid.chip_px, stride, grid.gsd_m).cells(info)
    shorter, longer = min(info.size), max(info.size)
    for side in {shorter, longer} if longer < smallest else {shorter}:
        steps = max(1, -(-(longer - side) // max(1, side // 2)))
        width, height = min(side, info.width), min(side, info.height)
        for step in range(steps + 1 if longer > side else 1):
            along = round((longer - side) * step / steps)
            left, top = (along, 0) if info.width >= info.height else (0, along)
            cells.append(ChipWindow(left, top, width, height, float(side)))
    return list(dict.fromkeys(cells))


class Index:
    """An index opened for searching, with the model it was made with.

    Args:
        store: The index.
        embedder: The model; it has to be the index's.
        probes: See `Store.searcher`.

    Raises:
        InputError: The index is damaged, or was made with another model.
    """

    def __init__(self, store: Store, embedder: Embedder, *, probes: int | None = None) -> None:
        store.manifest.check(embedder, store.name)
        store.warn_of_rest()
        self.store, self.embedder = store, embedder
        self._searcher = store.searcher(probes)

    def search(
        self,
        query: Source,
        k: int = 10,
        *,
        exclude: Sequence[str] = (),
        stand_out: bool = False,
        chips: bool = True,
    ) -> list[Hit]:
        """The chips most like a query, best first; of one place in one image only the best.

        A query larger than a chip is looked up by several chips of it, and each chip of the index
        counts by the one most like it.

        Args:
            query: The query; of several bands those that the index was made of.
            k: How many.
            exclude: Images not to be found, as the index names them.
            stand_out: Rank by how far a chip stands out among those of its own image
                (`imatch.retrieval.zscore`): for few large images of several dates. Every
                chip is compared, whatever structure the index has.
            chips: Whether several places of one image may be found; else of each only the best.

        Raises:
            InputError: The query cannot be read or shows too little.
        """
        grid = self.store.manifest.chip_grid
        cells = query_cells(query.info, grid)
        vectors, cells = embed_cells(query, cells, self.embedder, grid.min_valid)
        if not cells:
            raise InputError(
                "shows too little valid ground to be looked up",
                subject=query.info.name,
                hint="check its nodata value, or name another image",
            )
        if not len(self.store):
            raise InputError("is empty", subject=self.store.name, hint="add images to it")
        if stand_out:
            best = self._image_zscores(vectors)
            return self._distinct(best, cells, k, set(exclude), chips=chips)
        wanted = max(_MORE * k, _LEAST)
        while True:
            best, complete = self._candidates(vectors, wanted)
            hits = self._distinct(best, cells, k, set(exclude), chips=chips)
            if len(hits) >= k or complete:
                return hits
            wanted *= 4

    def _candidates(
        self, vectors: NDArray[np.float32], wanted: int
    ) -> tuple[list[tuple[float, int, int]], bool]:
        """(similarity, row, query cell) of each row found, best first; whether there are no more.

        No more may be there, or no more be in the cells of the structure that are looked into.
        """
        similarity, rows = self._searcher.search(vectors, wanted)
        best: dict[int, tuple[float, int]] = {}
        for cell, (values, found) in enumerate(zip(similarity, rows, strict=True)):
            for value, row in zip(values.tolist(), found.tolist(), strict=True):
                if row >= 0 and value > best.get(row, (-np.inf, 0))[0]:
                    best[row] = (value, cell)
        ordered = sorted((-value, row, cell) for row, (value, cell) in best.items())
        complete = rows.shape[1] < wanted or bool((rows < 0).any(axis=1).all())
        return [(-value, row, cell) for value, row, cell in ordered], complete

    def _image_zscores(self, queries: NDArray[np.float32]) -> list[tuple[float, int, int]]:
        """(similarity, row, query cell) of every row, those that stand out most first."""
        rows, parts = list[NDArray[np.int64]](), list[NDArray[np.float32]]()
        lengths = np.einsum("qd,qd->q", queries, queries)
        for found, part in self.store.scan():
            check_finite(part)
            squared = np.einsum("nd,nd->n", part, part)[:, None] + lengths - 2 * part @ queries.T
            rows.append(found)
            parts.append(1 - squared / 2)
        row, similarity = np.concatenate(rows), np.concatenate(parts)
        first = [image.first for image in self.store.images.values()]
        out = image_zscore(similarity, np.searchsorted(first, row, side="right"))
        cell = out.argmax(axis=1)
        every = np.arange(len(out))
        order = np.lexsort((row, -out[every, cell]))
        return [(float(similarity[i, cell[i]]), int(row[i]), int(cell[i])) for i in order]

    def _distinct(
        self,
        best: list[tuple[float, int, int]],
        cells: list[ChipWindow],
        k: int,
        exclude: set[str],
        *,
        chips: bool,
    ) -> list[Hit]:
        most = _OVERLAP if chips else -1.0
        hits: list[Hit] = []
        for value, row, query_cell, image, cell in self._placed(best):
            taken = (hit for hit in hits if hit.image is image)
            if image.path in exclude or any(_shared(cell, hit.cell) > most for hit in taken):
                continue
            rings = outlines(image, cell_table([cell]))
            ring = None if rings is None else tuple((float(x), float(y)) for x, y in rings[0])
            rank = len(hits) + 1
            hits.append(Hit(rank, value, row, image, cell, cells[query_cell], ring))
            if len(hits) == k:
                break
        return hits

    def _placed(
        self, best: list[tuple[float, int, int]]
    ) -> Iterator[tuple[float, int, int, IndexedImage, ChipWindow]]:
        """(similarity, row, query cell, image, window) of rows, looked up a few at a time."""
        for start in range(0, len(best), _LOOKED_UP):
            part = best[start : start + _LOOKED_UP]
            rows = np.array([row for _, row, _ in part], dtype=np.int64)
            images, windows = self.store.image_of(rows), self.store.windows(rows)
            for found, image, window in zip(part, images, windows, strict=True):
                yield *found, image, window


def _shared(one: ChipWindow, other: ChipWindow) -> float:
    """Common ground of two cells as a share of the smaller."""
    width = min(one.left + one.width, other.left + other.width) - max(one.left, other.left)
    height = min(one.top + one.height, other.top + other.height) - max(one.top, other.top)
    smaller = min(one.width * one.height, other.width * other.height)
    return max(width, 0) * max(height, 0) / smaller


def best_of_images(hits: Sequence[Hit]) -> list[Hit]:
    """Returns the first hit of each image, ranked anew."""
    first = {hit.image.path: hit for hit in reversed(hits)}
    kept = [hit for hit in hits if first[hit.image.path] is hit]
    return [replace(hit, rank=rank) for rank, hit in enumerate(kept, start=1)]


def centre(hit: Hit) -> tuple[float, float] | None:
    """(longitude, latitude) of a hit's middle."""
    if hit.footprint is None:
        return None
    x = sum(point[0] for point in hit.footprint) / len(hit.footprint)
    y = sum(point[1] for point in hit.footprint) / len(hit.footprint)
    # Beyond the antimeridian it is the other side's longitude.
    return (x + 180) % 360 - 180, y


def image_zscore(
    similarity: NDArray[np.floating], image: NDArray[np.integer], fewest: int = FEWEST
) -> NDArray[np.float64]:
    """Returns similarities in standard deviations above the mean of the chip's image.

    What two whole images have in common, as snow on either, makes every chip of one like every chip
    of the other, and crowds out the place that is looked for. Measured in standard deviations above
    the mean of its own image a chip counts for what it alone shows (a z-score, as the scores of
    several sources are brought together in data fusion).

    Args:
        similarity: (N, Q) of chips to queries; NaN where it is not to count.
        image: (N,) which image each chip is of.
        fewest: Images of fewer chips are taken together.

    Returns:
        (N, Q); 0 where a whole image is equally alike.

    Examples:
        >>> similarity = np.array([[0.9], [0.8], [0.9], [0.3], [0.2], [0.1]])
        >>> image_zscore(similarity, np.array([0, 0, 0, 1, 1, 1]), fewest=2)[:, 0].round(1).tolist()
        [0.7, -1.4, 0.7, 1.2, 0.0, -1.2]
    """
    values = np.asarray(similarity, dtype=np.float64)
    _, group, count = np.unique(image, return_inverse=True, return_counts=True)
    group = np.where(count[group] < fewest, len(count), group)
    found = np.zeros_like(values)
    for one in np.unique(group):
        own = group == one
        part = values[own]
        spread = np.nanstd(part, axis=0)
        with np.errstate(invalid="ignore", divide="ignore"):
            score = (part - np.nanmean(part, axis=0)) / spread
        found[own] = np.where(spread > 1e-9, score, np.where(np.isnan(part), np.nan, 0.0))
    return found
