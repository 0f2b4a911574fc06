"""Embedder that concatenates local descriptors of a chip's cells.

VLAD forgets where a descriptor was, and so finds a place wherever it lies in a chip; this keeps it,
and finds better what lies alike. What all cells of a chip have in common (snow, haze, the season)
is taken off first.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional as F  # noqa: N812

from imatch.core.types import BoolArray
from imatch.models.superpoint.network import CELL
from imatch.retrieval.embedders.base import ChipEmbedder, unit
from imatch.retrieval.embedders.local import LocalDescriptors, make_local

_LOCAL, _GRID, _CHIP = "superpoint-s2", 8, 128


class CellDescriptors(ChipEmbedder):
    """Local descriptors on a grid.

    Args:
        name: What to call it.
        local: Describes the cells.
        grid: Cells a side, of each of which the mean is kept.
        chip_px: Side of the chips it was made for.
    """

    def __init__(
        self, name: str, local: LocalDescriptors, *, grid: int = _GRID, chip_px: int = _CHIP
    ) -> None:
        self.local = local
        self._grid = grid
        super().__init__(
            name,
            dim=local.dim * grid**2,
            bands=local.bands,
            chip_px=chip_px,
            settings={
                "method": "cells/1",
                "weights": local.found.sha256,
                "grid": grid,
                "chip_px": chip_px,
            },
            batch=8,
        )

    def _embed(self, pixels: NDArray[np.float32], valid: BoolArray) -> NDArray[np.float32]:
        maps = torch.from_numpy(self.local.dense(pixels))
        height, width = (CELL * n for n in maps.shape[2:])
        ground = torch.from_numpy(valid.astype(np.float32))[:, None, :height, :width]
        share = F.avg_pool2d(ground, CELL)
        whole = (share == 1).flatten(1).any(dim=1)[:, None, None, None]
        kept = torch.where(whole, share == 1, share > 0).to(maps.dtype)
        count = kept.sum(dim=(2, 3), keepdim=True).clamp_min(1)
        apart = (maps - (maps * kept).sum(dim=(2, 3), keepdim=True) / count) * kept
        return unit(F.adaptive_avg_pool2d(apart, self._grid).flatten(1).numpy())


def seasons(name: str, *, device: str = "cpu", fetch: bool = False) -> CellDescriptors:
    """The row ``cells-superpoint-s2`` of `EMBEDDERS`.

    Raises:
        WeightsError: The network's weights are missing or corrupt.
    """
    return CellDescriptors(name, make_local(_LOCAL, device, fetch=fetch))
