"""Embeds the chips of an image."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from imatch.raster import Source
from imatch.raster.gdal import kept_open
from imatch.retrieval.chips import Chip, ChipWindow, read_chip, stacked

if TYPE_CHECKING:
    from imatch.retrieval.embedders import Embedder

#: Chips embedded at a time.
BATCH = 32


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
