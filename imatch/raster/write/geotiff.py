"""Writes GeoTIFF and COG block by block, atomically."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from os import PathLike
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import rasterio
import rasterio.shutil
from affine import Affine
from numpy.typing import NDArray
from rasterio.control import GroundControlPoint
from rasterio.enums import ColorInterp, MaskFlags, Resampling
from rasterio.errors import RasterioError
from rasterio.io import DatasetWriter, MemoryFile
from rasterio.windows import Window

from imatch.core.errors import ConfigError, ImatchError, OutputError
from imatch.core.io.files import atomic_path
from imatch.core.types import BoolArray
from imatch.raster.decoding import coding_threads
from imatch.raster.gdal import check_file, in_words, session, warned
from imatch.raster.grid import Grid
from imatch.raster.names import container_of, is_virtual
from imatch.raster.write.classes import write_class_tables
from imatch.raster.write.profile import RasterProfile

#: put(window, bands, pixels, valid): write (C, h, w) pixels of 1-based bands, and the mask.
Put: TypeAlias = Callable[[Window, list[int], NDArray[Any], "BoolArray | None"], None]

#: Side of a tile in pixels.
TILE = 512
_WITH_PREDICTOR = {"DEFLATE", "LZW", "ZSTD"}
#: What GDAL keeps beside a GeoTIFF.
_SIDECARS = (".aux.xml", ".ovr", ".msk")
_TRUE = {"YES", "TRUE", "ON", "1"}
_RGB = (ColorInterp.red, ColorInterp.green, ColorInterp.blue)
_FULL = "choose a place with more room; nothing was written"


@contextmanager
def created(
    path: Path,
    form: RasterProfile,
    lattice: Grid,
    *,
    tags: Mapping[str, str] | None = None,
    creation: Mapping[str, str] | None = None,
    cog: bool = False,
    overviews: bool = True,
    overwrite: bool = False,
    gcps: Sequence[GroundControlPoint] = (),
    classes: bool = False,
) -> Iterator[Put]:
    """A GeoTIFF to be filled block by block; it appears under its name when it is complete.

    Args:
        path: The file.
        form: What it looks like.
        lattice: Its pixels. An identity transform is not written, nor is a CRS it lacks.
        tags: Metadata to add.
        creation: Creation options of GDAL's GTiff driver, or its COG driver with `cog`. By default
            tiles compressed by DEFLATE with a predictor.
        cog: Lay it out as a cloud-optimised GeoTIFF.
        overviews: Make reduced-resolution levels.
        overwrite: Whether an existing file may be replaced.
        gcps: Ground control points in the lattice's coordinates, to be written instead of its
            transform.
        classes: Whether there is nothing between two values, as in a palette: reduced levels take
            the nearest.

    Yields:
        A function that writes a block.

    Raises:
        ConfigError: A creation option does not exist, or does not work with such pixels.
        OutputError: The file cannot be written.
    """
    creation = {key.upper(): value for key, value in (creation or {}).items()}
    profile = _profile(form, lattice, {} if cog else creation)
    if gcps:
        profile.pop("transform", None)
        profile["gcps"] = list(gcps)
    if cog:
        profile |= {"ZLEVEL": "1"}
    reduced = Resampling.nearest if classes or form.categorical else Resampling.average
    copying = _cog_options(form, creation, reduced if overviews else None) if cog else None
    with atomic_path(path, overwrite=overwrite) as temporary, writing(path):
        _try_options(profile, copying, creation)
        first = temporary.with_name("tiles.tif") if cog else temporary
        with rasterio.open(first, "w", **profile) as dataset:
            _describe(dataset, form, tags or {})
            yield _putter(dataset, form, path)
        sparse = creation.get("SPARSE_OK", "NO").upper() in _TRUE
        # Before anything is made of them: what threads fail to write nobody hears of.
        check_written(first, path, sparse=sparse and not cog)
        if copying is not None:
            rasterio.shutil.copy(first, temporary, driver="COG", **copying)
            first.unlink()
        elif overviews:
            _add_overviews(temporary, reduced, lattice.size)
        write_class_tables(temporary, form.classes)
        check_written(temporary, path, sparse=sparse, masks=cog)
        drop_sidecars(path)


def drop_sidecars(path: Path) -> None:
    """Removes what lies beside a file that is about to be replaced: it describes other pixels."""
    for suffix in _SIDECARS:
        path.with_name(path.name + suffix).unlink(missing_ok=True)


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """GDAL set up for writing, and what it raises as one `OutputError`.

    Args:
        path: The file, for messages.
    """
    options = {"GDAL_TIFF_INTERNAL_MASK": True, "GDAL_TIFF_OVR_BLOCKSIZE": TILE}
    try:
        with session(), rasterio.Env(**options):
            yield
    except ImatchError:
        raise
    except (RasterioError, rasterio._err.CPLE_BaseError, OSError, ValueError) as error:
        raise _failed(path, error) from error


def _failed(path: Path, error: BaseException) -> OutputError:
    root: BaseException = error
    while root.__cause__ is not None:
        root = root.__cause__
    free = shutil.disk_usage(path.parent).free
    if getattr(root, "errno", None) == 28 or free < 1 << 20:
        return OutputError("the disk is full", subject=path, hint=_FULL)
    detail = in_words(str(root), path.name) or type(root).__name__
    return OutputError(f"cannot be written ({detail})", subject=path, hint=_FULL)


def _profile(form: RasterProfile, lattice: Grid, creation: Mapping[str, str]) -> dict[str, Any]:
    """Returns the arguments of `rasterio.open`."""
    options: dict[str, Any] = {
        "TILED": "YES",
        "COMPRESS": "DEFLATE",
        "BIGTIFF": "IF_SAFER",
        "INTERLEAVE": "PIXEL" if form.pixelwise and form.count > 1 else "BAND",
        "NUM_THREADS": coding_threads(),
        **creation,
    }
    if options["TILED"].upper() in _TRUE:
        for key, side in zip(("BLOCKXSIZE", "BLOCKYSIZE"), lattice.size, strict=True):
            options.setdefault(key, min(TILE, -(-side // 16) * 16))
    if form.nbits is not None:
        options.setdefault("NBITS", str(form.nbits))
    if options["COMPRESS"].upper() in _WITH_PREDICTOR and not form.categorical:
        options.setdefault("PREDICTOR", _predictor(form, options.get("NBITS")))
    if "PHOTOMETRIC" not in options:
        rgb = form.colours[:3] == _RGB and form.dtype in ("uint8", "uint16")
        options["PHOTOMETRIC"] = "RGB" if rgb else "MINISBLACK"
    if form.categorical:
        del options["PHOTOMETRIC"]
    width, height = lattice.size
    profile: dict[str, Any] = {
        "driver": "GTiff",
        "width": width,
        "height": height,
        "count": form.count,
        "dtype": form.dtype,
        "nodata": form.nodata,
        **{key.lower(): value for key, value in options.items()},
    }
    if lattice.transform != Affine.identity():
        profile["transform"] = lattice.transform
    if lattice.crs is not None:
        profile["crs"] = lattice.crs
    return profile


def _predictor(form: RasterProfile, nbits: str | None) -> str:
    if nbits is not None:
        return "1"  # libtiff has none for values that are not whole bytes.
    kind = np.dtype(form.dtype)
    return "3" if kind.kind == "f" else "2" if kind.kind in "iu" else "1"


def _cog_options(
    form: RasterProfile, creation: Mapping[str, str], reduced: Resampling | None
) -> dict[str, Any]:
    options = {
        "COMPRESS": "DEFLATE",
        "BIGTIFF": "IF_SAFER",
        "OVERVIEWS": "NONE" if reduced is None else "IGNORE_EXISTING",
        **({} if reduced is None else {"RESAMPLING": reduced.name.upper()}),
        # Without it the COG driver leaves all but the unnamed domain of metadata behind.
        "COPY_SRC_MDD": "YES",
        "NUM_THREADS": coding_threads(),
        **({} if form.nbits is None else {"NBITS": str(form.nbits)}),
        **creation,
    }
    if options["COMPRESS"].upper() in _WITH_PREDICTOR and not form.categorical:
        options.setdefault("PREDICTOR", "NO" if "NBITS" in options else "YES")
    return options


def _try_options(
    profile: Mapping[str, Any], copying: Mapping[str, Any] | None, creation: Mapping[str, str]
) -> None:
    """Make a small file in memory: what GDAL merely warns of, and what fails late, is refused now.

    Raises:
        ConfigError: An option does not exist or does not work with such pixels.
    """
    if not creation:
        return
    given = " ".join(f"{key}={value}" for key, value in creation.items())
    hint = f"see GDAL's page on its {'GTiff' if copying is None else 'COG'} driver"
    try:
        with warned() as complaints, MemoryFile() as memory, MemoryFile() as copy:
            # In this thread: what others complain of, nobody hears.
            small = {**profile, "width": 64, "height": 64, "num_threads": "1"}
            with memory.open(**small) as dataset:
                dataset.write(np.ones((dataset.count, 64, 64), dtype=dataset.dtypes[0]))
            if copying is not None:
                alone = {**copying, "NUM_THREADS": "1"}
                rasterio.shutil.copy(memory.name, copy.name, driver="COG", **alone)
            with (memory if copying is None else copy).open() as dataset:
                dataset.read()
    except (RasterioError, rasterio._err.CPLE_BaseError, ValueError, TypeError) as error:
        root: BaseException = error
        while root.__cause__ is not None:
            root = root.__cause__
        complaints = [str(root)]
    if complaints:
        text = in_words(complaints[0], "--co")
        raise ConfigError(f"GDAL refuses it ({text})", subject=f"--co {given}", hint=hint)


def _describe(dataset: DatasetWriter, form: RasterProfile, tags: Mapping[str, str]) -> None:
    """Everything but the pixels; before them, so that the file's head needs no second place."""
    for band, colormap in form.colormaps.items():
        dataset.write_colormap(band, dict(colormap))
    if not form.colormaps and tuple(dataset.colorinterp) != form.colours:
        dataset.colorinterp = form.colours
    for band in range(1, form.count + 1):
        description, unit = form.descriptions[band - 1], form.units[band - 1]
        if description is not None:
            dataset.set_band_description(band, description)
        if unit is not None:
            dataset.set_band_unit(band, unit)
    if set(form.scales) != {1.0}:
        dataset.scales = form.scales
    if set(form.offsets) != {0.0}:
        dataset.offsets = form.offsets
    for domain, items in form.tags.items():
        if items:
            dataset.update_tags(ns=domain, **items)
    dataset.update_tags(**tags)
    for band, domains in enumerate(form.band_tags, start=1):
        for domain, items in domains.items():
            if items:
                dataset.update_tags(band, ns=domain, **items)


