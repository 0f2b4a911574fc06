"""Apply a registration to a whole Sentinel-2 product."""

from __future__ import annotations

import shutil
import zipfile
from collections.abc import Callable, Iterator
from collections.abc import Mapping as Map
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from os import PathLike
from pathlib import Path, PurePosixPath

from imatch.core.errors import InputError, OutputError
from imatch.core.files import atomic_folder, check_output
from imatch.pipeline.apply import Choice, apply_raster
from imatch.pipeline.apply_vector import apply_vector, layer_names
from imatch.pipeline.lattices import Bounds, GridKind
from imatch.pipeline.mapping import Mapping
from imatch.raster.safe import find_safe

_RASTERS = {".jp2", ".tif", ".tiff"}


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
    """A file of a product: its path in it, its bytes, what GDAL opens, and how to copy it."""

    name: PurePosixPath
    size: int
    source: str
    copy: Callable[[Path], object]


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
        overwrite: Whether an existing folder may be replaced.
        on_progress: Told the share of the work done since it was told last.

    Returns:
        How many files of each kind there were.

    Raises:
        InputError: The product cannot be read, or the registration does not apply to it.
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
        total = sum(member.size for member in members) or 1
        for member in members:
            share = member.size / total
            place = made / member.name
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
    if out.is_dir():
        if not overwrite:
            raise OutputError("already exists", subject=out, hint="pass --overwrite to replace it")
        return
    check_output(out, overwrite=overwrite)
    if out.exists():
        raise OutputError("is a file", subject=out, hint="name a folder")


@contextmanager
def _members(product: Path) -> Iterator[list[_Member]]:
    """The files of a product; they can be copied as long as the block lasts."""
    if product.is_dir():
        files = [file for file in sorted(product.rglob("*")) if file.is_file()]
        yield [
            _Member(
                PurePosixPath(file.relative_to(product).as_posix()),
                file.stat().st_size,
                str(file),
                partial(shutil.copyfile, file),
            )
            for file in files
        ]
        return
    with zipfile.ZipFile(product) as archive:
        entries = [entry for entry in archive.infolist() if not entry.is_dir()]
        paths = [PurePosixPath(entry.filename) for entry in entries]
        # The folder of the product itself is what the output stands for.
        inner = len({path.parts[0] for path in paths}) == 1 and len(paths) > 1
        yield [
            _Member(
                PurePosixPath(*path.parts[inner:]),
                entry.file_size,
                f"/vsizip/{product.resolve()}/{entry.filename}",
                partial(_extract, archive, entry),
            )
            for path, entry in zip(paths, entries, strict=True)
            if ".." not in path.parts
        ]


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
