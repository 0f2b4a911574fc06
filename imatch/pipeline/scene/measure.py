"""Measures the tie points of one tile by windowed correlation.

Nothing here knows of threads, matchers or networks; `imatch.pipeline.scene.executor` decides
where it runs. The reference's windows are cut out as they are, and the target is resampled onto
each of them once, straight from its own pixels.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, get_args

import cv2
import numpy as np
from numpy.typing import NDArray
from rasterio.windows import Window

from imatch.core.types import BoolArray
from imatch.geometry.alignment.orientation import orientation_field
from imatch.geometry.alignment.refine import measure_at
from imatch.pipeline.scene.reading import ImageSide, TargetPart, read_target
from imatch.pipeline.scene.tiles import RIM, TileTask
from imatch.raster import GeoImage

# Where both images show less valid ground than this, nothing is measured.
_LEAST_VALID = 0.7
# Corners of windows are sought on every fourth pixel.
_STRIDE = 4
# Target pixels beyond what a patch needs: the reach of the resampling, and some.
_MARGIN = 8

Outcome: TypeAlias = Literal["measured", "outside", "invalid", "flat"]


@dataclass(frozen=True, eq=False)
class TileResult:
    """Result of a tile with M windows.

    Attributes:
        key: Level, row and column.
        outcome: Whether it was measured, or why not: it lies ``outside`` of the target, shows no
            valid ground on both images (``invalid``), or one value everywhere (``flat``).
        ref_xy: (M, 2) native reference pixels.
        tgt_xy: (M, 2) native target pixels where the same ground was found; NaN where it was not.
        peak: (M,) correlation, -1 to 1.
        ratio: (M,) the peak over the best value apart from it.
    """

    key: tuple[int, int, int]
    outcome: Outcome
    ref_xy: NDArray[np.float64]
    tgt_xy: NDArray[np.float64]
    peak: NDArray[np.float64]
    ratio: NDArray[np.float64]

    @classmethod
    def without(cls, task: TileTask, outcome: Outcome) -> TileResult:
        """A tile where nothing was measured."""
        none, empty = np.zeros((0, 2)), np.zeros(0)
        return cls(task.key, outcome, none, none, empty, empty)

    def to_dict(self) -> dict[str, Any]:
        """Columns as lists; NaN stays."""
        return {
            "key": list(self.key),
            "outcome": self.outcome,
            "ref_xy": self.ref_xy.tolist(),
            "tgt_xy": self.tgt_xy.tolist(),
            "peak": self.peak.tolist(),
            "ratio": self.ratio.tolist(),
        }

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> TileResult:
        """The inverse of `to_dict`.

        Raises:
            KeyError: A part is missing.
            TypeError: A part is of another type.
            ValueError: A part has another shape, or the outcome is none.
        """
        level, row, column = map(int, data["key"])
        if data["outcome"] not in get_args(Outcome):
            raise ValueError(f"unknown outcome {data['outcome']!r}")

        def points(name: str) -> NDArray[np.float64]:
            return np.asarray(data[name], dtype=np.float64).reshape(-1, 2)

        def numbers(name: str) -> NDArray[np.float64]:
            return np.asarray(data[name], dtype=np.float64)

        columns = points("ref_xy"), points("tgt_xy"), numbers("peak"), numbers("ratio")
        if len({len(column) for column in columns}) > 1 or columns[2].ndim + columns[3].ndim != 2:
            raise ValueError("its columns differ in length")
        return cls((level, row, column), data["outcome"], *columns)


def measure_tile(ref: ImageSide, tgt: ImageSide, task: TileTask) -> TileResult:
    """Finds the ground of a tile's windows on the target.

    Args:
        ref: The reference.
        tgt: The target.
        task: The tile.

    Raises:
        InputError: An image cannot be read there.
    """
    read = read_tile(ref, tgt, task)
    return read if isinstance(read, TileResult) else measure_pixels(ref, tgt, task, read)


def read_tile(
    ref: ImageSide, tgt: ImageSide, task: TileTask
) -> tuple[GeoImage, TargetPart] | TileResult:
    """Reads what both images show of a tile.

    Args:
        ref: The reference.
        tgt: The target.
        task: The tile.

    Returns:
        The pixels; a result where there is nothing to be measured.

    Raises:
        InputError: An image cannot be read there.
    """
    level = task.level
    x, y = task.origin
    width, height = task.size
    fx, fy = level.factor
    image = ref.source.read(Window(x * fx, y * fy, width * fx, height * fy), task.size)
    if image.valid.mean() * width * height < _LEAST_VALID * level.window**2:
        return TileResult.without(task, "invalid")
    part = read_target(tgt.source, task)
    return TileResult.without(task, "outside") if part is None else (image, part)


def measure_pixels(
    ref: ImageSide, tgt: ImageSide, task: TileTask, read: tuple[GeoImage, TargetPart]
) -> TileResult:
    """Finds the ground of a tile's windows in pixels that were read; threads may share the sides.

    Args:
        ref: The reference.
        tgt: The target.
        task: The tile.
        read: What both show of it.
    """
    image, part = read
    corners = _corners(ref, image, _common(image.valid, part, task), task)
    if corners is None:
        return TileResult.without(task, "flat")
    if not len(corners):
        return TileResult.without(task, "invalid")
    return _measured(ref, tgt, task, image, part, corners)


def _measured(
    ref: ImageSide,
    tgt: ImageSide,
    task: TileTask,
    image: GeoImage,
    part: TargetPart,
    corners: NDArray[np.int64],
) -> TileResult:
    """Correlate the windows whose (M, 2) top-left corners in the tile are given."""
    level = task.level
    centres = (corners + task.origin).astype(np.float64) + (level.window - 1) / 2
    there, turns = task.mapping.apply(centres), task.mapping.jacobian(centres)
    first, second = _Mosaic(image.pixels, level.patch), _Mosaic(part.pixels, level.patch)
    first.reserve(len(corners))
    second.reserve(len(corners))
    middle = (level.patch - 1) / 2
    for index, (corner, place, turn) in enumerate(zip(corners, there, turns, strict=True)):
        left, top = corner - RIM
        cut = np.s_[top : top + level.patch, left : left + level.patch]
        first.put(index, image.pixels[:, *cut], image.valid[cut])
        # From the patch's pixels to those that were read of the target.
        matrix = np.empty((2, 3))
        matrix[:, :2] = turn / part.scale[:, None]
        matrix[:, 2] = part.from_native(place[None])[0] - matrix[:, :2] @ (middle, middle)
        second.put(index, *_warped(part, matrix, level.patch))
    # Windows lie in both mosaics alike.
    positions = first.positions(len(corners)) + RIM
    fields = [
        # What is invalid, the lines between patches, has no part in directions.
        orientation_field(side.rendered(mosaic.pixels, mosaic.valid, fill=False))
        for side, mosaic in ((ref, first), (tgt, second))
    ]
    found = measure_at(fields[0], fields[1], positions, level.window, level.radius)
    moved = np.einsum("nij,nj->ni", turns, found.shift)
    return TileResult(
        task.key, "measured", level.to_native(centres), there + moved, found.peak, found.ratio
    )


class _Mosaic:
    """Patches side by side, so that one pass makes the directions of them all.

    A line of invalid pixels round each keeps the seams out of the gradients.
    """

    def __init__(self, like: NDArray[np.float32], side: int) -> None:
        self._bands, self._side = len(like), side
        self._columns = 1

    def reserve(self, count: int) -> None:
        """Make room for so many patches."""
        self._columns = max(1, int(np.ceil(np.sqrt(count))))
        rows = -(-count // self._columns)
        shape = rows * self._side, self._columns * self._side
        self.pixels = np.zeros((self._bands, *shape), dtype=np.float32)
        self.valid = np.zeros(shape, dtype=bool)

    def positions(self, count: int) -> NDArray[np.int64]:
        """(count, 2) top-left (x, y) of the patches."""
        rows, columns = np.divmod(np.arange(count), self._columns)
        return np.column_stack([columns, rows]) * self._side

    def put(self, index: int, pixels: NDArray[np.float32], valid: BoolArray) -> None:
        """Lay down a patch."""
        row, column = divmod(index, self._columns)
        y, x = row * self._side, column * self._side
        self.pixels[:, y : y + self._side, x : x + self._side] = pixels
        inner = np.s_[y + 1 : y + self._side - 1, x + 1 : x + self._side - 1]
        self.valid[inner] = valid[1:-1, 1:-1]


def _warped(
    part: TargetPart, matrix: NDArray[np.float64], side: int
) -> tuple[NDArray[np.float32], BoolArray]:
    """A patch of the target, resampled as `alignment.orientation.warp_image` does."""
    # Only what the patch needs: OpenCV refuses images of more than 32767 pixels a side.
    ends = np.array([[0, 0], [side, 0], [side, side], [0, side]]) @ matrix[:, :2].T + matrix[:, 2]
    limit = np.array(part.valid.shape[::-1])
    low = np.clip(np.floor(ends.min(axis=0)).astype(int) - _MARGIN, 0, limit - 1)
    high = np.clip(np.ceil(ends.max(axis=0)).astype(int) + _MARGIN, low + 1, limit)
    cut = np.s_[low[1] : high[1], low[0] : high[0]]
    matrix = matrix.copy()
    matrix[:, 2] -= low
    lanczos = cv2.INTER_LANCZOS4 | cv2.WARP_INVERSE_MAP
    nearest = cv2.INTER_NEAREST | cv2.WARP_INVERSE_MAP
    planes = [
        cv2.warpAffine(
            np.ascontiguousarray(plane[cut]),
            matrix,
            (side, side),
            flags=lanczos,
            borderMode=cv2.BORDER_REPLICATE,
        )
        for plane in part.pixels
    ]
    mask = np.ascontiguousarray(part.valid[cut]).astype(np.uint8)
    valid = cv2.warpAffine(mask, matrix, (side, side), flags=nearest) > 0
    return np.stack(planes), np.asarray(valid)


def _common(valid: BoolArray, part: TargetPart, task: TileTask) -> NDArray[np.float32]:
    """(h, w) share of ground valid in both images, on every fourth pixel of the tile."""
    height, width = valid.shape
    rows, columns = -(-height // _STRIDE), -(-width // _STRIDE)
    y, x = np.mgrid[:rows, :columns] * _STRIDE + (_STRIDE - 1) / 2
    positions = np.column_stack([x.ravel() + task.origin[0], y.ravel() + task.origin[1]])
    there = np.rint(part.from_native(task.mapping.apply(positions))).astype(np.int64)
    h, w = part.valid.shape
    inside = (there >= 0).all(axis=1) & (there < (w, h)).all(axis=1)
    seen = np.zeros(len(positions), dtype=bool)
    seen[inside] = part.valid[there[inside, 1], there[inside, 0]]
    own = cv2.resize(valid.astype(np.float32), (columns, rows), interpolation=cv2.INTER_AREA)
    return np.asarray(own * seen.reshape(rows, columns), dtype=np.float32)


def _corners(
    ref: ImageSide, image: GeoImage, both: NDArray[np.float32], task: TileTask
) -> NDArray[np.int64] | None:
    """(M, 2) corners of the windows in the tile: in each cell the one that shows most structure.

    Structure is the smaller eigenvalue of the gradients' second moments over a window (Shi &
    Tomasi, 1994): a single straight edge pins nothing down along itself.

    Returns:
        None where the reference shows nothing anywhere.
    """
    level = task.level
    rows, columns = both.shape
    small = np.stack(
        [cv2.resize(p, (columns, rows), interpolation=cv2.INTER_AREA) for p in image.pixels]
    ).astype(np.float32)
    view = ref.rendered(small, both > 0.5, fill=False)
    reach = max(1, level.window // _STRIDE)
    sums = np.zeros((3, rows, columns))
    inner = cv2.erode((both > 0.5).astype(np.uint8), np.ones((3, 3), np.uint8), borderValue=1)
    for plane in view.pixels:
        gx, gy = (cv2.Scharr(plane, cv2.CV_64F, *d) * inner for d in ((1, 0), (0, 1)))
        sums += [gx * gx, gx * gy, gy * gy]
    # Anchored at the window's corner.
    box: dict[str, Any] = {
        "ddepth": -1,
        "ksize": (reach, reach),
        "anchor": (0, 0),
        "normalize": True,
        "borderType": cv2.BORDER_CONSTANT,
    }
    xx, xy, yy = (cv2.boxFilter(s, **box) for s in sums)
    structure = (xx + yy) / 2 - np.sqrt(((xx - yy) / 2) ** 2 + xy**2)
    # The sum of the valid ground above, as a share of the window.
    share = cv2.boxFilter(both.astype(np.float64), **box)
    if not structure[share >= _LEAST_VALID].any():
        return None if (share >= _LEAST_VALID).any() else np.zeros((0, 2), dtype=np.int64)
    found = []
    for left, top, right, bottom in task.areas - (*task.origin, *task.origin):
        # The stride's first point in the area, or the area's own corner where it holds none.
        xs = _candidates(left, right, columns)
        ys = _candidates(top, bottom, rows)
        at = np.ix_(np.minimum(ys // _STRIDE, rows - 1), np.minimum(xs // _STRIDE, columns - 1))
        score = np.where(share[at] >= _LEAST_VALID, structure[at], -1.0)
        best = int(score.argmax())
        if score.flat[best] > 0:
            row, column = divmod(best, len(xs))
            found.append((xs[column], ys[row]))
    return np.array(found, dtype=np.int64).reshape(-1, 2)


def _candidates(low: int, high: int, count: int) -> NDArray[np.int64]:
    """Positions from `low` to `high` on the stride; where there are none, the middle."""
    first = -(-low // _STRIDE) * _STRIDE
    points = np.arange(first, high + 1, _STRIDE, dtype=np.int64)
    points = points[points < count * _STRIDE]
    return points if len(points) else np.array([(low + high) // 2], dtype=np.int64)
