"""Tiled matching of large images, guided by a rough transform.

The pair is matched as a whole at reduced size. What those matches agree on says where each tile of
the reference lies on the target, so that every tile is matched against an equally large view of the
same ground, turned and scaled as it is. Memory is that of one tile, however large the images are.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from imatch.core.types import Matches, Rendered
from imatch.matchers.images import has_content

MatchPair = Callable[[Rendered, Rendered], Matches]

_FEWEST = 8
"""Matches that have to agree on where tiles lie."""


@dataclass(frozen=True)
class Tiling:
    """How images are cut.

    Attributes:
        whole: Longest side in pixels of images that are matched at once.
        side: Of a tile, pixels.
        overlap: Of neighbouring tiles, pixels.
        apart: Matches nearer than this in either image are the same, pixels.
    """

    whole: int = 640
    side: int = 512
    overlap: int = 128
    apart: float = 4.0


@dataclass(frozen=True)
class Tile:
    """A piece of the reference.

    Attributes:
        origin: (x, y) of its first pixel.
        size: (width, height).
        low: (x, y) from where on its matches count; neighbours see nearer points better.
        high: (x, y) up to where they do.
    """

    origin: tuple[int, int]
    size: tuple[int, int]
    low: tuple[float, float]
    high: tuple[float, float]


def make_tiles(size: tuple[int, int], tiling: Tiling) -> list[Tile]:
    """Tiles that cover an image; the areas in which their matches count cover it once.

    Args:
        size: (width, height).
        tiling: How.
    """
    columns, rows = (_starts(side, tiling) for side in size)
    tiles = []
    for y, top, bottom in rows:
        for x, left, right in columns:
            tile_size = min(tiling.side, size[0]), min(tiling.side, size[1])
            tiles.append(Tile((x, y), tile_size, (left, top), (right, bottom)))
    return tiles


def _starts(length: int, tiling: Tiling) -> list[tuple[int, float, float]]:
    """(start, low, high) of the tiles along one axis, evenly spread."""
    count = max(-(-(length - tiling.overlap) // (tiling.side - tiling.overlap)), 1)
    room = max(length - tiling.side, 0)
    starts = [round(room * k / max(count - 1, 1)) for k in range(count)]
    # Half-way through each overlap, in terms of pixels' edges.
    middles = [(b + a + tiling.side) / 2 - 0.5 for a, b in pairwise(starts)]
    return list(zip(starts, [-np.inf, *middles], [*middles, np.inf], strict=True))


def match_tiled(ref: Rendered, tgt: Rendered, match: MatchPair, tiling: Tiling) -> Matches:
    """Match images of any size.

    Args:
        ref: Reference.
        tgt: Target.
        match: Matches two images that are small enough.
        tiling: How they are cut.

    Returns:
        Matches, the best first, no two of them within ``tiling.apart`` in either image. Where the
        reduced images do not agree on anything, their matches are all there is.
    """
    longest = max(*ref.size, *tgt.size)
    if longest <= tiling.whole:
        return match(ref, tgt)
    rough = match_reduced(ref, tgt, match, tiling.whole / longest)
    matrix = _fit_similarity(rough, 3 * longest / tiling.whole)
    if matrix is None:
        return rough
    parts = [_match_tile(tile, ref, tgt, matrix, match) for tile in make_tiles(ref.size, tiling)]
    return one_to_one(Matches.concatenate(parts), tiling.apart)


def match_reduced(ref: Rendered, tgt: Rendered, match: MatchPair, factor: float) -> Matches:
    """Match images reduced by one factor, and carry the points back.

    Args:
        ref: Reference.
        tgt: Target.
        match: Matches the reduced images.
        factor: At most 1, which changes nothing.
    """
    if factor >= 1:
        return match(ref, tgt)
    small, scales = [], []
    for image in (ref, tgt):
        size = tuple(max(1, round(side * factor)) for side in image.size)
        scales.append(np.array(size) / image.size)
        bands = [cv2.resize(band, size, interpolation=cv2.INTER_AREA) for band in image.pixels]
        valid = cv2.resize(image.valid.astype(np.uint8), size, interpolation=cv2.INTER_NEAREST) > 0
        small.append(Rendered(np.stack(bands), np.asarray(valid, dtype=bool)))
    found = match(*small)
    ref_xy, tgt_xy = (
        (xy + 0.5) / scale - 0.5
        for xy, scale in zip((found.ref_xy, found.tgt_xy), scales, strict=True)
    )
    return Matches(ref_xy, tgt_xy, found.scores)


def one_to_one(matches: Matches, apart: float) -> Matches:
    """Drop matches that lie near a better one in either image.

    Args:
        matches: In any order.
        apart: How near, pixels.

    Returns:
        What is left, the best first.
    """
    ranked = matches.select(np.argsort(-matches.scores, kind="stable"))
    near: list[list[int]] = [[] for _ in range(len(ranked))]
    for xy in (ranked.ref_xy, ranked.tgt_xy):
        for better, worse in cKDTree(xy).query_pairs(apart, output_type="ndarray"):
            near[worse].append(int(better))
    kept = np.zeros(len(ranked), dtype=bool)
    for index, betters in enumerate(near):
        kept[index] = not any(kept[better] for better in betters)
    return ranked.select(kept)


def _fit_similarity(matches: Matches, threshold: float) -> NDArray[np.float64] | None:
    """(2, 3) reference to target, a similarity; None without agreement."""
    if len(matches) < _FEWEST:
        return None
    matrix, inlier = cv2.estimateAffinePartial2D(
        matches.ref_xy,
        matches.tgt_xy,
        method=cv2.RANSAC,
        ransacReprojThreshold=threshold,
        maxIters=5000,
    )
    if matrix is None or int(inlier.sum()) < _FEWEST:
        return None
    return np.asarray(matrix, dtype=np.float64)


def _match_tile(
    tile: Tile, ref: Rendered, tgt: Rendered, matrix: NDArray[np.float64], match: MatchPair
) -> Matches:
    (x, y), (width, height) = tile.origin, tile.size
    seen = ref.pixels[:, y : y + height, x : x + width], ref.valid[y : y + height, x : x + width]
    piece = Rendered(np.ascontiguousarray(seen[0]), np.ascontiguousarray(seen[1]))
    to_target = _tile_to_target(tile, matrix)
    view = _warped_view(tgt, to_target, tile.size)
    if not (has_content(piece) and has_content(view)):
        return Matches()
    found = match(piece, view)
    there = found.ref_xy + tile.origin
    back = found.tgt_xy @ to_target[:, :2].T + to_target[:, 2]
    own = np.flatnonzero(((there >= tile.low) & (there < tile.high)).all(axis=1))
    return Matches(there, back, found.scores).select(own)


def _tile_to_target(tile: Tile, matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    """(2, 3) pixel of the tile to pixel of the target."""
    middle = (np.array(tile.size) - 1) / 2
    centre = matrix[:, :2] @ (middle + tile.origin) + matrix[:, 2]
    linear = matrix[:, :2]
    # Where a shift by whole pixels will do, nothing is resampled.
    if np.abs((linear - np.eye(2)) @ middle).max() < 4:
        linear, centre = np.eye(2), np.round(centre - middle) + middle
    return np.column_stack([linear, centre - linear @ middle])


def _warped_view(image: Rendered, matrix: NDArray[np.float64], size: tuple[int, int]) -> Rendered:
    """A view of an image, (2, 3) pixel of the view to pixel of the image."""
    bands = [
        cv2.warpAffine(
            band,
            matrix,
            size,
            flags=cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP,
            borderMode=cv2.BORDER_REPLICATE,
        )
        for band in image.pixels
    ]
    valid = cv2.warpAffine(
        image.valid.astype(np.float32), matrix, size, flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    )
    pixels = np.clip(np.stack(bands), 0, 1).astype(np.float32)
    return Rendered(pixels, np.asarray(valid > 0.999, dtype=bool))
