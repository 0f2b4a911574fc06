"""Embeds the chips of an image."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from imatch.core.errors import InputError
from imatch.core.io.fingerprint import check_unchanged
from imatch.raster import RasterInfo, Source, open_source
from imatch.raster.gdal import kept_open
from imatch.raster.remote.versions import fingerprints_of
from imatch.retrieval.chips import Chip, ChipWindow, read_chip, stacked
from imatch.retrieval.index.manifest import IndexManifest
from imatch.retrieval.index.store import IndexedImage, file_facts

if TYPE_CHECKING:
    from imatch.retrieval.embedders import Embedder

#: Chips embedded at a time.
BATCH = 32


@dataclass(frozen=True, eq=False)
class EmbeddedImage:
    """An image's chips, ready for an index.

    Attributes:
        image: The image, without its place among the rows.
        vectors: (count, dim).
        windows: As many.
        misplaced: Why it is indexed without a place; None where it has one, or never said so.
    """

    image: IndexedImage
    vectors: NDArray[np.float32]
    windows: list[ChipWindow]
    misplaced: str | None


def embed_image(path: str, file: str, embedder: Embedder, manifest: IndexManifest) -> EmbeddedImage:
    """Embed an image as an index has it.

    Args:
        path: What the index calls it.
        file: Where it is read from.
        embedder: The index's.
        manifest: The index's.

    Raises:
        InputError: It cannot be read, or shows too little.
    """
    grid = manifest.chip_grid
    source = open_source(file, bands=manifest.band_list)
    read, (size, modified) = fingerprints_of(source), file_facts(file)
    cells = grid.cells(source.info)
    vectors, kept = embed_cells(source, cells, embedder, grid.min_valid)
    if not kept:
        raise InputError(
            "shows too little valid ground", subject=path, hint="lower --min-valid, or leave it out"
        )
    check_unchanged(read)
    info = source.info
    image = IndexedImage(
        path,
        size,
        modified,
        info.width,
        info.height,
        info.crs.to_string() if info.crs is not None and info.geocoded else None,
        tuple(info.transform)[:6] if info.geocoded else None,
        ground_size(info),
        0,
        len(kept),
        len(cells) - len(kept),
    )
    return EmbeddedImage(image, vectors, kept, info.misplaced)


def ground_size(info: RasterInfo) -> float | None:
    """Metres a pixel, None where an image does not say."""
    return None if info.gsd_m is None else math.sqrt(info.gsd_m[0] * info.gsd_m[1])


def embed_cells(
    source: Source, cells: Sequence[ChipWindow], embedder: Embedder, min_valid: float
) -> tuple[NDArray[np.float32], list[ChipWindow]]:
    """Embed the cells of an image that show enough.

    Args:
        source: The image.
        cells: Where.
        embedder: The embedder.
        min_valid: Least share of valid ground in what a cell has of the image.

    Returns:
        (M, dim) vectors and the M cells they are of: those with enough valid ground that is not one
        value everywhere.

    Raises:
        InputError: The image cannot be read, or has too few bands.
    """
    vectors: list[NDArray[np.float32]] = []
    kept: list[ChipWindow] = []
    with kept_open():
        for cell_batch, chips in _batches(source, cells, embedder, min_valid):
            found = embedder.embed(*stacked(chips))
            said = np.linalg.norm(found, axis=1) > 0
            vectors.append(found[said])
            kept += [cell for cell, good in zip(cell_batch, said, strict=True) if good]
    if not vectors:
        return np.zeros((0, embedder.dim), dtype=np.float32), []
    return np.concatenate(vectors), kept


def _batches(
    source: Source, cells: Sequence[ChipWindow], embedder: Embedder, min_valid: float
) -> Iterator[tuple[list[ChipWindow], list[Chip]]]:
    good: list[ChipWindow] = []
    chips: list[Chip] = []
    for cell in cells:
        chip = read_chip(source, cell, embedder.chip_px, embedder.bands)
        share = cell.width * cell.height / cell.side**2
        ground = chip.pixels[:, chip.valid]
        if chip.valid.mean() < min_valid * share or not ground.size or np.ptp(ground) == 0:
            continue
        good.append(cell)
        chips.append(chip)
        if len(chips) == BATCH:
            yield good, chips
            good, chips = [], []
    if chips:
        yield good, chips
