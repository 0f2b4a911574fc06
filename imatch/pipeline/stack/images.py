"""The images of a stack: their names, their dates, and which of them is the reference."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date
from os import PathLike, fspath
from pathlib import Path, PurePath

import numpy as np
from rasterio.windows import Window

from imatch.core.errors import ImatchError, InputError
from imatch.core.io.files import safe_name
from imatch.core.redaction import get_logger, redacted
from imatch.pipeline.pair.config import MatchConfig
from imatch.pipeline.registration.result import ImageSummary
from imatch.raster import RasterInfo, open_source
from imatch.raster.dates import acquisition_date
from imatch.raster.gdal import opened
from imatch.raster.names import is_virtual
from imatch.raster.stac.documents import item_names

_LOG = get_logger(__name__)
#: Sides at which images are compared: a part of each, and all of it.
_PART_PX, _SEEN_PX = 256, 1024


@dataclass(frozen=True)
class InputImage:
    """An image of a stack.

    Attributes:
        name: Unlike every other's, and a file name everywhere; the file's stem where that will do.
        path: The file, folder or URL.
        date: When it was taken, None where nothing tells.
        info: What is known of it; None where it cannot be read.
        error: Why it cannot be read; empty otherwise.
        copy_of: Path of the image that it repeats; empty otherwise.
    """

    name: str
    path: str
    date: date | None
    info: RasterInfo | None
    error: str = ""
    copy_of: str = ""

    def summary(self, gsd_m: float | None = None) -> ImageSummary:
        """Returns the image's description as the side of a registration.

        Args:
            gsd_m: Metres per pixel where the file does not say.
        """
        if self.info is None:
            return ImageSummary(redacted(self.path), 0, 0)
        return ImageSummary.of(self.info, gsd_m)


def open_stack_images(
    images: Sequence[str | PathLike[str]], config: MatchConfig
) -> list[InputImage]:
    """Opens all images of a stack and returns them in the order of time.

    One that cannot be read does not cost the others their answer: it is listed with the cause.

    Args:
        images: Paths or URLs, STAC collections among them.
        config: Bands and nodata values are taken from it.

    Returns:
        The images in the order of time, then of names, whatever order they were given in; those
        without a date come last.

    Raises:
        InputError: Fewer than two can be read, or one is named twice.
    """
    paths = [name for image in images for name in item_names(image) or [fspath(image)]]
    occurrences = Counter(p if is_virtual(p) else str(Path(p).resolve()) for p in paths)
    twice = next((place for place, times in occurrences.items() if times > 1), None)
    if twice is not None:
        raise InputError("is named twice", subject=twice, hint="name every image once")
    found = sorted(
        (_look(path, config) for path in paths),
        key=lambda member: (member.date or date.max, member.name, member.path),
    )
    readable = sum(member.info is not None for member in found)
    if readable < 2:
        lost = next((m for m in found if m.error), None)
        raise InputError(
            f"a stack needs two images or more, and {readable} can be read"
            + ("" if lost is None else f" ({lost.error})"),
            hint="name more images",
        )
    return _unique_names(found)


def find_reference(members: Sequence[InputImage], reference: str | PathLike[str]) -> int:
    """Finds an image of the stack by name or path and returns its index.

    Args:
        members: The images.
        reference: A path as it was given, or a name.

    Raises:
        InputError: It is none of them, or cannot be read.
    """
    text = fspath(reference)
    for index, member in enumerate(members):
        same = text in (member.path, member.name, PurePath(member.path).name)
        if same or (not is_virtual(text) and Path(text).resolve() == Path(member.path).resolve()):
            if member.info is None:
                raise InputError(member.error, subject=text, hint="choose another reference")
            return index
    raise InputError(
        "the reference is not among the images",
        subject=text,
        hint=f"name one of them, such as {members[0].name}",
    )


def mark_copies(
    members: Sequence[InputImage], config: MatchConfig, reference: int | None
) -> list[InputImage]:
    """Finds images that repeat another, which would check nothing but themselves.

    That are copies of a file, also compressed or tiled anew: the same pixels on the same grid.

    Args:
        members: The images.
        config: Bands, nodata values and masks are taken from it.
        reference: Place of the image that has to stay; else the first of its kind does.

    Returns:
        The images, copies marked as such, each told in the log.
    """
    # Kept open to no purpose, images would fill the memory: a part tells nearly all apart.
    alike: dict[bytes, list[int]] = defaultdict(list)
    for index, member in enumerate(members):
        if member.info is not None:
            alike[_digest(member, config, whole=False)].append(index)
    same: dict[bytes, list[int]] = defaultdict(list)
    for group in alike.values():
        if len(group) > 1:
            for index in group:
                same[_digest(members[index], config, whole=True)].append(index)
    marked = list(members)
    for group in same.values():
        first = reference if reference in group else group[0]
        for index in group:
            if index != first:
                marked[index] = replace(members[index], copy_of=members[first].path)
                _LOG.warning(
                    "%s holds the same pixels as %s and counts as one with it",
                    members[index].path,
                    members[first].path,
                )
    return marked


def _digest(member: InputImage, config: MatchConfig, *, whole: bool) -> bytes:
    """Hashes an image's grid and pixels: the middle at full resolution, or all of it, reduced."""
    source = open_source(
        member.path,
        bands=config.ref_bands,
        nodata=config.ref_nodata,
        mask=config.ref_mask,
        dem=config.dem,
        product_mask=config.ref_product_mask,
    )
    info = source.info
    if whole:
        factor = max(1.0, max(info.size) / _SEEN_PX)
        image = source.read(size=(round(info.width / factor), round(info.height / factor)))
    else:
        width, height = (min(side, _PART_PX) for side in info.size)
        left, top = (info.width - width) // 2, (info.height - height) // 2
        image = source.read(Window(left, top, width, height))
    crs = "" if info.crs is None else info.crs.to_string()
    digest = hashlib.sha256(repr((info.size, tuple(info.transform), crs)).encode())
    digest.update(np.ascontiguousarray(image.pixels).tobytes())
    digest.update(np.packbits(image.valid).tobytes())
    return digest.digest()


def _look(path: str, config: MatchConfig) -> InputImage:
    name = safe_name(PurePath(redacted(path).rstrip("/")).stem)
    try:
        info = open_source(
            path,
            bands=config.ref_bands,
            nodata=config.ref_nodata,
            mask=config.ref_mask,
            dem=config.dem,
            product_mask=config.ref_product_mask,
        ).info
    except ImatchError as error:
        return InputImage(name, path, acquisition_date(path), None, str(error))
    day = info.taken or acquisition_date(path)
    if day is None and info.path is not None and info.path.is_file():
        with opened(path) as dataset:
            day = acquisition_date(path, dataset.tags())
    return InputImage(name, path, day, info)


def _unique_names(members: Sequence[InputImage]) -> list[InputImage]:
    """Makes the names of images unique by their folder, else by a number."""
    # Not to be told apart on the file systems of Windows and macOS.
    taken = Counter(member.name.casefold() for member in members)
    seen: Counter[str] = Counter()
    named = []
    for member in members:
        name = member.name
        if taken[name.casefold()] > 1:
            name = safe_name(
                "_".join(filter(None, (PurePath(redacted(member.path)).parent.name, name)))
            )
        seen[name.casefold()] += 1
        if seen[name.casefold()] > 1:
            name = f"{name}-{seen[name.casefold()]}"
        named.append(replace(member, name=name))
    return named
