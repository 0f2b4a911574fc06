"""Sentinel-2 products: `.SAFE` folders, their granules, and zips of them.

The granule's JP2 files are opened directly: GDAL's own SENTINEL2 driver hides them behind a VRT,
whose reduced resolutions come displaced (see `imatch.raster.read.overviews`).
"""

from __future__ import annotations

import re
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from imatch.core.errors import InputError

_IMAGE = re.compile(
    r"_(?P<band>B\d[\dA]|TCI|SCL|AOT|WVP)(?:_(?P<metres>10|20|60)m)?\.jp2$", re.IGNORECASE
)
_GRANULE_FILE = re.compile(r"(?:^|[_/\\])T\d{2}[A-Z]{3}_.*" + _IMAGE.pattern, re.IGNORECASE)
_NATIVE_M = {"B02": 10, "B03": 10, "B04": 10, "B08": 10, "B01": 60, "B09": 60, "B10": 60}
_TCI_NAMES = ("red", "green", "blue")


@dataclass(frozen=True)
class SafeBand:
    """One band of a product.

    Attributes:
        name: ``"B04"``, or ``"red"`` of the true-colour image.
        file: What GDAL is to open.
        index: 1-based band of that file.
    """

    name: str
    file: str
    index: int


def is_granule_file(path: str) -> bool:
    """Whether a name is that of a Sentinel-2 reflectance JP2, whose zeros are no data by format."""
    match = _GRANULE_FILE.search(path)
    return match is not None and match["band"].upper().startswith("B")


def find_safe(path: Path) -> list[str] | None:
    """All image files of a Sentinel-2 product.

    Args:
        path: A `.SAFE` folder, one of its granules (or a folder in it), its ``MTD_MSIL*.xml``, or
            a zip of a product.

    Returns:
        GDAL paths of the JP2 files of its only granule, or None when `path` is a plain file.

    Raises:
        InputError: A folder or zip without a product, or with several granules.
    """
    if path.name.upper().startswith("MTD_") and path.suffix.lower() == ".xml":
        path = path.parent
    if path.is_dir():
        files = [str(file) for file in sorted(path.rglob("*.jp2"))]
    elif path.suffix.lower() == ".zip":
        try:
            with zipfile.ZipFile(path) as archive:
                names = sorted(archive.namelist())
        except FileNotFoundError as error:
            raise InputError("no such file", subject=path, hint="check the path") from error
        except (zipfile.BadZipFile, OSError) as error:
            raise InputError(
                f"cannot be read as a zip ({error})", subject=path, hint="download it again"
            ) from error
        files = [f"/vsizip/{path.resolve()}/{name}" for name in names]
    else:
        return None
    images = [file for file in files if _IMAGE.search(file) and _in_granule(file)]
    if not images:
        kind = "folder" if path.is_dir() else "zip"
        raise InputError(
            f"is a {kind} without a Sentinel-2 product",
            subject=path,
            hint="name an image file, or the .SAFE folder itself",
        )
    granules = sorted({_granule(file) for file in images})
    if len(granules) > 1:
        raise InputError(
            f"holds {len(granules)} granules",
            subject=path,
            hint=f"name one of them, such as {granules[0]}",
        )
    return images


def choose_safe_bands(
    files: Sequence[str], wanted: Sequence[int | str] | None, *, subject: str
) -> tuple[SafeBand, ...]:
    """Bands of a product, each from the finest file that has it.

    Args:
        files: What `find_safe` gave.
        wanted: Band names (``"B04"``, ``"b8"``, ``"TCI"``); None for the true-colour image, or
            red, green and blue where a product has none.
        subject: The product, for messages.

    Raises:
        InputError: A band is not there, or was asked for by number.
    """
    finest: dict[str, tuple[int, str]] = {}
    for file in files:
        match = _IMAGE.search(file)
        assert match is not None
        band = match["band"].upper()
        metres = int(match["metres"]) if match["metres"] else _NATIVE_M.get(band, 20)
        if band not in finest or metres < finest[band][0]:
            finest[band] = (metres, file)
    if wanted is None:
        wanted = ["TCI"] if "TCI" in finest else ["B04", "B03", "B02"]
    chosen: list[SafeBand] = []
    for item in wanted:
        name = str(item).strip().upper()
        name = re.sub(r"^B(\d|8A)$", r"B0\1", name).replace("B08A", "B8A")
        if isinstance(item, int) or name not in finest:
            raise InputError(
                f"has no band {item!r}",
                subject=subject,
                hint=f"its bands are {', '.join(sorted(finest))}",
            )
        file = finest[name][1]
        if name == "TCI":
            chosen += [SafeBand(colour, file, i) for i, colour in enumerate(_TCI_NAMES, start=1)]
        else:
            chosen.append(SafeBand(name, file, 1))
    if not chosen:
        raise InputError(
            "no band was asked for",
            subject=subject,
            hint=f"its bands are {', '.join(sorted(finest))}",
        )
    return tuple(chosen)


def _in_granule(file: str) -> bool:
    """Returns whether a JP2 is a band: previews and masks lie in other folders."""
    return "IMG_DATA" in PurePosixPath(file.replace("\\", "/")).parts


def _granule(file: str) -> str:
    """Returns the granule's folder, which is above IMG_DATA."""
    return file.replace("\\", "/").rsplit("/IMG_DATA/", 1)[0]
