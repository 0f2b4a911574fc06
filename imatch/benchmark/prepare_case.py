"""Prepares the two images of a case for a matcher: pixels alone, the target warped."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from imatch.benchmark.cases import Case
from imatch.core.types import BoolArray
from imatch.pipeline.pair.config import MatchConfig
from imatch.pipeline.pair.match import open_image
from imatch.raster import Source, array_source
from imatch.raster.read.source import SETTINGS

# What cv2.warpPerspective interpolates without a change of type.
_WARPABLE = frozenset({"uint8", "uint16", "int16", "float32", "float64"})


@dataclass(frozen=True, eq=False)
class PreparedCase:
    """One image of a case as a matcher sees it.

    Attributes:
        pixels: (C, H, W) in the file's own type.
        valid: (H, W) bool, False where there is no ground.
    """

    pixels: NDArray[Any]
    valid: BoolArray

    @property
    def size(self) -> tuple[int, int]:
        """Returns (width, height) in pixels."""
        return int(self.valid.shape[1]), int(self.valid.shape[0])

    def source(self) -> Source:
        """Returns the image as a source of the pipeline, without geocoding."""
        # Bands last: the pipeline takes the shorter of the outer axes for the bands.
        return array_source(np.moveaxis(self.pixels, 0, 2), valid=self.valid)


def prepare_case(case: Case, root: Path, config: MatchConfig) -> tuple[PreparedCase, PreparedCase]:
    """Reads a case's images and warps the target.

    Geocoding is dropped, since the benchmark is about pixels. Ground that the warp brings in from
    outside is not valid, as a product's nodata value would say of it.

    Args:
        case: The case.
        root: Folder that relative paths start from.
        config: Bands, nodata values and masks are taken from it.

    Returns:
        Reference and presented target.

    Raises:
        InputError: An image cannot be read.
    """
    ref, tgt = case.images(root)
    reference = _read(open_image(ref, "ref", config))
    target = _read(open_image(tgt, "tgt", config))
    return reference, warp_image(target, case.warp)


def for_prepared(config: MatchConfig) -> MatchConfig:
    """Returns the settings for images that `prepare_case` has read, bands and masks left out."""
    done = (f"{side}_{name}" for side in ("ref", "tgt") for name in SETTINGS)
    return config.model_copy(update=dict.fromkeys(done))


def warp_image(view: PreparedCase, warp: NDArray[np.float64]) -> PreparedCase:
    """Warps an image within its own frame.

    Args:
        view: The image.
        warp: (3, 3) its pixel to the presented pixel; the identity changes nothing.

    Returns:
        An image of the same size and type, cubically interpolated.
    """
    if np.array_equal(warp, np.eye(3)):
        return view
    bands = [
        cv2.warpPerspective(np.ascontiguousarray(band), warp, view.size, flags=cv2.INTER_CUBIC)
        for band in view.pixels
    ]
    valid = cv2.warpPerspective(
        view.valid.astype(np.uint8), warp, view.size, flags=cv2.INTER_NEAREST
    )
    return PreparedCase(np.stack(bands), np.asarray(valid, dtype=bool))


def longest_side(*views: PreparedCase) -> int:
    """Returns the longest side of several images in pixels."""
    return max(max(view.size) for view in views)


def _read(source: Source) -> PreparedCase:
    image = source.read()
    kinds = {dtype if dtype in _WARPABLE else "float32" for dtype in source.info.dtypes}
    # Reading gives float32, exact for the integers here; their own type rounds the warp as a
    # product's resampling would.
    kind = kinds.pop() if len(kinds) == 1 else "float32"
    return PreparedCase(image.pixels.astype(kind), image.valid)
