"""Parses names of rasters: files, subdatasets, URLs and GDAL's virtual paths."""

from __future__ import annotations

import re
from collections.abc import Iterable
from os import PathLike, fspath
from pathlib import Path

from rasterio.io import DatasetReader

from imatch.core.errors import InputError

# NETCDF:"two.nc":Band1, GTIFF_DIR:2:pages.tif: the driver, then the file and what of it.
_PART = re.compile(r"([A-Za-z]\w+):(.+)", re.DOTALL)
#: File systems of GDAL's that ask other hosts, as a regular expression.
REMOTE_FS = r"/vsi(?:curl|s3|gs|az|adls|oss|swift|hdfs|webhdfs)(?:_streaming)?[/?]"
# Anywhere in a name, since archives nest and drivers prefix: /vsizip//vsicurl/https://…, WMS:http…
# The schemes of files, archives and documents in memory stay on this machine.
_REMOTE = re.compile(
    rf"{REMOTE_FS}|\b[a-z][a-z0-9+.-]*(?<!file)(?<!zip)(?<!tar)(?<!mem)://", re.IGNORECASE
)
#: GDAL's file systems by the schemes of URLs.
_FOLDERS = {
    "http": "vsicurl",
    "https": "vsicurl",
    "s3": "vsis3",
    "gs": "vsigs",
    "az": "vsiaz",
    "abfs": "vsiadls",
}
_LISTED = 3


def container_of(path: str | PathLike[str], folder: Path | None = None) -> str | None:
    """Finds the file within the name of one of its parts, as it is written there.

    Args:
        path: A name such as ``NETCDF:"two.nc":Band1``, ``GTIFF_DIR:2:pages.tif`` or
            ``item.json#B04``.
        folder: Where relative names begin; the current folder when None.

    Returns:
        The file's name; None where `path` itself exists, or names no part of a file that does.

    Examples:
        >>> container_of("scene.tif") is None, container_of("netcdf:absent.nc:red") is None
        (True, True)
    """
    text, base = fspath(path), folder or Path()
    document, mark, _ = text.partition("#")
    if mark and document.lower().endswith((".json", ".geojson")) and "://" not in document:
        # Assets of a STAC item.
        return document if _exists(base, document) and not _exists(base, text) else None
    found = _PART.fullmatch(text)
    if found is None or _exists(base, text):
        return None
    quoted = re.search(r'"([^"]+)"', found[2])
    if quoted is not None:
        return quoted[1] if _exists(base, quoted[1]) else None
    pieces = found[2].split(":")
    spans = [(i, j) for i in range(len(pieces)) for j in range(len(pieces), i, -1)]
    candidates = (":".join(pieces[i:j]) for i, j in spans)
    return next((name for name in candidates if name and _exists(base, name)), None)


def is_virtual(path: str | PathLike[str]) -> bool:
    """Whether a path is GDAL's business rather than the file system's.

    That are a URL, a ``/vsi…`` path and a part of a file; a file of such a name comes first.
    """
    if container_of(path) is not None:
        return True
    text = fspath(path)
    if not isinstance(path, str) or not (text.startswith("/vsi") or "://" in text):
        return False
    return not _exists(Path(), text)


def is_remote(path: str | PathLike[str]) -> bool:
    """Whether reading from a path takes a network: a URL, or one of GDAL's ``/vsi…`` of a store.

    Also where a driver's name comes first (``WMS:https://…``); a file of such a name wins.
    """
    text = fspath(path)
    return _REMOTE.search(text) is not None and not _exists(Path(), text)


def is_known_again(path: str | PathLike[str]) -> bool:
    """Whether a later run can tell that a path leads to the same content: no array, no service.

    That are files, folders, archives, items of a catalogue, and what lies at a URL or in a store.
    """
    text = fspath(path)
    if not is_virtual(path):
        return True
    return openable(text).startswith("/vsi") or "#" in text


def located(path: str, folder: Path) -> str:
    """A path as seen from a folder, also that of a part of a file; URLs and ``/vsi…`` as they are.

    Args:
        path: The path.
        folder: Where a relative one begins; absolute.
    """
    container = container_of(path, folder)
    if container is not None:
        return path.replace(container, str(folder / container), 1)
    return path if is_virtual(path) else str(folder / Path(path).expanduser())


def openable(name: str) -> str:
    """Returns the name to hand to GDAL, in which a file's colon is no driver's or scheme's.

    URLs become GDAL's virtual paths, which are read by ranges of bytes with the credentials that
    GDAL finds; a VRT would fetch a URL whole.

    Args:
        name: A path, URL, ``/vsi…`` path, part of a file, or the text of a VRT.

    Examples:
        >>> openable("https://host/a.tif"), openable("s3://bucket/a.tif"), openable("a.tif")
        ('/vsicurl/https://host/a.tif', '/vsis3/bucket/a.tif', 'a.tif')
    """
    if ":" in name and not name.startswith("<") and _exists(Path(), name):
        return str(Path(name).absolute())
    scheme, mark, rest = name.partition("://")
    if not mark or (folder := _FOLDERS.get(scheme.lower())) is None:
        return name
    return f"/{folder}/{name if folder == 'vsicurl' else rest}"


def local_files(names: Iterable[str]) -> tuple[Path, ...]:
    """The files on this machine behind what GDAL says it reads, archives instead of their members.

    Args:
        names: Paths, ``/vsi…`` paths and URLs (`rasterio.DatasetReader.files`).
    """
    found: dict[Path, None] = {}
    for name in names:
        # Side-cars of GDAL's own making come and go as a file is read.
        if name.startswith("<") or name.endswith(".aux.xml"):
            continue
        path = Path(container_of(name) or re.sub(r"^(/vsi\w+/)+", "", name))
        # A member of an archive lies, as a path, under the archive.
        place = next((p for p in (path, *path.parents) if _exists(Path(), str(p))), None)
        if place is not None and place.is_file():
            found[place] = None
    return tuple(found)


def no_image(dataset: DatasetReader, name: str) -> InputError:
    """The error of a file that holds parts, or nothing, instead of bands.

    Args:
        dataset: The file.
        name: What to call it.
    """
    parts = ", ".join(dataset.subdatasets[:_LISTED])
    hint = f"name one of its parts, such as {parts}" if parts else "it holds no bands"
    return InputError("holds no image by itself", subject=name, hint=hint)


def _exists(folder: Path, name: str) -> bool:
    try:
        return (folder / name).exists()
    except (OSError, ValueError):  # Too long for a name, or with a NUL.
        return False
