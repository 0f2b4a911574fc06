"""Applies a registration to a whole Sentinel-2 product."""

from __future__ import annotations

import shutil
import stat
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from os import PathLike
from pathlib import Path, PurePosixPath

import numpy as np
import pyogrio

from imatch.core.errors import ImatchError, InputError, OutputError
from imatch.core.io.files import atomic_folder, check_output, inside
from imatch.pipeline.apply.output_grid import Bounds, GridKind, output_lattice
from imatch.pipeline.apply.raster import Choice, apply_raster
from imatch.pipeline.apply.vector import apply_vector, layer_names
from imatch.pipeline.registration.geo_correction import GeoCorrection
from imatch.raster.info import RasterInfo
from imatch.raster.read.file_source import raster_info
from imatch.raster.read.products.sentinel2 import find_safe

_RASTERS = {".jp2", ".tif", ".tiff"}
_HEAD = 16
# How the rasters of a product begin: TIFF and BigTIFF, JPEG 2000 in boxes or bare. Anything else of
# such a name, a VRT above all, could have GDAL read files outside of the product.
_RASTER_HEADS = (
    b"II*\0",
    b"MM\0*",
    b"II+\0",
    b"MM\0+",
    b"\0\0\0\x0cjP  ",
    b"\xff\x4f\xff\x51",
)
#: What a product may become. Decoded, the largest take some 8 GB.
MAX_UNPACKED = 32 * 10**9
#: A zip's files, and its files and pixels together, as multiples of its own size; masks at the edge
#: of a swath are nearly empty. So many bytes in any case.
_RATIO, _PIXEL_RATIO, _LITTLE = 100, 2000, 64 * 10**6


@dataclass(frozen=True)
class SafeCounts:
    """Counts of a product's files that were warped, moved and copied.

    Attributes:
        rasters: JPEG 2000 files that are GeoTIFFs now.
        vectors: GML masks that are GeoPackages now.
        copied: Files copied as they are.
    """

    rasters: int
    vectors: int
    copied: int


@dataclass(frozen=True)
class _Member:
    """A file of a product: its path in it, size, what GDAL opens, how to copy and to read it."""

    name: PurePosixPath
    size: int
    source: str
    copy: Callable[[Path], object]
    head: Callable[[], bytes]
    link: bool = False


def apply_safe(
    mapping: GeoCorrection,
    product: str | PathLike[str],
    out: str | PathLike[str],
    *,
    grid: GridKind = "reference",
    res: float | None = None,
    bounds: Bounds | None = None,
    resampling: Choice = "auto",
    creation: Mapping[str, str] | None = None,
    cog: bool = False,
    max_unpacked: int | None = None,
    overwrite: bool = False,
    on_progress: Callable[[float], None] | None = None,
) -> SafeCounts:
    """Write a whole product where the registration has its ground.

    The folders stay as they are. Every raster (bands of 10, 20 and 60 m, true colour, masks,
    previews) becomes a GeoTIFF of the same name: GDAL cannot write JPEG 2000 in blocks. Vector
    masks become GeoPackages; everything else, the metadata above all, is copied unchanged, so it
    still names the JP2 files. Masks and classes are taken from the nearest pixel.

    Args:
        mapping: The registration.
        product: A ``.SAFE`` folder, its ``MTD_MSIL*.xml``, or a zip of it.
        out: The folder to make; it appears when it is complete.
        grid: Whose pixel lattice to write on, see `output_lattice`.
        res: Side of a pixel for all rasters; by default each keeps its own.
        bounds: (left, bottom, right, top) to cover, in the output's CRS.
        resampling: ``auto``, or how to take values between pixels.
        creation: Creation options of GDAL's GTiff driver, or of its COG driver.
        cog: Write cloud-optimised GeoTIFFs.
        max_unpacked: Bytes that the files and the pixels to be written may take together; by
            default `MAX_UNPACKED`, and of a zip a hundred times its size (with pixels 2000 times).
        overwrite: Whether an existing folder may be replaced.
        on_progress: Told the share of the work done since it was told last.

    Returns:
        How many files of each kind there were.

    Raises:
        InputError: The product cannot be read, names files outside of itself, holds rasters that
            are none, would take more than `max_unpacked` or the disk's free space, or the
            registration does not apply to it.
        NoOverlapError: None of a raster lies on the grid.
        OutputError: The folder cannot be written.
    """
    product, out = Path(product), Path(out)
    if find_safe(product) is None:
        raise InputError("is no Sentinel-2 product", subject=product, hint="name a .SAFE folder")
    if product.suffix.lower() == ".xml":
        product = product.parent
    _check_folder(product, out, overwrite=overwrite)
    report_progress = on_progress or (lambda _share: None)
    counts = {"raster": 0, "vector": 0, "copy": 0}
    with atomic_folder(out, overwrite=overwrite) as made, _members(product) as members:
        _check_names(product, made, members)
        _check_heads(product, members)

        def output_size(info: RasterInfo) -> tuple[int, int]:
            return output_lattice(mapping, info, grid=grid, res=res, bounds=bounds).size

        _check_volume(product, out.parent, members, output_size, max_unpacked)
        total = sum(member.size for member in members) or 1
        for member in members:
            share = member.size / total
            place = inside(made, member.name.as_posix())
            place.parent.mkdir(parents=True, exist_ok=True)
            suffix = member.name.suffix.lower()
            if suffix in _RASTERS:
                apply_raster(
                    mapping,
                    member.source,
                    place.with_suffix(".tif"),
                    grid=grid,
                    res=res,
                    bounds=bounds,
                    resampling=resampling,
                    creation=creation,
                    cog=cog,
                    on_progress=partial(_report_part, report_progress, share),
                )
                counts["raster"] += 1
                continue
            member.copy(place)
            kind = "copy"
            if suffix == ".gml" and _vectors(mapping, place):
                kind = "vector"
            counts[kind] += 1
            report_progress(share)
    return SafeCounts(counts["raster"], counts["vector"], counts["copy"])


