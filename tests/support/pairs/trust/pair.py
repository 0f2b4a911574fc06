"""A pair of made or changed images with the exact map between their pixels."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
from affine import Affine
from numpy.typing import NDArray
from scipy.ndimage import map_coordinates

from imatch.geometry.transform import apply_matrix
from imatch.raster import Source, array_source

Points: TypeAlias = NDArray[np.float64]
Planes: TypeAlias = NDArray[np.float32]
Bend: TypeAlias = Callable[[Points], Points]
"""(N, 2) target pixels -> (N, 2) displacement, pixels."""

# Where the inverse of a bend does not come this near, pixels, the bend folds or tears there.
_INVERTED = 1e-3


@dataclass(frozen=True, eq=False)
class Truth:
    """The map from reference to target pixels.

    A target pixel p shows the reference pixel q of ``p + bend(p) = matrix (q + residual)``.

    Attributes:
        matrix: (3, 3).
        residual: (x, y) by which the second image lies off the first before anything is done.
        bend: What no matrix says, None for nothing.
        sd_px: Standard deviation of each component of `residual`; 0 where the truth is exact.
    """

    matrix: NDArray[np.float64]
    residual: tuple[float, float] = (0.0, 0.0)
    bend: Bend | None = None
    sd_px: float = 0.0

    def to_ref(self, tgt_xy: Points) -> Points:
        """(N, 2) target pixels to reference pixels."""
        straight = tgt_xy if self.bend is None else tgt_xy + self.bend(tgt_xy)
        ref: Points = apply_matrix(np.linalg.inv(self.matrix), straight)
        return np.asarray(ref - np.array(self.residual), dtype=np.float64)

    def to_tgt(self, ref_xy: Points) -> Points:
        """(N, 2) reference pixels to target pixels; NaN where the bend folds or tears.

        The bend is inverted by fixed-point iteration.
        """
        straight: Points = apply_matrix(self.matrix, ref_xy + np.array(self.residual))
        if self.bend is None:
            return straight
        found = straight - self.bend(straight)
        for _ in range(200):
            before, found = found, straight - self.bend(found)
            if np.abs(found - before).max(initial=0) < _INVERTED / 100:
                break
        off = np.abs(found + self.bend(found) - straight).max(axis=1, initial=0)
        return np.where(off[:, None] < _INVERTED, found, np.nan)


@dataclass(frozen=True, eq=False)
class Side:
    """One image of a pair.

    Attributes:
        pixels: (C, H, W).
        valid: (H, W) bool, None where nothing says that pixels are missing.
        nodata: Value that marks missing ground, None for none.
        place: Corner-based pixel to metres of UTM zone 31 N, None where it is not geocoded.
    """

    pixels: NDArray[Any]
    valid: NDArray[np.bool_] | None = None
    nodata: float | None = None
    place: Affine | None = None

    @property
    def known(self) -> NDArray[np.bool_]:
        """(H, W) bool, where the ground is seen."""
        good = np.isfinite(self.pixels).all(axis=0)
        if self.valid is not None:
            good &= self.valid
        if self.nodata is not None:
            good &= (self.pixels != self.nodata).all(axis=0)
        return np.asarray(good)

    def source(self) -> Source:
        """The image as `imatch.match` takes it."""
        crs = None if self.place is None else "EPSG:32631"
        return array_source(
            self.pixels, valid=self.valid, nodata=self.nodata, transform=self.place, crs=crs
        )


@dataclass(frozen=True, eq=False)
class TrustPair:
    """A pair and the truth.

    Attributes:
        ref: The reference.
        tgt: The target.
        truth: None where the two show different ground.
        params: What was drawn, JSON-ready.
        changed: (H, W) bool, ground of the reference that the target does not show again; None
            where that is not known.
    """

    ref: Side
    tgt: Side
    truth: Truth | None
    params: dict[str, Any] = field(default_factory=dict)
    changed: NDArray[np.bool_] | None = None

    def given(self, ref_xy: Points) -> Points:
        """(N, 2) reference pixels to target pixels as the images' geocoding has it."""
        if self.ref.place is None or self.tgt.place is None:
            return ref_xy
        half = Affine.translation(0.5, 0.5)
        x, y = (~half @ ~self.tgt.place @ self.ref.place @ half) @ ref_xy.T
        return np.column_stack([x, y])


def sample(planes: Planes, xy: Points, size: tuple[int, int]) -> tuple[Planes, NDArray[np.bool_]]:
    """Read planes between their pixels by cubic splines, whose phase is right.

    OpenCV's `remap` rounds positions to 1/32 px, and its bicubic kernel delays high frequencies.

    Args:
        planes: (C, H, W).
        xy: (N, 2) positions, rows of the output one after another.
        size: (width, height) of the output; N of them.

    Returns:
        (C, height, width), and (height, width) bool, where the positions lie inside.
    """
    width, height = size
    x, y = xy[:, 0], xy[:, 1]
    inside = (x >= 0) & (x <= planes.shape[2] - 1) & (y >= 0) & (y <= planes.shape[1] - 1)
    read = [map_coordinates(p.astype(np.float64), [y, x], order=3, mode="mirror") for p in planes]
    out = np.stack(read).reshape(len(planes), height, width).astype(np.float32)
    return out, inside.reshape(height, width)


def pixel_grid(size: tuple[int, int]) -> Points:
    """(width * height, 2) pixel centres, row by row."""
    y, x = np.mgrid[: size[1], : size[0]].astype(np.float64)
    return np.column_stack([x.ravel(), y.ravel()])


def similarity(
    size: tuple[int, int], turn_deg: float, scale: float, shift: tuple[float, float]
) -> NDArray[np.float64]:
    """(3, 3) turn and scale about the middle of an image of (width, height), then a shift."""
    angle = np.radians(turn_deg)
    a, b = scale * np.cos(angle), scale * np.sin(angle)
    x, y = (size[0] - 1) / 2, (size[1] - 1) / 2
    return np.array(
        [
            [a, -b, x - a * x + b * y + shift[0]],
            [b, a, y - b * x - a * y + shift[1]],
            [0, 0, 1.0],
        ]
    )


def near(
    size: tuple[int, int], rng: np.random.Generator, reach: float = 12.0, turn: float = 2.0
) -> NDArray[np.float64]:
    """(3, 3) as two geocoded products differ: a shift, half of the time turned and scaled, too."""
    shift = float(rng.uniform(-reach, reach)), float(rng.uniform(-reach, reach))
    if rng.random() < 0.5:
        return similarity(size, 0.0, 1.0, shift)
    scale = float(np.exp(rng.uniform(-1, 1) * np.log1p(0.01 * turn)))
    return similarity(size, float(rng.uniform(-turn, turn)), scale, shift)


def log_uniform(rng: np.random.Generator, low: float, high: float) -> float:
    """A draw whose logarithm is uniform."""
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))
