"""Masks that come with products: clouds, shadows and fill, read as far as they are needed."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
from affine import Affine
from numpy.typing import NDArray
from rasterio.crs import CRS
from rasterio.enums import Resampling
from rasterio.io import DatasetReader
from rasterio.windows import Window

from imatch.core.errors import InputError
from imatch.core.types import BoolArray
from imatch.raster.gdal import opened, reading
from imatch.raster.geodesy import apply_affine, reproject_points
from imatch.raster.grid import Grid
from imatch.raster.image import is_geocoded
from imatch.raster.read.mask import PolygonMask, UserMask
from imatch.raster.read.overviews import is_wavelet
from imatch.raster.read.products.product import ClassLayer, Layer, PolygonLayer
from imatch.raster.sampling.resample import resample_mask

HINT = "match without it: --product-mask none"
#: How far a ratio of pixel sizes may lie from a whole number.
_WHOLE = 1e-3
#: Places looked up along each side of a grid.
_PLACES = 17


@dataclass(frozen=True)
class LayerMask:
    """Rasters of classes on one grid, which is a multiple of its image's.

    Attributes:
        layers: Bands of one file.
        frame: The image; the layers have its frame where they are not geocoded.
    """

    layers: tuple[ClassLayer, ...]
    frame: Grid

    def ignored(self, transform: Affine, crs: CRS | None, size: tuple[int, int]) -> BoolArray:
        """See `UserMask.ignored`; each pixel is told by the nearest one of the layers."""
        file = self.layers[0].file
        with opened(file) as dataset:
            place, own = self._place(dataset)
            whole = (dataset.width, dataset.height)
            needed, step = _window(place, own, whole, transform, crs, size)
            level = _level(dataset, step, all(layer.is_flag for layer in self.layers))
        if needed is None:
            return np.zeros((size[1], size[0]), dtype=bool)
        with opened(file, level) as dataset, reading(file):
            fit = dataset.width / whole[0], dataset.height / whole[1]
            part = _scaled(needed, fit, (dataset.width, dataset.height))
            thin = max(1.0, step * min(fit))
            shape = tuple(max(1, round(side / thin)) for side in (part.height, part.width))
            marked = np.zeros(shape, dtype=bool)
            for layer in self.layers:
                pixels = dataset.read(
                    layer.index, window=part, out_shape=shape, resampling=Resampling.nearest
                )
                marked |= _marked(layer, pixels)
        place = place @ Affine.scale(1 / fit[0], 1 / fit[1])
        place = place @ Affine.translation(part.col_off, part.row_off)
        place = place @ Affine.scale(part.width / shape[1], part.height / shape[0])
        return resample_mask(
            marked.astype(np.uint8), place, transform, size, source=own, target=crs
        )

    def _place(self, dataset: DatasetReader) -> tuple[Affine, CRS | None]:
        if is_geocoded(dataset.transform, dataset.crs) and self.frame.geocoded:
            return dataset.transform, dataset.crs
        ratio = self.frame.width / dataset.width, self.frame.height / dataset.height
        return self.frame.transform @ Affine.scale(*ratio), self.frame.crs


@dataclass(frozen=True)
class SeveralMasks:
    """Masks of which any leaves ground out.

    Attributes:
        masks: The masks.
    """

    masks: tuple[UserMask, ...]

    def ignored(self, transform: Affine, crs: CRS | None, size: tuple[int, int]) -> BoolArray:
        """See `UserMask.ignored`."""
        marked = [mask.ignored(transform, crs, size) for mask in self.masks]
        return np.asarray(np.logical_or.reduce(marked))


@dataclass(frozen=True)
class GmlMask:
    """Polygons of a Sentinel-2 mask.

    Attributes:
        layer: Where they are.
        crs: Of their coordinates, and of the image.
    """

    layer: PolygonLayer
    crs: CRS

    @cached_property
    def _polygons(self) -> PolygonMask:
        import geopandas

        return PolygonMask(geopandas.GeoSeries(_read_gml(self.layer.file), crs=self.crs.to_wkt()))

    def ignored(self, transform: Affine, crs: CRS | None, size: tuple[int, int]) -> BoolArray:
        """See `UserMask.ignored`."""
        return self._polygons.ignored(transform, crs, size)


def product_mask(layers: Sequence[Layer], frame: Grid, *, subject: str) -> UserMask:
    """Opens the masks of a product.

    Args:
        layers: What tells ground to leave out, at least one.
        frame: The image they belong to.
        subject: The product, for messages.

    Raises:
        InputError: One cannot be read, or lies on a grid that is no multiple of the image's.
    """
    masks: list[UserMask] = []
    files: dict[str, list[ClassLayer]] = {}
    for layer in layers:
        if isinstance(layer, PolygonLayer):
            if frame.crs is None:
                raise InputError(
                    f"has polygons ({layer.name}) and no CRS", subject=subject, hint=HINT
                )
            masks.append(GmlMask(layer, frame.crs))
        else:
            files.setdefault(layer.file, []).append(layer)
    for file, rows in files.items():
        _check_grid(file, rows, frame, subject)
        masks.append(LayerMask(tuple(rows), frame))
    return masks[0] if len(masks) == 1 else SeveralMasks(tuple(masks))


def _check_grid(file: str, layers: Sequence[ClassLayer], frame: Grid, subject: str) -> None:
    """Refuses a layer that is none of its image's: another CRS, ground or no multiple of pixels."""
    name = layers[0].name
    try:
        with opened(file) as dataset:
            size, bands = (dataset.width, dataset.height), dataset.count
            place, crs, kinds = dataset.transform, dataset.crs, dataset.dtypes
    except InputError as error:
        raise InputError(
            f"its mask {name} cannot be used ({error.cause})", subject=subject, hint=HINT
        ) from error
    wrong = None
    indexes = [layer.index for layer in layers]
    if max(indexes) > bands:
        wrong = f"has {bands} bands where it should have {max(indexes)}"
    elif any(np.dtype(kinds[i - 1]).kind not in "iu" for i in indexes):
        wrong = f"holds {kinds[indexes[0] - 1]} where it should hold whole numbers"
    elif not (is_geocoded(place, crs) and frame.geocoded):
        if not all(map(_multiple, size, frame.size)):
            wrong = f"has {size[0]}x{size[1]} pixels, the image {frame.width}x{frame.height}"
    elif crs != frame.crs:
        wrong = f"has another CRS than the image ({crs} instead of {frame.crs})"
    else:
        relative = ~frame.transform @ place
        steps = abs(relative.a), abs(relative.e)
        bent = abs(relative.b) + abs(relative.d) > _WHOLE
        if bent or not all(_multiple(step, 1.0) for step in steps):
            wrong = f"has pixels that are no multiple of the image's ({steps[0]:.4g} to one)"
        else:
            corners = apply_affine(relative, [(0, 0), size])
            slack = max(*steps, 1.0)
            inside = (corners[0] <= slack).all() and (corners[1] >= np.array(frame.size) - slack)
            if not np.all(inside):
                wrong = "does not cover the image"
    if wrong is not None:
        raise InputError(f"its mask {name} {wrong}", subject=subject, hint=HINT)