def _report_part(on_progress: Callable[[float], None], share: float, part: float) -> None:
    on_progress(share * part)


def _check_folder(product: Path, out: Path, *, overwrite: bool) -> None:
    if out.exists() and out.samefile(product):
        raise OutputError("is the product to be read", subject=out, hint="choose another place")
    if out.is_dir() and not out.is_symlink():
        if not overwrite:
            raise OutputError("already exists", subject=out, hint="pass --overwrite to replace it")
        return
    check_output(out, overwrite=overwrite)
    if out.is_file():
        raise OutputError("is a file", subject=out, hint="name a folder")


@contextmanager
def _members(product: Path) -> Iterator[list[_Member]]:
    """The files of a product; they can be copied as long as the block lasts."""
    if product.is_dir():
        found = {file.relative_to(product).as_posix(): file for file in product.rglob("*")}
        for name, file in found.items():
            inside(product, name)
            if file.is_symlink() and file.is_dir():
                raise InputError(
                    f"{name} is a link to a folder, whose files would be left out",
                    subject=product,
                    hint="put the folder itself there",
                )
        yield [
            _Member(
                PurePosixPath(name),
                file.stat().st_size,
                str(file),
                partial(shutil.copyfile, file),
                partial(_head_of_file, file),
            )
            for name, file in sorted(found.items())
            if file.is_file()
        ]
        return
    with zipfile.ZipFile(product) as archive:
        entries = [entry for entry in archive.infolist() if not entry.is_dir()]
        paths = [PurePosixPath(entry.filename.replace("\\", "/")) for entry in entries]
        # The folder of the product itself is what the output stands for.
        tops = {path.parts[0] for path in paths if path.parts}
        inner = len(tops) == 1 and len(paths) > 1 and not paths[0].is_absolute()
        yield [
            _Member(
                PurePosixPath(*path.parts[inner:]),
                entry.file_size,
                f"/vsizip/{product.resolve()}/{entry.filename}",
                partial(_extract, archive, entry),
                partial(_head_of_member, archive, entry),
                stat.S_ISLNK(entry.external_attr >> 16),
            )
            for path, entry in zip(paths, entries, strict=True)
        ]


