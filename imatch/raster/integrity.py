"""Structural checks for damage that decoders do not report.

GDAL stops decoding with the last line of an image. Bytes too many in a JPEG have by then displaced
all that follows them, and are left over; a PNG's checksums are not compared; what follows a hole in
a JPEG 2000 codestream or a WebP is taken as it comes.
"""

from __future__ import annotations

import mmap
import re
import struct
import warnings
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from pathlib import Path

import rasterio
from rasterio.errors import NotGeoreferencedWarning, RasterioError
from rasterio.io import MemoryFile
from rasterio.windows import Window

from imatch.core.errors import InputError

_PNG = b"\x89PNG\r\n\x1a\n"
_JP2 = b"\0\0\0\x0cjP  \r\n\x87\n"
#: A JPEG marker that is no restart and no stuffed byte of a scan.
_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")
_START_OF_SCAN, _END_OF_IMAGE = 0xDA, 0xD9
#: Bytes without which a JPEG's last blocks cannot be decoded, if none are too many.
_LAST_BYTES = 4
#: Larger JPEGs than that are not decoded a second time in memory.
_LARGEST_JPEG = 1 << 29


def check_whole(path: Path) -> None:
    """Refuse a PNG, JPEG, WebP or JPEG 2000 file that lost, gained or changed bytes.

    A JPEG of one scan is decoded for that, once. Other files pass.

    Raises:
        InputError: It is damaged.
    """
    try:
        stat = path.stat()
    except OSError:
        return  # A name that GDAL understands, and not the file system.
    fault = _fault(path, stat.st_size, stat.st_mtime_ns)
    if fault is not None:
        raise InputError(
            fault, subject=path, hint="get it again, or save it anew if it looks whole"
        )


@lru_cache(maxsize=1024)
def _fault(path: Path, size: int, _changed: int) -> str | None:
    with path.open("rb") as file:
        start = file.read(12)
        check = _check_for(start)
        if check is None or size < len(start):
            return None
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            try:
                return check(content)
            except (struct.error, IndexError):
                return "the file is truncated"


def _check_for(start: bytes) -> Callable[[mmap.mmap], str | None] | None:
    if start.startswith(_PNG):
        return _png
    if start.startswith(b"\xff\xd8\xff"):
        return _jpeg
    if start.startswith((_JP2, b"\xff\x4f\xff\x51")):
        return _jp2
    return _webp if start.startswith(b"RIFF") and start.endswith(b"WEBP") else None


def _png(content: mmap.mmap) -> str | None:
    at = len(_PNG)
    while True:
        length, kind = struct.unpack_from(">I4s", content, at)
        end = at + 8 + length
        (stated,) = struct.unpack_from(">I", content, end)
        # An upper-case letter first: what the pixels depend on.
        if kind[:1].isupper() and zlib.crc32(memoryview(content)[at + 4 : end]) != stated:
            return f"its checksums do not agree (chunk {kind.decode('latin-1')!r})"
        if kind == b"IEND":
            return None
        at = end + 4


def _webp(content: mmap.mmap) -> str | None:
    (stated,) = struct.unpack_from("<I", content, 4)
    at = 12
    while at < 8 + stated:
        (length,) = struct.unpack_from("<I", content, at + 4)
        at += 8 + length + length % 2
    return None if at == 8 + stated == len(content) else "its parts do not fill it: it is damaged"


def _jp2(content: mmap.mmap) -> str | None:
    """Follow the tile-parts of the codestream, each of which tells its length, to its end."""
    start, end = _codestream(content)
    if content[start + 2 : start + 4] == b"\xff\x51" and not _sizes_agree(content, start):
        return "its header contradicts itself: it is damaged"
    at = start + 2
    while content[at : at + 2] != b"\xff\x90":
        (marker, length) = struct.unpack_from(">HH", content, at)
        if marker < 0xFF00 or length < 2:
            return "its header is damaged"
        at += 2 + length
    while content[at : at + 2] == b"\xff\x90":
        (length,) = struct.unpack_from(">I", content, at + 6)
        if length == 0:  # The last one, up to the end.
            return None
        if length < 14:
            return "its tiles do not follow one another: it is damaged"
        at += length
    # Not all writers end the codestream by a marker.
    if at == end or content[at : at + 2] == b"\xff\xd9":
        return None
    return "its tiles do not follow one another: it is damaged"


def _sizes_agree(content: mmap.mmap, start: int) -> bool:
    """Whether the codestream's size is that of the image header box (ISO 15444-1, I.5.3.1)."""
    box = content.find(b"ihdr", 0, start)
    if box < 0:
        return True
    right, bottom, left, top = struct.unpack_from(">4I", content, start + 8)
    stated: tuple[int, int] = struct.unpack_from(">2I", content, box + 4)
    return stated == (bottom - top, right - left)


def _codestream(content: mmap.mmap) -> tuple[int, int]:
    """Where the codestream begins and ends."""
    if content[:4] != _JP2[:4]:
        return 0, len(content)
    at = 0
    while True:
        length, kind = struct.unpack_from(">I4s", content, at)
        head = 8
        if length == 1:
            (length,) = struct.unpack_from(">Q", content, at + 8)
            head = 16
        end = len(content) if length == 0 else at + length
        if kind == b"jp2c":
            return at + head, end
        if end <= at:
            raise struct.error
        at = end


def _jpeg(content: mmap.mmap) -> str | None:
    """Without its last bytes a JPEG cannot be decoded to the end; if it can, others are too many.

    GDAL reports what a decoder lacks (``GDAL_ERROR_ON_LIBJPEG_WARNING``), and bytes too many in
    any scan but the last.
    """
    end = _end_of_only_scan(content)
    if end is None or end > _LARGEST_JPEG:
        return None
    while content[end - 1] in (0x00, 0xFF):  # Padding, which some cameras write.
        end -= 1
    end -= _LAST_BYTES
    while content[end - 1] == 0xFF:
        end -= 1
    # In a thread of its own: rasterio takes GDAL's last error for that of the next call, too.
    with ThreadPoolExecutor(1) as pool:
        decodes = pool.submit(_decodes, content[:end] + b"\xff\xd9").result()
    return "it holds bytes that belong to no pixel: it is damaged" if decodes else None


def _decodes(jpeg: bytes) -> bool:
    """Returns whether a JPEG can be decoded to its last line."""
    strict = rasterio.Env(GDAL_ERROR_ON_LIBJPEG_WARNING=True)
    try:
        with strict, MemoryFile(jpeg) as memory, warnings.catch_warnings():
            warnings.simplefilter("ignore", NotGeoreferencedWarning)
            with rasterio.open(memory.name) as dataset:
                dataset.read(1, window=Window(0, dataset.height - 1, dataset.width, 1))
    except RasterioError:
        return False
    return True


def _end_of_only_scan(content: mmap.mmap) -> int | None:
    """Where the data of a JPEG's scan end; None if it has several, or no end."""
    at, scans = 2, 0
    while (found := _MARKER.search(content, at)) is not None:
        code = found[0][1]
        if code == _END_OF_IMAGE:
            return found.start() if scans == 1 else None
        scans += code == _START_OF_SCAN
        (length,) = struct.unpack_from(">H", content, found.start() + 2)
        at = found.start() + 2 + length
    return None
