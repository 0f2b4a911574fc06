"""Learn a VLAD vocabulary from training chips.

    python -m experiments.embedder.learn_vlad seasons --local aliked -o vlad-aliked.safetensors

The file is an embedder: ``imatch index … -e vlad-aliked.safetensors``.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from imatch.core.progress import progress
from imatch.core.types import BoolArray
from imatch.retrieval.embedders.local import LOCAL
from imatch.retrieval.embedders.vlad import learn
from imatch.training.embedder.chips import PlaceChips


def some_of_each_source(chips: PlaceChips, count: int, seed: int) -> NDArray[np.int64]:
    """(M,) up to `count` chips of each source, at random."""
    rng = np.random.default_rng(seed)
    sources = np.array([row.source for row in chips.rows])
    own = [np.flatnonzero(sources == name) for name in np.unique(sources)]
    return np.concatenate([np.sort(rng.permutation(group)[:count]) for group in own])


def main() -> None:
    """Learn and write."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("chips", type=Path, help="folder of imatch data prepare")
    parser.add_argument("--local", choices=list(LOCAL), default="aliked")
    parser.add_argument("--words", type=int, default=64)
    parser.add_argument("--components", type=int, help="whitened principal components to keep")
    parser.add_argument("--size", type=int, default=128, help="side at which chips are seen, px")
    parser.add_argument("--count", type=int, default=150, help="chips of each source")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--overwrite", action="store_true")
    parser.add_argument("-o", "--output", type=Path, required=True)
    args = parser.parse_args()
    chips = PlaceChips(args.chips, "train", bands=LOCAL[args.local].bands, size=args.size)
    chosen = some_of_each_source(chips, args.count, args.seed)

    def seen() -> Iterator[tuple[NDArray[np.float32], BoolArray]]:
        for index in chosen:
            yield chips.read(int(index))

    with progress("describing chips", len(chosen)) as advance:
        vocabulary = learn(
            args.local,
            seen(),
            words=args.words,
            components=args.components,
            seed=args.seed,
            source=f"{len(chosen)} chips of a data set with sha256 {chips.manifest.sha256}",
            fetch=True,
            on_chip=advance,
        )
    vocabulary.save(args.output, overwrite=args.overwrite)


if __name__ == "__main__":
    main()
