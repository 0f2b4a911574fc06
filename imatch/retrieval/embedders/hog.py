"""Histograms of oriented gradients on a grid, as an embedder without weights.

A grid of cells holds the mean of the doubled edge directions
(`imatch.geometry.alignment.orientation`), so that an edge that turns from dark-bright to
bright-dark keeps its share. It tells one picture from another under changes of colour and contrast,
and needs neither a download nor a network library.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from imatch.core.types import BoolArray, Rendered
from imatch.geometry.alignment.orientation import orientation_field
from imatch.retrieval.embedders.base import ChipEmbedder

# Entries above this share of the whole are cut: one strong edge must not decide (Lowe 2004).
_CUT = 0.2


class HogFeatures(ChipEmbedder):
    """Histograms of oriented gradients of the cells of a grid.

    Args:
        name: What to call it.
        grid: Cells a side.
        chip_px: Side of the chips it was made for.
        sigma: Scale of the gradients, pixels.
    """

    def __init__(
        self, name: str = "edges", *, grid: int = 12, chip_px: int = 128, sigma: float = 1.5
    ) -> None:
        super().__init__(
            name,
            dim=2 * grid**2,
            bands=3,
            chip_px=chip_px,
            settings={"method": "edges/1", "grid": grid, "chip_px": chip_px, "sigma": sigma},
        )
        self._grid, self._sigma = grid, sigma

    def _embed(self, pixels: NDArray[np.float32], valid: BoolArray) -> NDArray[np.float32]:
        return np.stack(
            [self._one(chip, ground) for chip, ground in zip(pixels, valid, strict=True)]
        )

    def _one(self, pixels: NDArray[np.float32], valid: BoolArray) -> NDArray[np.float32]:
        field = orientation_field(Rendered(pixels, valid), self._sigma)
        # A blur of half a cell shares each edge among neighbours: a small shift moves little.
        blur = max(valid.shape) / self._grid / 2
        cells = [
            cv2.resize(
                cv2.GaussianBlur(np.ascontiguousarray(plane), (0, 0), blur),
                (self._grid, self._grid),
                interpolation=cv2.INTER_AREA,
            )
            for plane in (field.real, field.imag)
        ]
        vector: NDArray[np.float32] = np.stack(cells).astype(np.float32).ravel()
        for _ in range(2):
            vector = np.clip(vector / max(float(np.linalg.norm(vector)), 1e-12), -_CUT, _CUT)
        return vector / np.float32(max(float(np.linalg.norm(vector)), 1e-12))


def hog(name: str, *, device: str = "cpu", fetch: bool = False) -> HogFeatures:  # noqa: ARG001
    """The row ``edges`` of `EMBEDDERS`; it runs on the CPU and fetches nothing."""
    return HogFeatures(name)
