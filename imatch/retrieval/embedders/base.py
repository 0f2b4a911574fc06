"""Protocol and base class of embedders."""

from __future__ import annotations

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from imatch.core.errors import InputError
from imatch.core.types import BoolArray

MIN_SIDE = 32
"""Shortest side in pixels that is embedded: one cell of the coarsest feature map."""

_LUMA = np.array([0.299, 0.587, 0.114], dtype=np.float32)


@runtime_checkable
class Embedder(Protocol):
    """Turns chips into vectors; chips of the same ground get near ones.

    Attributes:
        name: What users type, or the file it was loaded from.
        dim: Length of a vector.
        bands: Bands it sees.
        chip_px: Side of the chips it was made for; others are embedded as they are.
        identity: sha256 of weights and settings: vectors of two embedders can be compared only if
            theirs are equal.
    """

    name: str
    dim: int
    bands: int
    chip_px: int

    @property
    def identity(self) -> str:
        """sha256 of weights and settings."""

    def embed(self, pixels: NDArray[np.float32], valid: BoolArray) -> NDArray[np.float32]:
        """Embed chips.

        Args:
            pixels: (N, C, H, W) in [0, 1], each band stretched to its own range; C is `bands`, or
                1 where `bands` is 3 and the other way round.
            valid: (N, H, W), False where a chip shows no ground.

        Returns:
            (N, dim). Zeros for a chip without valid ground.
        """


#: Kind of a file that holds a vocabulary.
VOCABULARY = "imatch.vlad/1"


class ChipEmbedder(ABC):
    """An embedder but for the embedding itself: checks, bands, batches.

    Args:
        name: What to call it.
        dim: Length of a vector.
        bands: Bands it sees.
        chip_px: Side of the chips it was made for.
        settings: All that its vectors follow from, checksums of weights included; JSON-ready.
        batch: Chips at once.
    """

    def __init__(
        self,
        name: str,
        *,
        dim: int,
        bands: int,
        chip_px: int,
        settings: Mapping[str, Any],
        batch: int = 32,
    ) -> None:
        self.name = name
        self.dim = dim
        self.bands = bands
        self.chip_px = chip_px
        self.settings = dict(settings)
        self.batch = batch

    @abstractmethod
    def _embed(self, pixels: NDArray[np.float32], valid: BoolArray) -> NDArray[np.float32]:
        """Embed a few chips of `bands` bands, finite everywhere, each with some valid ground."""

    @property
    def identity(self) -> str:
        """See `Embedder`."""
        facts = {"dim": self.dim, "bands": self.bands, **self.settings}
        return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()

    def embed(self, pixels: NDArray[np.float32], valid: BoolArray) -> NDArray[np.float32]:
        """See `Embedder.embed`.

        Raises:
            InputError: Shapes do not fit together, another number of bands, or chips too small.
        """
        self._check(pixels, valid)
        vectors = np.zeros((len(pixels), self.dim), dtype=np.float32)
        seen = np.flatnonzero(valid.any(axis=(1, 2)))
        for start in range(0, len(seen), self.batch):
            few = seen[start : start + self.batch]
            ready = self._ready(pixels[few])
            ground = valid[few] & np.isfinite(ready).all(axis=1)
            vectors[few] = self._embed(np.nan_to_num(ready), ground)
        return vectors

    def _check(self, pixels: NDArray[np.float32], valid: BoolArray) -> None:
        if pixels.ndim != 4 or valid.shape != (len(pixels), *pixels.shape[2:]):
            raise InputError(
                f"chips {pixels.shape} and masks {valid.shape} do not fit together",
                subject=self.name,
                hint="give (N, C, H, W) and (N, H, W)",
            )
        count = pixels.shape[1]
        if count != self.bands and {count, self.bands} != {1, 3}:
            raise InputError(
                f"sees {self.bands} band(s), the chips have {count}",
                subject=self.name,
                hint=f"choose {self.bands} band(s), or another embedder",
            )
        if len(pixels) and min(pixels.shape[2:]) < MIN_SIDE:
            raise InputError(
                f"chips of {pixels.shape[3]} x {pixels.shape[2]} px are too small",
                subject=self.name,
                hint=f"the shortest side must be at least {MIN_SIDE} px",
            )

    def _ready(self, pixels: NDArray[np.float32]) -> NDArray[np.float32]:
        """Converts chips to the embedder's bands: luminance (ITU-R BT.601), or grey thrice."""
        if pixels.shape[1] == self.bands:
            return pixels.astype(np.float32, copy=False)
        if self.bands == 3:
            return np.repeat(pixels, 3, axis=1).astype(np.float32, copy=False)
        return np.asarray(np.einsum("c,nchw->nhw", _LUMA, pixels)[:, None], dtype=np.float32)


def unit(vectors: NDArray[np.floating[Any]]) -> NDArray[np.float32]:
    """Scales rows to unit length; zeros stay zero."""
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.maximum(length, 1e-12), dtype=np.float32)
