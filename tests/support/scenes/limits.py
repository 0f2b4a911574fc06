"""Pairs whose target is no small shift of the reference, each odd in one way."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
import rasterio
from affine import Affine
from numpy.typing import NDArray
from rasterio import crs as reference
from rasterio.errors import NotGeoreferencedWarning
from rasterio.warp import Resampling, reproject

from imatch.raster.geodesy import apply_affine, reproject_points
from tests.support.scenes.pair import CRS, PLACE

Oddity: TypeAlias = Literal["", "bare", "zone", "turned", "negative", "coarse"]
_NEIGHBOUR = "EPSG:32635"
_TURN_DEG = 12.0
_COARSE = 2


@dataclass(frozen=True)
class Limit:
    """A kind of pair.

    Attributes:
        name: What is odd about it.
        warp: As in `Scene`.
        oddity: What is done to the target besides: ``bare`` takes the geocoding of both away,
            ``zone`` writes it in the neighbouring UTM zone, ``turned`` on a rotated grid,
            ``coarse`` at 20 m, ``negative`` with its contrast turned round, as between sensors
            that see other things.
    """

    name: str
    warp: tuple[float, float, float, float]
    oddity: Oddity = ""

    def presented(self, xy: NDArray[np.float64], size: int) -> NDArray[np.float64]:
        """(N, 2) pixels of the target as made, as pixels of the file that is shown."""
        if self.oddity not in ("zone", "turned", "coarse"):
            return xy
        crs, place, _, _ = _lattice(self.oddity, size)
        there = apply_affine(PLACE, xy + 0.5)
        there = reproject_points(there, reference.CRS.from_user_input(CRS), crs)
        return apply_affine(~place, there) - 0.5


_SMALL = (3.4, -2.7, 0.0, 1.0)
LIMITS = (
    Limit("small shift", _SMALL),
    Limit("rotation 3 degrees", (3.4, -2.7, 3.0, 1.0)),
    Limit("scale 1.04", (3.4, -2.7, 0.0, 1.04)),
    Limit("offset 150 px", (130.0, -75.0, 0.0, 1.0)),
    Limit("no geocoding, offset 300 px", (280.0, -110.0, 0.0, 1.0), "bare"),
    Limit("no geocoding, rotation 25 degrees", (20.0, -10.0, 25.0, 1.0), "bare"),
    Limit("two UTM zones", _SMALL, "zone"),
    Limit("rotated grid", _SMALL, "turned"),
    Limit("20 m against 10 m", _SMALL, "coarse"),
    Limit("contrast turned round", _SMALL, "negative"),
)


def make_limit(limit: Limit, pair: tuple[Path, Path]) -> tuple[Path, Path]:
    """Write the odd pair beside the plain one; give its files."""
    ref, tgt = pair
    out = tgt.with_name("odd.tif")
    if limit.oddity == "bare":
        return _rewritten(ref, ref.with_name("bare.tif"), bare=True), _rewritten(
            tgt, out, bare=True
        )
    if limit.oddity == "negative":
        return ref, _rewritten(tgt, out, change=_negative)
    if limit.oddity:
        return ref, _resampled(tgt, out, limit.oddity)
    return pair


def _negative(pixels: NDArray[np.uint16]) -> NDArray[np.uint16]:
    top = int(pixels.max()) + 1
    return np.where(pixels > 0, top - pixels, 0).astype(np.uint16)


def _rewritten(
    path: Path,
    out: Path,
    *,
    bare: bool = False,
    change: Callable[[NDArray[np.uint16]], NDArray[np.uint16]] | None = None,
) -> Path:
    with rasterio.open(path) as dataset:
        profile: dict[str, Any] = dict(dataset.profile)
        pixels = dataset.read()
    if bare:
        profile.update(crs=None, transform=Affine.identity())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        with rasterio.open(out, "w", **profile) as dataset:
            dataset.write(pixels if change is None else change(pixels))
    return out


def _resampled(path: Path, out: Path, oddity: Oddity) -> Path:
    with rasterio.open(path) as dataset:
        profile: dict[str, Any] = dict(dataset.profile)
        pixels = dataset.read()
    crs, place, width, height = _lattice(oddity, pixels.shape[2])
    shown = np.zeros((pixels.shape[0], height, width), dtype=pixels.dtype)
    reproject(
        pixels,
        shown,
        src_transform=PLACE,
        src_crs=CRS,
        src_nodata=0,
        dst_transform=place,
        dst_crs=crs,
        dst_nodata=0,
        resampling=Resampling.average if oddity == "coarse" else Resampling.lanczos,
        tolerance=0.001,
    )
    profile.update(crs=crs, transform=place, width=width, height=height)
    with rasterio.open(out, "w", **profile) as dataset:
        dataset.write(shown)
    return out


def _lattice(oddity: Oddity, size: int) -> tuple[reference.CRS, Affine, int, int]:
    """CRS, transform, width and height of the file that is shown."""
    own, neighbour = (reference.CRS.from_user_input(name) for name in (CRS, _NEIGHBOUR))
    if oddity == "coarse":
        return own, PLACE @ Affine.scale(_COARSE), size // _COARSE, size // _COARSE
    if oddity == "turned":
        middle = size / 2
        turn = Affine.translation(middle, middle) @ Affine.rotation(_TURN_DEG)
        return own, PLACE @ turn @ Affine.translation(-middle, -middle), size, size
    corners = apply_affine(PLACE, [(0, 0), (size, 0), (size, size), (0, size)])
    there = reproject_points(corners, own, neighbour)
    low, high = there.min(axis=0), there.max(axis=0)
    width, height = np.ceil((high - low) / PLACE.a).astype(int)
    place = Affine.translation(low[0], high[1]) @ Affine.scale(PLACE.a, PLACE.e)
    return neighbour, place, int(width), int(height)
