r"""What the embedders' experiments are made with: vocabularies for VLAD, and a map of land cover.

    python -m experiments.embedder.make vocabulary seasons --local aliked -o vlad-aliked.safetensors
    python -m experiments.embedder.make land-cover --data ../shared/data -o land_cover.tif

A vocabulary is learnt from training chips, and its file is an embedder: ``imatch index … -e FILE``.

The map labels the world by what twelve months of NASA's Blue Marble tell: 1 water, 2 ice (white all
year), 3 seasonal snow, 4 bare (bright and reddish), 5 green (vegetated in summer and winter), 6
steppe (the rest). By colour alone, so rough; enough to ask whether an embedding knows more than
the colour of one month.
"""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio.errors import NotGeoreferencedWarning

from imatch.core.io.files import atomic_path
from imatch.core.progress import progress
from imatch.core.types import BoolArray
from imatch.retrieval.embedders.local import LOCAL
from imatch.retrieval.embedders.vlad import learn
from imatch.training.embedder.chips import PlaceChips

CLASSES = ("water", "ice", "seasonal snow", "bare", "green", "steppe")
#: Channels above this in all bands are snow; it is bright and has no colour.
_WHITE, _COLOURLESS = 150, 40


def classify(months: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Classes of the ground, 1 to 6.

    Args:
        months: (M, 3, H, W) red, green and blue of months over a year.
    """
    pixels = months.astype(np.int16)
    red, green, blue = pixels[:, 0], pixels[:, 1], pixels[:, 2]
    spread = pixels.max(axis=1) - pixels.min(axis=1)
    white = ((pixels.min(axis=1) > _WHITE) & (spread < _COLOURLESS)).mean(axis=0)
    # The sea has one colour all year; its blue is far above its red.
    wet = ((blue > red + 12) & (blue > green) & (red < 60)).mean(axis=0)
    # Medians, so that a month of snow or of haze does not decide.
    r, g, b = (np.median(band, axis=0) for band in (red, green, blue))
    out = np.full(r.shape, 6, dtype=np.uint8)
    out[(g >= r) & (r < 110)] = 5
    out[(r > 120) & (r > b + 25)] = 4
    out[white >= 1 / 12] = 3
    out[white > 0.8] = 2
    out[wet > 0.5] = 1
    return out


def some_of_each_source(chips: PlaceChips, count: int, seed: int) -> NDArray[np.int64]:
    """(M,) up to `count` chips of each source, at random."""
    rng = np.random.default_rng(seed)
    sources = np.array([row.source for row in chips.rows])
    own = [np.flatnonzero(sources == name) for name in np.unique(sources)]
    return np.concatenate([np.sort(rng.permutation(group)[:count]) for group in own])


def vocabulary(asked: argparse.Namespace) -> None:
    """Learn a vocabulary and write it."""
    chips = PlaceChips(asked.chips, "train", bands=LOCAL[asked.local].bands, size=asked.size)
    chosen = some_of_each_source(chips, asked.count, asked.seed)

    def seen() -> Iterator[tuple[NDArray[np.float32], BoolArray]]:
        for index in chosen:
            yield chips.read(int(index))

    with progress("describing chips", len(chosen)) as advance:
        vocabulary = learn(
            asked.local,
            seen(),
            words=asked.words,
            components=asked.components,
            seed=asked.seed,
            source=f"{len(chosen)} chips of a data set with sha256 {chips.manifest.sha256}",
            fetch=True,
            on_chip=advance,
        )
    vocabulary.save(asked.output, overwrite=asked.overwrite)


def land_cover(asked: argparse.Namespace) -> None:
    """Classify the world and write the map."""
    files = sorted((asked.data / "train" / "bmng").glob("*.jpg"))
    months = []
    with progress("reading months", len(files)) as advance, warnings.catch_warnings():
        # A world file says where, and nothing which reference system.
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        for file in files:
            with rasterio.open(file) as image:
                months.append(image.read())
                transform = image.transform
            advance(1)
    height, width = months[0].shape[1:]
    classes = np.empty((height, width), dtype=np.uint8)
    for top in range(0, height, 100):
        part = np.s_[top : top + 100]
        classes[part] = classify(np.stack([month[:, part] for month in months]))
    profile = {"driver": "GTiff", "count": 1, "height": height, "width": width, "dtype": "uint8"}
    profile |= {"crs": "EPSG:4326", "transform": transform, "compress": "deflate"}
    with (
        atomic_path(asked.output, overwrite=asked.overwrite) as temporary,
        rasterio.open(temporary, "w", **profile) as out,
    ):
        out.write(classes, 1)
        out.update_tags(1, classes=", ".join(CLASSES))
    for number, name in enumerate(CLASSES, start=1):
        print(f"{name:14} {(classes == number).mean():6.1%}")


def parser() -> argparse.ArgumentParser:
    """The command line."""
    described = (__doc__ or "").splitlines()[0]
    whole = argparse.ArgumentParser(prog="experiments.embedder.make", description=described)
    parts = whole.add_subparsers(required=True)
    part = parts.add_parser("vocabulary", help="learn a VLAD vocabulary from training chips")
    part.set_defaults(run=vocabulary)
    part.add_argument("chips", type=Path, help="folder of imatch data prepare")
    part.add_argument("--local", choices=list(LOCAL), default="aliked")
    part.add_argument("--words", type=int, default=64)
    part.add_argument("--components", type=int, help="whitened principal components to keep")
    part.add_argument("--size", type=int, default=128, help="side at which chips are seen, px")
    part.add_argument("--count", type=int, default=150, help="chips of each source")
    part.add_argument("--seed", type=int, default=0)
    part.add_argument("--overwrite", action="store_true")
    part.add_argument("-o", "--output", type=Path, required=True)
    part = parts.add_parser("land-cover", help="label the world from a year of Blue Marble")
    part.set_defaults(run=land_cover)
    part.add_argument("--data", type=Path, required=True, help="the shared data folder")
    part.add_argument("--overwrite", action="store_true")
    part.add_argument("-o", "--output", type=Path, required=True)
    return whole


if __name__ == "__main__":
    asked = parser().parse_args()
    asked.run(asked)
