"""Mining: which pairs and triplets of a step count, and which places are taken for each other."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from imatch.core.io.files import atomic_path
from imatch.training.embedder.config import MiningConfig
from imatch.training.embedder.losses import Tuples, metric_learning, pairs_of

Miner: TypeAlias = Callable[[Tensor, Tensor], Tuples]


def make_miner(config: MiningConfig, *, cosine: bool) -> Miner | None:
    """Makes a miner of (B, D) embeddings and (B,) labels; None where everything counts.

    Args:
        config: Which.
        cosine: Whether distances are cosines, as the loss has them; else Euclidean.

    Raises:
        ConfigError: pytorch-metric-learning is not installed.
    """
    kind = config.kind
    if kind == "none":
        return None
    miners, distances = metric_learning("miners"), metric_learning("distances")
    distance = (
        distances.CosineSimilarity() if cosine else distances.LpDistance(normalize_embeddings=False)
    )
    theirs: Any
    match kind:
        case "semi-hard" | "hard":
            theirs = miners.TripletMarginMiner(
                margin=config.margin,
                type_of_triplets="semihard" if kind == "semi-hard" else "hard",
                distance=distance,
            )
        case "hard-positive" | "hard-negative":
            strategies = ("hard", "all") if kind == "hard-positive" else ("all", "hard")
            theirs = miners.BatchEasyHardMiner(*strategies, distance=distance)
        case "multi-similarity":
            theirs = miners.MultiSimilarityMiner()
        case _:
            hard_positive = kind == "random-hard-positive"
            return lambda e, labels: half_hardest(e, labels, hard_positive=hard_positive)
    return lambda e, labels: tuple(theirs(e.detach(), labels))


@torch.no_grad()
def half_hardest(embeddings: Tensor, labels: Tensor, *, hard_positive: bool) -> Tuples:
    """Takes of each anchor the hardest positive and a random negative, or the other way round.

    Args:
        embeddings: (B, D).
        labels: (B,).
        hard_positive: Which of the two is the hardest.

    Returns:
        Triplets, one for each chip that has both.
    """
    gaps = torch.cdist(embeddings.float(), embeddings.float())
    a1, p, a2, n = pairs_of(labels, None)
    alike = torch.zeros_like(gaps, dtype=torch.bool)
    other = alike.clone()
    alike[a1, p], other[a2, n] = True, True
    chance = torch.rand(gaps.shape).to(gaps.device)
    farthest = (gaps if hard_positive else chance).masked_fill(~alike, -1.0).argmax(dim=1)
    # The nearest negative is the hardest.
    rank = chance if hard_positive else -gaps
    nearest = rank.masked_fill(~other, float("-inf")).argmax(dim=1)
    anchors = torch.nonzero(alike.any(dim=1) & other.any(dim=1))[:, 0]
    return anchors, farthest[anchors], nearest[anchors]


def confusions(
    vectors: NDArray[np.float32], place: NDArray[np.int64], count: int, batch: int = 512
) -> NDArray[np.int64]:
    """Finds for each chip the chips of other places whose embeddings are nearest.

    Args:
        vectors: (N, D).
        place: (N,) which place each shows.
        count: How many.
        batch: Chips compared at once.

    Returns:
        (N, count), nearest first; fewer columns where there are fewer chips.
    """
    found = []
    for start in range(0, len(vectors), batch):
        part = slice(start, start + batch)
        closeness = vectors[part] @ vectors.T
        closeness[place[part, None] == place[None]] = -np.inf
        found.append(np.argsort(-closeness, axis=1, kind="stable")[:, :count])
    return np.concatenate(found)


class Mined:
    """Tables of `confusions` by the step at which they were made, on disk for runs to be resumed.

    Args:
        folder: Where they lie; made with the first.
        every: Steps between two tables.
    """

    def __init__(self, folder: Path, every: int) -> None:
        self.folder, self.every = folder, every

    def due(self, step: int) -> bool:
        """Returns whether a table is to be made before the step after so many."""
        return self.every > 0 and step > 0 and step % self.every == 0

    def save(self, step: int, table: NDArray[np.int64]) -> None:
        """Keeps a table.

        Raises:
            OutputError: The disk refused.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        with atomic_path(self._path(step), overwrite=True) as temporary:
            np.save(temporary, table)

    def before(self, step: int) -> NDArray[np.int64] | None:
        """Returns the table that a step's batch was chosen by; None where there was none yet."""
        if not self.every or step <= self.every:
            return None
        path = self._path((step - 1) // self.every * self.every)
        return np.asarray(np.load(path)) if path.exists() else None

    def _path(self, step: int) -> Path:
        return self.folder / f"step-{step:08d}.npy"
