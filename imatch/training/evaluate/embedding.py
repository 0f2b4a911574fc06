"""What frozen embeddings know of the ground: the classes of a prepared data set's chips."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from imatch.core.errors import ConfigError
from imatch.core.progress import ProgressOption, shown
from imatch.datasets.manifest import load_manifest
from imatch.retrieval.embedders import load_embedder
from imatch.retrieval.embedders.registry import DEFAULT
from imatch.retrieval.evaluate.linear_probe import (
    CLASSIFIERS,
    multi_label,
    single_label,
    summary,
)
from imatch.training.embedder.config import EmbedderLabelConfig
from imatch.training.embedder.label_map import LabelMap
from imatch.training.evaluate.retrieval import embed_chips, open_chips


def evaluate_embedding(
    chips: Path,
    labels: Path,
    embedders: Sequence[str] = (),
    *,
    column: str | None = None,
    multi: bool = False,
    dominance: float = 0.6,
    classifiers: Sequence[str] = (),
    draws: int = 5,
    seed: int = 0,
    split: str = "val",
    sources: Sequence[str] = (),
    crop: float = 0.896,
    device: str = "cpu",
    fetch: bool = False,
    progress: ProgressOption = None,
) -> dict[str, Any]:
    """Classifies what covers the ground of a data set's chips by their embeddings.

    Args:
        chips: Folder of a prepared data set.
        labels: Categorical raster, or polygons.
        embedders: Names or files of embedders; the default one when there are none.
        column: Column of the polygons that names the class.
        multi: Tell mixtures of classes, instead of the one that dominates.
        dominance: Least share of a chip's ground that its class covers; others are left out.
        classifiers: Some of `CLASSIFIERS`; all when there are none.
        draws: How often places are divided anew.
        seed: Of the draws.
        split: Which split.
        sources: Only these; all where empty.
        crop: Share of a chip that is seen, from its middle.
        device: Where embedders run.
        fetch: Download weights that are missing.
        progress: Shows how far embedding and classifying are.

    Returns:
        What was asked and the figures of each embedder (`imatch.retrieval.evaluate.linear_probe`),
        JSON-ready.

    Raises:
        InputError: The folder holds no data set, or the labels cannot be used.
        ConfigError: No chip is dominated by one class, or a classifier is unknown.
        ImatchError: As `load_embedder` and `PlaceChips`.
    """
    manifest = load_manifest(chips)
    ground = LabelMap(EmbedderLabelConfig(path=labels, column=column))
    chosen = tuple(classifiers) or CLASSIFIERS
    options: dict[str, Any] = {"classifiers": chosen, "draws": draws, "seed": seed}
    found: dict[str, dict[str, Any]] = {}
    for name in embedders or (DEFAULT,):
        loaded = load_embedder(name, device=device, fetch=fetch)
        seen = open_chips(manifest, split, loaded, crop, sources)
        shares = ground.shares(seen.rows)
        known = np.flatnonzero(shares.max(axis=1) >= (1e-6 if multi else dominance))
        if not len(known):
            raise ConfigError(
                "no chip is dominated by one class",
                subject="--dominance",
                hint="lower it, or pass --multi",
            )
        vectors, _ = embed_chips(seen, loaded, progress)
        places = seen.layout.place[known]
        with shown(progress)(f"classifying by {name}", len(chosen) * draws) as advance:
            if multi:
                values = multi_label(
                    vectors[known], shares[known], places, on_fit=advance, **options
                )
            else:
                classes = shares[known].argmax(axis=1).astype(np.int64)
                values = single_label(vectors[known], classes, places, on_fit=advance, **options)
        found[name] = {
            "identity": loaded.identity,
            "chips": len(known),
            "figures": summary(values),
            "draws": values,
        }
    return {
        "chips": str(chips),
        "sha256": manifest.sha256,
        "split": split,
        "sources": list(sources) or None,
        "labels": str(labels),
        "classes": list(ground.classes),
        "multi": multi,
        "dominance": None if multi else dominance,
        "seed": seed,
        "embedders": found,
    }
