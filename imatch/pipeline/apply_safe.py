"""Apply a registration to a whole Sentinel-2 product."""

from __future__ import annotations

import shutil
import stat
import zipfile
from collections.abc import Callable, Iterator, Sequence
from collections.abc import Mapping as Map
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from os import PathLike
from pathlib import Path, PurePosixPath

import numpy as np

from imatch.core.errors import ImatchError, InputError, OutputError
from imatch.core.files import atomic_folder, check_output, inside
from imatch.pipeline.apply import Choice, apply_raster
from imatch.pipeline.apply_vector import apply_vector, layer_names
from imatch.pipeline.lattices import Bounds, GridKind
from imatch.pipeline.mapping import Mapping
from imatch.raster.files import raster_info
from imatch.raster.safe import find_safe

_RASTERS = {".jp2", ".tif", ".tiff"}
#: What an archive may become, in all and as a multiple of its own size (but so much in any case):
#: the largest products take some 4 GB in memory, three times the size of their zips.
MAX_UNPACKED = 32 * 10**9
_RATIO, _LITTLE = 100, 64 * 10**6


@dataclass(frozen=True)
class SafeCounts:
    """What became of a product.

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
    """A file of a product: its path in it, bytes, what GDAL opens, how to copy it; if a link."""

    name: PurePosixPath
    size: int
    source: str
    copy: Callable[[Path], object]
    link: bool = False


def apply_safe(
    mapping: Mapping,
    product: str | PathLike[str],
    out: str | PathLike[str],
    *,
    grid: GridKind = "reference",
    res: float | None = None,
    bounds: Bounds | None = None,
    resampling: Choice = "auto",
    creation: Map[str, str] | None = None,
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
        max_unpacked: Bytes that the files and decoded rasters of a zip may take together; by
            default `MAX_UNPACKED`, and a hundred times the size of the zip.
        overwrite: Whether an existing folder may be replaced.
        on_progress: Told the share of the work done since it was told last.

    Returns:
        How many files of each kind there were.

    Raises:
        InputError: The product cannot be read, names files outside of itself, would take more than
            `max_unpacked` or the disk's free space, or the registration does not apply to it.
        NoOverlapError: None of a raster lies on the grid.
        OutputError: The folder cannot be written.
    """
    product, out = Path(product), Path(out)
    if find_safe(product) is None:
        raise InputError("is no Sentinel-2 product", subject=product, hint="name a .SAFE folder")
    if product.suffix.lower() == ".xml":
        product = product.parent
    _check_folder(product, out, overwrite=overwrite)
    told = on_progress or (lambda _share: None)
    counts = {"raster": 0, "vector": 0, "copy": 0}
    with atomic_folder(out, overwrite=overwrite) as made, _members(product) as members:
        _check_names(product, made, members)
        if not product.is_dir():
            _check_volume(product, out.parent, members, max_unpacked)
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
                    on_progress=partial(_told, told, share),
                )
                counts["raster"] += 1
                continue
            member.copy(place)
            kind = "copy"
            if suffix == ".gml" and _vectors(mapping, place):
                kind = "vector"
            counts[kind] += 1
            told(share)
    return SafeCounts(counts["raster"], counts["vector"], counts["copy"])


def _told(on_progress: Callable[[float], None], share: float, part: float) -> None:
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
        raster = member.name.suffix.lower() in _RASTERS
        # Not to be told apart on the file systems of Windows and macOS.
        key = str(place.with_suffix(".tif") if raster else place).casefold()
        if key in taken:
            raise InputError(
                f"holds two files that would have one name, {taken[key]!r} and {name!r}",
                subject=product,
                hint="it is damaged: get it again",
            )
        taken[key] = name


def _check_volume(
    product: Path, folder: Path, members: Sequence[_Member], allowed: int | None
) -> None:
    """Make sure that an archive does not become much more than it is.

    Raises:
        InputError: Its files and the pixels of its rasters take more than they may.
    """
    if allowed is None:
        allowed = min(MAX_UNPACKED, max(_LITTLE, _RATIO * product.stat().st_size))
    packed = sum(member.size for member in members)
    total = packed
    for member in members:
        if total <= allowed and member.name.suffix.lower() in _RASTERS:
            with suppress(ImatchError):  # What cannot be opened is told when its turn comes.
                info = raster_info(member.source)
                total += info.width * info.height * sum(np.dtype(t).itemsize for t in info.dtypes)
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
    with archive.open(entry) as source, place.open("wb") as copy:
        shutil.copyfileobj(source, copy)


def _vectors(mapping: Mapping, place: Path) -> bool:
    """Put a copied GML mask where it belongs; an empty one, without a layer, stays as it is."""
    try:
        try:
            layer_names(place)
        except InputError:
            return False
        apply_vector(mapping, place, place.with_suffix(".gpkg"))
        place.unlink()
        return True
    finally:
        place.with_suffix(".gfs").unlink(missing_ok=True)  # GDAL's notes on what it read.