def _putter(dataset: DatasetWriter, form: RasterProfile, path: Path) -> Put:
    def put(
        window: Window, bands: list[int], pixels: NDArray[Any], valid: BoolArray | None
    ) -> None:
        # Asked before GDAL does: what it cannot write it keeps for a while, and then complains
        # of on stderr.
        if shutil.disk_usage(path.parent).free < pixels.nbytes:
            raise OutputError("the disk is full", subject=path, hint=_FULL)
        dataset.write(pixels, bands, window=window)
        if form.masked and 1 in bands:
            shape = pixels.shape[1:]
            mask = np.full(shape, 255, np.uint8) if valid is None else valid.astype(np.uint8) * 255
            dataset.write_mask(mask, window=window)

    return put


def _add_overviews(path: Path, reduced: Resampling, size: tuple[int, int]) -> None:
    levels = [2]
    while max(size) / levels[-1] > TILE:
        levels.append(2 * levels[-1])
    if max(size) <= TILE:
        return
    with rasterio.open(path, "r+", NUM_THREADS=coding_threads()) as dataset:
        dataset.build_overviews(levels, reduced)


def check_apart(path: str | PathLike[str], out: Path) -> None:
    """Make sure that a file can be read, and that it is not the one to be written.

    Raises:
        InputError: It is missing, empty, unreadable or truncated.
        OutputError: It is the output.
    """
    container = container_of(path)
    if container is None and is_virtual(path):
        return
    file = Path(path if container is None else container)
    check_file(file)
    if out.exists() and out.samefile(file):
        raise OutputError("is the file to be read", subject=out, hint="choose another place")


