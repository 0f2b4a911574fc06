"""Reads patches of a scene at full resolution, the target resampled by the fitted model.

Tie points are single windows. Between them, and within a tile, a scene may be bent in ways that
they miss or average out: a scanner's jitter, seams, relief. Patches are contiguous ground in which
`imatch.geometry.alignment.patches` looks at every line and window.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray
from rasterio.windows import Window
from scipy.interpolate import RectBivariateSpline

from imatch.geometry.alignment import patches as within
from imatch.geometry.alignment import systematic
from imatch.geometry.alignment.fine_alignment import AlignedImages
from imatch.geometry.estimate import Estimate
from imatch.pipeline.scene.reading import ImageSide, TargetPart, read_target
from imatch.pipeline.scene.tiles import Predict, TileLevel, TileTask, smooth_map

# Side of a patch and most of them; fewer where fewer cover a scene.
_SIDE, _MOST = 384, 9
# Where less of a patch is seen, it is left out.
_LEAST_VALID = 0.3
# The model is worked out on every so many pixels, and in between by cubic splines.
_STEP = 12


@dataclass(frozen=True, eq=False)
class ScenePatches:
    """Patches of a scene, the target laid on the reference.

    Attributes:
        matched: In the bands that were matched; `to_ref` leads to pixels of the finest level.
        others: The same places in other bands, by their names.
    """

    matched: list[AlignedImages]
    others: dict[str, list[AlignedImages]]

    def widen(self, estimate: Estimate, matrix: NDArray[np.float64], scale: float) -> Estimate:
        """The estimate with the systematic errors that the patches show in its bounds.

        Args:
            estimate: With the bounds of chance.
            matrix: (3, 3) global transform between pixels of the level.
            scale: Pixels of the level per working pixel.
        """
        windows = within.windows_of(self.matched)
        # From the reference's axes to the target's, level pixels both.
        turn = matrix[:2, :2]
        bent = np.sqrt(turn**2 @ within.misfit(self.matched, windows) ** 2)
        bands = within.band_shifts(self.matched)
        for name, others in self.others.items():
            bands += [replace(band, name=name) for band in within.band_shifts(others)]
        agrees = windows.agrees
        strength = float(windows.peak[agrees].mean()) if agrees.any() else 0.0
        moved = np.sqrt(turn**2 @ systematic.appearance(bands, strength) ** 2)
        offsets = [turn @ band.offset / scale for band in bands]
        told = [
            replace(band, offset=(float(x), float(y)))
            for band, (x, y) in zip(bands, offsets, strict=True)
        ]
        return replace(systematic.widened(estimate, bent / scale, moved / scale), bands=tuple(told))


def read_patches(
    sides: tuple[ImageSide, ImageSide],
    others: Mapping[str, tuple[ImageSide, ImageSide]],
    level: TileLevel,
    places: NDArray[np.float64],
    predict: Predict,
    seed: int,
) -> ScenePatches:
    """Reads patches spread over a scene and returns them with the target laid on the reference.

    Args:
        sides: Reference and target.
        others: The same in other bands, by their names, with pixels of the same size.
        level: The finest level.
        places: (N, 2) where windows were measured, level pixels: there is ground to be seen.
        predict: (N, 2) native pixels of the reference to those of the target, by the fitted model.
        seed: Seed of the choice.

    Raises:
        InputError: An image cannot be read there.
    """
    layout = _layout(level, places, seed)

    def read(ref: ImageSide, tgt: ImageSide) -> list[AlignedImages]:
        patches = [_read(ref, tgt, level, *where, predict) for where in layout]
        return [p for p in patches if p is not None and p.common.mean() >= _LEAST_VALID]

    return ScenePatches(read(*sides), {name: read(*pair) for name, pair in others.items()})


def _layout(
    level: TileLevel, places: NDArray[np.float64], seed: int
) -> list[tuple[tuple[int, int], tuple[int, int]]]:
    """Origin and size of the patches: one in each cell of a lattice over the places."""
    if not len(places):
        return []
    low, high = places.min(axis=0), places.max(axis=0)
    span = np.maximum(high - low, 1.0)
    size = int(min(_SIDE, level.size[0])), int(min(_SIDE, level.size[1]))
    fit = np.ceil(span / size)
    # As many across and down as suit the shape and cover it, but no more than there may be.
    share = min(1.0, float(np.sqrt(_MOST / fit.prod())))
    across, down = (max(1, int(n)) for n in np.round(fit * share))
    cell = np.minimum(((places - low) / span * (across, down)).astype(int), (across - 1, down - 1))
    rng = np.random.default_rng(seed)
    found = []
    for row in range(down):
        for column in range(across):
            own = places[(cell == (column, row)).all(axis=1)]
            if not len(own):
                continue
            middle = np.array([column, row]) + rng.uniform(0.35, 0.65, 2)
            middle = low + span * middle / (across, down)
            nearest = own[np.hypot(*(own - middle).T).argmin()]
            room = np.array(level.size) - size
            x, y = np.clip(np.rint(nearest - np.array(size) / 2), 0, room).astype(int).tolist()
            found.append(((x, y), size))
    return found


def _read(
    ref: ImageSide,
    tgt: ImageSide,
    level: TileLevel,
    origin: tuple[int, int],
    size: tuple[int, int],
    predict: Predict,
) -> AlignedImages | None:
    (x, y), (width, height), (fx, fy) = origin, size, level.factor
    low = np.array(origin, dtype=np.int64)
    mapping = smooth_map(level, low, low + np.array(size), predict)
    if mapping is None:
        return None
    task = TileTask((level.number, -1, -1), level, origin, size, np.zeros((0, 4), int), mapping)
    part = read_target(tgt.source, task)
    if part is None:
        return None
    there = _positions(level, origin, size, lambda xy: part.from_native(predict(xy)))
    if there is None:
        return None
    image = ref.source.read(Window(x * fx, y * fy, width * fx, height * fy), size)
    at = np.eye(3)
    at[:2, 2] = origin
    warped = tgt.rendered(*_resampled(part, there))
    return AlignedImages(ref.rendered(image.pixels, image.valid), warped, 1.0, at)


def _positions(
    level: TileLevel,
    origin: tuple[int, int],
    size: tuple[int, int],
    locate: Callable[[NDArray[np.float64]], NDArray[np.float64]],
) -> tuple[NDArray[np.float32], NDArray[np.float32]] | None:
    """Where each pixel of a patch lies in what was read of the target; None where some do not."""
    nodes = [np.linspace(0, side - 1, max(4, -(-side // _STEP))) for side in size]
    x, y = np.meshgrid(*nodes)
    native = level.to_native(np.column_stack([x.ravel(), y.ravel()]) + origin)
    there = locate(native).reshape(*x.shape, 2)
    if not np.isfinite(there).all():
        return None
    columns, rows = (np.arange(side) for side in size)
    planes = [
        RectBivariateSpline(nodes[1], nodes[0], there[:, :, axis])(rows, columns) for axis in (0, 1)
    ]
    return planes[0].astype(np.float32), planes[1].astype(np.float32)


def _resampled(
    part: TargetPart, there: Sequence[NDArray[np.float32]]
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """A patch of the target, resampled as the windows are."""
    x, y = there
    planes = [
        cv2.remap(plane, x, y, cv2.INTER_LANCZOS4, borderMode=cv2.BORDER_REPLICATE)
        for plane in part.pixels
    ]
    seen = cv2.remap(part.valid.astype(np.uint8), x, y, cv2.INTER_NEAREST)
    return np.stack(planes), np.asarray(seen > 0)
