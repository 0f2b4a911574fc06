"""Headers of binary formats that claim what no image has: sizes, types, places on the ground."""

from __future__ import annotations

import math
import struct
import zlib
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Any

import rasterio
from affine import Affine
from rasterio._err import CPLE_BaseError
from rasterio.errors import RasterioError

NUMBERS = (
    *(math.nan, math.inf, -math.inf, 0.0, -1.0, 1e308, -1e308, 1e-320, 1e300, 1e12, 1e-9, 1e-12),
    *(95.0, 0.5, -9999.0, 3.4e38),
    *(0, -1, 1, 7, 2**31 - 1, 2**31, 2**32, 2**63, 2**64, 10**30),
)
_TYPES = {1: "B", 2: "B", 3: "H", 4: "I", 5: "II", 9: "i", 11: "f", 12: "d", 13: "I", 16: "Q"}


def tiff_tag(content: bytes, rng: Random) -> tuple[bytes, str] | None:
    """Another value, type or count of a tag of a classic TIFF."""
    if content[:4] not in (b"II*\0", b"MM\0*"):
        return None
    order = "<" if content[:2] == b"II" else ">"
    (start,) = struct.unpack_from(f"{order}I", content, 4)
    (count,) = struct.unpack_from(f"{order}H", content, start)
    entry = start + 2 + 12 * rng.randrange(count)
    tag, kind, number, _ = struct.unpack_from(f"{order}HHII", content, entry)
    changed = bytearray(content)
    what = rng.random()
    if what < 0.1:
        struct.pack_into(f"{order}H", changed, entry + 2, rng.choice((0, 1, 2, 4, 12, 99)))
        return bytes(changed), f"type of tag {tag}"
    if what < 0.2:
        count = rng.choice((0, 1, 2**31, 2**32 - 1))
        struct.pack_into(f"{order}I", changed, entry + 4, count)
        return bytes(changed), f"count of tag {tag} became {count}"
    code = _TYPES.get(kind, "I")
    size = struct.calcsize(order + code)
    at = entry + 8
    if size * number > 4:
        (at,) = struct.unpack_from(f"{order}I", content, entry + 8)
        at += size * rng.randrange(number)
    said = _pack(changed, order, code, at, rng)
    return (bytes(changed), f"tag {tag} {said}") if said else None


def _pack(changed: bytearray, order: str, code: str, at: int, rng: Random) -> str | None:
    """Write an absurd number of a type; says which."""
    if code in "fd":
        value: Any = rng.choice([float(v) for v in NUMBERS])
        if code == "f" and math.isfinite(value) and abs(value) > 3e38:
            value = math.inf
    else:
        top = 2 ** (8 * struct.calcsize(order + code[0]))
        value = rng.choice((0, 1, 2, 3, 5, 7, 8, 255, 30000, 100_000, 2**31 - 1, top // 2, top - 1))
        value %= top // 2 if code == "i" else top
    if at + struct.calcsize(order + code) > len(changed):
        return None
    struct.pack_into(order + code, changed, at, *([value] * len(code)))
    return f"became {value}"


#: Pixel sizes and turns that no image of the ground has, singular ones among them.
_TRANSFORMS = (
    *((size, 0, 0, 0, -size, 0) for size in (1e12, 1e308, 1e-9, 1e-12, 1e-320, 0.0, math.nan)),
    *((10, 10, 356_000, 10, 10, 4_835_000), (10, 0, 1e300, 0, -10, 4_835_000)),
    *((7, 7, 356_000, 7, -7, 4_835_000), (1e-3, 10, 356_000, 1e-3, 10, 4_835_000.1)),
    *((10, 0, math.inf, 0, -10, 0), (1e9, 0, 356_000, 0, -1e-9, 4_835_000), (0, 0, 0, 0, 0, 0)),
)
_SYSTEMS = ("EPSG:4326", "EPSG:3857", "EPSG:3031", "EPSG:27700", "IAU_2015:30100", 'LOCAL_CS["a"]')


def geocoding(content: bytes, rng: Random) -> tuple[bytes, str] | None:
    """Another geocoding or nodata value of a GeoTIFF, as GDAL writes it."""
    transform, crs = rng.choice(_TRANSFORMS), rng.choice(_SYSTEMS)
    nodata = rng.choice((math.nan, 1e300, -1.0, 0.0, 255.0))
    try:
        with TemporaryDirectory() as folder:
            path = Path(folder) / "image.tif"
            path.write_bytes(content)
            with rasterio.open(path, "r+", IGNORE_COG_LAYOUT_BREAK="YES") as dataset:
                which = rng.randrange(4)
                if which == 0:
                    dataset.crs, said = crs, crs
                elif which == 1:
                    dataset.nodata, said = nodata, f"nodata {nodata}"
                else:
                    dataset.transform, said = Affine(*transform), f"transform {transform}"
            return path.read_bytes(), said
    except (RasterioError, CPLE_BaseError, ValueError, AttributeError):
        return None


def claim(_: bytes, rng: Random) -> tuple[bytes, str] | None:
    """A sparse GeoTIFF of a few bytes that claims a size, bands or blocks."""
    side, block = rng.choice((30_000, 300_000)), rng.choice((16, 30_000, None))
    profile = {} if block is None else {"tiled": True, "blockxsize": block, "blockysize": block}
    bands, dtype = rng.choice((1, 3, 30)), rng.choice(("uint8", "float64"))
    try:
        with TemporaryDirectory() as folder:
            path = Path(folder) / "image.tif"
            with rasterio.open(
                path, "w", driver="GTiff", width=side, height=rng.choice((side, 240)), count=bands,
                dtype=dtype, crs="EPSG:32631", transform=Affine(10, 0, 356e3, 0, -10, 4.835e6),
                SPARSE_OK="YES", BIGTIFF="YES", **profile,
            ):  # fmt: skip
                pass
            made = path.read_bytes()
    except (RasterioError, CPLE_BaseError, ValueError):
        return None
    if len(made) > 1 << 24:
        return None
    return made, f"claims {bands} bands of {dtype}, {side} wide, blocks of {block}"


def png_size(content: bytes, rng: Random) -> tuple[bytes, str] | None:
    """Another field of IHDR, under a right checksum."""
    if content[12:16] != b"IHDR":
        return None
    changed = bytearray(content)
    if rng.random() < 0.6:
        said = _pack(changed, ">", "I", rng.choice((16, 20)), rng)
    else:
        said = _pack(changed, ">", "B", rng.choice((24, 25, 26, 27, 28)), rng)
    struct.pack_into(">I", changed, 29, zlib.crc32(changed[12:29]))
    return bytes(changed), f"IHDR {said}"


def jpeg_size(content: bytes, rng: Random) -> tuple[bytes, str] | None:
    """Another size in a JPEG's frame header."""
    at = next((p for p in (content.find(bytes((255, c))) for c in (0xC0, 0xC2)) if p >= 0), -1)
    if at < 0:
        return None
    changed = bytearray(content)
    said = _pack(changed, ">", "H", at + rng.choice((5, 7)), rng)
    return (bytes(changed), f"frame's size {said}") if said else None


def jp2_size(content: bytes, rng: Random) -> tuple[bytes, str] | None:
    """Another number of a codestream's SIZ marker: image, tile, offsets."""
    at = content.find(b"\xff\x51")
    if at < 0:
        return None
    changed = bytearray(content)
    said = _pack(changed, ">", "I", at + 6 + 4 * rng.randrange(8), rng)
    return (bytes(changed), f"SIZ {said}") if said else None