def check_written(path: Path, subject: Path, *, sparse: bool = False, masks: bool = True) -> None:
    """Make sure that every tile is in the file: GDAL reports some failures to nobody.

    Args:
        path: The file to look into.
        subject: What to call it.
        sparse: Whether tiles may be left out.
        masks: Whether to decode its mask, too.

    Raises:
        OutputError: A tile is missing or reaches beyond the end.
    """
    end = path.stat().st_size
    with rasterio.open(path) as dataset:
        bands = [1] if dataset.profile.get("interleave") == "pixel" else list(dataset.indexes)
        levels = [None, *range(len(dataset.overviews(1)))]
        for level in levels:
            for name in _tile_names(path, level):
                for band in bands:
                    at, size = (
                        dataset.get_tag_item(f"BLOCK_{what}_{name}", "TIFF", band, level)
                        for what in ("OFFSET", "SIZE")
                    )
                    lost = not sparse if at is None else int(at) + int(size or end) > end
                    if lost:
                        raise OutputError("is not whole", subject=subject, hint=_FULL)
        if masks and MaskFlags.per_dataset in dataset.mask_flag_enums[0]:
            for _, window in dataset.block_windows(1):
                dataset.read_masks(1, window=window)  # It raises where there is nothing to read.


def _tile_names(path: Path, level: int | None) -> list[str]:
    """``column_row`` of each tile of a level."""
    options = {} if level is None else {"OVERVIEW_LEVEL": f"{level} only"}
    with rasterio.open(path, **options) as dataset:
        height, width = dataset.block_shapes[0]
        columns, rows = -(-dataset.width // width), -(-dataset.height // height)
    return [f"{column}_{row}" for row in range(rows) for column in range(columns)]
