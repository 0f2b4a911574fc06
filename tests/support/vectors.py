"""Vectors as the embeddings of chips lie, and queries as another date's do; all synthetic."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

DIM = 128
# Vectors about a centre, how far they lie from it (of a length of one), and how far queries lie
# from a vector.
_TOGETHER, _SPREAD, _NOISE = 50, 0.8, 0.3
_PART = 1 << 16


def write_vectors(path: Path, count: int) -> None:
    """Write (count, 128) float32 vectors of length 1 about many centres."""
    rng = np.random.default_rng(0)
    centres = _unit(rng.normal(size=(max(1, count // _TOGETHER), DIM)))
    with path.open("wb") as file:
        for start in range(0, count, _PART):
            rows = min(_PART, count - start)
            noise = rng.normal(size=(rows, DIM)) / np.sqrt(DIM)
            part = centres[rng.integers(0, len(centres), rows)] + _SPREAD * noise
            file.write(_unit(part).astype("<f4").tobytes())


def make_queries(vectors: NDArray[np.float32], count: int) -> NDArray[np.float32]:
    """(count, 128): vectors of the index with noise."""
    rng = np.random.default_rng(1)
    chosen = vectors[np.sort(rng.choice(len(vectors), count, replace=False))]
    noise = _NOISE * rng.normal(size=chosen.shape) / np.sqrt(DIM)
    return _unit(chosen + noise).astype(np.float32)


def mapped(path: Path) -> NDArray[np.float32]:
    """The vectors of a file."""
    return np.memmap(path, dtype="<f4", mode="r").reshape(-1, DIM)


def _unit(vectors: NDArray[Any]) -> NDArray[Any]:
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True))
