"""Finds where a file's pixels lie: by its geotransform, its RPCs or its GCPs."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from os import PathLike, fspath
from pathlib import Path
from typing import TypeAlias

import numpy as np
from affine import Affine
from numpy.typing import NDArray
from rasterio.control import GroundControlPoint
from rasterio.crs import CRS
from rasterio.io import DatasetReader

from imatch.core.errors import InputError
from imatch.raster.geocoding_check import misplaced
from imatch.raster.geodesy import apply_affine, fitted_affine
from imatch.raster.geolocation.consistency import contradiction, left_out_errors
from imatch.raster.geolocation.geolocation import Geolocation, lattice
from imatch.raster.geolocation.models import ControlPoints, Model, RationalPolynomials
from imatch.raster.image import is_geocoded
from imatch.raster.names import is_virtual

#: A file of heights, or one height in metres above the ellipsoid.
Dem: TypeAlias = str | PathLike[str] | float

#: GCPs that an affine transform explains within this many pixels geocode an image by it, unless a
#: spline predicts each from the others this many times better.
_AFFINE_PX, _BETTER = 0.5, 3.0
#: GCPs that a spline goes through at most.
_MOST_GCPS = 1000
#: Largest distance of a pixel from where the way to its place and back leads, pixels.
_RETURN_PX = 0.05
#: Least and greatest area of a pixel, over the median one, where nothing is folded.
_FOLD = 0.1


@dataclass(frozen=True)
class Place:
    """Where the pixels of a file lie.

    Attributes:
        transform: Corner-based pixels to the map: the file's own geotransform, the affine that its
            GCPs obey, or the frame of `geolocation`; the identity where there is nothing.
        crs: CRS of the map, or None.
        geolocation: What bends pixels into that frame; None where it is exact.
        located_by: What decided, in words; None without a place.
        misplaced: Why the geotransform makes no sense, so that the file has none here.
        unlocated: Why GCPs or RPCs that the file has are not used.
    """

    transform: Affine
    crs: CRS | None
    geolocation: Geolocation | None = None
    located_by: str | None = None
    misplaced: str | None = None
    unlocated: str | None = None


def place_of(dataset: DatasetReader, dem: Dem | None = None) -> Place:
    """Find where the pixels of an open file lie.

    A geotransform with a CRS comes first. RPCs come before GCPs, which are often no more than the
    image's corners where there are RPCs.

    Args:
        dataset: The file.
        dem: Height of the ground, for RPCs; their own height offset when None.

    Raises:
        InputError: The DEM cannot be opened.
    """
    transform, crs = dataset.transform, dataset.crs
    size = (dataset.width, dataset.height)
    wrong = misplaced(transform, crs, size)
    if wrong is not None:
        return Place(Affine.identity(), None, misplaced=wrong)
    if is_geocoded(transform, crs):
        return Place(transform, crs, located_by="geotransform")
    reasons: list[str] = []
    ways: tuple[Callable[[], Place | str | None], ...] = (
        lambda: _by_rpcs(dataset, dem),
        lambda: _by_gcps(dataset.gcps, size),
    )
    for find in ways:
        found = find()
        if isinstance(found, Place):
            return found
        if found is not None:
            reasons.append(found)
    return Place(transform, crs, unlocated="; ".join(reasons) or None)


def _by_rpcs(dataset: DatasetReader, dem: Dem | None) -> Place | str | None:
    if not dataset.tags(ns="RPC"):
        return None
    try:
        rpcs = dataset.rpcs
    except KeyError as error:
        return f"its RPCs lack {error.args[0]}"
    except (ValueError, IndexError):
        return "its RPCs hold something else than numbers"
    if rpcs is None:
        return "its RPCs are incomplete"
    texts = rpcs.to_gdal()
    numbers = [float(number) for text in texts.values() for number in text.split()]
    scales = [float(texts[name]) for name in texts if name.endswith("_SCALE")]
    lengths = {len(text.split()) for name, text in texts.items() if name.endswith("_COEFF")}
    if not all(map(math.isfinite, numbers)) or 0 in scales or lengths != {20}:
        return "its RPCs make no sense: a number is missing, not finite, or a scale is 0"
    coefficients = tuple(sorted(texts.items()))
    if dem is None:
        model = RationalPolynomials(coefficients, float(rpcs.height_off), own_height=True)
    elif isinstance(dem, str | PathLike):
        name = fspath(dem)
        file = name if is_virtual(name) else os.path.realpath(name)
        model = RationalPolynomials(coefficients, float(rpcs.height_off), file)
    else:
        model = RationalPolynomials(coefficients, float(dem))
    nowhere = "its RPCs give no place to some of it"
    if model.dem is not None:
        nowhere = f"the DEM {Path(model.dem).name} does not cover all of it"
    return _curved_place(model, (dataset.width, dataset.height), nowhere, "its RPCs")


def _by_gcps(
    found: tuple[Sequence[GroundControlPoint], CRS | None], size: tuple[int, int]
) -> Place | str | None:
    gcps, crs = found
    if not gcps:
        return None
    subject = f"its {len(gcps)} GCPs"
    if crs is None or not (crs.is_geographic or crs.is_projected):
        return f"{subject} have no CRS" if crs is None else f"{subject} are in a local CRS"
    rows = np.array([(gcp.col, gcp.row, gcp.x, gcp.y) for gcp in gcps], dtype=np.float64)
    if not np.isfinite(rows).all():
        return f"{subject} hold numbers that are not finite"
    if crs.is_geographic:
        rows[:, 2] -= 360.0 * np.round((rows[:, 2] - rows[0, 2]) / 360.0)
    rows = np.unique(rows, axis=0)
    if len(rows) < 3:
        return f"{subject} are too few: it takes 3"
    if len(np.unique(rows[:, :2], axis=0)) < len(rows):
        return f"{subject} contradict each other: one pixel has two places"
    if len(np.unique(rows[:, 2:], axis=0)) < len(rows):
        return f"{subject} contradict each other: one place has two pixels"
    for xy in (rows[:, :2], rows[:, 2:]):
        spread = np.linalg.svd(xy - xy.mean(axis=0), compute_uv=False)
        if spread[1] < 1e-6 * spread[0]:
            return f"{subject} lie on one line"
    frame = fitted_affine(rows[:, :2], rows[:, 2:])
    wrong = misplaced(frame, crs, size)
    if wrong is not None:
        return f"{subject} make no sense: {wrong}"
    misfit = np.hypot(*(apply_affine(~frame, rows[:, 2:]) - rows[:, :2]).T)
    chosen = _spread(rows, _MOST_GCPS)
    errors = left_out_errors(chosen)
    agreement = float(np.sqrt(np.mean(errors.pixels**2))) if len(errors.pixels) else math.inf
    rms = float(np.sqrt(np.mean(misfit**2)))
    if misfit.max() <= _AFFINE_PX and not (agreement * _BETTER < rms):
        by = f"{len(gcps)} GCPs, which an affine transform explains to {misfit.max():.2g} px"
        return Place(frame, crs, located_by=by)
    wrong = contradiction(errors)
    if wrong is not None:
        return f"{subject} contradict each other: {wrong}"
    points = tuple((float(a), float(b), float(x), float(y)) for a, b, x, y in chosen)
    model = ControlPoints(points, crs.to_string(), len(gcps), agreement)
    return _curved_place(model, size, f"{subject} give no place to some of it", subject)


def _curved_place(model: Model, size: tuple[int, int], nowhere: str, subject: str) -> Place | str:
    """Returns the place by a model of GCPs or RPCs, or why the model is no use."""
    try:
        found = Geolocation.over(model, size)
    except InputError as error:
        if isinstance(model, RationalPolynomials) and model.dem is not None:
            raise
        return f"{subject} make no sense: {error.cause}"
    if found is None:
        return nowhere
    crs = CRS.from_user_input(model.crs)
    wrong = misplaced(found.frame, crs, size)
    if wrong is not None:
        return f"{subject} make no sense: {wrong}"
    pixels = lattice(size, 33)
    flat, right, below = (found.to_flat(pixels + step) for step in ((0, 0), (0.5, 0), (0, 0.5)))
    across, down = right - flat, below - flat
    areas = 4 * (across[:, 0] * down[:, 1] - across[:, 1] * down[:, 0])
    if not np.isfinite(areas).all():
        return nowhere
    if areas.min() < _FOLD or areas.max() > 1 / _FOLD:
        return f"{subject} fold it: places lie in another order than pixels"
    off = np.abs(found.to_native(flat) - pixels)
    if not (off <= _RETURN_PX).all():
        return f"{subject} do not lead back from the ground to it"
    return Place(found.frame, crs, found, located_by=found.describe())


def _spread(rows: NDArray[np.float64], most: int) -> NDArray[np.float64]:
    """Thins GCPs evenly: of each cell of a grid the one nearest to its middle."""
    if len(rows) <= most:
        return rows
    low, high = rows[:, :2].min(axis=0), rows[:, :2].max(axis=0)
    side = np.sqrt(np.prod(high - low) / most)
    counts = np.maximum(1, np.floor((high - low) / side)).astype(int)
    place = (rows[:, :2] - low) / (high - low) * counts
    cell = np.minimum(np.floor(place), counts - 1).astype(int)
    off = np.hypot(*(place - cell - 0.5).T)
    order = np.lexsort([off, cell[:, 0], cell[:, 1]])
    keys = cell[order, 1] * counts[0] + cell[order, 0]
    first = np.unique(keys, return_index=True)[1]
    return rows[np.sort(order[first])]
