"""Whether embedders find places again among the chips of a prepared data set."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from imatch.core.errors import InputError
from imatch.core.progress import ProgressOption, shown
from imatch.datasets.manifest import DatasetManifest, load_manifest
from imatch.retrieval.embedders import Embedder, load_embedder
from imatch.retrieval.embedders.registry import DEFAULT
from imatch.retrieval.evaluate.metrics import figures, rank
from imatch.training.embedder.chips import PlaceChips

_BATCH = 32


def evaluate_retrieval(
    chips: Path,
    embedders: Sequence[str] = (),
    *,
    split: str = "val",
    sources: Sequence[str] = (),
    crop: float = 0.896,
    between: tuple[str, str] | None = None,
    device: str = "cpu",
    fetch: bool = False,
    progress: ProgressOption = None,
) -> dict[str, Any]:
    """Measures whether embedders find each chip's place again among a data set's chips.

    Args:
        chips: Folder of a prepared data set.
        embedders: Names or files of embedders; the default one when there are none.
        split: Which split.
        sources: Only these; all where empty.
        crop: Share of a chip that is seen, from its middle.
        between: Ask with the chips of one season or date for those of another, instead of with
            every chip for all others.
        device: Where embedders run.
        fetch: Download weights that are missing.
        progress: Shows how many chips are embedded.

    Returns:
        What was asked and the figures of each embedder (`imatch.retrieval.evaluate.metrics`),
        JSON-ready.

    Raises:
        InputError: The folder holds no data set, or no place was seen twice.
        ImatchError: As `load_embedder` and `PlaceChips`.
    """
    manifest = load_manifest(chips)
    found: dict[str, dict[str, Any]] = {}
    for name in embedders or (DEFAULT,):
        loaded = load_embedder(name, device=device, fetch=fetch)
        seen = open_chips(manifest, split, loaded, crop, sources)
        vectors, seconds = embed_chips(seen, loaded, progress)
        found[name] = {
            "identity": loaded.identity,
            "dim": loaded.dim,
            "chip_px": loaded.chip_px,
            "chips": len(seen),
            "chips_per_s": len(seen) / max(seconds, 1e-9),
            **_ranked(vectors, seen, between),
        }
    return {
        "chips": str(chips),
        "sha256": manifest.sha256,
        "split": split,
        "sources": list(sources) or None,
        "crop": crop,
        "between": between,
        "embedders": found,
    }


def open_chips(
    data: Path | DatasetManifest,
    split: str,
    embedder: Embedder,
    crop: float,
    sources: Sequence[str] = (),
) -> PlaceChips:
    """Opens the chips of a split as an embedder wants them.

    Args:
        data: Folder or manifest.
        split: Which split.
        embedder: Whose bands and size.
        crop: Share of a chip that is seen.
        sources: Only these; all where empty.

    Raises:
        InputError: The folder holds no data set.
        ConfigError: The split or a source does not exist.
    """
    return PlaceChips(
        data,
        split,
        bands=embedder.bands,
        size=embedder.chip_px,
        crop=crop,
        sources=sources or None,
        cache_mb=1,
    )


def embed_chips(
    chips: PlaceChips, embedder: Embedder, progress: ProgressOption = None
) -> tuple[NDArray[np.float32], float]:
    """Returns (N, dim) embeddings of the middles of chips, and the seconds that these took."""
    found, seconds = [], 0.0
    with shown(progress)(f"embedding by {embedder.name}", len(chips)) as advance:
        for start in range(0, len(chips), _BATCH):
            few = [chips.read(i) for i in range(start, min(start + _BATCH, len(chips)))]
            pixels, valid = (np.stack(part) for part in zip(*few, strict=True))
            began = time.perf_counter()
            found.append(embedder.embed(pixels, valid))
            seconds += time.perf_counter() - began
            advance(len(few))
    return np.concatenate(found), seconds


def _ranked(
    vectors: NDArray[np.float32], chips: PlaceChips, between: tuple[str, str] | None
) -> dict[str, float]:
    """Measures every chip among all others, or those of one season or date among another."""
    place = chips.layout.place
    if between is None:
        measured = figures(rank(vectors, vectors, place, place, themselves=np.arange(len(place))))
    else:
        asked, kept = (
            np.array([when in (row.season, row.date) for row in chips.rows]) for when in between
        )
        for when, some in zip(between, (asked, kept), strict=True):
            if not some.any():
                known = sorted({row.season for row in chips.rows})
                raise InputError(
                    "no chip is of that season or date",
                    subject=when,
                    hint=f"seasons here: {', '.join(known)}",
                )
        measured = figures(rank(vectors[asked], vectors[kept], place[asked], place[kept]))
    if not measured["queries"]:
        raise InputError(
            "no place was seen twice", subject=chips.manifest.folder, hint="prepare more dates"
        )
    return measured
