"""Raster files, Sentinel-2 products and everything else GDAL reads."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import replace
from os import PathLike, fspath
from pathlib import Path

import numpy as np
import scipy
from affine import Affine
from rasterio.enums import Resampling
from rasterio.io import DatasetReader
from rasterio.windows import Window

from imatch.core.errors import InputError
from imatch.core.redaction import redacted
from imatch.raster.gdal import check_extent, check_file, opened, reading
from imatch.raster.geolocation.locate import Dem, Place, place_of
from imatch.raster.grid import Grid
from imatch.raster.info import RasterInfo
from imatch.raster.names import (
    container_of,
    is_remote,
    is_virtual,
    local_files,
    no_image,
    openable,
)
from imatch.raster.read.amplitude import read_amplitudes
from imatch.raster.read.bands import band_names
from imatch.raster.read.file_bands import (
    GDAL_TYPES,
    FileBand,
    bands_of_file,
    is_unmarked,
    modality_of_bands,
    product_band,
    radar_band,
    virtual_document,
)
from imatch.raster.read.mask import open_mask
from imatch.raster.read.overviews import (
    Overview,
    choose_level,
    is_wavelet,
    plan_reading,
    strips,
)
from imatch.raster.read.products.find import find_product
from imatch.raster.read.products.mask import product_mask as open_product_mask
from imatch.raster.read.products.product import Product
from imatch.raster.read.products.sentinel1 import choose_radar_bands, find_sentinel1
from imatch.raster.read.products.sentinel2 import is_granule_file
from imatch.raster.read.samples import log_caveats, log_location
from imatch.raster.read.source import MaskUse, Source, settings_of
from imatch.raster.sampling.resample import Chunk
from imatch.raster.stac.item import find_item

_MEAN = Resampling.average


class FileSource(Source):
    """One or several files of one footprint, read as one image.

    Args:
        info: Description of the image.
        bands: Where each band is.
        trim_collar: Whether a black collar is missing ground.
    """

    def __init__(self, info: RasterInfo, bands: Sequence[FileBand], *, trim_collar: bool) -> None:
        self.info = info
        self._bands = tuple(bands)
        self._trim_collar = trim_collar
        if any(is_remote(band.file) for band in bands):
            # Twice as fine is four times the bytes that travel; measured, positions are as exact.
            self._oversampling = 1.0

    def lacks_level(self, factor: float) -> bool:
        """See `Source.lacks_level`; not asked of files on other hosts, nor of complex numbers."""
        if self.remote or any(band.amplitude for band in self._bands):
            return False
        for file, group in itertools.groupby(self._bands, key=lambda band: band.file):
            with opened(file) as dataset:
                coarser = factor * dataset.width / self.info.width
                if _level(dataset, file, list(group), coarser).number is None:
                    return True
        return False

    def _chunks(
        self, window: Window, factor: float, size: tuple[int, int] | None
    ) -> Iterator[Chunk]:
        for file, group in itertools.groupby(self._bands, key=lambda band: band.file):
            bands = list(group)
            yield _scaled(self._read_file(file, bands, window, factor, size), bands)

    def _read_file(
        self,
        file: str,
        bands: list[FileBand],
        window: Window,
        factor: float,
        size: tuple[int, int] | None,
    ) -> Chunk:
        with opened(file) as dataset:
            # Bands of a coarser file lie under the same footprint.
            ratio = self.info.width / dataset.width, self.info.height / dataset.height
            if bands[0].amplitude:
                indexes = [band.index for band in bands]
                return read_amplitudes(dataset, file, indexes, window, Affine.scale(*ratio), factor)
            level = _level(dataset, file, bands, factor / max(ratio))
            marked = any(_has_mask(dataset, band) for band in bands)
        to_native = Affine.scale(*ratio) @ level.to_native
        part, shape = plan_reading(window, to_native, level, factor, size)
        check_extent(
            part.width * part.height * len(bands), file, "make reduced levels: gdaladdo -r average"
        )
        indexes = [band.index for band in bands]
        document = virtual_document(file, level, bands)
        pixels = np.empty((len(bands), *shape), dtype=np.float32)
        masks = np.full(pixels.shape, 255, dtype=np.uint8)
        with opened(file, level.number) as dataset, reading(file):
            for strip, rows in strips(dataset, part, shape):
                if document is None:
                    dataset.read(indexes, out=pixels[:, rows], window=strip, resampling=_MEAN)
                if document is None or marked:
                    # The nearest pixel's: how much of the rest is valid matters to the mean only.
                    dataset.read_masks(indexes, window=strip, out=masks[:, rows])
        if document is not None:
            with opened(document) as dataset, reading(file):
                for strip, rows in strips(dataset, part, shape):
                    dataset.read(out=pixels[:, rows], window=strip, resampling=_MEAN)
                    masks[:, rows] &= dataset.read_masks(
                        window=strip, out_shape=pixels[:, rows].shape
                    )
            if level.number is not None:
                masks = scipy.ndimage.minimum_filter(masks, size=(1, 5, 5))
        pixels[masks == 0] = np.nan
        scale = Affine.scale(part.width / shape[1], part.height / shape[0])
        return Chunk(pixels, to_native @ Affine.translation(part.col_off, part.row_off) @ scale)


def _level(dataset: DatasetReader, file: str, bands: list[FileBand], factor: float) -> Overview:
    """Returns the level that bands of a file are read from.

    Overviews made without knowledge of a nodata value mix it into their pixels. JP2's are too
    precious to do without: there the rim of missing ground is given up.
    """
    plain = any(band.nodata is not None and band.nodata == band.nodata for band in bands)
    wanted = 1.0 if plain and not is_wavelet(dataset) else factor
    return choose_level(dataset, file, bands[0].index, wanted)


def _scaled(chunk: Chunk, bands: Sequence[FileBand]) -> Chunk:
    """What the numbers of a product stand for; other pixels as they are."""
    for plane, band in zip(chunk.pixels, bands, strict=True):
        if (band.scale, band.offset) != (1.0, 0.0):
            plane *= np.float32(band.scale)
            plane += np.float32(band.offset)
        if band.radar is not None and not band.radar.plain:
            plane[:] = band.radar.scaled(plane, chunk.transform)
    return chunk


def open_source(
    path: str | PathLike[str],
    *,
    bands: Sequence[int | str] | None = None,
    nodata: float | None = None,
    mask: str | PathLike[str] | None = None,
    dem: Dem | None = None,
    product_mask: MaskUse | None = None,
) -> Source:
    """Open a raster for reading; its pixels stay where they are.

    Args:
        path: Any raster GDAL reads; a product of Sentinel-1, Sentinel-2 (`.SAFE` folder, its zip,
            its ``MTD_MSIL*.xml`` or a granule folder), Landsat Collection 2 (folder, tar, MTL
            file), HLS (folder) or PlanetScope (folder, image); a STAC item (``item.json``, or with
            assets chosen ``item.json#B04,B03``); as a string also a URL or a ``/vsi…`` path.
        bands: 1-based indices or names, in the order wanted; of a product also common names
            (``"red"``, ``"nir"``). By default at most three: a product's 10 m true-colour image,
            else red, green and blue by name or colour interpretation, else the first three; never
            the alpha band.
        nodata: Value that marks missing ground, instead of the file's own.
        mask: Ground to ignore (see `open_mask`).
        dem: Height of the ground for files that RPCs locate: a raster of heights, or metres above
            the ellipsoid; the RPCs' own height offset by default.
        product_mask: ``none`` to match also what masks of a product leave out; by default, as with
            ``auto``, its clouds, shadows and fill are no ground.

    Returns:
        The source. Files without a geotransform are geocoded by their RPCs or GCPs; where these
        cannot be used, a warning says why.

    Raises:
        InputError: The file cannot be used as it is, a band is not there, or the DEM is none.
    """
    name = fspath(path)
    container = container_of(path)
    known = None if is_virtual(path) else Path(path)
    product = find_item(path)
    radar = None if known is None or product is not None else find_sentinel1(known)
    if product is None and radar is None and known is not None:
        product = find_product(known)
    if radar is None and product is None and (known is not None or container is not None):
        check_file(known or Path(container or ""))
    if radar is not None:
        measured = choose_radar_bands(radar, bands, subject=name)
        source = _assemble(name, known, [radar_band(band) for band in measured], dem)
        log_location(source.info.name, f"is located by {source.info.located_by}")
    elif product is not None:
        chosen = product.choose(bands, subject=name)
        source = _assemble(name, known, [product_band(band) for band in chosen], dem)
        _leave_out(source, product, bands, product_mask)
    else:
        with opened(name) as dataset:
            source = _assemble(name, known, bands_of_file(name, dataset, bands), dem)
            _log_caveats(dataset, name, source, nodata)
    if nodata is not None:
        source = _impose_nodata(source, nodata)
    if mask is not None:
        info = source.info
        frame = Grid(info.transform, info.crs, *info.size)
        source._masks += (open_mask(mask, frame, bend=info.geolocation),)
        source.files += local_files([fspath(mask)])
    source.opened_with = settings_of(bands, nodata, mask, product_mask)
    return source


def _leave_out(
    source: FileSource,
    product: Product,
    bands: Sequence[int | str] | None,
    use: MaskUse | None,
) -> None:
    """Leaves out what the masks of a product tell, and says so in the description."""
    info, layers = source.info, product.layers_of(bands)
    if use == "none":
        text = "none (--product-mask none)"
    elif not layers:
        text = f"none: {product.no_mask or 'its masks concern other bands'}"
        if product.format_has_mask and product.no_mask:
            log_location(info.name, f"is matched with its clouds: {product.no_mask}")
    else:
        frame = Grid(info.transform, info.crs, *info.size)
        source._masks += (open_product_mask(layers, frame, subject=info.name),)
        masks = dict.fromkeys(layer.file for layer in layers)
        source.files += local_files(masks)
        source.remote += tuple(file for file in masks if is_remote(file))
        text = f"{', '.join(dict.fromkeys(layer.name for layer in layers))} ({product.left_out})"
    # Pixels would be asked otherwise, and reflectances of dark ground vary like speckle.
    source.info = replace(info, mask=text, modality=info.modality or "optical", taken=product.taken)


def raster_info(
    path: str | PathLike[str], *, nodata: float | None = None, dem: Dem | None = None
) -> RasterInfo:
    """Describes all bands of a raster file, whatever their type; its pixels need not be readable.

    Args:
        path: The file, or as a string also a URL, a ``/vsi…`` path or a part of a file.
        nodata: Value that marks missing ground, instead of the file's own.
        dem: Height of the ground, as for `open_source`.

    Raises:
        InputError: It cannot be opened, or holds no bands; the DEM is none.
    """
    name = fspath(path)
    known = None if is_virtual(path) else Path(path)
    if known is not None:
        check_file(known)
    with opened(name) as dataset:
        if dataset.count == 0:
            raise no_image(dataset, name)
        names, types = band_names(dataset), dataset.dtypes
        bands = [FileBand(name, i, names[i - 1], types[i - 1], None) for i in dataset.indexes]
        source = _assemble(name, known, bands, dem)
        _log_caveats(dataset, name, source, nodata)
    return source.info


def _log_caveats(
    dataset: DatasetReader, name: str, source: FileSource, nodata: float | None
) -> None:
    info = source.info
    if info.unlocated is not None:
        log_location(info.name, f"is matched as not geocoded: {info.unlocated}")
    elif info.geolocation is not None and info.geolocation.note is not None:
        log_location(info.name, f"is located by {info.located_by}")
    if any(band.amplitude for band in source._bands):
        log_location(info.name, "holds complex numbers, of which the amplitude is taken")
    plain = (b for b in source._bands if not (b.palette or b.amplitude))
    bands = [b.index for b in plain if b.dtype in GDAL_TYPES]
    if nodata is not None or is_remote(name) or is_granule_file(name):
        bands = []
    # A black collar is recognised without being declared.
    log_caveats(dataset, name, bands, known=(0.0,) if source._trim_collar else ())


def _has_mask(dataset: DatasetReader, band: FileBand) -> bool:
    """Whether the file masks a band by other means than the nodata value replaced by ours."""
    flags = {flag.name for flag in dataset.mask_flag_enums[band.index - 1]}
    return bool(flags & {"per_dataset", "alpha"}) or (band.nodata is None and "nodata" in flags)


def _assemble(name: str, path: Path | None, bands: list[FileBand], dem: Dem | None) -> FileSource:
    """Describe bands that may come from files of different resolution."""
    infos: list[tuple[int, int, Place, float | None, str, tuple[int, int]]] = []
    unmarked = True
    files: list[str] = []
    for file, group in itertools.groupby(bands, key=lambda band: band.file):
        indexes = [band.index for band in group]
        with opened(file) as dataset:
            place = place_of(dataset, dem)
            nodata = dataset.nodatavals[indexes[0] - 1]
            unmarked &= all(is_unmarked(dataset, i) for i in indexes)
            rows, columns = dataset.block_shapes[indexes[0] - 1]
            facts = (dataset.width, dataset.height, place, nodata, dataset.driver, (columns, rows))
            infos.append(facts)
            files += [openable(file), *dataset.files]
    wrong = next(filter(None, (info[2].misplaced for info in infos)), None)
    width, height, place, nodata, driver, block = max(infos, key=lambda info: info[0])
    transform, bend = place.transform, place.geolocation
    for w, h, other, *_ in infos:
        corner, expected = other.transform @ (w, h), transform @ (width, height)
        if not np.allclose(corner, expected, atol=abs(transform.a) + abs(transform.b)):
            raise InputError("its bands cover different ground", subject=name, hint="match one")
    if nodata is None:
        nodata = bands[0].nodata
    unmarked &= all(band.nodata is None for band in bands)
    info = RasterInfo(
        path,
        width,
        height,
        len(bands),
        tuple(band.dtype for band in bands),
        tuple(band.name for band in bands),
        transform,
        place.crs,
        nodata,
        driver,
        redacted(name) if path is None else name,
        block,
        wrong,
        bend,
        place.located_by,
        place.unlocated,
        modality_of_bands(name, bands),
    )
    if bend is not None and isinstance(bend.dem, str):
        files.append(bend.dem)
    trim = unmarked and len(bands) > 1 and {b.dtype for b in bands} <= {"uint8", "uint16"}
    source = FileSource(info, bands, trim_collar=trim)
    source.files = local_files(files)
    source.remote = tuple(dict.fromkeys(band.file for band in bands if is_remote(band.file)))
    return source


def _impose_nodata(source: FileSource, nodata: float) -> FileSource:
    for band in source._bands:
        kind = np.dtype(band.dtype)
        if kind.kind in "iu":
            limits = np.iinfo(kind)
            if not (limits.min <= nodata <= limits.max and nodata == int(nodata)):
                raise InputError(
                    f"nodata {nodata:g} cannot occur in a {band.dtype} band",
                    subject=source.info.name,
                    hint=f"give a whole number from {limits.min} to {limits.max}",
                )
    bands = [replace(band, nodata=float(nodata)) for band in source._bands]
    imposed = FileSource(replace(source.info, nodata=float(nodata)), bands, trim_collar=False)
    imposed.files, imposed.remote = source.files, source.remote
    imposed._masks = source._masks
    return imposed
