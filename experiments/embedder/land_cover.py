"""A label map of the world from twelve months of NASA's Blue Marble: what a year tells.

Classes: 1 water, 2 ice (white all year), 3 seasonal snow, 4 bare (bright and reddish), 5 green
(vegetated in summer and winter), 6 steppe (the rest). By colour alone, so rough; enough to ask
whether an embedding knows more than colour of one month.

    python -m experiments.embedder.land_cover --data ../shared/data -o land_cover.tif
    imatch eval embedding seasons --labels land_cover.tif --source bmng -e efficientnet-lite0
"""

from __future__ import annotations

import argparse
import warnings
from pathlib import Path

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio.errors import NotGeoreferencedWarning

from imatch.core.io.files import atomic_path
from imatch.core.progress import progress

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


def main() -> None:
    """Classify and write."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", type=Path, required=True, help="the shared data folder")
    parser.add_argument("--overwrite", action="store_true")
    parser.add_argument("-o", "--output", type=Path, required=True)
    args = parser.parse_args()
    files = sorted((args.data / "train" / "bmng").glob("*.jpg"))
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
        atomic_path(args.output, overwrite=args.overwrite) as temporary,
        rasterio.open(temporary, "w", **profile) as out,
    ):
        out.write(classes, 1)
        out.update_tags(1, classes=", ".join(CLASSES))
    for number, name in enumerate(CLASSES, start=1):
        print(f"{name:14} {(classes == number).mean():6.1%}")


if __name__ == "__main__":
    main()