def _check_names(product: Path, made: Path, members: Sequence[_Member]) -> None:
    """Make sure that every file has a place of its own inside the output.

    Raises:
        InputError: A name leads out of it, is a link's, or stands for two files.
    """
    taken: dict[str, str] = {}
    for member in members:
        name = member.name.as_posix()
        try:
            place = inside(made, name)
        except InputError as error:
            raise InputError(
                f"holds a file whose name leads out of it, {name!r}",
                subject=product,
                hint="it is damaged or not to be trusted: get it again",
            ) from error
        if member.link:
            raise InputError(
                f"holds a link, {name!r}", subject=product, hint="pack it again without links"
            )
        suffix = member.name.suffix.lower()
        made_of_it = [place.with_suffix(".tif") if suffix in _RASTERS else place]
        if suffix == ".gml":
            made_of_it += [place.with_suffix(".gpkg"), place.with_suffix(".gfs")]
        # Not to be told apart on the file systems of Windows and macOS.
        for key in (str(path).casefold() for path in made_of_it):
            if key in taken:
                raise InputError(
                    f"holds two files that would have one name, {taken[key]!r} and {name!r}",
                    subject=product,
                    hint="it is damaged: get it again",
                )
            taken[key] = name


def _check_heads(product: Path, members: Sequence[_Member]) -> None:
    """Make sure that what is called a raster is one, before GDAL opens it as whatever it is.

    Raises:
        InputError: It is neither TIFF nor JPEG 2000, or cannot be read.
    """
    for member in members:
        if member.name.suffix.lower() in _RASTERS and not member.head().startswith(_RASTER_HEADS):
            raise InputError(
                f"holds {member.name.as_posix()!r}, which is neither TIFF nor JPEG 2000",
                subject=product,
                hint="it is damaged or not to be trusted: get it again",
            )


def _check_volume(
    product: Path,
    folder: Path,
    members: Sequence[_Member],
    output_size: Callable[[RasterInfo], tuple[int, int]],
    asked: int | None,
) -> None:
    """Make sure that a product does not become much more than it is.

    Raises:
        InputError: Its files, or they and the pixels to be written, take more than they may.
    """
    most_packed = most = MAX_UNPACKED if asked is None else asked
    if asked is None and product.is_file():
        size = product.stat().st_size
        most_packed = min(most, max(_LITTLE, _RATIO * size))
        most = min(most, max(_LITTLE, _PIXEL_RATIO * size))
    packed = total = sum(member.size for member in members)
    allowed = most_packed
    for member in members if packed <= most_packed else ():
        allowed = most
        if total <= most and member.name.suffix.lower() in _RASTERS:
            with suppress(ImatchError):  # What cannot be used is told when its turn comes.
                info = raster_info(member.source)
                width, height = output_size(info)
                total += width * height * sum(np.dtype(kind).itemsize for kind in info.dtypes)
    if total > allowed:
        raise InputError(
            f"takes {total / 1e9:.3g} GB or more unpacked, {allowed / 1e9:.3g} GB are allowed",
            subject=product,
            hint="pass --max-unpacked to allow more, if it is to be trusted",
        )
    free = shutil.disk_usage(folder).free
    if packed > free:
        raise InputError(
            f"takes {packed / 1e9:.3g} GB unpacked, and {free / 1e9:.3g} GB are free",
            subject=product,
            hint="make room, or choose another place",
        )


def _extract(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, place: Path) -> None:
    with _readable(archive, entry), archive.open(entry) as source, place.open("wb") as copy:
        shutil.copyfileobj(source, copy)


def _head_of_member(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> bytes:
    with _readable(archive, entry), archive.open(entry) as source:
        return source.read(_HEAD)


def _head_of_file(file: Path) -> bytes:
    with file.open("rb") as source:
        return source.read(_HEAD)


@contextmanager
def _readable(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> Iterator[None]:
    """Turns errors of `zipfile` about damaged, encrypted or unusual members into one line."""
    try:
        yield
    except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError) as error:
        raise InputError(
            f"{entry.filename!r} cannot be unpacked ({error})",
            subject=archive.filename,
            hint="get it again, or unpack it by other means",
        ) from error


def _vectors(mapping: GeoCorrection, place: Path) -> bool:
    """Put a copied GML mask where it belongs; an empty one, without a layer, stays as it is."""
    try:
        try:
            layer_names(place)
        except InputError:
            return False
        if pyogrio.read_info(place)["driver"] != "GML":
            return False  # An OGR VRT, say, which could bring in files outside of the product.
        apply_vector(mapping, place, place.with_suffix(".gpkg"))
        place.unlink()
        return True
    finally:
        place.with_suffix(".gfs").unlink(missing_ok=True)  # GDAL's notes on what it read.