def _multiple(one: float, other: float) -> bool:
    ratio = max(one, other) / min(one, other)
    return abs(ratio - round(ratio)) <= _WHOLE * ratio


def _marked(layer: ClassLayer, pixels: NDArray[np.integer]) -> BoolArray:
    """Where a layer leaves ground out."""
    marked = np.isin(pixels, list(layer.values))
    return np.asarray(marked | ((pixels.astype(np.int64) & layer.bits) != 0))


def _level(dataset: DatasetReader, step: float, flags: bool) -> int | None:
    """The coarsest overview that is still as fine as asked; None for full resolution.

    Levels of a JPEG 2000 file are low-pass bands, which classes do not survive but flags do.
    """
    if is_wavelet(dataset) and not flags:
        return None
    fitting = [i for i, factor in enumerate(dataset.overviews(1)) if factor <= step * (1 + 1e-6)]
    return fitting[-1] if fitting else None


def _window(
    place: Affine,
    own: CRS | None,
    whole: tuple[int, int],
    transform: Affine,
    crs: CRS | None,
    size: tuple[int, int],
) -> tuple[Window | None, float]:
    """Pixels of a layer that lie under a grid, and how many of them one of the grid's spans."""
    across, down = (np.linspace(0, side, _PLACES) for side in size)
    places = np.stack(np.meshgrid(across, down), axis=-1).reshape(-1, 2)
    at = []
    for move in ((0, 0), (1, 0), (0, 1)):
        there = apply_affine(transform, places + move)
        if own is not None and crs is not None and own != crs:
            there = reproject_points(there, crs, own)
        at.append(apply_affine(~place, there))
    good = np.isfinite(np.concatenate(at, axis=1)).all(axis=1)
    if not good.any():
        return None, 1.0
    spans = [np.linalg.norm(moved - at[0], axis=1)[good] for moved in at[1:]]
    step = max(1.0, float(np.min(spans)))
    low = np.clip(np.floor(at[0][good].min(axis=0) - 2 * step), 0, whole).astype(int)
    high = np.clip(np.ceil(at[0][good].max(axis=0) + 2 * step), 0, whole).astype(int)
    if (high - low).min() < 1:
        return None, step
    return Window(*low.tolist(), *(high - low).tolist()), step


def _scaled(window: Window, fit: tuple[float, float], size: tuple[int, int]) -> Window:
    """A window of full resolution in whole pixels of a level."""
    left, top = int(window.col_off * fit[0]), int(window.row_off * fit[1])
    right = min(size[0], int(np.ceil((window.col_off + window.width) * fit[0])))
    bottom = min(size[1], int(np.ceil((window.row_off + window.height) * fit[1])))
    return Window(left, top, max(1, right - left), max(1, bottom - top))


def _read_gml(file: str) -> list[object]:
    """The polygons of a mask, none where it marks nothing."""
    from shapely import Polygon

    gml = "{http://www.opengis.net/gml/3.2}"
    polygons: list[object] = []
    try:
        # Expat itself refuses entities that grow without bounds.
        for element in ElementTree.fromstring(_text(file)).iter(f"{gml}Polygon"):  # noqa: S314
            rings = [
                np.array((line.text or "").split(), float).reshape(
                    -1, int(line.get("srsDimension", "2"))
                )[:, :2]
                for line in element.iter(f"{gml}posList")
            ]
            polygons.append(Polygon(rings[0], rings[1:]))
    except (OSError, KeyError, ValueError, IndexError, ElementTree.ParseError) as error:
        raise InputError(f"cannot be read as a mask ({error})", subject=file, hint=HINT) from error
    return polygons


def _text(file: str) -> bytes:
    if not file.startswith("/vsizip/"):
        return Path(file).read_bytes()
    archive, name = re.split(r"(?<=\.zip)/", file.removeprefix("/vsizip/"), maxsplit=1, flags=re.I)
    with zipfile.ZipFile(archive) as opened_zip:
        return opened_zip.read(name)
