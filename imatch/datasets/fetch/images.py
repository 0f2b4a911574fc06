"""Fetched images: windows of cloud-optimised GeoTIFFs, their table and their card.

Parts are read over HTTP by ranges and kept as small files.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import numpy as np
import rasterio
from affine import Affine
from numpy.typing import NDArray
from rasterio.crs import CRS
from rasterio.enums import Resampling
from rasterio.io import DatasetReader
from rasterio.vrt import WarpedVRT
from rasterio.warp import transform_bounds
from rasterio.windows import Window

from imatch.core.errors import InputError
from imatch.core.io.files import atomic_path
from imatch.core.io.tables import as_cell, write_csv
from imatch.raster.geodesy import apply_affine
from imatch.raster.names import openable
from imatch.raster.remote.reach import check_reach
from imatch.raster.remote.web import web_options

_PROFILE = {
    "driver": "GTiff",
    "compress": "deflate",
    "tiled": True,
    "blockxsize": 256,
    "blockysize": 256,
}
# Of all bands of a frame that are held in memory at once.
_MOST_PIXELS = 1 << 28
# Offsets this close to a whole pixel are whole.
_WHOLE = 1e-6


@dataclass(frozen=True)
class RemoteWindow:
    """Window of pixels that is kept of a remote image.

    Attributes:
        crs: Their reference system.
        transform: Corner-based pixel to map transform.
        width: Columns.
        height: Rows.
    """

    crs: CRS
    transform: Affine
    width: int
    height: int


def frame_of(files: Sequence[str], bbox: tuple[float, float, float, float]) -> RemoteWindow:
    """Returns the window of whole pixels under a box, of the finest of several files.

    Args:
        files: URLs (http, https, s3) or paths.
        bbox: (west, south, east, north), degrees.

    Raises:
        InputError: A file is not geocoded, or shows none of the box.
        rasterio.errors.RasterioError: A file cannot be read.
    """
    best: tuple[float, RemoteWindow] | None = None
    with rasterio.Env(**web_options()):
        for name in files:
            check_reach(name)
            with rasterio.open(openable(name)) as file:
                if file.crs is None:
                    raise InputError("is not geocoded", subject=name)
                size = abs(file.transform.a)
                if best is None or size < best[0]:
                    window = _window(file, bbox, name)
                    transform = file.transform @ Affine.translation(window.col_off, window.row_off)
                    frame = RemoteWindow(file.crs, transform, int(window.width), int(window.height))
                    best = size, frame
    if best is None:
        raise InputError("no file was named")
    if best[1].width * best[1].height > _MOST_PIXELS:
        raise InputError(
            f"shows the box in {best[1].width:,} x {best[1].height:,} pixels",
            subject=files[0],
            hint="ask for a smaller box",
        )
    return best[1]


def _window(file: DatasetReader, bbox: tuple[float, float, float, float], name: str) -> Window:
    left, bottom, right, top = transform_bounds("EPSG:4326", file.crs, *bbox, densify_pts=21)
    corners = [(left, top), (right, top), (right, bottom), (left, bottom)]
    pixels = apply_affine(~file.transform, corners)
    low, high = np.floor(pixels.min(axis=0)), np.ceil(pixels.max(axis=0))
    size = np.array([file.width, file.height])
    x0, y0 = np.clip(low, 0, size).astype(int)
    x1, y1 = np.clip(high, 0, size).astype(int)
    if x1 <= x0 or y1 <= y0:
        raise InputError("shows none of the box", subject=name)
    return Window(x0, y0, x1 - x0, y1 - y0)


def write_window(
    path: Path, files: Mapping[str, str], frame: RemoteWindow, *, classes: bool = False
) -> None:
    """Keeps the pixels of a frame as one GeoTIFF.

    A file on the frame's own lattice is copied; any other is resampled.

    Args:
        path: A ``.tif`` to write; replaced where it is there.
        files: Name of each asset -> URL or path; their bands follow one another.
        frame: The pixels to keep.
        classes: Whether the values are classes, which have no means.

    Raises:
        OutputError: The disk refused.
        rasterio.errors.RasterioError: A file cannot be read.
    """
    parts: list[NDArray[np.generic]] = []
    names: list[str] = []
    nodata: float | None = None
    with rasterio.Env(**web_options()):
        for asset, url in files.items():
            with rasterio.open(openable(url)) as file:
                nodata = file.nodata if nodata is None else nodata
                several = file.count > 1
                names += [
                    text or (f"{asset}{number}" if several else asset)
                    for number, text in enumerate(file.descriptions, start=1)
                ]
                parts.append(_read(file, frame, classes))
    bands = [band for part in parts for band in part]
    dtype = np.result_type(*[part.dtype for part in parts])
    profile = _PROFILE | {
        "count": len(bands),
        "width": frame.width,
        "height": frame.height,
        "dtype": dtype,
        "crs": frame.crs,
        "transform": frame.transform,
        "nodata": nodata,
    }
    if len(bands) == 3 and dtype == np.uint8:
        profile["photometric"] = "rgb"
    with (
        atomic_path(path, overwrite=True) as temporary,
        rasterio.open(temporary, "w", **profile) as out,
    ):
        for number, (band, name) in enumerate(zip(bands, names, strict=True), start=1):
            out.write(band.astype(dtype), number)
            out.set_band_description(number, name)


def _read(file: DatasetReader, frame: RemoteWindow, classes: bool) -> NDArray[np.generic]:
    """Reads (C, H, W) of a file on a frame."""
    left, top = ~file.transform @ (frame.transform.c, frame.transform.f)
    whole = abs(left - round(left)) < _WHOLE and abs(top - round(top)) < _WHOLE
    window = Window(round(left), round(top), frame.width, frame.height)
    there = file.transform @ Affine.translation(window.col_off, window.row_off)
    alike = file.crs == frame.crs and np.allclose(
        tuple(there)[:6], tuple(frame.transform)[:6], rtol=1e-9, atol=1e-6
    )
    inside = (
        window.col_off >= 0
        and window.row_off >= 0
        and window.col_off + frame.width <= file.width
        and window.row_off + frame.height <= file.height
    )
    if whole and alike and inside:
        return np.asarray(file.read(window=window))
    with WarpedVRT(
        file,
        crs=frame.crs,
        transform=frame.transform,
        width=frame.width,
        height=frame.height,
        resampling=Resampling.nearest if classes else Resampling.cubic,
    ) as warped:
        return np.asarray(warped.read())


@dataclass(frozen=True)
class FetchedItem:
    """One image that was fetched.

    Attributes:
        item: Its name in the catalogue.
        path: The file, below the folder.
        datetime: When it was taken, ISO 8601.
        season: Quarter of the year.
        cloud: Cloud cover in percent, NaN where unknown.
        collection: Its collection.
        assets: Assets it is made of, by blanks.
        width: Pixels.
        height: Pixels.
    """

    item: str
    path: str
    datetime: str
    season: str
    cloud: float
    collection: str
    assets: str
    width: int
    height: int


def write_table(path: Path, items: Sequence[FetchedItem]) -> None:
    """Writes ``items.csv``; one that is there is replaced."""
    names = [field.name for field in fields(FetchedItem)]
    with atomic_path(path, overwrite=True) as temporary:
        write_csv(temporary, names, (map(as_cell, asdict(item).values()) for item in items))


def write_card(
    path: Path, items: Sequence[FetchedItem], *, url: str, query: str, licence: str
) -> None:
    """Writes ``README.md``: where the images are from and whom to name.

    Args:
        path: The file; replaced where it is there.
        items: The images.
        url: The catalogue.
        query: What was asked of it, in words.
        licence: What it says of the licence.
    """
    years = sorted({item.datetime[:4] for item in items})
    sentinel = any(
        "sentinel" in (item.collection + item.item).lower() or item.item[:2] == "S2"
        for item in items
    )
    lines = [
        f"# Images from {url}",
        "",
        f"{len(items)} images: {query}.",
        "",
        f"Licence, as the catalogue says: {licence}.",
    ]
    if sentinel:
        lines += ["", f"Contains modified Copernicus Sentinel data ({', '.join(years)})."]
    lines += ["", "| image | taken | cloud | pixels |", "|---|---|---:|---:|"]
    for item in items:
        cloud = "" if item.cloud != item.cloud else f"{item.cloud:.0f} %"
        lines.append(
            f"| {item.path} | {item.datetime[:10]} | {cloud} | {item.width} × {item.height} |"
        )
    with atomic_path(path, overwrite=True) as temporary:
        temporary.write_text("\n".join(lines) + "\n", encoding="utf-8")
