"""The sampler that a configuration asks for."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from imatch.training.embedder.chips import Layout
from imatch.training.embedder.config import EmbedderConfig
from imatch.training.embedder.sampling.labels import LabelledChips, Proportions
from imatch.training.embedder.sampling.places import Cluster, Random, Recipe, TileDistance


def make_sampler(
    config: EmbedderConfig, layout: Layout, shares: NDArray[np.float32] | None = None
) -> Random | Recipe | TileDistance | LabelledChips | Proportions:
    """The sampler that a configuration asks for.

    Args:
        config: The run's.
        layout: Where and when the training chips are.
        shares: (N, K) share of each class in each chip, for the samplers that need a label map.

    Raises:
        ConfigError: The data does not allow it.
    """
    how, count = config.sampler, config.batch_size
    shifts, seed = config.data.shifts, config.seed
    match how.kind:
        case "recipe":
            return Recipe(layout, count, block=how.block, shifts=shifts, seed=seed)
        case "random":
            return Random(layout, count, how.dates, shifts=shifts, seed=seed)
        case "cluster":
            return Cluster(layout, count, how.dates, cluster=how.cluster, shifts=shifts, seed=seed)
        case "tile-distance":
            near, far = how.positive, how.negative
            return TileDistance(
                layout, count, positive=near, negative=far, shifts=shifts, seed=seed
            )
    assert shares is not None
    if how.kind == "labels":
        return LabelledChips(
            shares, count, how.dates, dominance=how.dominance, shifts=shifts, seed=seed
        )
    return Proportions(shares, count, alike=how.alike, unlike=how.unlike, shifts=shifts, seed=seed)
